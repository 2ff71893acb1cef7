//! The position of a rollout: stable slot, stage, step and share.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::stage::Stage;
use crate::upstream::{Percent, Slot};

/// The position before or after a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The slot that is stable.
    pub stable: Slot,
    /// The stage.
    pub stage: Stage,
    /// The step of the plan, counted from 1; none outside a rollout.
    pub step: Option<usize>,
    /// The candidate's share.
    pub weight: Percent,
    /// Whether the rollout waits for an operator.
    pub paused: bool,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stage.as_str())?;
        if self.step.is_some() {
            write!(f, " {} %", self.weight.get())?;
        }
        if self.paused {
            write!(f, " (paused)")?;
        }
        Ok(())
    }
}
