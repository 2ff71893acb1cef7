//! What a response says, once it has ended: the outcome for the record, and the verdict on its slot for the rollout.

use super::context::CallContext;
use crate::proxy::backend::exchange::ExchangeError;
use crate::proxy::downstream::response::RelayError;
use crate::proxy::downstream::stream::Interrupt;
use crate::rollout::sample::{CallResult, Failure, judge_rpc_error};
use crate::telemetry::Outcome;
use crate::wire::Kind;
use crate::wire::response_scan::ResponseKind;

/// Classifies a response that was relayed with this result. No verdict, if the client or the guard ended it.
pub(crate) fn classify(
    ctx: &CallContext<'_>,
    status: u16,
    kind: ResponseKind,
    result: Result<(), RelayError>,
) -> (Outcome, Option<CallResult>) {
    match result {
        // The guard ends a session's stream when it stops, and properly.
        Err(RelayError::Interrupted(Interrupt::Draining)) if ctx.is_session_stream() => (Outcome::Ok, None),
        Err(error) => (error.outcome(), failure_of(error).map(CallResult::Failed)),
        Ok(()) => {
            // Notifications and posted responses are acknowledged and have no response.
            let is_acknowledged = ctx.call.kind() != Kind::Request && (200..300).contains(&status);
            let (outcome, verdict) = match kind {
                _ if is_acknowledged => (Outcome::Ok, CallResult::Completed),
                ResponseKind::Ok => (Outcome::Ok, CallResult::Completed),
                ResponseKind::ToolError => (Outcome::ToolError, CallResult::ToolError),
                ResponseKind::RpcError(code) => (Outcome::RpcError, judge_rpc_error(code)),
                ResponseKind::Empty | ResponseKind::NotRpc => {
                    (Outcome::Upstream, CallResult::Failed(Failure::Garbage))
                }
            };
            let verdict = match status {
                500.. => CallResult::Failed(Failure::Status),
                // An error status (400, 404) is a response, whatever its body.
                300.. => CallResult::Completed,
                _ => verdict,
            };
            (outcome, Some(verdict))
        }
    }
}

/// What a response that broke off says about its slot; nothing, if the client or the guard ended it.
pub(crate) fn failure_of(error: RelayError) -> Option<Failure> {
    match error {
        RelayError::Backend(
            ExchangeError::NotSent | ExchangeError::NoResponse | ExchangeError::ConnectionClosed,
        ) => Some(Failure::NoConnection),
        RelayError::Backend(
            ExchangeError::InvalidResponse(_)
            | ExchangeError::TooManyInformational
            | ExchangeError::TooLong
            | ExchangeError::Unreadable,
        ) => Some(Failure::Garbage),
        RelayError::Interrupted(Interrupt::Deadline) => Some(Failure::Timeout),
        RelayError::Interrupted(Interrupt::Draining | Interrupt::ClientGone) | RelayError::Unwritten(_) => {
            None
        }
    }
}

/// The failure of a candidate in a whole response to a read. What is no response at all has been refused by the peek; an
/// error status (400, 404, 406) is one, whatever its body.
pub(crate) fn failure_of_read(kind: ResponseKind) -> Option<Failure> {
    match kind {
        ResponseKind::RpcError(code) => match judge_rpc_error(code) {
            CallResult::Failed(failure) => Some(failure),
            CallResult::Completed | CallResult::ToolError => None,
        },
        ResponseKind::Ok | ResponseKind::ToolError | ResponseKind::NotRpc | ResponseKind::Empty => None,
    }
}
