//! Exact counts and latency quantiles over a sliding window.
//!
//! Counts lie in a ring of small intervals, so nothing decays and nothing is estimated: what lies in the window is counted,
//! what has left it is not. Latencies lie in a ring of histograms, because quantiles cannot be subtracted from each other,
//! but histograms can. Must not know what the numbers are used for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::sample::{CallResult, Failure};
use super::timestamp::Timestamp;

/// Counted intervals per window: a sample leaves at most this fraction of the window early.
const COUNT_INTERVALS: u64 = 300;
/// Histograms per window: coarser, since each takes kilobytes.
const LATENCY_INTERVALS: u64 = 30;
/// Different latencies for other guards. With more, those with the same first binary digits count as the highest one: what a guard says stays short.
const LATENCIES_MAX: usize = 256;
/// Latencies above this one are recorded as this one; no call lives longer.
const LATENCY_MAX: u64 = 3_600_000_000;

/// How calls ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All calls, the ones below included.
    pub requests: u64,
    /// Calls that the slot failed.
    pub failures: u64,
    /// Calls whose result has `isError: true`.
    pub tool_errors: u64,
    /// Failures without any usable response (a part of `failures`).
    pub unanswered: u64,
}

impl Counts {
    fn add(&mut self, verdict: CallResult) {
        self.requests += 1;
        match verdict {
            CallResult::Completed => {}
            CallResult::ToolError => self.tool_errors += 1,
            CallResult::Failed(failure) => self.add_failure(failure),
        }
    }

    fn add_failure(&mut self, failure: Failure) {
        self.failures += 1;
        self.unanswered += u64::from(failure.counts_for_breaker());
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Counts) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failures = self.failures.saturating_add(other.failures);
        self.tool_errors = self.tool_errors.saturating_add(other.tool_errors);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
    }

    fn subtract(&mut self, other: &Counts) {
        self.requests -= other.requests;
        self.failures -= other.failures;
        self.tool_errors -= other.tool_errors;
        self.unanswered -= other.unanswered;
    }

    /// The part of all calls that ended in a tool error; zero without calls.
    pub fn tool_error_rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.tool_errors as f64 / self.requests as f64 }
    }
}

/// Counts of one sliding window.
#[derive(Debug, Clone)]
pub struct CountWindow {
    interval: u64,
    intervals: u64,
    ring: VecDeque<(u64, Counts)>,
    total: Counts,
    first: Option<Timestamp>,
}

impl CountWindow {
    /// A window of this width.
    pub fn new(width: Duration) -> CountWindow {
        let width = u64::try_from(width.as_millis()).unwrap_or(u64::MAX).max(1);
        let intervals = COUNT_INTERVALS.min(width);
        CountWindow {
            interval: width.div_ceil(intervals),
            intervals,
            ring: VecDeque::new(),
            total: Counts::default(),
            first: None,
        }
    }

    /// Counts a call. A call that ended before the newest one (clocks differ by thread) counts as ending with it.
    pub fn record(&mut self, at: Timestamp, verdict: CallResult) {
        // Nearly every call belongs to the newest interval: then nothing can have left the window, and nothing is divided.
        if let Some((newest, counts)) = self.ring.back_mut()
            && at.millis() < (*newest + 1) * self.interval
        {
            counts.add(verdict);
            self.total.add(verdict);
            return;
        }
        let index = at.millis() / self.interval;
        self.expire(index);
        self.first.get_or_insert(at);
        self.total.add(verdict);
        let mut counts = Counts::default();
        counts.add(verdict);
        self.ring.push_back((index, counts));
    }

    /// What lies in the window that ends now.
    pub fn counts(&mut self, now: Timestamp) -> Counts {
        self.expire(now.millis() / self.interval);
        self.total
    }

    /// When the first call since the last reset was counted, expired or not: how far back the window can speak.
    pub fn first(&self) -> Option<Timestamp> {
        self.first
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.ring.clear();
        self.total = Counts::default();
        self.first = None;
    }

    fn expire(&mut self, newest: u64) {
        while let Some((index, counts)) = self.ring.front()
            && index + self.intervals <= newest
        {
            self.total.subtract(counts);
            self.ring.pop_front();
        }
    }
}

/// Latency quantiles of one sliding window, to two significant digits.
#[derive(Debug)]
pub struct LatencyWindow {
    interval: u64,
    intervals: u64,
    ring: VecDeque<(u64, Histogram<u32>)>,
    total: Histogram<u64>,
}

