//! Every metric family of the guard, in one registry of its own; the control plane's families are in `rollout`.
//!
//! Labels are closed sets: outcomes, denial codes, methods and slots by `as_str()`/`code()`; tools only by names that the
//! slot itself listed; clients only by the first names of the configuration. Nothing a client sends becomes a label.

mod console;
mod dependencies;
mod fleet;
mod issuers;
mod registration;
mod rollout;
mod routes;
mod shadow;
mod slots;
mod tally;
mod tls;
#[cfg(feature = "console")]
mod totals;
mod traces;

#[cfg(feature = "console")]
use std::sync::{Mutex, PoisonError};

use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};

#[cfg(feature = "console")]
pub(crate) use self::console::ConsoleRefusal;
pub(crate) use self::dependencies::{DependencyMetrics, DependencyState, DependencyStatus};
pub(crate) use self::fleet::{FleetGauges, FleetMetrics};
use self::issuers::IssuerFamilies;
use self::registration::{Registration, count};
pub(crate) use self::rollout::{Notified, RolloutMetrics};
pub(crate) use self::routes::RouteGauges;
pub(crate) use self::shadow::ShadowMetrics;
use self::slots::SlotFamilies;
pub(crate) use self::slots::SlotStatus;
use self::tally::RequestTally;
pub(crate) use self::tally::UpstreamConnection;
pub(crate) use self::tls::{Handshake, TlsMetrics};
#[cfg(feature = "console")]
pub(crate) use self::totals::{Tally, Totals};
use self::traces::TraceMetrics;

use super::record::Record;
use crate::policy::identity::IssuerStatus;
use crate::upstream::Slot;

/// Why a call was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// A pooled connection was dead and nothing had been written.
    Unsent,
    /// The backend closed without a response to a method that is known to change nothing.
    Repeatable,
    /// A candidate's response to such a method was invalid: stable got the call.
    StandIn,
}

/// The quota that a call ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    ClientRate,
    ClientConcurrency,
    ToolRate,
    ToolConcurrency,
}

impl Limit {
    /// The name in metrics and explanations.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Limit::ClientRate => "client_rate",
            Limit::ClientConcurrency => "client_concurrency",
            Limit::ToolRate => "tool_rate",
            Limit::ToolConcurrency => "tool_concurrency",
        }
    }
}

/// What became of a new configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reload {
    Done,
    /// The running one stays.
    Refused,
}

impl Reload {
    fn as_str(self) -> &'static str {
        match self {
            Reload::Done => "done",
            Reload::Refused => "refused",
        }
    }
}

/// The registry and handles of every family.
pub(crate) struct Metrics {
    registry: Registry,
    requests: RequestTally,
    slots: SlotFamilies,
    retries: IntCounterVec,
    connections: IntGauge,
    connections_accepted: IntCounter,
    connections_refused: IntCounter,
    draining: IntGauge,
    log_lines_dropped: IntCounter,
    samples_dropped: IntCounter,
    policy: PolicyFamilies,
    rollout: RolloutMetrics,
    dependencies: DependencyMetrics,
    issuers: IssuerFamilies,
    routes: routes::RouteFamilies,
    shadow: ShadowMetrics,
    pub(crate) tls: TlsMetrics,
    pub(crate) traces: TraceMetrics,
    #[cfg_attr(not(feature = "console"), expect(dead_code, reason = "its series are there, and stay 0"))]
    pub(crate) console: console::ConsoleMetrics,
    /// The totals as they were read last, and what number of changes they are of.
    #[cfg(feature = "console")]
    totals: Mutex<Option<(u64, Totals)>>,
}

