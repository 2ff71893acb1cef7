//! What is counted of every request: in a part for each worker, and merged into the families when they are read.
//!
//! So a request takes one lock, for which no other request waits, and finds its series once. Must not know where a request came from.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::local::LocalHistogram;
use prometheus::{HistogramVec, IntCounter, IntCounterVec};

use super::registration::{Registration, seconds};
use crate::policy::Denial;
use crate::telemetry::record::{Outcome, Record};
use crate::upstream::Slot;
use crate::wire::Method;
use crate::worker::PerWorker;

/// Series that a part remembers. With more it is merged and begins again: its memory, and the time that a scrape holds its lock, are
/// bounded.
const SERIES_MAX: usize = 1024;

/// What stands where a label has no value of its own.
const NONE: &str = "none";

/// How a connection to a backend came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamConnection {
    Opened,
    Reused,
    /// The backend could not be reached.
    Failed,
}

impl UpstreamConnection {
    const ALL: [UpstreamConnection; 3] =
        [UpstreamConnection::Opened, UpstreamConnection::Reused, UpstreamConnection::Failed];

    fn as_str(self) -> &'static str {
        match self {
            UpstreamConnection::Opened => "opened",
            UpstreamConnection::Reused => "reused",
            UpstreamConnection::Failed => "failed",
        }
    }
}

/// The families of requests, and what is not yet in them.
pub(super) struct RequestTally {
    families: RequestFamilies,
    parts: PerWorker<Part>,
}

struct RequestFamilies {
    requests: IntCounterVec,
    server_duration: HistogramVec,
    client_duration: HistogramVec,
    denials: IntCounterVec,
    auth_failures: IntCounterVec,
    upstream_connections: IntCounterVec,
    /// Grows with everything that is counted of requests, and with nothing else.
    changes: AtomicU64,
}

/// What one worker has counted since the last merge.
#[derive(Default)]
struct Part {
    series: Mutex<SeriesByHash>,
    /// By slot and how the connection came about.
    upstream_connections: [[AtomicU64; UpstreamConnection::ALL.len()]; Slot::ALL.len()],
}

/// Series by the hash of their labels, and how many they are.
#[derive(Default)]
struct SeriesByHash {
    by_hash: HashMap<u64, Vec<Series>, BuildHasherDefault<IsHash>>,
    count: usize,
}

/// What requests with the same labels count into.
struct Series {
    labels: Labels,
    counters: Vec<IntCounter>,
    count: u64,
    /// Of requests whose method was judged.
    server_duration: Option<LocalHistogram>,
    /// Of those that reached a backend.
    client_duration: Option<LocalHistogram>,
}

struct Labels {
    slot: Option<Slot>,
    method: Option<Method>,
    outcome: Outcome,
    denial: Option<&'static str>,
    tool: String,
    client: String,
}

impl RequestTally {
    pub(super) fn new(add: &Registration<'_>, workers: usize) -> Result<RequestTally, prometheus::Error> {
        let families = RequestFamilies {
            requests: add.counters(
                "mcp_guard_requests_total",
                "Finished requests by slot, MCP method, tool, client and outcome.",
                &["slot", "method", "tool", "client", "outcome"],
            )?,
            server_duration: add.histogram(
                "mcp_server_operation_duration_seconds",
                "Time from a request's head to the end of its answer, by method, tool and error type.",
                &["mcp_method_name", "gen_ai_tool_name", "error_type"],
            )?,
            client_duration: add.histogram(
                "mcp_client_operation_duration_seconds",
                "Time from the first byte sent to a backend to its last, by slot, method, tool and error type.",
                &["slot", "mcp_method_name", "gen_ai_tool_name", "error_type"],
            )?,
            denials: add.counters(
                "mcp_guard_denials_total",
                "Refusals by denial code.",
                &["code"],
            )?,
            auth_failures: add.counters(
                "mcp_guard_auth_failures_total",
                "Requests without a valid token, by reason.",
                &["reason"],
            )?,
            upstream_connections: add.counters(
                "mcp_guard_upstream_connections_total",
                "Connections to a backend by slot and result: opened, reused or failed.",
                &["slot", "result"],
            )?,
            changes: AtomicU64::new(0),
        };
        // Every code is present from the first scrape, so that a rate over them starts at zero and an alert can name them.
        for denial in Denial::all() {
            families.denials.with_label_values(&[denial.code()]);
        }
        Ok(RequestTally { families, parts: PerWorker::new(workers, |_| Part::default()) })
    }

    /// Counts one finished request of the endpoint.
    pub(super) fn record(&self, record: &Record<'_>) {
        self.parts.own().lock().record(&self.families, record);
    }

    /// Counts a refusal, of any request.
    pub(super) fn denied(&self, denial: Denial) {
        self.families.denial_counters(denial).iter().for_each(IntCounter::inc);
    }

