//! When to look through the samples next: often while there are many, hardly ever while there are none.
//!
//! Knows numbers and time. Must not know what a sample is, nor what else a look is for.

use std::time::Duration;

/// How often samples are looked through while a rollout is under way, and while there are many: a trigger fires at most
/// this late.
pub(super) const INTERVAL_MIN: Duration = Duration::from_millis(20);
/// The longest pause while samples come: a sudden rush fits into their queue.
const INTERVAL_MAX: Duration = Duration::from_millis(500);
/// The longest pause while none come: a wake-up costs more than what there is to do, and a probe is one anyway. The next
/// call ends it.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// From the sample that ends such a pause until the next look.
const WAKE_DELAY: Duration = Duration::from_millis(100);
/// Samples for one look. More at once would take the core away from calls for as long as it takes to count them.
const BATCH: usize = 512;

/// The pace of looks.
#[derive(Debug)]
pub(super) struct PollInterval {
    pause: Duration,
    asleep: bool,
}

impl PollInterval {
    pub(super) fn new() -> PollInterval {
        PollInterval { pause: INTERVAL_MIN, asleep: false }
    }

    /// From one look to the next.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// Whether the last look saw nothing, so that the next sample is worth a wake-up.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// A look has seen this many samples.
    pub(super) fn seen(&mut self, samples: usize) {
        self.asleep = samples == 0;
        let longest = if self.asleep { IDLE_INTERVAL } else { INTERVAL_MAX };
        if samples > BATCH {
            self.pause = INTERVAL_MIN;
        } else if samples < BATCH / 2 {
            self.pause = (self.pause * 2).min(longest);
        }
    }

    /// A sample came while nobody expected one.
    pub(super) fn wake(&mut self) {
        *self = PollInterval { pause: WAKE_DELAY, asleep: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_for_long_only_while_nobody_calls_and_hurries_when_many_do() {
        let mut poll = PollInterval::new();
        for _ in 0..20 {
            poll.seen(1);
        }
        assert_eq!((poll.pause(), poll.is_asleep()), (INTERVAL_MAX, false));
        for _ in 0..20 {
            poll.seen(0);
        }
        assert_eq!((poll.pause(), poll.is_asleep()), (IDLE_INTERVAL, true));
        poll.wake();
        assert_eq!((poll.pause(), poll.is_asleep()), (WAKE_DELAY, false));
        poll.seen(BATCH + 1);
        assert_eq!((poll.pause(), poll.is_asleep()), (INTERVAL_MIN, false));
        poll.seen(BATCH);
        assert_eq!(poll.pause(), INTERVAL_MIN, "as many as one look is for");
    }
}
