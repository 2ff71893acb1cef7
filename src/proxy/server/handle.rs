//! The handle of a running proxy: status as plain data, a new configuration, a new split, the drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::config::feature::FeatureStatus;
use crate::policy::ClientId;
use crate::policy::auth::TokenHash;
use crate::policy::identity::IssuerStatus;
use crate::policy::routes::RouteRule;
use crate::policy::tools::Pattern;
use crate::proxy::drain::Phase;
use crate::proxy::explain::{self, Explanation, Question};
use crate::proxy::state::ProxyState;
use crate::proxy::state::shadow_queue::ShadowedCall;
use crate::proxy::state::snapshot::Snapshot;
use crate::proxy::state::traffic_split::TrafficSplit;
use crate::rollout::sample::FinishedCall;
#[cfg(feature = "console")]
use crate::telemetry::metrics::{ConsoleRefusal, Totals};
use crate::telemetry::metrics::{
    DependencyMetrics, DependencyStatus, FleetMetrics, Reload, RolloutMetrics, ShadowMetrics, SlotStatus,
};
#[cfg(feature = "traces")]
use crate::telemetry::span_sink::SpanSink;
use crate::tls::ServerTls;
use crate::upstream::Slot;

/// A handle for admin commands and signals. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    state: Arc<ProxyState>,
    pub(crate) listen: String,
    pub(crate) metrics: Option<SocketAddr>,
}

/// The state of a running guard, as an admin command shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuardStatus {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_seconds: u64,
    pub(crate) draining: bool,
    /// The address really bound, such as `127.0.0.1:8001` or `unix:/run/mcp-guard/guard.sock`.
    pub(crate) listen: String,
    pub(crate) metrics: Option<String>,
    pub(crate) connections: usize,
    pub(crate) clients: usize,
    pub(crate) stable: String,
    pub(crate) slots: Vec<SlotStatus>,
    #[serde(default)]
    pub(crate) dependencies: Vec<DependencyStatus>,
    /// Whose tokens are taken, and what is known of their keys.
    #[serde(default)]
    pub(crate) issuers: Vec<IssuerStatus>,
    /// The name of the fleet that the guard has joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fleet: Option<String>,
    /// Filled in by the part that switches them.
    #[serde(default)]
    pub(crate) features: FeatureStatus,
}

/// Tokens in one result: what a response to the operator can hold.
const TOKENS_SHOWN_MAX: usize = 20_000;

/// A token that the guard knows, by its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenUse {
    pub(crate) client: String,
    pub(crate) fingerprint: String,
    /// Seconds since the epoch; nothing since the guard started, where it is absent.
    #[serde(default)]
    pub(crate) last_used: Option<u64>,
    /// Until when it is valid, in seconds since the epoch.
    #[serde(default)]
    pub(crate) not_after: Option<u64>,
}

impl Handle {
    pub(crate) fn new(state: Arc<ProxyState>, listen: String, metrics: Option<SocketAddr>) -> Handle {
        Handle { state, listen, metrics }
    }

