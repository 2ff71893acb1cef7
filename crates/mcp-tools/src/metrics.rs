//! Every metric family of the tool server, in one registry of its own.
//!
//! Labels are closed sets: tools and databases of the configuration, outcomes by `as_str()`. Nothing a caller sends
//! becomes a label. Must not know how a call runs.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramTimer, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
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
    pool_connections: IntGaugeVec,
    pool_waiting: IntGaugeVec,
    pool_wait: HistogramVec,
    pools: Mutex<Vec<Pool>>,
    spans: IntCounterVec,
    read_spans: OnceLock<SpanCounts>,
}

/// A database's name, and its state at a scrape.
type Pool = (String, Box<dyn Fn() -> PoolState + Send>);

/// How many spans had which result since the start.
type SpanCounts = Box<dyn Fn() -> [(&'static str, u64); 3] + Send + Sync>;

/// The connections of a database at one moment.
pub(crate) struct PoolState {
    pub(crate) idle: usize,
    pub(crate) used: usize,
    /// Calls that wait for a connection.
    pub(crate) waiting: usize,
}

/// The times that calls wait for a connection of one database, once metrics are kept of it.
#[derive(Default)]
pub(crate) struct PoolWait(OnceLock<Histogram>);

impl PoolWait {
    /// Records the time from here until it is dropped.
    pub(crate) fn timer(&self) -> Option<HistogramTimer> {
        self.0.get().map(Histogram::start_timer)
    }
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
            pool_connections: registered(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "mcp_tools_pool_connections",
                        "Open connections by database and state: idle, used.",
                    ),
                    &["database", "state"],
                )?,
            )?,
            pool_waiting: registered(
                &registry,
                IntGaugeVec::new(
                    Opts::new("mcp_tools_pool_waiting", "Calls that wait for a connection, by database."),
                    &["database"],
                )?,
            )?,
            pool_wait: registered(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "mcp_tools_pool_wait_seconds",
                        "Time until a call has a connection or gives up, by database.",
                    )
                    .buckets(CALL_SECONDS.to_vec()),
                    &["database"],
                )?,
            )?,
            spans: registered(
                &registry,
                IntCounterVec::new(
                    Opts::new("mcp_tools_trace_spans_total", "Spans by result: exported, dropped, failed."),
                    &["result"],
                )?,
            )?,
            read_spans: OnceLock::new(),
            pools: Mutex::default(),
            registry,
        })
    }

    /// Keeps metrics of a database from here on; `state` is read at each scrape.
    pub(crate) fn watch_pool(
        &self,
        database: &str,
        wait: &PoolWait,
        state: impl Fn() -> PoolState + Send + 'static,
    ) {
        wait.0.get_or_init(|| self.pool_wait.with_label_values(&[database]));
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.push((database.to_owned(), Box::new(state)));
    }

    /// Counts spans from here on; `counts` is read at each scrape.
    #[cfg_attr(not(feature = "traces"), expect(dead_code, reason = "no program without traces has spans"))]
    pub(crate) fn watch_spans(&self, counts: impl Fn() -> [(&'static str, u64); 3] + Send + Sync + 'static) {
        let _is_watched_already = self.read_spans.set(Box::new(counts));
    }

    fn read_spans(&self) {
        for (result, count) in self.read_spans.get().into_iter().flat_map(|read| read()) {
            let counter = self.spans.with_label_values(&[result]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    fn read_pools(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (database, state) in self.pools.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let PoolState { idle, used, waiting } = state();
            self.pool_connections.with_label_values(&[database.as_str(), "idle"]).set(gauge(idle));
            self.pool_connections.with_label_values(&[database.as_str(), "used"]).set(gauge(used));
            self.pool_waiting.with_label_values(&[database.as_str()]).set(gauge(waiting));
        }
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
        self.read_pools();
        self.read_spans();
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
