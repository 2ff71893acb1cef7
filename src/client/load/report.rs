//! What a load showed: counts and times, and whether they are worse than those of a former load. Pure.
//!
//! A report is kept as JSON for months and compared by a later version, so a field may be added, not renamed. Must not know how
//! the requests were made.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::Error;

/// Different reasons of failures that a report lists.
const REASONS_MAX: usize = 10;
/// Times that differ by no more than this are not told apart: a busy machine does that to any server.
const SLACK_MS: f64 = 10.0;
/// With fewer times one or two slow requests would decide about the p99.
const TIMES_FOR_P99_MIN: u32 = 500;

/// Numbers of one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The requests: `tools/list`, `ping` or `tools/call NAME`.
    pub(crate) call: String,
    pub(crate) concurrency: u16,
    /// Whether each of the concurrent clients kept its connection.
    pub(crate) keeps_connections: bool,
    /// The requests that were to be made.
    pub(crate) planned: u32,
    /// Those that were made before the time was over.
    pub(crate) requests: u32,
    /// Without a usable result, with the results that say `isError`.
    pub(crate) failed: u32,
    /// Those of the failed that the server refused because of a limit of the client: they say nothing about the service.
    #[serde(default)]
    pub(crate) limited: u32,
    /// Connections opened for the requests.
    pub(crate) connections: u64,
    pub(crate) seconds: f64,
    pub(crate) requests_per_second: f64,
    /// Times of the requests that did not fail; none if all did.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    /// The most frequent reasons first.
    pub(crate) failures: Vec<FailureCount>,
}

/// How often requests failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureCount {
    pub(crate) reason: String,
    pub(crate) count: u32,
}

/// A request without a usable result.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) reason: String,
    /// Whether it was refused because of a limit of the client.
    pub(super) limited: bool,
}

impl From<String> for Failed {
    fn from(reason: String) -> Failed {
        Failed { reason, limited: false }
    }
}

impl From<&Error> for Failed {
    fn from(error: &Error) -> Failed {
        Failed { reason: error.to_string(), limited: error.is_limit() }
    }
}

/// The requests of one worker, or of all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) times: Vec<Duration>,
    pub(super) failures: BTreeMap<String, u32>,
    pub(super) limited: u32,
    pub(super) connections: u64,
}

impl Tally {
    pub(super) fn failed(&mut self, Failed { reason, limited }: Failed) {
        self.limited += u32::from(limited);
        let known = self.failures.len() < REASONS_MAX || self.failures.contains_key(&reason);
        let reason = if known { reason } else { "other reasons".to_owned() };
        *self.failures.entry(reason).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: Tally) {
        self.times.extend(other.times);
        self.connections += other.connections;
        self.limited += other.limited;
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
    }

    /// Writes the numbers of a load into its report.
    pub(super) fn fill(mut self, report: &mut Report, took: Duration) {
        self.times.sort_unstable();
        report.failed = self.failures.values().sum();
        report.limited = self.limited;
        report.requests = report.failed + u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        report.connections = self.connections;
        report.seconds = took.as_secs_f64();
        report.requests_per_second = f64::from(report.requests) / report.seconds.max(1e-9);
        report.p50_ms = percentile(&self.times, 50);
        report.p95_ms = percentile(&self.times, 95);
        report.p99_ms = percentile(&self.times, 99);
        report.max_ms = percentile(&self.times, 100);
        let failures = self.failures.into_iter();
        report.failures = failures.map(|(reason, count)| FailureCount { reason, count }).collect();
        report.failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        report.failures.truncate(REASONS_MAX + 1);
    }
}

/// The nearest rank: the least time that `percent` of the requests did not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).checked_sub(1)?;
    Some(sorted.get(rank)?.as_secs_f64() * 1_000.0)
}

impl Report {
    /// The report of a load that has not begun.
    pub(super) fn planned(call: String, concurrency: u16, keeps_connections: bool, planned: u32) -> Report {
        Report {
            call,
            concurrency,
            keeps_connections,
            planned,
            requests: 0,
            failed: 0,
            limited: 0,
            connections: 0,
            seconds: 0.0,
            requests_per_second: 0.0,
            p50_ms: None,
            p95_ms: None,
            p99_ms: None,
            max_ms: None,
            failures: Vec::new(),
        }
    }

    /// An error if the other one is not of the same load.
    pub(crate) fn check_comparable(&self, before: &Report) -> Result<(), String> {
        let kind = |report: &Report| (report.call.clone(), report.concurrency, report.keeps_connections);
        if kind(self) == kind(before) {
            return Ok(());
        }
        Err(format!(
            "the baseline is another load ({}), this one is {}: times of the two say nothing about each other",
            before.described(),
            self.described()
        ))
    }