    pub(crate) fn status(&self) -> GuardStatus {
        let snapshot = self.state.snapshot.load();
        GuardStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.state.started.elapsed().as_secs(),
            draining: self.state.drain.phase() != Phase::Serving,
            listen: self.listen.clone(),
            metrics: self.metrics.map(|address| address.to_string()),
            connections: self.state.drain.open(),
            clients: snapshot.policy.clients().len(),
            stable: self.state.traffic.stable().as_str().to_owned(),
            slots: snapshot.slot_statuses(),
            dependencies: self.state.dependencies.statuses(),
            issuers: snapshot.policy.issuers(),
            fleet: snapshot.fleet.clone(),
            features: FeatureStatus::default(),
        }
    }

    /// Replaces policy, limits and backends in one pointer swap; requests under way finish on their snapshot. The
    /// listeners stay as they are.
    pub(crate) fn publish(&self, config: Config) {
        let previous = self.state.snapshot.load();
        self.state.snapshot.store(Arc::new(Snapshot::new(config, Some(&previous))));
    }

    /// What the listener shows to its clients now.
    pub(crate) fn listener_tls(&self) -> Option<ServerTls> {
        self.state.snapshot.load().tls.clone()
    }

    /// The tokens of the running configuration, client by client; of too many, those used last.
    pub(crate) fn tokens_known(&self) -> Vec<TokenUse> {
        let snapshot = self.state.snapshot.load();
        let clients = snapshot.policy.clients();
        let mut known: Vec<_> = clients
            .tokens()
            .enumerate()
            .map(|(place, token)| (snapshot.token_usage.last_used(place), token))
            .collect();
        if known.len() > TOKENS_SHOWN_MAX {
            known.sort_by_key(|(when, _)| std::cmp::Reverse(*when));
            known.truncate(TOKENS_SHOWN_MAX);
        }
        known.sort_by_key(|(_, (_, client))| client.index());
        let show = |(last_used, (hash, client)): (Option<u64>, (&TokenHash, ClientId))| TokenUse {
            client: clients.name(client).to_owned(),
            fingerprint: hash.fingerprint(),
            last_used,
            not_after: clients.not_after(client),
        };
        known.into_iter().map(show).collect()
    }

    /// Sets the names of a slot's tools, which may be metric labels.
    pub(crate) fn learn_tools(&self, slot: Slot, names: Vec<String>) {
        let snapshot = self.state.snapshot.load();
        if let Some(state) = snapshot.slots().find(|state| state.slot == slot) {
            state.add_tool_names(names.into_iter().collect());
        }
    }

    /// Replaces the states of all dependencies.
    pub(crate) fn publish_dependencies(&self, statuses: Vec<DependencyStatus>) {
        self.state.dependencies.publish(statuses);
    }

    /// Whether a backend has listed a tool whose name matches this pattern.
    pub(crate) fn knows_tool(&self, pattern: &str) -> bool {
        let pattern = Pattern::new(pattern);
        self.state.snapshot.load().slots().any(|state| state.lists_a_tool(&pattern))
    }

    /// What would become of a request, and why; `Err` if that cannot be said.
    pub(crate) fn explain(
        &self,
        routes_off: &[RouteRule],
        question: &Question,
    ) -> Result<Explanation, String> {
        explain::running(&self.state, routes_off, question)
    }

    /// What was counted since the start.
    #[cfg(feature = "console")]
    pub(crate) fn totals(&self) -> Totals {
        self.state.metrics.totals()
    }

    /// Counts a request that the console refused.
    #[cfg(feature = "console")]
    pub(crate) fn console_refused(&self, refusal: ConsoleRefusal) {
        self.state.metrics.console.refused(refusal);
    }

    /// Counts the outcome of a reload.
    pub(crate) fn reloaded(&self, outcome: Reload) {
        self.state.metrics.reloaded(outcome);
    }

    /// Replaces the traffic split in one pointer swap: the next call follows it.
    pub(crate) fn publish_split(&self, split: TrafficSplit) {
        self.state.traffic.publish(&split);
    }

    /// The receiver of samples of finished calls; `None` once it is taken.
    pub(crate) fn samples(&self) -> Option<mpsc::Receiver<FinishedCall>> {
        self.state.samples.take_receiver()
    }

    /// The receiver of calls for the candidate; `None` once it is taken.
    pub(crate) fn shadowed_calls(&self) -> Option<mpsc::Receiver<ShadowedCall>> {
        self.state.shadow_queue.calls.take_receiver()
    }

    /// How many calls were not queued for the candidate since the start: dropped, and skipped.
    pub(crate) fn shadowed_calls_not_sent(&self) -> (u64, u64) {
        self.state.shadow_queue.not_sent()
    }

    /// Sends the sample of a shadowed call. Never waits.
    pub(crate) fn shadowed_call_ended(&self, ended: FinishedCall) {
        self.state.send_sample(ended);
    }

    /// The metric family of shadowed calls.
    pub(crate) fn shadow_metrics(&self) -> ShadowMetrics {
        self.state.shadow.clone()
    }

    /// From here on, the spans of requests go there. Once in a process.
    #[cfg(feature = "traces")]
    pub(crate) fn set_span_sink(&self, sink: Arc<dyn SpanSink>) {
        self.state.tracing.set_sink(sink);
    }

    /// The metric families of the control plane.
    pub(crate) fn rollout_metrics(&self) -> RolloutMetrics {
        self.state.metrics.rollout()
    }

    /// The metric families of a fleet; the first caller gets them.
    pub(crate) fn fleet_metrics(&self) -> Option<FleetMetrics> {
        self.state.metrics.fleet().ok()
    }

    /// The metric families of dependencies.
    pub(crate) fn dependency_metrics(&self) -> DependencyMetrics {
        self.state.metrics.dependencies()
    }

    /// Starts the drain. A second call cuts the calls under way, which are refused.
    pub(crate) fn begin_shutdown(&self) {
        if self.state.drain.phase() == Phase::Serving {
            self.state.drain.begin();
        } else {
            self.state.drain.force();
        }
    }

    /// Another process accepts on the same listeners: this one drains.
    pub(crate) fn hand_over(&self) {
        self.state.drain.hand_over();
    }

    /// Refuses requests that begin on open connections: this process may admit what the one that has taken over refuses.
    pub(crate) fn refuse_requests(&self) {
        self.state.drain.refuse_requests();
    }

    /// Blocks until this process accepts no connection any more, at most until the deadline.
    pub(crate) fn wait_accepted(&self, deadline: Instant) -> Result<(), usize> {
        self.state.drain.wait_accepted(deadline)
    }

    /// Returns when another process has taken over.
    #[cfg(feature = "console")]
    pub(crate) async fn handed_over(&self) {
        self.state.drain.handed_over().await;
    }

    /// Whether another process has taken over.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.state.drain.is_handed_over()
    }
}