    pub(super) fn upstream_connection(&self, slot: Slot, how: UpstreamConnection) {
        self.parts.own().upstream_connections[slot as usize][how as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The families with everything that was counted.
    pub(super) fn merged(&self) -> (&IntCounterVec, &HistogramVec) {
        for part in self.parts.iter() {
            part.lock().merge(&self.families);
            for slot in Slot::ALL {
                for how in UpstreamConnection::ALL {
                    let count =
                        part.upstream_connections[slot as usize][how as usize].swap(0, Ordering::Relaxed);
                    if count > 0 {
                        let labels = [slot.as_str(), how.as_str()];
                        self.families.upstream_connections.with_label_values(&labels).inc_by(count);
                    }
                }
            }
        }
        (&self.families.requests, &self.families.client_duration)
    }

    /// A number that stays the same for as long as no request is merged.
    #[cfg(feature = "console")]
    pub(super) fn changes(&self) -> u64 {
        self.families.changes.load(Ordering::Acquire)
    }
}

impl Part {
    fn lock(&self) -> MutexGuard<'_, SeriesByHash> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeriesByHash {
    fn record(&mut self, families: &RequestFamilies, record: &Record<'_>) {
        let hash = hash(record);
        let alike = self.by_hash.get_mut(&hash);
        let known = alike.and_then(|alike| alike.iter_mut().find(|series| series.labels.are_of(record)));
        if let Some(series) = known {
            return series.record(families, record);
        }
        if self.count >= SERIES_MAX {
            self.merge(families);
            *self = SeriesByHash::default();
        }
        let mut series = Series::new(families, record);
        series.record(families, record);
        self.by_hash.entry(hash).or_insert_with(|| Vec::with_capacity(1)).push(series);
        self.count += 1;
    }

    /// Adds what was counted to the families.
    fn merge(&mut self, families: &RequestFamilies) {
        let counted: u64 = self.by_hash.values_mut().flatten().map(Series::merge).sum();
        if counted > 0 {
            families.changes.fetch_add(counted, Ordering::AcqRel);
        }
    }
}

impl Series {
    fn new(families: &RequestFamilies, record: &Record<'_>) -> Series {
        let labels = Labels::of(record);
        let mut counters = vec![families.requests.with_label_values(&[
            labels.slot(),
            labels.method(),
            &labels.tool,
            &labels.client,
            labels.outcome.as_str(),
        ])];
        counters.extend(record.denial.into_iter().flat_map(|denial| families.denial_counters(denial)));
        Series { labels, counters, count: 0, server_duration: None, client_duration: None }
    }

    fn record(&mut self, families: &RequestFamilies, record: &Record<'_>) {
        self.count += 1;
        if record.method.is_none() {
            return;
        }
        let labels = &self.labels;
        let server = self.server_duration.get_or_insert_with(|| {
            let labels = [labels.method(), &labels.tool, labels.error()];
            families.server_duration.with_label_values(&labels).local()
        });
        server.observe(seconds(record.total.unwrap_or_default()));
        if let Some(upstream) = record.upstream {
            let client = self.client_duration.get_or_insert_with(|| {
                let labels = [labels.slot(), labels.method(), &labels.tool, labels.error()];
                families.client_duration.with_label_values(&labels).local()
            });
            client.observe(seconds(upstream));
        }
    }

    /// Returns how many requests were added.
    fn merge(&mut self) -> u64 {
        let count = std::mem::take(&mut self.count);
        if count > 0 {
            self.counters.iter().for_each(|counter| counter.inc_by(count));
            self.server_duration.iter().chain(&self.client_duration).for_each(LocalHistogram::flush);
        }
        count
    }
}

impl RequestFamilies {
    fn denial_counters(&self, denial: Denial) -> Vec<IntCounter> {
        let of_tokens = auth_failure(denial).map(|reason| self.auth_failures.with_label_values(&[reason]));
        let of_all = self.denials.with_label_values(&[denial.code()]);
        std::iter::once(of_all).chain(of_tokens).collect()
    }
}

impl Labels {
    fn of(record: &Record<'_>) -> Labels {
        Labels {
            slot: record.slot,
            method: record.method,
            outcome: record.outcome,
            denial: record.denial.map(Denial::code),
            tool: record.tool.clone().unwrap_or_default(),
            client: record.client_label.to_owned(),
        }
    }

    fn are_of(&self, record: &Record<'_>) -> bool {
        self.slot == record.slot
            && self.method == record.method
            && self.outcome == record.outcome
            && self.denial == record.denial.map(Denial::code)
            && self.tool == record.tool.as_deref().unwrap_or_default()
            && self.client == record.client_label
    }

    fn slot(&self) -> &'static str {
        self.slot.map_or(NONE, Slot::as_str)
    }

    fn method(&self) -> &'static str {
        self.method.map_or(NONE, |method| method.as_str())
    }

    fn error(&self) -> &'static str {
        if self.outcome == Outcome::Ok { "" } else { self.outcome.as_str() }
    }
}

/// A hash of the labels. The texts are names of the configuration and of tools that a backend lists: none is chosen to collide.
fn hash(record: &Record<'_>) -> u64 {
    let slot = record.slot.map_or(0, |slot| 1 + slot as u64);
    let method = record.method.map_or(0, |method| 1 + method as u64);
    let mut hash = slot | method << 8 | (record.outcome as u64) << 16;
    let texts = [record.tool.as_deref().unwrap_or_default(), record.client_label];
    for text in texts.into_iter().chain(record.denial.map(Denial::code)) {
        for bytes in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        hash = hash.rotate_left(7);
    }
    hash
}

