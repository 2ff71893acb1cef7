//! What receivers are notified of: a transition of the rollout, the end of a release's operation, a dependency that goes down or
//! comes back.
//!
//! Must not know how a receiver is reached, nor how a notification looks.

use serde::{Deserialize, Serialize};

use crate::config::notify::NotifyEvent;
use crate::rollout::{Timestamp, Transition};
use crate::upstream::Slot;

/// One notification.
#[derive(Debug)]
pub(super) enum Notification {
    /// With the id of the record that it leads to.
    Transition {
        transition: Transition,
        record: Option<String>,
    },
    Operation(OperationEnd),
    Dependency(DependencyChange),
}

impl Notification {
    /// The event that a receiver selects it by.
    pub(super) fn event(&self) -> NotifyEvent {
        match self {
            Notification::Transition { transition, .. } => NotifyEvent::Transition(transition.kind),
            Notification::Operation(_) => NotifyEvent::Release,
            Notification::Dependency(_) => NotifyEvent::Dependency,
        }
    }
}

/// How an operation of a release ended, as the command reports it to the guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperationEnd {
    /// Of the operation and of its record.
    pub(crate) id: String,
    /// `deploy`, `rollback`, ...
    pub(crate) kind: String,
    pub(crate) result: OperationResult,
    pub(crate) slot: Slot,
    /// What the slot was to run.
    #[serde(default)]
    pub(crate) release: Option<String>,
    /// The step that failed, and why.
    #[serde(default)]
    pub(crate) cause: Option<String>,
    pub(crate) who: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    pub(crate) ended: Timestamp,
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperationResult {
    /// A release got the traffic, or a drill passed.
    Done,
    /// The same, and it was a way back.
    WentBack,
    /// It failed or was given up, and slot and traffic are as before.
    Undone,
    /// A step could not be undone: an operator has to.
    Stuck,
}

/// A dependency that goes down or comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DependencyChange {
    pub(super) name: String,
    /// Where a tool is asked of each slot.
    pub(super) slot: Option<Slot>,
    pub(super) required: bool,
    #[serde(flatten)]
    pub(super) to: DependencyTurn,
    #[serde(skip)]
    pub(super) at: Timestamp,
}

/// What it has become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum DependencyTurn {
    Down { reason: String },
    Up { down_seconds: u64 },
}
