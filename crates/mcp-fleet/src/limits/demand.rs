//! How much of a limit one guard could use: from the calls that came lately, and from what is missing in its bucket.
//!
//! Steady where calls are steady, because a share that moves is not used while it moves; quick where they change.

use std::collections::VecDeque;
use std::time::Duration;

/// Shorter times are counted together.
const SPAN: f64 = 0.05;
/// So many of the last spans show a change: a large one the few, a smaller one the more.
const SPANS: [usize; 2] = [3, 10];
/// The seconds over which the estimate is steady.
const STEADY: f64 = 4.0;
/// So many standard deviations, and calls, from the estimate are a change.
const CHANGE: f64 = 3.0;
const CHANGE_CALLS: f64 = 2.0;
/// How likely it is, before any span without a call, that calls end there.
const STOPS: f64 = 0.003;
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
    /// In which part of the spans calls came, up to the latest call.
    busy: f64,
    /// Seconds since the last change: the estimates are means since then, and later sliding ones.
    age: f64,
    counted: u64,
    /// Since the counter was looked at.
    since: Duration,
    spans: VecDeque<Span>,
    /// Spans without a call, up to now.
    empty: u32,
    idle: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    calls: f64,
    seconds: f64,
}

impl Demand {
    /// Takes the counter's value after this time.
    pub(crate) fn update(&mut self, counter: u64, elapsed: Duration) {
        self.since = self.since.saturating_add(elapsed);
        let seconds = self.since.as_secs_f64();
        if seconds < SPAN {
            return;
        }
        let calls = counter.saturating_sub(self.counted);
        self.counted = counter;
        let since = std::mem::take(&mut self.since);
        let latest = Span { calls: calls as f64, seconds };
        self.age += seconds;
        let weight = (1.0 - (-seconds / STEADY).exp()).max(seconds / self.age);
        self.rate += (latest.rate() - self.rate) * weight;
        if calls > 0 {
            // The spans without a call were a gap, and not the end.
            self.busy *= (1.0 - weight).powf(f64::from(self.empty));
            self.busy += (1.0 - self.busy) * weight;
            (self.idle, self.empty) = (Duration::ZERO, 0);
        } else {
            (self.idle, self.empty) = (self.idle.saturating_add(since), self.empty.saturating_add(1));
        }
        self.spans.truncate(SPANS[1] - 1);
        self.spans.push_front(latest);
        if SPANS.iter().any(|count| self.is_change(*count)) {
            (self.rate, self.age) = (latest.rate(), seconds);
            self.busy = f64::from(u8::from(calls > 0));
            self.spans.clear();
        }
        if self.idle > IDLE {
            self.rate = 0.0;
        }
    }

    fn is_change(&self, count: usize) -> bool {
        let latest = self.spans.iter().take(count);
        let (calls, seconds) =
            latest.fold((0.0, 0.0), |(calls, seconds), one| (calls + one.calls, seconds + one.seconds));
        let expected = self.rate * seconds;
        // Calls that come independently of each other scatter by the root of their number.
        (calls - expected).abs() > CHANGE * expected.sqrt() + CHANGE_CALLS
    }

    /// How long no call came.
    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }

    /// The rate that the guard could use, with so many calls left of this burst.
    pub(crate) fn wanted(&self, left: f64, burst: f64) -> f64 {
        let missing = burst - left;
        let rate = self.rate * self.goes_on();
        if missing < 0.01 && rate * REACTION < left {
            return 0.0;
        }
        rate + missing / HORIZON
    }

    /// How likely it is that more calls come: the longer none came, and the closer they came before, the less. So a share
    /// without calls goes to others within moments, and one of a client that calls in bursts does not go back and forth.
    fn goes_on(&self) -> f64 {
        let empty = f64::from(self.empty);
        // A short time shows little about gaps, and a long one nothing about those to come.
        let busy = self.busy.min(1.0 - 0.1 / (self.age.min(STEADY) + 0.2));
        let by_chance = (1.0 - busy).powf(empty);
        by_chance / (by_chance + STOPS * empty)
    }
}

impl Span {
    fn rate(self) -> f64 {
        self.calls / self.seconds
    }
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
        let fallen = (0..3).map(|_| calls(&mut demand, 0)).last().unwrap();
        assert!(fallen < 10.0, "{demand:?}");
        assert_eq!(demand.idle(), tick * 3);
        for _ in 0..60 {
            calls(&mut demand, 0);
        }
        assert_eq!(demand.wanted(10.0, 10.0), 0.0, "a full bucket without calls needs nothing");
        assert_eq!(demand.wanted(4.0, 10.0), 3.0, "an empty one is filled");
    }

    // Calls that come in every span have ended when they are missing in two; bursts have not.
    #[test]
    fn demand_that_comes_in_bursts_does_not_end_between_them() {
        let tick = Duration::from_millis(100);
        let after = |every: u64, empty: u64| {
            let (mut demand, mut counter) = (Demand::default(), 0);
            for step in 0..=400 {
                counter += if step % every == 0 { every } else { 0 };
                demand.update(counter, tick);
            }
            (0..empty).for_each(|_| demand.update(counter, tick));
            demand.wanted(1.0, 1.0)
        };
        assert!(after(1, 2) < 1.0, "{}", after(1, 2));
        assert!(after(4, 3) > 7.0, "{}", after(4, 3));
        assert!(after(4, 30) < 1.0, "{}", after(4, 30));
    }

    #[test]
    fn demand_is_counted_over_spans_however_often_it_is_looked_at() {
        let (mut often, mut seldom) = (Demand::default(), Demand::default());
        for step in 1..=100 {
            seldom.update(step * 3, Duration::from_millis(100));
            often.update(step * 3, Duration::from_millis(2));
            often.update(step * 3, Duration::from_millis(98));
        }
        let (often, seldom) = (often.wanted(1.0, 1.0), seldom.wanted(1.0, 1.0));
        assert!((often - seldom).abs() < 0.5, "{often} {seldom}");
    }
}
