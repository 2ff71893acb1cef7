//! The parity gate before each step: a comparison starts when a step has passed, and the next step waits for its result.
//!
//! The controller compares the two backends and reports; here it is only known whether that is wanted, what came
//! of it, and for how long it holds. Must not know how backends are compared.

use std::time::Duration;

use super::Rollout;
use crate::rollout::Timestamp;
use crate::rollout::comparison::{Compared, Difference, Gate};
use crate::rollout::transition::{Cause, Transition, TransitionKind};

/// A comparison that could not be made is made again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// For how long a comparison speaks for the moment.
const HOLDS_FOR: Duration = Duration::from_secs(30);

impl Rollout {
    /// Whether the backends are to be compared before the next step.
    pub fn is_gated(&self) -> bool {
        // After the last step there is no next step: all clients are on the candidate already.
        self.state
            .run
            .as_ref()
            .is_some_and(|run| run.plan.parity_gate && run.plan.step(run.step + 1).is_some())
    }

    /// Whether the step may be left: the plan has no gate, or it is open. Requests a comparison where one is due.
    pub(super) fn may_leave_step(&mut self, now: Timestamp) -> bool {
        if !self.is_gated() {
            return true;
        }
        match &self.gate {
            Gate::Open(at) if now.since(*at) <= HOLDS_FOR => return true,
            Gate::Unknown { at, .. } if now.since(*at) < AGAIN_AFTER => {}
            Gate::Idle | Gate::Open(_) | Gate::Unknown { .. } => self.gate = Gate::Wanted,
            Gate::Wanted | Gate::Comparing => {}
        }
        false
    }

    /// The step before whose end the backends are to be compared now. Said once: the result is an event.
    pub fn wants_comparison(&mut self) -> Option<usize> {
        let run = self.state.run.as_ref().filter(|_| self.gate == Gate::Wanted)?;
        self.gate = Gate::Comparing;
        Some(run.step)
    }

    /// What the step waits for at the gate, as a sentence.
    pub(in crate::rollout) fn waits_at_gate(&self) -> Option<String> {
        match &self.gate {
            Gate::Idle | Gate::Open(_) => None,
            Gate::Wanted | Gate::Comparing => {
                Some("the parity gate: both slots are being compared".to_owned())
            }
            Gate::Unknown { why, .. } => Some(format!("the parity gate: {why}")),
        }
    }

    /// A comparison before the end of this step has ended. A break stops the rollout where it is.
    pub(super) fn on_gate(&mut self, step: usize, compared: Compared, now: Timestamp) -> Option<Transition> {
        let here = self.state.run.as_ref().is_some_and(|run| run.step == step && run.paused.is_none());
        if !here || self.gate != Gate::Comparing {
            return None;
        }
        match compared {
            Compared::Holds => self.gate = Gate::Open(now),
            Compared::Unknown(why) => self.gate = Gate::Unknown { at: now, why },
            Compared::Breaks(differences) => {
                self.gate = Gate::Idle;
                return Some(self.pause(Cause::Parity { differences }, now));
            }
        }
        None
    }

    /// A command found differences at the gate: that changes nothing by itself, but it is logged and notified.
    pub(super) fn note_differences(&mut self, differences: Vec<Difference>, now: Timestamp) -> Transition {
        self.change(TransitionKind::Noted, Cause::Parity { differences }, now, |_| ())
    }
}
