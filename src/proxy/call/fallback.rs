//! Sends a read-only call to the candidate, buffers the response, and falls back to stable if it is invalid.
//!
//! So a client never sees a candidate fail on a read: not when it hangs, breaks, or sends garbage. Only for methods that
//! are known to change nothing, and only where the response ends by itself.

use std::time::Duration;

use tokio::time::Instant;

use super::classify::failure_of_read;
use super::context::CallContext;
use super::dispatch::{Assignment, dispatch};
use super::error::CallError;
use super::peek::{Peek, PendingResponse, peek};
use crate::policy::Denial;
use crate::proxy::downstream::stream::Downstream;
use crate::rollout::sample::CallResult;
use crate::telemetry::Outcome;
use crate::telemetry::metrics::Retry;
use crate::upstream::{Slot, Split};
use crate::wire::{Kind, Method};

/// The candidate's time for a read: stable needs time, too.
const CANDIDATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends a call to its slot, or to stable where the candidate fails a read.
pub(crate) async fn respond<'c>(
    ctx: &CallContext<'c>,
    assignment: Assignment,
    client: &mut Downstream,
) -> Result<Box<PendingResponse<'c>>, CallError> {
    let (split, call) = (&assignment.split.split, ctx.call);
    let Some(stable) = takes_over(split, assignment.slot, (call.method(), call.kind())) else {
        let dispatched = dispatch(ctx, assignment, client).await?;
        return peek(ctx, dispatched, Peek::Start, client).await;
    };
    let deadline = client.deadline();
    client.set_deadline(deadline.min(Instant::now() + CANDIDATE_TIMEOUT));
    let result = match dispatch(ctx, assignment.clone(), client).await {
        Ok(dispatched) if dispatched.slot.slot == stable => {
            // The candidate could not be reached, and stable has the call already.
            client.set_deadline(deadline);
            return peek(ctx, dispatched, Peek::Start, client).await;
        }
        Ok(dispatched) => peek(ctx, dispatched, Peek::All, client).await,
        Err(error) => Err(error),
    };
    client.set_deadline(deadline);
    if !has_failed(ctx, &result) || Instant::now() >= deadline {
        return result;
    }
    if let Some(trace) = ctx.request.trace {
        trace.fail_exchange("candidate_failed");
    }
    // The candidate's permit, connection and buffered body are given back before stable has the call.
    drop(result);
    ctx.request.state.metrics.retried(stable.other(), Retry::StandIn);
    let dispatched = dispatch(ctx, assignment.fixed(stable), client).await?;
    peek(ctx, dispatched, Peek::Start, client).await
}

/// The slot that takes such a call over if `slot` fails it or is full; none where the call is no read on the candidate.
pub(crate) fn takes_over(split: &Split, slot: Slot, (method, kind): (Method, Kind)) -> Option<Slot> {
    let is_read = method.repeatable() && kind == Kind::Request && method != Method::SubscriptionsListen;
    let is_candidate = slot != split.stable();
    (is_read && is_candidate).then(|| split.fallback(slot)).flatten()
}

/// Whether the candidate has failed the call, and stable is to be tried.
fn has_failed(ctx: &CallContext<'_>, result: &Result<Box<PendingResponse<'_>>, CallError>) -> bool {
    match result {
        Ok(pending) if !pending.body.is_complete() => false,
        Ok(pending) => {
            let failure = failure_of_read(pending.scan.kind());
            if let Some(failure) = failure {
                let latency = pending.since.elapsed();
                ctx.request.state.record_sample(
                    pending.slot.slot,
                    CallResult::Failed(failure),
                    latency,
                    Instant::now(),
                );
            }
            failure.is_some()
        }
        Err(CallError { denial: Some(denial), .. }) => {
            *denial == Denial::Overloaded
                || matches!(Outcome::of_denial(*denial), Outcome::Timeout | Outcome::Upstream)
        }
        Err(CallError { denial: None, .. }) => false,
    }
}
