//! What may be sent again: the retry rule as a state machine. Pure: no clock, no connection, no slot.
//!
//! A request of which not one byte was taken may go again, anywhere. Once a byte was taken, only a request that is known to
//! change nothing may: again where the backend that took it is gone, and once more where a live backend closed the
//! connection without a byte. A live backend that closes the connection may have executed the request.

use super::classify::{Stage, broken};
use crate::policy::Denial;
use crate::proxy::backend::exchange::ExchangeError;
use crate::proxy::backend::pool::Reused;
use crate::rollout::sample::Failure;
use crate::telemetry::metrics::Retry;

/// How often a call is sent again for each of the two reasons.
const RETRIES_MAX: u32 = 2;

/// Whether a request changes nothing when it is executed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    Safe,
    Unsafe,
}

/// The state of one call's retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    replay: Replay,
    /// Whether the other slot was tried.
    fallback_tried: bool,
    /// Sent again because nothing had been taken.
    unsent: u32,
    /// Sent again although a byte had been taken.
    repeated: u32,
}

/// What happened to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The split sends it to another slot now.
    Rerouted,
    /// Its backend cannot be reached.
    Unreachable,
    Failed(FailedExchange),
    /// What [`Step::Probe`] found.
    Probed(FailedExchange, Liveness),
}

/// An exchange that failed, and what connection it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailedExchange {
    pub(crate) error: ExchangeError,
    pub(crate) reused: Reused,
    /// The generation of the connection: which process was listening when it was opened.
    pub(crate) generation: u64,
}

/// Whether the process that closed a connection still listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    Alive,
    /// No process listens, or another one does.
    Gone,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send it: again for this reason, if there is one.
    Send(Option<Retry>),
    /// Find out whether the backend is alive, then report [`Event::Probed`].
    Probe(FailedExchange),
    /// Send it to the other slot; hold it where there is none.
    UseFallback,
    /// Hold it until a backend can be reached.
    Hold,
    Deny(Denial),
}

/// A step, and what the event says about the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) step: Step,
    pub(crate) failure: Option<Failure>,
}

impl RetryPolicy {
    pub(crate) fn new(replay: Replay) -> RetryPolicy {
        RetryPolicy { replay, fallback_tried: false, unsent: 0, repeated: 0 }
    }

    /// Whether a pooled connection may be used. After one failed, a new one is opened: the others are as old.
    pub(crate) fn may_reuse(&self) -> bool {
        self.unsent == 0
    }

    pub(crate) fn next(&mut self, event: Event) -> Decision {
        match event {
            Event::Rerouted => {
                (self.fallback_tried, self.unsent) = (false, 0);
                Decision { step: Step::Send(None), failure: None }
            }
            Event::Unreachable => {
                let is_first = !std::mem::replace(&mut self.fallback_tried, true);
                let step = if is_first { Step::UseFallback } else { Step::Hold };
                Decision { step, failure: Some(Failure::NoConnection) }
            }
            Event::Failed(failed) => self.failed(failed),
            Event::Probed(failed, liveness) => {
                let has_begun = failed.error == ExchangeError::ConnectionClosed;
                if liveness == Liveness::Alive && (has_begun || self.repeated > 0) {
                    return self.reset_by_backend(failed);
                }
                self.repeated += 1;
                Decision { step: Step::Send(Some(Retry::Repeatable)), failure: None }
            }
        }
    }

    fn failed(&mut self, failed: FailedExchange) -> Decision {
        match failed.error {
            ExchangeError::NotSent if self.unsent < RETRIES_MAX => {
                let failure = self.reset_by_backend(failed).failure;
                self.unsent += 1;
                Decision { step: Step::Send(Some(Retry::Unsent)), failure }
            }
            ExchangeError::NoResponse | ExchangeError::ConnectionClosed
                if self.replay == Replay::Safe && self.repeated < RETRIES_MAX =>
            {
                Decision { step: Step::Probe(failed), failure: None }
            }
            ExchangeError::NotSent | ExchangeError::NoResponse | ExchangeError::ConnectionClosed => {
                self.reset_by_backend(failed)
            }
            ExchangeError::InvalidResponse(_)
            | ExchangeError::TooManyInformational
            | ExchangeError::TooLong
            | ExchangeError::Unreadable => denied(failed.error),
        }
    }

    /// A backend may close an idle connection at any time: that is no failure of the slot.
    fn reset_by_backend(&self, failed: FailedExchange) -> Decision {
        let was_idle = failed.reused == Reused::Pooled && self.unsent < RETRIES_MAX;
        let decision = denied(failed.error);
        Decision { failure: decision.failure.filter(|_| !was_idle), ..decision }
    }
}

/// The exchange failed for good.
fn denied(error: ExchangeError) -> Decision {
    let (denial, failure) = broken(error, Stage::Head);
    Decision { step: Step::Deny(denial), failure: Some(failure) }
}

#[cfg(test)]
#[path = "retry/tests.rs"]
mod tests;
