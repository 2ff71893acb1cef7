//! What was counted since the start, summed over the labels that a picture of the service does not need: by slot, by tool and
//! by client.
//!
//! Read from the families, so that counting costs a request nothing more. Must not know who draws the picture.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{HistogramVec, IntCounterVec};
use serde::{Deserialize, Serialize};

use super::registration::OPERATION_BOUNDS;
use crate::histogram;
use crate::upstream::Slot;

/// Everything since the start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) slots: BTreeMap<Slot, Tally>,
    /// Every one that the families tell apart, which is bounded there: no snapshot lacks a name that an earlier one has.
    pub(crate) tools: BTreeMap<String, Tally>,
    pub(crate) clients: BTreeMap<String, Tally>,
    /// Memory of each backend as a part of its control group's limit, where that is known.
    #[serde(default)]
    pub(crate) memory: BTreeMap<Slot, f64>,
    /// Requests that the guard refused.
    pub(crate) denied: u64,
}

/// Calls of one slot, tool or client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    /// Without a response of the backend.
    pub(crate) failures: u64,
    /// With an error in the response.
    pub(crate) errors: u64,
    /// How many took no longer than each bound, in the order of the bounds; of clients none.
    pub(crate) latency: Vec<u64>,
}

impl Tally {
    /// What has come since `earlier`; a counter that went back belongs to another process and counts from zero.
    pub(crate) fn since(&self, earlier: &Tally) -> Tally {
        let latency = self.latency.iter().enumerate();
        let latency = latency
            .map(|(place, count)| count.saturating_sub(earlier.latency.get(place).copied().unwrap_or(0)));
        Tally {
            calls: self.calls.saturating_sub(earlier.calls),
            failures: self.failures.saturating_sub(earlier.failures),
            errors: self.errors.saturating_sub(earlier.errors),
            latency: latency.collect(),
        }
    }

    /// The time in milliseconds that this part of the calls did not exceed; none without calls.
    pub(crate) fn quantile_ms(&self, part: f64) -> Option<f64> {
        let bounds = OPERATION_BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.latency.iter().copied()).collect();
        histogram::quantile(&buckets, part).map(|seconds| seconds * 1_000.0)
    }

    fn add(&mut self, outcome: &str, count: u64) {
        self.calls += count;
        match outcome {
            "timeout" | "upstream" => self.failures += count,
            "tool_error" | "rpc_error" => self.errors += count,
            _ => {}
        }
    }

    fn add_times(&mut self, metric: &Metric) {
        let histogram = metric.get_histogram();
        self.latency.resize(OPERATION_BOUNDS.len() + 1, 0);
        for (sum, bucket) in self.latency.iter_mut().zip(histogram.get_bucket()) {
            *sum += bucket.cumulative_count();
        }
        if let Some(all) = self.latency.last_mut() {
            *all += histogram.get_sample_count();
        }
    }
}

/// What was counted of requests since the start.
pub(super) fn of_requests(requests: &IntCounterVec, client_duration: &HistogramVec) -> Totals {
    let mut totals = Totals::default();
    totals.slots.extend(Slot::ALL.map(|slot| (slot, Tally::default())));
    each(&requests.collect(), |metric| {
        let count = metric.get_counter().get_value() as u64;
        let outcome = label(metric, "outcome");
        if outcome == "denied" {
            totals.denied += count;
        }
        if let Some(slot) = slot(metric) {
            totals.slots.entry(slot).or_default().add(outcome, count);
        }
        if let Some(tally) = named(&mut totals.tools, label(metric, "tool")) {
            tally.add(outcome, count);
        }
        if let Some(tally) = named(&mut totals.clients, label(metric, "client")) {
            tally.add(outcome, count);
        }
    });
    each(&client_duration.collect(), |metric| {
        if let Some(slot) = slot(metric) {
            totals.slots.entry(slot).or_default().add_times(metric);
        }
        if let Some(tally) = named(&mut totals.tools, label(metric, "gen_ai_tool_name")) {
            tally.add_times(metric);
        }
    });
    totals
}

/// The memory of each backend.
pub(super) fn memory(families: &[MetricFamily]) -> BTreeMap<Slot, f64> {
    let mut memory = BTreeMap::new();
    each(families, |metric| memory.extend(slot(metric).map(|slot| (slot, metric.get_gauge().get_value()))));
    memory
}

