//! How much of a limit one guard could use: from the calls that came lately, and from what is missing in its bucket.
//!
//! Steady where calls are steady, because a share that moves is not used while it moves; quick where they change.

use std::collections::VecDeque;
use std::time::Duration;

/// The last moments, which show a change.
const MOMENTS: usize = 3;
/// The seconds over which the estimate is steady.
const STEADY: f64 = 4.0;
/// So many standard deviations, and calls, from the estimate are a change.
const CHANGE: f64 = 3.0;
const CHANGE_CALLS: f64 = 2.0;
/// The time in which a bucket shall be full again.
const HORIZON: f64 = 2.0;
/// A bucket that holds the calls of this time needs nothing while it is full: longer than a share takes to move.
const REACTION: f64 = 0.5;
/// After this time without a call there is no demand.
const IDLE: Duration = Duration::from_secs(5);

/// Calls a second, estimated from a counter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    rate: f64,
    /// Seconds since the last change: the rate is the mean since then, and later a sliding one.
    age: f64,
    counted: u64,
    moments: VecDeque<(f64, f64)>,
    idle: Duration,
}

impl Demand {
    /// Takes the counter's value after this time.
    pub(crate) fn update(&mut self, counter: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let calls = counter.saturating_sub(self.counted);
        self.counted = counter;
        self.idle = if calls > 0 { Duration::ZERO } else { self.idle.saturating_add(elapsed) };
        let latest = calls as f64 / seconds;
        self.age += seconds;
        self.rate += (latest - self.rate) * (1.0 - (-seconds / STEADY).exp()).max(seconds / self.age);
        self.moments.truncate(MOMENTS - 1);
        self.moments.push_front((calls as f64, seconds));
        let (counted, span) = sum(self.moments.iter());
        let expected = self.rate * span;
        // Calls that come independently of each other scatter by the root of their number.
        if (counted - expected).abs() > CHANGE * expected.sqrt() + CHANGE_CALLS {
            (self.rate, self.age) = (latest, seconds);
            self.moments.clear();
        }
        if self.idle > IDLE {
            self.rate = 0.0;
        }
    }

    /// How long no call came.
    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }

    /// The rate that the guard could use, with so many calls left of this burst.
    pub(crate) fn wanted(&self, left: f64, burst: f64) -> f64 {
        let missing = burst - left;
        if missing < 0.01 && self.rate * REACTION < left {
            return 0.0;
        }
        self.rate + missing / HORIZON
    }
}

fn sum<'a>(moments: impl Iterator<Item = &'a (f64, f64)>) -> (f64, f64) {
    moments.fold((0.0, 0.0), |(calls, span), (more, longer)| (calls + more, span + longer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_follows_a_change_at_once_and_is_steady_otherwise() {
        let mut demand = Demand::default();
        let tick = Duration::from_millis(100);
        let mut counter = 0;
        let mut calls = |demand: &mut Demand, calls: u64| {
            counter += calls;
            demand.update(counter, tick);
            demand.wanted(10.0, 10.0)
        };
        let risen = (1..=2).map(|_| calls(&mut demand, 10)).last().unwrap();
        assert!((80.0..=120.0).contains(&risen), "{demand:?}");
        for _ in 0..60 {
            calls(&mut demand, 10);
        }
        let wanted: Vec<f64> =
            (0..40).map(|step| calls(&mut demand, if step % 2 == 0 { 7 } else { 13 })).collect();
        assert!(wanted.iter().all(|wanted| (95.0..=105.0).contains(wanted)), "{wanted:?}");
        let fallen = (0..4).map(|_| calls(&mut demand, 0)).last().unwrap();
        assert!(fallen < 10.0, "{demand:?}");
        assert_eq!(demand.idle(), tick * 4);
        for _ in 0..60 {
            calls(&mut demand, 0);
        }
        assert_eq!(demand.wanted(10.0, 10.0), 0.0, "a full bucket without calls needs nothing");
        assert_eq!(demand.wanted(4.0, 10.0), 3.0, "an empty one is filled");
    }
}
