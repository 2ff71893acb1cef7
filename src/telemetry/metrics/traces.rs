//! The families of traces: what became of spans, and what callers asked for in vain.

use prometheus::{IntCounter, IntCounterVec};

use super::super::span_sink::SpanCounts;
use super::registration::Registration;

/// What is counted of traces. Set at a scrape.
pub(crate) struct TraceMetrics {
    spans: IntCounterVec,
    limited: IntCounter,
}

impl TraceMetrics {
    pub(super) fn new(add: &Registration<'_>) -> Result<TraceMetrics, prometheus::Error> {
        Ok(TraceMetrics {
            spans: add.counters(
                "mcp_guard_trace_spans_total",
                "Spans by result: exported, dropped (the queue was full) or failed (not taken by the collector).",
                &["result"],
            )?,
            limited: add.counter(
                "mcp_guard_traces_limited_total",
                "Requests that were not sampled because their callers ask for more than traces.sample_asked.",
            )?,
        })
    }

    /// Sets what was counted since the start.
    pub(crate) fn set(&self, counts: SpanCounts) {
        let SpanCounts { exported, dropped, failed, limited } = counts;
        for (result, count) in [("exported", exported), ("dropped", dropped), ("failed", failed)] {
            raise(&self.spans.with_label_values(&[result]), count);
        }
        raise(&self.limited, limited);
    }
}

fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
