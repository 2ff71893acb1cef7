//! The interval between two ticks: short while many samples come, long while none come.
//!
//! Must not know what a sample is, nor what else a tick does.

use std::time::Duration;

/// The interval during a rollout, and while many samples come: a trigger fires at most this late.
pub(super) const INTERVAL_MIN: Duration = Duration::from_millis(20);
/// The longest interval while samples come: a sudden burst fits into their queue.
const INTERVAL_MAX: Duration = Duration::from_millis(500);
/// The longest interval while no samples come: a wake-up costs more than the work it finds. The next call ends it.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// From the sample that ends an idle interval to the next tick.
const WAKE_DELAY: Duration = Duration::from_millis(100);
/// Samples for one tick. Counting more at once would keep the core from calls for too long.
const BATCH: usize = 512;

/// The adaptive interval.
#[derive(Debug)]
pub(super) struct PollInterval {
    interval: Duration,
    idle: bool,
}

impl PollInterval {
    pub(super) fn new() -> PollInterval {
        PollInterval { interval: INTERVAL_MIN, idle: false }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the last tick found no sample, so that the next sample is worth a wake-up.
    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Adapts to the number of samples of the last tick.
    pub(super) fn adapt(&mut self, samples: usize) {
        self.idle = samples == 0;
        let longest = if self.idle { IDLE_INTERVAL } else { INTERVAL_MAX };
        if samples > BATCH {
            self.interval = INTERVAL_MIN;
        } else if samples < BATCH / 2 {
            self.interval = (self.interval * 2).min(longest);
        }
    }

    /// A sample came during an idle interval.
    pub(super) fn reset(&mut self) {
        *self = PollInterval { interval: WAKE_DELAY, idle: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_poll_interval_is_long_only_without_calls_and_short_with_many() {
        let mut poll = PollInterval::new();
        for _ in 0..20 {
            poll.adapt(1);
        }
        assert_eq!((poll.interval(), poll.is_idle()), (INTERVAL_MAX, false));
        for _ in 0..20 {
            poll.adapt(0);
        }
        assert_eq!((poll.interval(), poll.is_idle()), (IDLE_INTERVAL, true));
        poll.reset();
        assert_eq!((poll.interval(), poll.is_idle()), (WAKE_DELAY, false));
        poll.adapt(BATCH + 1);
        assert_eq!((poll.interval(), poll.is_idle()), (INTERVAL_MIN, false));
        poll.adapt(BATCH);
        assert_eq!(poll.interval(), INTERVAL_MIN, "as many as one tick is for");
    }
}
