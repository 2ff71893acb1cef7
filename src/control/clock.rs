//! The time as the rollout sees it: the wall clock at the start, and from then on what really passes.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::rollout::Timestamp;

/// Never goes back and never jumps, whatever is done to the machine's clock.
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

    /// The moment that this instant was; the start for anything before it.
    pub(super) fn at(&self, instant: Instant) -> Timestamp {
        self.started + instant.saturating_duration_since(self.since)
    }
}