impl Metrics {
    /// A registry with every family, for this many threads that serve requests.
    pub(crate) fn new(workers: usize) -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let add = Registration { registry: &registry };
        let metrics = Metrics {
            requests: RequestTally::new(&add, workers)?,
            slots: SlotFamilies::new(&add)?,
            retries: add.counters(
                "mcp_guard_retries_total",
                "Calls sent again by slot and reason: unsent (nothing was written), repeatable, or stand_in (for a candidate).",
                &["slot", "reason"],
            )?,
            connections: add.gauge("mcp_guard_connections", "Open client connections.")?,
            connections_accepted: add
                .counter("mcp_guard_connections_accepted_total", "Client connections accepted and served.")?,
            connections_refused: add.counter(
                "mcp_guard_connections_refused_total",
                "Client connections answered 503 because the limit was reached.",
            )?,
            draining: add.gauge("mcp_guard_draining", "1 while the guard finishes its last calls.")?,
            log_lines_dropped: add.counter(
                "mcp_guard_log_lines_dropped_total",
                "Log lines dropped because the log's reader was too slow.",
            )?,
            samples_dropped: add.counter(
                "mcp_guard_samples_dropped_total",
                "Finished calls that the analysis of a rollout did not see because it was too slow.",
            )?,
            policy: PolicyFamilies::new(&add)?,
            rollout: RolloutMetrics::new(&add)?,
            dependencies: DependencyMetrics::new(&add)?,
            issuers: IssuerFamilies::new(&add)?,
            routes: routes::RouteFamilies::new(&add)?,
            shadow: ShadowMetrics::new(&add)?,
            tls: TlsMetrics::new(&add)?,
            traces: TraceMetrics::new(&add)?,
            console: console::ConsoleMetrics::new(&add)?,
            #[cfg(feature = "console")]
            totals: Mutex::default(),
            registry: registry.clone(),
        };
        add_process_info(&add)?;
        Ok(metrics)
    }

    /// Counts one finished request.
    pub(crate) fn record(&self, record: &Record<'_>) {
        match record.route {
            Some(route) => {
                self.routes.record(route, record);
                record.denial.into_iter().for_each(|denial| self.requests.denied(denial));
            }
            None => self.requests.record(record),
        }
    }

    pub(crate) fn connection_accepted(&self) {
        self.connections_accepted.inc();
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    pub(crate) fn connection_evicted(&self) {
        self.policy.connections_evicted.inc();
    }

    pub(crate) fn upstream_connection(&self, slot: Slot, how: UpstreamConnection) {
        self.requests.upstream_connection(slot, how);
    }

    pub(crate) fn retried(&self, slot: Slot, why: Retry) {
        let reason = match why {
            Retry::Unsent => "unsent",
            Retry::Repeatable => "repeatable",
            Retry::StandIn => "stand_in",
        };
        self.retries.with_label_values(&[slot.as_str(), reason]).inc();
    }

    /// The families of a fleet, for a guard that is in one; once.
    pub(crate) fn fleet(&self) -> Result<FleetMetrics, prometheus::Error> {
        FleetMetrics::new(&Registration { registry: &self.registry })
    }

    /// The family of copied calls.
    pub(crate) fn shadow(&self) -> ShadowMetrics {
        self.shadow.clone()
    }

    /// The families of the control plane.
    pub(crate) fn rollout(&self) -> RolloutMetrics {
        self.rollout.clone()
    }

    /// Sets what is known of the keys of issuers.
    pub(crate) fn set_issuers(&self, issuers: &[IssuerStatus]) {
        self.issuers.set(issuers);
    }

    /// The families of dependencies.
    pub(crate) fn dependencies(&self) -> DependencyMetrics {
        self.dependencies.clone()
    }

    pub(crate) fn limited(&self, by: Limit) {
        self.policy.limited.with_label_values(&[by.as_str()]).inc();
    }

    /// A slot's last response to `server/discover` was sent again.
    pub(crate) fn stood_in(&self, slot: Slot) {
        self.policy.stood_in.with_label_values(&[slot.as_str()]).inc();
    }

    pub(crate) fn reloaded(&self, outcome: Reload) {
        self.policy.reloads.with_label_values(&[outcome.as_str()]).inc();
    }

    pub(crate) fn sample_dropped(&self) {
        self.samples_dropped.inc();
    }

    /// Sets the gauges of a slot and its share of the traffic.
    pub(crate) fn set_slot(&self, now: &SlotStatus, weight: f64) {
        self.slots.set(now, weight);
    }

    /// Removes the gauges of a slot without a backend.
    pub(crate) fn remove_slot(&self, slot: Slot) {
        self.slots.remove(slot);
    }

    /// Sets what is measured of every route at the moment of a scrape.
    pub(crate) fn set_routes<'r>(&self, routes: impl Iterator<Item = RouteGauges<'r>>) {
        self.routes.set(routes);
    }

    /// Sets what is measured of the whole process at the moment of a scrape.
    pub(crate) fn set_process(
        &self,
        connections: usize,
        streams: usize,
        draining: bool,
        log_lines_dropped: u64,
    ) {
        self.connections.set(count(connections));
        self.policy.streams.set(count(streams));
        self.draining.set(i64::from(draining));
        self.log_lines_dropped.inc_by(log_lines_dropped.saturating_sub(self.log_lines_dropped.get()));
    }

    /// What was counted since the start.
    #[cfg(feature = "console")]
    pub(crate) fn totals(&self) -> Totals {
        let (requests, client_duration) = self.requests.merged();
        let changes = self.requests.changes();
        let mut last = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        // Reading every series takes a long time, every second, for a guard without calls.
        let mut totals = match last.take() {
            Some((of, totals)) if of == changes => totals,
            Some(_) | None => totals::of_requests(requests, client_duration),
        };
        totals.memory = totals::memory(&self.rollout.memory());
        last.insert((changes, totals)).1.clone()
    }

    /// Every family in the Prometheus text format.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.requests.merged();
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The version, and what the system counts of the process.
fn add_process_info(add: &Registration<'_>) -> Result<(), prometheus::Error> {
    let build = add.gauges("mcp_guard_build_info", "Always 1; the version is the label.", &["version"])?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    add.registry.register(Box::new(ProcessCollector::for_self()))
}

/// What is counted of the policy itself: what holds, and whom it stops.
struct PolicyFamilies {
    reloads: IntCounterVec,
    limited: IntCounterVec,
    streams: IntGauge,
    stood_in: IntCounterVec,
    connections_evicted: IntCounter,
}

impl PolicyFamilies {
    fn new(add: &Registration<'_>) -> Result<PolicyFamilies, prometheus::Error> {
        let families = PolicyFamilies {
            reloads: add.counters(
                "mcp_guard_reloads_total",
                "Configurations read by a running guard, by outcome: done or refused.",
                &["outcome"],
            )?,
            limited: add.counters(
                "mcp_guard_limited_total",
                "Calls refused by a quota, by limit: client_rate, client_concurrency, tool_rate or tool_concurrency.",
                &["limit"],
            )?,
            streams: add.gauge("mcp_guard_streams", "Open streams of the endpoint.")?,
            connections_evicted: add.counter(
                "mcp_guard_connections_evicted_total",
                "Client connections for which one that waited for its client was closed.",
            )?,
            stood_in: add.counters(
                "mcp_guard_discover_kept_total",
                "Answers to server/discover that stood in for another one of the slot.",
                &["slot"],
            )?,
        };
        for outcome in [Reload::Done, Reload::Refused] {
            families.reloads.with_label_values(&[outcome.as_str()]);
        }
        Ok(families)
    }
}
