//! A call on a candidate that changes nothing: its answer is looked at whole, and if it is no good, stable is asked.
//!
//! So a client never sees a candidate fail on a read: not when it hangs, breaks, or answers garbage. Only for methods that
//! are known to change nothing, and only where the answer ends by itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::policy::Denial;
use crate::proxy::call::dispatch::{NotAsked, Question, To, Why, ask};
use crate::proxy::call::peek::{Look, Opened, open};
use crate::proxy::downstream::stream::Downstream;
use crate::rollout::sample::{CallResult, Failure, judge_rpc_error};
use crate::telemetry::Outcome;
use crate::telemetry::metrics::Retry;
use crate::upstream::Slot;
use crate::wire::response_scan::ResponseKind;
use crate::wire::{Kind, Method};

/// A candidate that has not answered by then is not waited for: stable needs time, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a trial.
pub(crate) enum Tried<'q> {
    /// There is an answer for the client, good or not.
    Ended(Box<Result<Opened<'q>, NotAsked>>),
    /// The candidate is no good; this slot is to be asked.
    Failed(Slot),
}

/// The slot that stands in if this call, on the candidate, goes wrong; none where the call is no trial.
pub(crate) fn stand_in(question: &Question<'_>) -> Option<Slot> {
    let To::Route(route) = &question.to else { return None };
    let picked = question.pick(route);
    let changes_nothing = question.call.method().repeatable()
        && question.call.kind() == Kind::Request
        && question.call.method() != Method::SubscriptionsListen;
    (changes_nothing && picked != route.split.stable()).then(|| route.split.fallback(picked)).flatten()
}

/// Asks the candidate.
pub(crate) async fn try_out<'q>(
    question: &'q Question<'q>,
    stand_in: Slot,
    client: &mut Downstream,
) -> Tried<'q> {
    let deadline = client.deadline();
    client.set_deadline(deadline.min(Instant::now() + PATIENCE));
    let result = match ask(question, client).await {
        Ok(asked) if asked.slot.slot == stand_in => {
            // It could not even be reached, and stable has been asked already.
            client.set_deadline(deadline);
            return Tried::Ended(Box::new(open(question, asked, Look::Beginning, client).await));
        }
        Ok(asked) => open(question, asked, Look::Whole, client).await,
        Err(not_asked) => Err(not_asked),
    };
    client.set_deadline(deadline);
    let failed = match &result {
        Ok(opened) => {
            let failure = failure_in(opened);
            if let Some(failure) = failure {
                question.state.ended(opened.slot.slot, CallResult::Failed(failure), opened.since.elapsed());
            }
            failure.is_some()
        }
        Err(NotAsked { why: Why::Refused(denial), .. }) => {
            *denial == Denial::Overloaded
                || matches!(Outcome::of_denial(*denial), Outcome::Timeout | Outcome::Upstream)
        }
        Err(NotAsked { why: Why::ClientGone, .. }) => false,
    };
    if failed && Instant::now() < deadline {
        question.state.metrics.retried(stand_in.other(), Retry::StandIn);
        Tried::Failed(stand_in)
    } else {
        Tried::Ended(Box::new(result))
    }
}

/// What is wrong with an answer that has arrived whole.
fn failure_in(opened: &Opened<'_>) -> Option<Failure> {
    if !opened.source.is_complete() {
        return None;
    }
    match opened.read.kind() {
        ResponseKind::Ok | ResponseKind::ToolError => None,
        ResponseKind::RpcError(code) => match judge_rpc_error(code) {
            CallResult::Failed(failure) => Some(failure),
            CallResult::Completed | CallResult::ToolError => None,
        },
        // `open` has judged what claims to be an answer; a refusal by status (400, 404, 406) is one, whatever its body.
        ResponseKind::NotRpc | ResponseKind::Empty => None,
    }
}
