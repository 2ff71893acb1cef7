//! Why a call ends without a backend's response: the one failure of the call path.

use std::time::Duration;

use tokio::time::Instant;

use super::classify::{Stage, fault};
use crate::policy::Denial;
use crate::policy::reply::Executed;
use crate::proxy::downstream::stream::Interrupt;
use crate::proxy::state::call_limits::LimitExceeded;
use crate::upstream::Slot;

/// A call that has no response of a backend.
#[derive(Debug)]
pub(crate) struct CallError {
    /// The refusal; none if the client is gone.
    pub(crate) denial: Option<Denial>,
    pub(crate) executed: Executed,
    /// The slot that the call was sent to, or waited for.
    pub(crate) slot: Option<Slot>,
    /// When the first byte was sent to a backend, if one was.
    pub(crate) since: Option<Instant>,
    pub(crate) retry_after: Option<Duration>,
}

impl CallError {
    /// A refusal before anything was sent.
    pub(crate) fn denied(denial: Denial) -> CallError {
        CallError::new(Some(denial))
    }

    pub(crate) fn new(denial: Option<Denial>) -> CallError {
        CallError { denial, executed: Executed::No, slot: None, since: None, retry_after: None }
    }

    /// The same error, on this slot: a call of which a byte was sent may have been executed.
    pub(crate) fn on(self, slot: Slot, since: Option<Instant>) -> CallError {
        let executed = match (self.denial, since) {
            // The queue refuses a call before it is sent; before it is sent again, only a read.
            (Some(Denial::Overloaded), _) | (_, None) => Executed::No,
            (_, Some(_)) => Executed::Unknown,
        };
        CallError { executed, slot: Some(slot), since, ..self }
    }
}

impl From<Interrupt> for CallError {
    fn from(interrupt: Interrupt) -> CallError {
        CallError::new(fault(interrupt.into(), Stage::Head).denial)
    }
}

impl From<LimitExceeded> for CallError {
    fn from(exceeded: LimitExceeded) -> CallError {
        let retry_after = exceeded.retry_after;
        CallError { retry_after, ..CallError::denied(exceeded.denial()) }
    }
}