/// The hasher of a key that is a hash.
#[derive(Default)]
struct IsHash(u64);

impl Hasher for IsHash {
    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        // The map uses the lowest and the highest bits, and a product's lowest say little.
        self.0 ^ self.0 >> 32
    }
}

/// The label of `mcp_guard_auth_failures_total`, for the refusals that are about tokens.
fn auth_failure(denial: Denial) -> Option<&'static str> {
    let concerns_tokens = matches!(
        denial,
        Denial::AuthorizationMissing
            | Denial::TokensNotConfigured
            | Denial::TokenInvalid(_)
            | Denial::TokenExpired(_)
            | Denial::JwtInvalid(_)
            | Denial::JwtExpired
            | Denial::InsufficientScope { .. }
            | Denial::JwtKeysUnavailable
            | Denial::TwoCredentials
            | Denial::ApiKeyMissing
            | Denial::ApiKeyInvalid
    );
    concerns_tokens.then(|| denial.code())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Metrics;
    use super::*;
    use crate::worker;

    fn record(tool: &str, client: &'static str) -> Record<'static> {
        let mut record = Record::new("id", None);
        (record.client_label, record.tool) = (client, Some(tool.to_owned()));
        (record.method, record.slot, record.outcome) =
            (Some(Method::ToolsCall), Some(Slot::Blue), Outcome::Ok);
        (record.total, record.upstream) = (Some(Duration::from_millis(7)), Some(Duration::from_millis(3)));
        record
    }

    /// The sum of all series of a family.
    fn sum(text: &str, name: &str) -> f64 {
        let of_family = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        of_family.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    fn encoded(metrics: &Metrics) -> String {
        String::from_utf8(metrics.encode().unwrap()).unwrap()
    }

    #[test]
    fn metrics_that_are_read_while_workers_count_lose_nothing_and_count_nothing_twice() {
        const EACH: u32 = 20_000;
        let metrics = Metrics::new(2).unwrap();
        std::thread::scope(|scope| {
            let counting: Vec<_> = (0..3)
                .map(|index| {
                    let metrics = &metrics;
                    scope.spawn(move || {
                        // The third thread is no worker, and uses the part of the first.
                        if index < 2 {
                            worker::begin(index);
                        }
                        for _ in 0..EACH {
                            metrics.record(&record("a", "bot"));
                            metrics.upstream_connection(Slot::Green, UpstreamConnection::Reused);
                        }
                    })
                })
                .collect();
            let mut before = 0.0;
            while counting.iter().any(|thread| !thread.is_finished()) {
                let now = sum(&encoded(&metrics), "mcp_guard_requests_total");
                assert!(now >= before, "{now} after {before}");
                before = now;
            }
        });
        let text = encoded(&metrics);
        let all = f64::from(3 * EACH);
        assert_eq!(sum(&text, "mcp_guard_requests_total"), all);
        assert_eq!(sum(&text, &format!("{}_count", "mcp_server_operation_duration_seconds")), all);
        assert_eq!(sum(&text, &format!("{}_count", "mcp_client_operation_duration_seconds")), all);
        assert_eq!(sum(&text, "mcp_guard_upstream_connections_total"), all);
        let again = sum(&encoded(&metrics), "mcp_guard_requests_total");
        assert_eq!(again, all, "what was merged is not merged again");
    }

    #[test]
    fn metrics_of_more_series_than_a_part_remembers_are_complete() {
        let metrics = Metrics::new(1).unwrap();
        let tools = SERIES_MAX + 10;
        for number in (0..tools).chain(0..tools) {
            metrics.record(&record(&format!("tool{number}"), "bot"));
        }
        let text = encoded(&metrics);
        assert_eq!(text.matches("mcp_guard_requests_total{").count(), tools);
        assert_eq!(sum(&text, "mcp_guard_requests_total"), 2.0 * tools as f64);
        assert_eq!(
            sum(&text, &format!("{}_count", "mcp_server_operation_duration_seconds")),
            2.0 * tools as f64
        );
    }

    #[test]
    fn series_whose_labels_have_the_same_hash_are_told_apart() {
        let metrics = Metrics::new(1).unwrap();
        let mut part = metrics.requests.parts.own().lock();
        let alike = [record("a", "bot"), record("b", "bot"), record("a", "other")];
        let series = alike.iter().map(|record| Series::new(&metrics.requests.families, record)).collect();
        part.by_hash.insert(hash(&alike[2]), series);
        part.record(&metrics.requests.families, &alike[2]);
        drop(part);
        let text = encoded(&metrics);
        assert!(
            text.contains(
                "client=\"other\",method=\"tools/call\",outcome=\"ok\",slot=\"blue\",tool=\"a\"} 1"
            ),
            "{text}"
        );
        assert_eq!(sum(&text, "mcp_guard_requests_total"), 1.0);
    }
}
