//! Commands of operators and their results, as plain data that the admin socket carries; and the requests to the
//! controller.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::fleet_report::FleetReport;
use super::notification::OperationEnd;
use super::settings::Settings;
use crate::parity::accept::Acceptance;
use crate::parity::shadow::mismatch_log::Summary;
use crate::rollout::status::RolloutStatus;
use crate::rollout::{Stage, Transition};
use crate::upstream::Slot;

/// A command that changes the rollout or the roles of the slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RolloutCommand {
    Start {
        /// Overrides the parity gate, and the check that the candidate speaks all that stable speaks.
        force: bool,
        /// Reviewed differences, for the whole rollout.
        #[serde(default)]
        accept: Vec<Acceptance>,
    },
    Pause,
    Resume,
    Promote {
        /// Overrides the parity gate and the analysis.
        force: bool,
        /// Reviewed differences, in addition to those of the start.
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
    #[serde(rename = "drain")]
    Retire {
        slot: Slot,
    },
}

impl RolloutCommand {
    /// The reviewed differences of the command.
    pub(crate) fn accept(&self) -> &[Acceptance] {
        match self {
            RolloutCommand::Start { accept, .. } | RolloutCommand::Promote { accept, .. } => accept,
            RolloutCommand::Pause
            | RolloutCommand::Resume
            | RolloutCommand::Rollback { .. }
            | RolloutCommand::Switch { .. }
            | RolloutCommand::Retire { .. } => &[],
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
            RolloutCommand::Retire { .. } => "slots drain",
        }
    }
}

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandResult {
    pub(crate) transition: Transition,
    /// Further facts for the operator.
    pub(crate) notes: Vec<String>,
}

/// State of the rollout and of both slots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RolloutReport {
    pub(crate) status: RolloutStatus,
    /// Faults, such as: the state is not saved, another guard owns it.
    pub(crate) problems: Vec<String>,
    /// Results of copied calls since the latest shadow stage began; none before the first.
    #[serde(default)]
    pub(crate) shadow: Option<Summary>,
    /// The latest transition.
    #[serde(default)]
    pub(crate) last: Option<Transition>,
}

/// Names an order within the fleet: a start of a guard, and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OrderId(pub(crate) u64, pub(crate) u64);

/// The response to a command.
pub(super) type Reply = oneshot::Sender<Result<CommandResult, String>>;

/// A command that has not been carried out yet.
pub(super) struct PendingCommand {
    pub(super) command: RolloutCommand,
    pub(super) who: String,
    pub(super) reply: Reply,
    pub(super) notes: Vec<String>,
    /// Its name, once the fleet has taken it and this guard decides on it.
    pub(super) order: Option<OrderId>,
}

impl PendingCommand {
    pub(super) fn refuse(self, why: String) {
        // A caller that is gone needs no response.
        let _ = self.reply.send(Err(why));
    }
}

/// A request to the controller.
pub(super) enum ControllerRequest {
    Command(PendingCommand),
    Report(oneshot::Sender<RolloutReport>),
    History(oneshot::Sender<Vec<Transition>>),
    OperationEnded(Box<OperationEnd>, oneshot::Sender<Vec<String>>),
    Configure(Box<Settings>, oneshot::Sender<Result<Vec<String>, String>>),
    FleetReport(oneshot::Sender<Option<FleetReport>>),
    LeaveFleet(oneshot::Sender<Result<(), String>>),
    ReleaseState(oneshot::Sender<Result<(), String>>),
    ReclaimState,
}
