//! Every metric family of the tool server, in one registry of its own.
//!
//! Labels are closed sets: tools and databases of the configuration, outcomes by `as_str()`. Nothing a caller sends
//! becomes a label. Must not know how a call runs.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::call_log::FinishedCall;

/// From a text tool, which takes microseconds, to the longest call.
const CALL_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 45.0];

/// The registry and handles of every family.
pub(crate) struct Metrics {
    registry: Registry,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
    rows: IntCounterVec,
    in_flight: IntGauge,
}

impl Metrics {
    /// A registry with every family.
    pub(crate) fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        Ok(Metrics {
            calls: registered(
                &registry,
                IntCounterVec::new(
                    Opts::new("mcp_tools_calls_total", "Finished calls by tool and outcome."),
                    &["tool", "outcome"],
                )?,
            )?,
            call_seconds: registered(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "mcp_tools_call_seconds",
                        "Time from a call's message to its result, by tool.",
                    )
                    .buckets(CALL_SECONDS.to_vec()),
                    &["tool"],
                )?,
            )?,
            rows: registered(
                &registry,
                IntCounterVec::new(
                    Opts::new("mcp_tools_rows_total", "Rows in the results of calls, by tool."),
                    &["tool"],
                )?,
            )?,
            in_flight: registered(
                &registry,
                IntGauge::new("mcp_tools_requests_in_flight", "Messages that have no response yet.")?,
            )?,
            registry,
        })
    }

    /// Counts a finished call.
    pub(crate) fn record(&self, call: &FinishedCall<'_>) {
        self.calls.with_label_values(&[call.tool, call.outcome.as_str()]).inc();
        self.call_seconds.with_label_values(&[call.tool]).observe(seconds(call.took));
        if let Some(rows) = call.rows {
            self.rows.with_label_values(&[call.tool]).inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
        }
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Every family in the text format of Prometheus.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// A request in flight, also one whose client has gone.
pub(crate) struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    family: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}
