//! A picture of the rollout for people and scripts: where it stands, what it waits for, and both slots side by side.

use serde::{Deserialize, Serialize};

use super::analysis::Conclusion;
use super::armed::Armed;
use super::event::Health;
use super::machine::Rollout;
use super::plan::{Advance, Step};
use super::position::Position;
use super::stage::Stage;
use super::state::ServerSurface;
use super::timestamp::Timestamp;
use crate::rollout::observations::{ShadowTally, Span, Summary};
use crate::upstream::Slot;

/// The whole picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// When it was taken.
    pub at: Timestamp,
    /// Where things stand.
    pub position: Position,
    /// The rollout under way.
    pub run: Option<RunStatus>,
    /// Both slots.
    pub slots: Vec<SlotReport>,
    /// Whether protocol 2026-07-28 is fenced off.
    pub fenced: bool,
    /// Which slot stands by for stable, or why none does.
    #[serde(default)]
    pub standby: String,
    /// How far each trigger is from firing; none outside a rollout.
    #[serde(default)]
    pub triggers: Vec<Armed>,
}

/// The rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Its name.
    pub id: String,
    /// When it began.
    pub started: Timestamp,
    /// When the step began.
    pub since: Timestamp,
    /// Seconds until the hold of the step is over.
    pub hold_left_seconds: f64,
    /// How many steps the plan has.
    pub steps: usize,
    /// The next step, or `complete`.
    pub next: String,
    /// What the step has shown.
    pub conclusion: Conclusion,
    /// Compared copies in this step.
    pub shadow: ShadowTally,
    /// What it waits for, as a sentence.
    pub waits_for: String,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotReport {
    /// Which.
    pub slot: Slot,
    /// `stable`, `candidate`, `spare` or `idle`.
    pub role: String,
    /// Whether a backend is configured.
    pub configured: bool,
    /// `healthy`, `unhealthy` or `unknown`.
    pub health: String,
    /// The latest failed probe's result.
    pub why: Option<String>,
    /// What it speaks and offers.
    pub surface: Option<ServerSurface>,
    /// Its numbers since the step began (outside a rollout: of the last hour).
    pub summary: Summary,
}

impl Rollout {
    /// The picture now.
    pub fn status(&mut self, now: Timestamp) -> RolloutStatus {
        RolloutStatus {
            at: now,
            position: self.state.position(),
            run: self.run_status(now),
            slots: Slot::ALL.map(|slot| self.slot_status(slot, now)).into(),
            fenced: self.fenced(),
            standby: self.standby(),
            triggers: self.armed(now),
        }
    }

    fn run_status(&mut self, now: Timestamp) -> Option<RunStatus> {
        let conclusion = self.conclusion(now)?;
        let run = self.state.run.as_ref()?;
        let step = run.step()?;
        let left = step.hold.saturating_sub(now.since(run.since)).as_secs_f64();
        let next = run.plan.step(run.step + 1).map_or_else(|| Stage::Complete.as_str().to_owned(), name_step);
        let healthy = *self.health(self.state.candidate()) == Health::Healthy;
        let findings: Vec<String> = conclusion.findings().iter().map(ToString::to_string).collect();
        let waits_for = if run.paused.is_some() {
            "an operator: `rollout resume`, `promote` or `rollback`".to_owned()
        } else if left > 0.0 {
            format!("the hold of this step: {left:.0} s left")
        } else if !findings.is_empty() {
            findings.join("; ")
        } else if !healthy {
            "the candidate to be healthy".to_owned()
        } else if step.advance == Advance::Manual {
            "an operator: `rollout promote`".to_owned()
        } else if let Some(hold) = &self.hold {
            format!("the fleet: {hold}")
        } else if let Some(at_gate) = self.waits_at_gate() {
            at_gate
        } else {
            format!("nothing; {next} is next")
        };
        let waits_for = match self.empty_share().filter(|_| run.paused.is_none()) {
            Some(empty) => format!("{waits_for}; {empty}"),
            None => waits_for,
        };
        Some(RunStatus {
            id: run.id.clone(),
            started: run.started,
            since: run.since,
            hold_left_seconds: left,
            steps: run.plan.steps().len(),
            next,
            conclusion,
            shadow: self.seen.shadow(),
            waits_for,
        })
    }

    fn slot_status(&mut self, slot: Slot, now: Timestamp) -> SlotReport {
        let running = self.state.run.is_some();
        let role = match (slot == self.state.stable, running, self.state.spare) {
            (true, _, _) => "stable",
            (false, true, _) => "candidate",
            (false, false, true) => "spare",
            (false, false, false) => "idle",
        };
        let summary = if slot == self.state.stable {
            self.seen.stable(slot, Span::Step, now)
        } else {
            self.seen.candidate(slot, Span::Step, now)
        };
        let (health, why) = match self.health(slot) {
            Health::Unknown => ("unknown", None),
            Health::Healthy => ("healthy", None),
            Health::Unhealthy(why) => ("unhealthy", Some(why.clone())),
        };
        SlotReport {
            slot,
            role: role.to_owned(),
            configured: self.known(slot).configured,
            health: health.to_owned(),
            why,
            surface: self.surface(slot).cloned(),
            summary,
        }
    }
}

fn name_step(step: &Step) -> String {
    format!("{} {} %", step.stage.as_str(), step.weight.get())
}
