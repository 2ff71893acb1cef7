//! What a guard has counted, as a fleet's member carries it: plain JSON, so that guards of two versions understand each other.

use mcp_fleet::Window;

use crate::rollout::tally::GuardTally;

/// The counts of one guard.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TallyWindow(pub(super) GuardTally);

impl Window for TallyWindow {
    fn merge(&mut self, other: &TallyWindow) {
        self.0.merge(&other.0);
    }

    fn encode(&self) -> Vec<u8> {
        // Plain data with text keys: it cannot fail, and an empty window would not be decoded.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Option<TallyWindow> {
        serde_json::from_slice(bytes).ok().map(TallyWindow)
    }
}