impl LatencyWindow {
    /// A window of this width.
    pub fn new(width: Duration) -> LatencyWindow {
        let width = u64::try_from(width.as_millis()).unwrap_or(u64::MAX).max(1);
        let intervals = LATENCY_INTERVALS.min(width);
        LatencyWindow {
            interval: width.div_ceil(intervals),
            intervals,
            ring: VecDeque::new(),
            total: histogram(),
        }
    }

    /// Records the latency of a call that ended now.
    pub fn record(&mut self, at: Timestamp, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX).clamp(1, LATENCY_MAX);
        if let Some((newest, part)) = self.ring.back_mut()
            && at.millis() < (*newest + 1) * self.interval
        {
            part.saturating_record(micros);
            self.total.saturating_record(micros);
            return;
        }
        let index = at.millis() / self.interval;
        self.expire(index);
        let mut part = histogram();
        part.saturating_record(micros);
        self.ring.push_back((index, part));
        self.total.saturating_record(micros);
    }

    /// The latency that this fraction of the calls in the window did not exceed; none without calls.
    pub fn quantile(&mut self, now: Timestamp, fraction: f64) -> Option<Duration> {
        let [quantile] = self.quantiles(now, [fraction], &Latencies::default());
        quantile
    }

    /// The same of several fractions, with the calls that other guards have counted.
    pub fn quantiles<const N: usize>(
        &mut self,
        now: Timestamp,
        fractions: [f64; N],
        others: &Latencies,
    ) -> [Option<Duration>; N] {
        self.expire(now.millis() / self.interval);
        let merged = (!others.is_empty()).then(|| {
            let mut merged = self.total.clone();
            others.add_to(&mut merged);
            merged
        });
        let total = merged.as_ref().unwrap_or(&self.total);
        let quantile = |fraction| Duration::from_micros(total.value_at_quantile(fraction));
        fractions.map(|fraction| (!total.is_empty()).then(|| quantile(fraction)))
    }

    /// The latencies in the window, for other guards.
    pub fn latencies(&mut self, now: Timestamp) -> Latencies {
        self.expire(now.millis() / self.interval);
        Latencies::of(&self.total)
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.ring.clear();
        self.total.reset();
    }

    fn expire(&mut self, newest: u64) {
        let mut expired = false;
        while let Some((index, _)) = self.ring.front()
            && index + self.intervals <= newest
        {
            self.ring.pop_front();
            expired = true;
        }
        if expired {
            // Rebuilt rather than subtracted: it happens once an interval, and cannot drift.
            self.total.reset();
            for (_, part) in &self.ring {
                for value in part.iter_recorded() {
                    self.total.saturating_record_n(value.value_iterated_to(), value.count_at_value().into());
                }
            }
        }
    }
}

/// How many calls took so many microseconds, rounded as the windows round.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latencies(BTreeMap<u64, u64>);

