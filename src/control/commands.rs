//! What operators may order, and what they are told. Plain data: the admin socket carries it.

use serde::{Deserialize, Serialize};

use crate::parity::accept::Acceptance;
use crate::parity::shadow::mismatch_log::Summary;
use crate::rollout::status::Status;
use crate::rollout::{Stage, Transition};
use crate::upstream::Slot;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RolloutCommand {
    Start {
        /// Against the parity gate, and though the candidate speaks less than stable.
        force: bool,
        /// Reviewed differences, for the whole rollout.
        #[serde(default)]
        accept: Vec<Acceptance>,
    },
    Pause,
    Resume,
    Promote {
        /// Against the parity gate and the analysis.
        force: bool,
        /// Reviewed differences, besides those of the start.
        #[serde(default)]
        accept: Vec<Acceptance>,
    },
    Rollback {
        to: Option<Stage>,
    },
    Switch {
        to: Slot,
        force: bool,
    },
    /// Takes a slot out of service.
    Drain {
        slot: Slot,
    },
}

impl RolloutCommand {
    /// The reviewed differences that come with it.
    pub(crate) fn accept(&self) -> &[Acceptance] {
        match self {
            RolloutCommand::Start { accept, .. } | RolloutCommand::Promote { accept, .. } => accept,
            RolloutCommand::Pause
            | RolloutCommand::Resume
            | RolloutCommand::Rollback { .. }
            | RolloutCommand::Switch { .. }
            | RolloutCommand::Drain { .. } => &[],
        }
    }

    /// The name in the log.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            RolloutCommand::Start { .. } => "rollout start",
            RolloutCommand::Pause => "rollout pause",
            RolloutCommand::Resume => "rollout resume",
            RolloutCommand::Promote { .. } => "rollout promote",
            RolloutCommand::Rollback { .. } => "rollout rollback",
            RolloutCommand::Switch { .. } => "slots switch",
            RolloutCommand::Drain { .. } => "slots drain",
        }
    }
}

/// An order was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandResult {
    pub(crate) transition: Transition,
    /// What the operator should know besides.
    pub(crate) notes: Vec<String>,
}

/// The whole picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RolloutReport {
    pub(crate) status: Status,
    /// What is not as it should be: state not saved, another guard owns it, and the like.
    pub(crate) problems: Vec<String>,
    /// What copies of calls have shown since the latest shadow stage began; none before the first.
    #[serde(default)]
    pub(crate) shadow: Option<Summary>,
    /// The latest transition.
    #[serde(default)]
    pub(crate) last: Option<Transition>,
}
