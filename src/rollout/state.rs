//! What of a rollout outlives the process: roles, step, clocks and the plan it follows. Not the samples: those are gathered
//! again, and until then the verdict is `inconclusive`.

use serde::{Deserialize, Serialize};

use super::plan::{Plan, Step};
use super::position::Position;
use super::stage::Stage;
use super::timestamp::Timestamp;
use crate::upstream::{Percent, Slot};

/// What a backend speaks and offers, as its health check found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSurface {
    /// Speaks 2026-07-28.
    pub modern: bool,
    /// Takes `initialize`.
    pub legacy: bool,
    /// How many tools it lists.
    pub tools: usize,
    /// Fingerprint of names and schemas of the tools, descriptions left out.
    pub fingerprint: String,
}

/// Roles, and the rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The slot that serves by default.
    pub stable: Slot,
    /// Whether the other slot was stable before and still stands by: after a switch, until it is retired.
    pub spare: bool,
    /// Whether that slot was taken out of service since: then it does not stand by at all.
    #[serde(default)]
    pub retired: bool,
    /// The number of the latest transition.
    pub seq: u64,
    /// The rollout under way.
    pub run: Option<Run>,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Names it; also the salt of its split.
    pub id: String,
    /// What it follows.
    pub plan: Plan,
    /// Which step of the plan, counted from 0.
    pub step: usize,
    /// When the rollout began.
    pub started: Timestamp,
    /// When the step began.
    pub since: Timestamp,
    /// Since when it waits for an operator.
    pub paused: Option<Timestamp>,
    /// What the candidate offered at the start.
    pub pinned: Option<ServerSurface>,
}

impl State {
    /// No rollout: this slot serves.
    pub fn new(stable: Slot) -> State {
        State { stable, spare: false, retired: false, seq: 0, run: None }
    }

    /// The slot that is tried.
    pub fn candidate(&self) -> Slot {
        self.stable.other()
    }

    /// Where things stand.
    pub fn position(&self) -> Position {
        let step = self.run.as_ref().and_then(Run::step);
        Position {
            stable: self.stable,
            stage: step.map_or(Stage::Stable, |step| step.stage),
            step: self.run.as_ref().map(|run| run.step + 1),
            weight: step.map_or(Percent::ZERO, |step| step.weight),
            paused: self.run.as_ref().is_some_and(|run| run.paused.is_some()),
        }
    }

    /// Whether this is a state that a rollout can be in: a file may hold anything.
    pub fn is_legal(&self) -> bool {
        self.run.as_ref().is_none_or(|run| run.step().is_some() && run.plan.is_valid() && !run.id.is_empty())
    }
}

impl Run {
    /// The step it is at.
    pub fn step(&self) -> Option<&Step> {
        self.plan.step(self.step)
    }
}