    /// What is worse than in the same load before, by more than this factor.
    pub(crate) fn worse_than(&self, before: &Report, factor: f64) -> Result<Vec<String>, String> {
        self.check_comparable(before)?;
        let mut worse = Vec::new();
        if self.failed_share() > before.failed_share() {
            let (now, then) = (self.failed_share() * 100.0, before.failed_share() * 100.0);
            worse.push(format!("{now:.2} % of the requests failed, {then:.2} % in the baseline"));
        }
        let enough = |report: &Report| report.requests.saturating_sub(report.failed) >= TIMES_FOR_P99_MIN;
        let judges_p99 = enough(self) && enough(before);
        for (name, now, then) in [
            ("p50", self.p50_ms, before.p50_ms),
            ("p95", self.p95_ms, before.p95_ms),
            ("p99", self.p99_ms.filter(|_| judges_p99), before.p99_ms),
        ] {
            let (Some(now), Some(then)) = (now, then) else { continue };
            if now > then * factor + SLACK_MS {
                worse.push(format!(
                    "{name} is {now:.1} ms, {then:.1} ms in the baseline: more than {factor} times that and {SLACK_MS} ms"
                ));
            }
        }
        Ok(worse)
    }

    /// The load in words.
    pub(crate) fn described(&self) -> String {
        let connections = if self.keeps_connections { "kept connections" } else { "a connection a request" };
        format!("{}, {} at a time, {connections}", self.call, self.concurrency)
    }

    fn failed_share(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.requests.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failed: u32, times: &[u64]) -> Report {
        let mut tally =
            Tally { times: times.iter().copied().map(Duration::from_millis).collect(), ..Tally::default() };
        (0..failed).for_each(|_| tally.failed("HTTP 502".to_owned().into()));
        let mut report = Report::planned("ping".to_owned(), 4, true, 100);
        tally.fill(&mut report, Duration::from_secs(2));
        report
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let found = report(0, &hundred);
        let times = [found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms];
        assert_eq!(times, [Some(50.0), Some(95.0), Some(99.0), Some(100.0)]);
        assert_eq!(report(0, &[7]).p99_ms, Some(7.0));
        let found = report(3, &[]);
        assert_eq!((found.p50_ms, found.max_ms, found.requests, found.failed), (None, None, 3, 3));
    }

    #[test]
    fn a_load_is_worse_by_failures_or_by_times_beyond_the_factor() {
        let before = report(0, &[10, 10, 10]);
        let worse = |now: &Report| now.worse_than(&before, 2.0).expect("the same load");
        assert_eq!(worse(&report(0, &[30, 30, 30])), Vec::<String>::new());
        let slow = worse(&report(0, &[31, 31, 31]));
        assert!(slow.len() == 2 && slow[0].starts_with("p50 ") && slow[1].starts_with("p95 "), "{slow:?}");
        let failed = worse(&report(1, &[10, 10, 10]));
        assert_eq!(failed, ["25.00 % of the requests failed, 0.00 % in the baseline"]);
        assert_eq!(worse(&report(4, &[])).len(), 1, "without a time only the failures count");
    }

    #[test]
    fn a_p99_counts_where_enough_requests_decide_it() {
        let tail = |requests: usize| {
            let mut times = vec![10; requests];
            times[..requests / 50].fill(100);
            report(0, &times)
        };
        let worse = |requests| {
            tail(requests).worse_than(&report(0, &vec![10; requests]), 2.0).expect("the same load")
        };
        assert_eq!(worse(499), Vec::<String>::new());
        assert!(matches!(worse(500).as_slice(), [p99] if p99.starts_with("p99 is 100.0 ms, 10.0 ms")));
    }

    #[test]
    fn another_load_is_no_baseline() {
        let before = report(0, &[10]);
        let other = Report { concurrency: 8, ..before.clone() };
        let why = other.worse_than(&before, 2.0).expect_err("not the same");
        assert!(why.contains("4 at a time") && why.contains("8 at a time"), "{why}");
    }

    #[test]
    fn reasons_of_failures_are_bounded() {
        let mut tally = Tally::default();
        (0..50).for_each(|reason| tally.failed(reason.to_string().into()));
        assert_eq!(tally.failures.len(), REASONS_MAX + 1);
        assert_eq!(tally.failures["other reasons"], 40);
    }
}
