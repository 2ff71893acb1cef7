//! A transition is a value: what changed, why, and the numbers that decided. Log line, metric, history and notification
//! are readers of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::analysis::Conclusion;
use super::comparison::Difference;
use super::position::Position;
use super::timestamp::Timestamp;
use super::triggers::{Fired, Trigger};
use crate::rollout::observations::{ShadowTally, Summary};
use crate::upstream::Slot;

/// What kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// A rollout began.
    Started,
    /// The analysis moved on to the next step.
    Advanced,
    /// An operator moved on to the next step.
    Promoted,
    /// The rollout stays where it is.
    Paused,
    /// The rollout goes on.
    Resumed,
    /// Traffic went back.
    RolledBack,
    /// The candidate became stable.
    Completed,
    /// An operator made the other slot stable, without a rollout.
    Switched,
    /// An operator took a slot out of service.
    Retired,
    /// Nothing changed, but the operator is notified.
    Noted,
}

impl TransitionKind {
    /// All kinds.
    pub const ALL: [TransitionKind; 10] = [
        TransitionKind::Started,
        TransitionKind::Advanced,
        TransitionKind::Promoted,
        TransitionKind::Paused,
        TransitionKind::Resumed,
        TransitionKind::RolledBack,
        TransitionKind::Completed,
        TransitionKind::Switched,
        TransitionKind::Retired,
        TransitionKind::Noted,
    ];

    /// Whether it may send more calls to a candidate. Nothing else has to wait for anything.
    pub fn is_forward(self) -> bool {
        match self {
            TransitionKind::Started
            | TransitionKind::Advanced
            | TransitionKind::Promoted
            | TransitionKind::Completed
            | TransitionKind::Switched => true,
            TransitionKind::Paused
            | TransitionKind::Resumed
            | TransitionKind::RolledBack
            | TransitionKind::Retired
            | TransitionKind::Noted => false,
        }
    }

    /// The name in metrics, logs and notifications.
    pub fn as_str(self) -> &'static str {
        match self {
            TransitionKind::Started => "started",
            TransitionKind::Advanced => "advanced",
            TransitionKind::Promoted => "promoted",
            TransitionKind::Paused => "paused",
            TransitionKind::Resumed => "resumed",
            TransitionKind::RolledBack => "rolled_back",
            TransitionKind::Completed => "completed",
            TransitionKind::Switched => "switched",
            TransitionKind::Retired => "retired",
            TransitionKind::Noted => "noted",
        }
    }
}

/// Why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Cause {
    /// An operator's command.
    Operator {
        /// Who, as far as known.
        who: String,
    },
    /// The step has shown what it should, or the contrary.
    Analysis {
        /// What it has shown.
        conclusion: Conclusion,
    },
    /// A trigger fired.
    Trigger {
        /// Which, and its numbers.
        fired: Fired,
    },
    /// The backends differ where a client would notice.
    Parity {
        /// What breaks.
        differences: Vec<Difference>,
    },
}

impl Cause {
    /// Every code, for the metric's closed set of labels.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        ["operator", "analysis", "parity"].into_iter().chain(Trigger::ALL.into_iter().map(Trigger::as_str))
    }

    /// `operator`, `analysis`, `parity`, or the trigger's name.
    pub fn code(&self) -> &'static str {
        match self {
            Cause::Operator { .. } => "operator",
            Cause::Analysis { .. } => "analysis",
            Cause::Trigger { fired } => fired.trigger.as_str(),
            Cause::Parity { .. } => "parity",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Operator { who } => write!(f, "by {who}"),
            Cause::Analysis { conclusion } => {
                write!(f, "analysis: {}", conclusion.as_str())?;
                for finding in conclusion.findings() {
                    write!(f, "; {finding}")?;
                }
                Ok(())
            }
            Cause::Trigger { fired } => write!(f, "trigger {}: {}", fired.trigger.as_str(), fired.detail),
            Cause::Parity { differences } => {
                write!(f, "the candidate does not match stable")?;
                for (number, difference) in differences.iter().enumerate() {
                    write!(f, "{} {difference}", if number == 0 { ":" } else { ";" })?;
                }
                Ok(())
            }
        }
    }
}

/// Both slots' numbers since the step began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// The candidate's.
    pub candidate: Summary,
    /// Stable's.
    pub stable: Summary,
    /// Compared copies.
    pub shadow: ShadowTally,
}

/// One change of the rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Counts up by one, over restarts as well.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Which rollout; none for a switch outside one.
    pub rollout: Option<String>,
    /// The slot that it is about: the one that was not stable before it. None in what older versions wrote.
    #[serde(default)]
    pub slot: Option<Slot>,
    /// What.
    pub kind: TransitionKind,
    /// From where.
    pub from: Position,
    /// To where.
    pub to: Position,
    /// Why.
    pub cause: Cause,
    /// What was measured; none outside a rollout.
    pub numbers: Option<Numbers>,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind.as_str())?;
        if let (TransitionKind::Retired, Some(slot)) = (self.kind, self.slot) {
            write!(f, "{} takes no calls any more, not even in need", slot.as_str())?;
        } else if self.from.stable == self.to.stable {
            write!(f, "{} -> {}", self.from, self.to)?;
        } else {
            write!(f, "stable is {} now (was {})", self.to.stable.as_str(), self.from.stable.as_str())?;
        }
        write!(f, ", {}", self.cause)
    }
}
