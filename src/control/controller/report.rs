//! What the controller tells operators: the status, and what is wrong. Must not change anything.

use tokio::sync::watch;

use super::Controller;
use crate::control::commands::RolloutReport;
use crate::control::persistence::Persistence;
use crate::control::state_writer::Progress;
use crate::rollout::Health;

impl Controller {
    /// How far the state has been saved, and the number that it must reach.
    pub(super) fn progress(&self) -> Option<(watch::Receiver<Progress>, u64)> {
        match &self.persistence {
            Persistence::Active(writer) => Some((writer.progress(), self.rollout.state().seq)),
            Persistence::ForeignOwner | Persistence::Unavailable(_) => None,
        }
    }

    pub(super) fn report(&mut self) -> RolloutReport {
        let mut problems = self.warnings();
        if let Some((progress, _)) = self.progress()
            && let Some(problem) = &progress.borrow().problem
        {
            problems.push(format!("the state is not saved: {problem}"));
        }
        problems.extend(self.check_ownership().err());
        let (status, last) = (self.rollout.status(self.clock.now()), self.history.last().cloned());
        RolloutReport { status, problems, shadow: None, last }
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Persistence::Unavailable(why) = &self.persistence {
            warnings.push(format!("the state is not kept: {why}"));
        }
        let stable = self.rollout.state().stable;
        // Only a fleet's state may name such a slot.
        if self.settings.backend(stable).is_none() {
            warnings.push(format!(
                "{slot} is stable in the fleet and has no backend here: calls to it are refused (hint: [slots.{slot}])",
                slot = stable.as_str()
            ));
        }
        if let Health::Unhealthy(why) = self.rollout.health(stable) {
            warnings.push(format!("{} is stable and not healthy: {why}", stable.as_str()));
        }
        warnings
    }
}
