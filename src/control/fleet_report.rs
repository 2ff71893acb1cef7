//! The fleet as one guard sees it, as plain data that the admin socket carries.
//!
//! Must not know how guards agree.

use serde::{Deserialize, Serialize};

use crate::upstream::Slot;

/// Why there is no report of a guard that works alone.
pub(crate) const NO_FLEET: &str = "this guard is in no fleet ([fleet] is not configured, or it has left)";

/// The fleet as this guard sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FleetReport {
    pub(crate) name: String,
    /// This guard.
    pub(crate) member: String,
    /// Milliseconds since the store responded last; none before the first time.
    pub(crate) store_silent_ms: Option<u64>,
    pub(crate) store_away: bool,
    /// The store's last error.
    pub(crate) store_problem: Option<String>,
    pub(crate) generation: u64,
    pub(crate) leader: Option<String>,
    pub(crate) live: u64,
    pub(crate) known: u64,
    /// Whether this guard sends calls to its candidate.
    pub(crate) candidate: CandidateState,
    /// Why nothing moves forward; empty if it may, or if this guard does not lead.
    pub(crate) holds: Vec<String>,
    pub(crate) members: Vec<MemberReport>,
}

/// Whether a guard sends calls to its candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CandidateState {
    /// It does, as far as the rollout has it.
    Open,
    /// Not before it follows the fleet's state.
    CatchingUp,
    /// Its own candidate has failed.
    Ejected,
}

/// One guard of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberReport {
    pub(crate) member: String,
    pub(crate) version: String,
    /// Digests of what must be the same everywhere, as in `plan=1a2b3c4d slots=5e6f7a8b`.
    pub(crate) configuration: String,
    /// The state that it follows.
    pub(crate) generation: u64,
    pub(crate) silent_ms: u64,
    /// The slots that are configured there.
    pub(crate) slots: Vec<MemberSlot>,
    /// Why its candidate is ejected, if it is.
    pub(crate) ejected: Option<String>,
    /// How far its clock is ahead of the store's.
    pub(crate) clock_off_ms: Option<i64>,
}

/// A slot of one guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberSlot {
    pub(crate) slot: Slot,
    /// In the words of `slots list`.
    pub(crate) health: String,
}
