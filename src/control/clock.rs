//! The time of the rollout: the wall clock at the start, and from then on the monotonic clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::rollout::Timestamp;

/// Never goes back and never jumps, even if the machine's clock is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Timestamp,
    since: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = Timestamp::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        Clock { started, since: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The time of this instant; the start for any earlier one.
    pub(super) fn at(&self, instant: Instant) -> Timestamp {
        self.started + instant.saturating_duration_since(self.since)
    }
}