fn each(families: &[MetricFamily], mut read: impl FnMut(&Metric)) {
    families.iter().flat_map(MetricFamily::get_metric).for_each(&mut read);
}

fn label<'m>(metric: &'m Metric, name: &str) -> &'m str {
    metric.get_label().iter().find(|pair| pair.name() == name).map_or("", |pair| pair.value())
}

fn slot(metric: &Metric) -> Option<Slot> {
    let name = label(metric, "slot");
    Slot::ALL.into_iter().find(|slot| slot.as_str() == name)
}

/// The tally of a name, if it has one.
fn named<'t>(tallies: &'t mut BTreeMap<String, Tally>, name: &str) -> Option<&'t mut Tally> {
    if name.is_empty() { None } else { Some(tallies.entry(name.to_owned()).or_default()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::record::{Outcome, Record};
    use super::super::Metrics;
    use super::*;
    use crate::wire::Method;

    fn called(metrics: &Metrics, slot: Slot, tool: &str, outcome: Outcome, millis: u64) {
        let mut record = Record::new("id", None);
        record.client_label = "bot";
        record.method = Some(Method::ToolsCall);
        record.tool = Some(tool.to_owned());
        (record.slot, record.outcome) = (Some(slot), outcome);
        (record.total, record.upstream) = (Some(Duration::ZERO), Some(Duration::from_millis(millis)));
        metrics.record(&record);
    }

    #[test]
    fn calls_are_summed_by_slot_tool_and_client() {
        let metrics = Metrics::new(1).unwrap();
        called(&metrics, Slot::Blue, "a", Outcome::Ok, 3);
        called(&metrics, Slot::Blue, "a", Outcome::ToolError, 3);
        called(&metrics, Slot::Green, "b", Outcome::Timeout, 400_000);
        metrics.record(&Record { outcome: Outcome::Denied, ..Record::new("id", None) });
        let totals = metrics.totals();
        let counts = |tally: &Tally| (tally.calls, tally.failures, tally.errors);
        assert_eq!(counts(&totals.slots[&Slot::Blue]), (2, 0, 1));
        assert_eq!(counts(&totals.slots[&Slot::Green]), (1, 1, 0));
        assert_eq!(counts(&totals.tools["a"]), (2, 0, 1));
        assert_eq!(counts(&totals.clients["bot"]), (3, 1, 1));
        assert_eq!(totals.denied, 1);
    }

    #[test]
    fn a_quantile_is_told_in_milliseconds() {
        let metrics = Metrics::new(1).unwrap();
        for _ in 0..90 {
            called(&metrics, Slot::Blue, "a", Outcome::Ok, 3);
        }
        for _ in 0..10 {
            called(&metrics, Slot::Blue, "a", Outcome::Ok, 300);
        }
        let blue = &metrics.totals().slots[&Slot::Blue];
        let [p50, p95] = [0.5, 0.95].map(|part| blue.quantile_ms(part).unwrap());
        assert!((1.0..=5.0).contains(&p50), "{p50}");
        assert!((200.0..=500.0).contains(&p95), "{p95}");
        assert_eq!(Tally::default().quantile_ms(0.5), None);
        called(&metrics, Slot::Green, "a", Outcome::Ok, 400_000);
        assert_eq!(metrics.totals().slots[&Slot::Green].quantile_ms(0.5), Some(300_000.0));
    }

    #[test]
    fn a_difference_never_goes_below_zero() {
        let (small, large) = (Tally { calls: 1, ..Tally::default() }, Tally { calls: 5, ..Tally::default() });
        assert_eq!(large.since(&small).calls, 4);
        assert_eq!(small.since(&large).calls, 0);
    }

    #[test]
    fn no_name_is_left_out() {
        let metrics = Metrics::new(1).unwrap();
        for number in 0..100 {
            called(&metrics, Slot::Blue, &format!("tool{number}"), Outcome::Ok, 1);
        }
        let totals = metrics.totals();
        assert_eq!(totals.tools.len(), 100);
        assert_eq!(totals.slots[&Slot::Blue].calls, 100);
    }
}