impl Latencies {
    pub(super) fn of(histogram: &Histogram<u64>) -> Latencies {
        let recorded = histogram.iter_recorded();
        let mut all: BTreeMap<u64, u64> =
            recorded.map(|value| (value.value_iterated_to(), value.count_at_value())).collect();
        let mut bits = 6;
        while all.len() > LATENCIES_MAX && bits > 1 {
            let mut coarse = BTreeMap::new();
            for (micros, count) in all {
                *coarse.entry(highest(micros, bits)).or_default() += count;
            }
            (all, bits) = (coarse, bits - 1);
        }
        Latencies(all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all of them to a histogram.
    pub(super) fn add_to(&self, histogram: &mut Histogram<u64>) {
        for (micros, count) in &self.0 {
            histogram.saturating_record_n(*micros, *count);
        }
    }

    pub(super) fn merge(&mut self, other: &Latencies) {
        for (micros, count) in &other.0 {
            let sum = self.0.entry(*micros).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

/// The highest value with the same first binary digits.
fn highest(value: u64, digits: u32) -> u64 {
    let rest = (u64::BITS - value.leading_zeros()).saturating_sub(digits);
    value | ((1 << rest) - 1)
}

/// Microseconds up to an hour, two significant digits; grows as needed.
fn histogram<C: hdrhistogram::Counter>() -> Histogram<C> {
    #[expect(clippy::expect_used, reason = "constant bounds that the crate documents as valid")]
    Histogram::new_with_max(LATENCY_MAX, 2).expect("the bounds are valid")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn counts_what_lies_in_the_window_and_nothing_else() {
        let mut window = CountWindow::new(Duration::from_secs(60));
        window.record(at(0), CallResult::Failed(Failure::Timeout));
        window.record(at(30_000), CallResult::ToolError);
        window.record(at(30_001), CallResult::Completed);
        let counts = window.counts(at(59_000));
        assert_eq!((counts.requests, counts.failures, counts.tool_errors, counts.unanswered), (3, 1, 1, 1));
        let counts = window.counts(at(61_000));
        assert_eq!((counts.requests, counts.failures, counts.tool_errors), (2, 0, 1));
        assert_eq!(window.counts(at(200_000)), Counts::default());
        assert_eq!(window.first(), Some(at(0)), "how long it has watched is remembered");
    }

    #[test]
    fn quantiles_are_of_the_window_and_precise() {
        let mut window = LatencyWindow::new(Duration::from_secs(60));
        assert_eq!(window.quantile(at(0), 0.95), None);
        for _ in 0..100 {
            window.record(at(0), Duration::from_secs(20));
        }
        for n in 1..=100 {
            window.record(at(30_000), Duration::from_millis(n));
        }
        let p95 = window.quantile(at(30_000), 0.95).unwrap();
        assert!(p95 >= Duration::from_secs(20), "{p95:?}");
        let p95 = window.quantile(at(63_000), 0.95).unwrap().as_secs_f64();
        assert!((p95 - 0.095).abs() < 0.001, "{p95}");
        let p50 = window.quantile(at(63_000), 0.5).unwrap().as_secs_f64();
        assert!((p50 - 0.050).abs() < 0.001, "{p50}");
    }

    #[test]
    fn what_other_guards_get_is_short_and_merges_to_the_same_quantiles() {
        let (mut one, mut other) =
            (LatencyWindow::new(Duration::from_secs(60)), LatencyWindow::new(Duration::from_secs(60)));
        let mut both = LatencyWindow::new(Duration::from_secs(60));
        for n in 0..40_000u64 {
            // From 10 us to an hour, evenly over the magnitudes.
            let latency = Duration::from_secs_f64(1e-5 * 1.0005f64.powi((n % 39_000) as i32));
            let half = if n % 2 == 0 { &mut one } else { &mut other };
            half.record(at(0), latency);
            both.record(at(0), latency);
        }
        let told = other.latencies(at(0));
        assert!(told.0.len() <= LATENCIES_MAX && serde_json::to_vec(&told).unwrap().len() < 9_000);
        let fractions = [0.05, 0.5, 0.95];
        let merged = one.quantiles(at(0), fractions, &told);
        let direct = both.quantiles(at(0), fractions, &Latencies::default());
        for (merged, direct) in merged.into_iter().zip(direct) {
            let ratio = merged.unwrap().as_secs_f64() / direct.unwrap().as_secs_f64();
            assert!((0.99..1.13).contains(&ratio), "{ratio}");
        }
    }

    #[test]
    fn endless_latencies_do_not_overflow() {
        let mut window = LatencyWindow::new(Duration::from_secs(1));
        window.record(at(0), Duration::MAX);
        window.record(at(0), Duration::ZERO);
        assert!(window.quantile(at(0), 1.0).unwrap() >= Duration::from_secs(3_600));
    }

    proptest! {
        // Against the plain definition: keep every call, look at the last minute.
        #[test]
        fn agrees_with_a_list_of_all_calls(steps in prop::collection::vec((0u64..5_000, 0u8..3), 0..200)) {
            let mut window = CountWindow::new(Duration::from_secs(60));
            let mut all = Vec::new();
            let mut now = 0;
            for (step, kind) in steps {
                now += step;
                let verdict = match kind {
                    0 => CallResult::Completed,
                    1 => CallResult::ToolError,
                    _ => CallResult::Failed(Failure::Garbage),
                };
                window.record(at(now), verdict);
                all.push((now, verdict));
                let within = |width: u64| all.iter().filter(|(ended, _)| ended + width > now).count() as u64;
                let counts = window.counts(at(now));
                // One interval of 200 ms is the resolution.
                prop_assert!(counts.requests >= within(59_800) && counts.requests <= within(60_000));
                prop_assert!(counts.failures + counts.tool_errors <= counts.requests);
            }
        }
    }
}
