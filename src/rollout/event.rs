//! The inputs of the state machine: events, an operator's commands, and the reasons for refusing a command.

use super::comparison::{Compared, Difference};
use super::plan::Plan;
use super::sample::Sample;
use super::stage::Stage;
use super::state::ServerSurface;
use crate::upstream::Slot;

/// A command of an operator.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begin a rollout of the slot that is not stable.
    Start {
        /// Names the rollout.
        id: String,
        /// What it follows.
        plan: Box<Plan>,
        /// Also if the candidate speaks less than stable does.
        force: bool,
    },
    /// Stay at this step.
    Pause,
    /// Go on.
    Resume,
    /// Go to the next step now.
    Promote {
        /// Also against the analysis.
        force: bool,
    },
    /// Go back: to stable, or to an earlier stage, where the rollout waits.
    Rollback {
        /// The earlier stage.
        to: Option<Stage>,
    },
    /// Make the other slot stable without a rollout.
    Switch {
        /// The slot to become stable.
        to: Slot,
        /// Also if it speaks less than stable does.
        force: bool,
    },
    /// Take the slot that is not stable out of service.
    Retire {
        /// That slot.
        slot: Slot,
    },
}

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An operator's command.
    Command {
        /// What.
        command: Command,
        /// Who, as far as known.
        who: String,
    },
    /// A call ended. Never leads to a transition by itself; the next tick may.
    Sample(Sample),
    /// A probe of a slot ended; rise and fall are counted by the sender.
    Health {
        /// Which slot.
        slot: Slot,
        /// What the slot is now.
        health: Health,
        /// Whether this very probe succeeded.
        answered: bool,
    },
    /// A named check of the candidate ended; a failure has words.
    Check {
        /// Its name.
        name: String,
        /// Why it failed.
        failure: Option<String>,
    },
    /// A reading of a backend's memory.
    Memory {
        /// Which slot.
        slot: Slot,
        /// Bytes in use.
        used: u64,
        /// Bytes it may use.
        limit: u64,
    },
    /// What a backend speaks and offers.
    Surface {
        /// Which slot.
        slot: Slot,
        /// What it offers.
        surface: ServerSurface,
    },
    /// The comparison before the end of a step, counted from 0, has ended.
    Gate {
        /// The step.
        step: usize,
        /// What it came to.
        compared: Compared,
    },
    /// The comparison that an order waited for found differences; whether it is forced is a matter of the command.
    Differs(Vec<Difference>),
    /// Time has passed.
    Tick,
}

/// What probes say of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not probed often enough yet.
    Unknown,
    /// Responds as it should.
    Healthy,
    /// Does not; the latest probe's result.
    Unhealthy(String),
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// One at a time.
    #[error(
        "rollout `{0}` is under way; finish it with `rollout promote`, or end it with `rollout rollback`"
    )]
    UnderWay(String),
    /// There is none.
    #[error("nothing is in rollout: {} serves all traffic", .0.as_str())]
    NothingInRollout(Slot),
    /// No backend there.
    #[error("{} is not configured (hint: add [slots.{}])", .0.as_str(), .0.as_str())]
    NotConfigured(Slot),
    /// Traffic for a backend that does not respond.
    #[error("{} is not healthy: {why}", slot.as_str())]
    Unhealthy {
        /// Which slot.
        slot: Slot,
        /// The latest probe's result.
        why: String,
    },
    /// It is there already.
    #[error("{} is stable already", .0.as_str())]
    AlreadyStable(Slot),
    /// Waits already.
    #[error("the rollout is paused already")]
    AlreadyPaused,
    /// Does not wait.
    #[error("the rollout is not paused")]
    NotPaused,
    /// Forward is not back.
    #[error("cannot roll back to `{}`: the rollout is at `{}`", to.as_str(), at.as_str())]
    NotBack {
        /// The stage that the command names.
        to: Stage,
        /// The stage it is at.
        at: Stage,
    },
    /// Moving on against the evidence.
    #[error("the analysis of this step fails: {0} (add --force to promote all the same)")]
    AnalysisFails(String),
    /// Clients that have negotiated more would break.
    #[error(
        "{} does not speak protocol 2026-07-28, {} does: clients that use it would break (add --force to go on)",
        slot.as_str(), slot.other().as_str()
    )]
    SpeaksLess {
        /// The slot that would receive them.
        slot: Slot,
    },
    /// Every call would be refused.
    #[error("{} lists no tools (add --force to switch all the same)", .0.as_str())]
    ListsNothing(Slot),
    /// Stable cannot be taken out of service.
    #[error("{} is stable and serves; switch to the other slot first", .0.as_str())]
    Serves(Slot),
}
