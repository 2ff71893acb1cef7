//! What each way a call ends says: the refusal for its client, the outcome for the record, the verdict on its slot.
//!
//! The stages of a call find out how it ends; what that means is decided here and nowhere else.

use super::context::CallContext;
use crate::policy::Denial;
use crate::proxy::backend::exchange::ExchangeError;
use crate::proxy::downstream::response::RelayError;
use crate::proxy::downstream::stream::Interrupt;
use crate::rollout::sample::{CallResult, Failure, judge_rpc_error};
use crate::telemetry::Outcome;
use crate::wire::Kind;
use crate::wire::response_scan::ResponseKind;

/// How far the response was when the call broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its head had not arrived.
    Head,
    /// Its client had seen nothing of it.
    Peek,
    /// Its client had seen a part of it.
    Relay,
}

/// What a call that broke off says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The refusal; none if no client is there to read it.
    pub(crate) denial: Option<Denial>,
    /// The failure of its slot; none if the client or the guard ended the call.
    pub(crate) failure: Option<Failure>,
}

/// What a backend's failure says: to the client, and of the slot.
pub(crate) fn broken(error: ExchangeError, stage: Stage) -> (Denial, Failure) {
    match error {
        // Half a response is a malformed one, where none of it has been sent.
        ExchangeError::ConnectionClosed if stage == Stage::Peek => {
            (Denial::BackendInvalid, Failure::NoConnection)
        }
        ExchangeError::NotSent | ExchangeError::NoResponse | ExchangeError::ConnectionClosed => {
            (Denial::BackendReset, Failure::NoConnection)
        }
        ExchangeError::InvalidResponse(_) | ExchangeError::TooManyInformational => {
            (Denial::BackendInvalid, Failure::Garbage)
        }
        ExchangeError::TooLong | ExchangeError::Unreadable => (Denial::BackendNoAnswer, Failure::Garbage),
    }
}

/// What each way to break off says.
pub(crate) fn fault(error: RelayError, stage: Stage) -> Fault {
    let (denial, failure) = match error {
        RelayError::Backend(error) => {
            let (denial, failure) = broken(error, stage);
            (Some(denial), Some(failure))
        }
        RelayError::Interrupted(Interrupt::Deadline) => (Some(Denial::Deadline), Some(Failure::Timeout)),
        RelayError::Interrupted(Interrupt::Draining) => (Some(Denial::Draining), None),
        // Behind half a piece, an event of the guard's own would be part of it.
        RelayError::Interrupted(Interrupt::ClientGone) | RelayError::Unwritten(_) => (None, None),
    };
    Fault { denial, failure }
}

/// What the log says about a backend's failure; nothing where the connection is all that failed.
pub(crate) fn explain(error: ExchangeError) -> Option<String> {
    match error {
        ExchangeError::InvalidResponse(error) => Some(format!("the backend's answer is malformed: {error}")),
        ExchangeError::TooManyInformational => Some("the backend sends 1xx answers without end".to_owned()),
        ExchangeError::TooLong | ExchangeError::Unreadable => {
            Some(format!("the answer cannot be judged: {error:?}"))
        }
        ExchangeError::NotSent | ExchangeError::NoResponse | ExchangeError::ConnectionClosed => None,
    }
}

/// The verdict of a status that is not a success. A client error (400, 404) is the client's own; a redirect is a slot with a
/// wrong address.
pub(crate) fn verdict_of_status(status: u16) -> CallResult {
    match status {
        400..500 => CallResult::Completed,
        _ => CallResult::Failed(Failure::Status),
    }
}

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
        Err(error) => (error.outcome(), fault(error, Stage::Relay).failure.map(CallResult::Failed)),
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
            (outcome, Some(if status < 300 { verdict } else { verdict_of_status(status) }))
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
