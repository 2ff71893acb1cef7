//! What a request reads once when it starts: policy, limits and slots, immutable, replaced as a whole.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::config::shadow::Shadow;
use crate::config::{Config, MaxVersionSetting, SplitKey};
use crate::policy::reply::ErrorMode;
use crate::policy::{Call, ClientId, Policy, Sessions, Timeouts, ToolRules};
use crate::proxy::backend::request_head::PeerTrust;
use crate::proxy::backend::slot::SlotState;
use crate::proxy::call::shadow::Copies;
use crate::proxy::date::Clock;
use crate::proxy::downstream::body_budget::Room;
use crate::proxy::downstream::health::Readiness;
use crate::proxy::downstream::request_id::RequestIds;
use crate::proxy::downstream::stream::Peer;
use crate::proxy::drain::Drain;
use crate::proxy::fairness::client_keys::Keys;
use crate::proxy::fairness::open_streams::{StreamBounds, Streams};
use crate::proxy::fairness::semaphore::{Bounds, Key, most_of_one};
use crate::proxy::route::{PingoraBridge, Routes as OpenRoutes};
use crate::proxy::state::call_limits::{CallLimits, LimitClock, LimitExceeded, LimitGuard, LimitSubjects};
use crate::proxy::state::token_usage::TokenUsage;
use crate::proxy::state::traffic_split::{Fence, Routes, Samples};
use crate::rollout::sample::{CallResult, FinishedCall};
use crate::telemetry::metrics::{ShadowMetrics, SlotGauges};
use crate::telemetry::{Log, Metrics};
use crate::upstream::{Backend, Secrets, Slot, Split};
use crate::wire::ProtocolVersion;
use crate::wire::era::MaxVersion;

/// Clients beyond this many share one metric row.
const CLIENT_ROWS_MAX: usize = 200;

/// The published value.
pub(crate) struct Snapshot {
    pub(crate) policy: Policy,
    pub(crate) timeouts: Timeouts,
    tool_rules: ToolRules,
    call_limits: CallLimits,
    pub(crate) token_usage: TokenUsage,
    pub(crate) error_mode: ErrorMode,
    pub(crate) shadow: Shadow,
    max_version: MaxVersionSetting,
    split_key: SplitKey,
    keys: Keys,
    trusted_proxies: Vec<IpAddr>,
    /// What is removed from a backend's words before the log shows them.
    pub(crate) secrets: Secrets,
    /// What is open beside the endpoint.
    pub(crate) open_routes: OpenRoutes,
    slots: [Option<Arc<SlotState>>; 2],
}

impl Snapshot {
    /// Builds the value for a configuration. What is counted and known of the slots goes on.
    pub(crate) fn new(config: Config, previous: Option<&Snapshot>) -> Snapshot {
        let (limits, timeouts) = (config.limits, config.timeouts);
        let shares = if config.clients.len() > 1 { Bounds::shared } else { Bounds::of_one };
        let state = |slot: Slot, backend: Option<Backend>| {
            let previous = previous.and_then(|previous| previous.slot(slot)).map(Arc::as_ref);
            Some(Arc::new(SlotState::new(slot, backend?, &limits, &timeouts, shares, previous)))
        };
        let subjects = LimitSubjects { clients: &config.clients, rules: &config.tool_rules };
        let keys = Keys::new(&config.clients, previous.map(|old| (&old.keys, old.policy.clients())));
        let old_limits = previous.map(|old| (&old.call_limits, old.limit_subjects()));
        let call_limits = CallLimits::new(subjects, &limits, old_limits);
        let old_usage = previous.map(|old| (&old.token_usage, old.policy.clients()));
        let token_usage = TokenUsage::new(&config.clients, old_usage);
        let passes = [&config.blue, &config.green].into_iter().flatten().any(|backend| backend.sessions);
        let sessions = if passes { Sessions::Passed } else { Sessions::Refused };
        Snapshot {
            slots: [state(Slot::Blue, config.blue), state(Slot::Green, config.green)],
            policy: Policy::new(&config.paths, config.origin, config.auth, limits, config.clients)
                .with_read_only_tools(config.read_only)
                .with_sessions(sessions),
            tool_rules: config.tool_rules,
            call_limits,
            token_usage,
            timeouts,
            error_mode: config.error_mode,
            shadow: config.shadow,
            max_version: config.max_version,
            split_key: config.split_key,
            keys,
            trusted_proxies: config.listen.trusted_proxies,
            secrets: config.secrets,
            open_routes: OpenRoutes::new(config.routes, previous.map(|previous| &previous.open_routes)),
        }
    }

    pub(crate) fn slot(&self, slot: Slot) -> Option<&Arc<SlotState>> {
        let [blue, green] = &self.slots;
        match slot {
            Slot::Blue => blue.as_ref(),
            Slot::Green => green.as_ref(),
        }
    }

    fn limit_subjects(&self) -> LimitSubjects<'_> {
        LimitSubjects { clients: self.policy.clients(), rules: &self.tool_rules }
    }

    /// Admits a call, as far as the limits of its client and its tool go.
    pub(crate) async fn admit(
        &self,
        state: &ProxyState,
        call: &Call<'_>,
    ) -> Result<LimitGuard<'_>, LimitExceeded> {
        let (timeout, client) = (self.timeouts.waiting, self.key(call.client()));
        let at = LimitClock { started: state.started.into(), timeout, client };
        let admitted = self.call_limits.admit(&self.tool_rules, call, at).await;
        admitted.inspect_err(|exceeded| state.metrics.limited(exceeded.limit))
    }

    /// The configured slots.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<SlotState>> {
        self.slots.iter().flatten()
    }

    /// The slot of a call. `routing_id` is the request's, and not of the client's choosing.
    pub(crate) fn pick(&self, split: &Split, client: ClientId, routing_id: &str) -> Slot {
        let clients = self.policy.clients();
        let name = clients.name(client).as_bytes();
        match self.split_key {
            SplitKey::Client => split.assign(name, clients.split_key(client).as_bytes()),
            SplitKey::Request => split.assign(name, routing_id.as_bytes()),
        }
    }

    /// How long a call may take in all.
    pub(crate) fn total(&self, tool: Option<&str>) -> Duration {
        let rule = tool.and_then(|tool| self.tool_rules.find(tool));
        rule.and_then(|(_, rule)| rule.total).unwrap_or(self.timeouts.total)
    }

    /// How long an answer to a call may stream.
    pub(crate) fn stream_total(&self, tool: Option<&str>) -> Duration {
        let rule = tool.and_then(|tool| self.tool_rules.find(tool));
        rule.and_then(|(_, rule)| rule.stream_total).unwrap_or(self.timeouts.stream_total)
    }

    /// How many streams may be open.
    pub(crate) fn stream_bounds(&self) -> StreamBounds {
        let limits = self.policy.limits();
        let (all_max, own_max) = (limits.streams_max, limits.streams_per_client_max);
        let has_others = self.policy.clients().len() > 1;
        let per_client_max = if has_others { own_max.min(most_of_one(all_max)) } else { own_max };
        StreamBounds { all_max, per_client_max }
    }

    /// The newest protocol version that is let through. What the operator has set overrides the fence.
    pub(crate) fn max_version(&self, fence: Fence) -> MaxVersion {
        match (self.max_version, fence) {
            (MaxVersionSetting::Auto, Fence::Closed) => Some(ProtocolVersion::LEGACY_LAST),
            (MaxVersionSetting::Auto, Fence::Open) | (MaxVersionSetting::Unbounded, _) => None,
            (MaxVersionSetting::Version(version), _) => Some(version),
        }
    }

    /// Whether this peer's `X-Forwarded-*` and `X-Request-Id` are believed. A peer on a Unix socket has passed its mode.
    pub(crate) fn trust(&self, peer: Option<Peer>) -> PeerTrust {
        let believed = peer.is_none_or(|peer| self.trusted_proxies.contains(&peer.address));
        if believed { PeerTrust::Trusted } else { PeerTrust::Untrusted }
    }

    /// By what a client's part of shared bounds is counted.
    pub(crate) fn key(&self, client: ClientId) -> Key {
        self.keys.of(client)
    }

    /// The metric label of a client.
    pub(crate) fn client_label(&self, client: ClientId) -> &str {
        if client.index() < CLIENT_ROWS_MAX { self.policy.clients().name(client) } else { "other" }
    }
}

/// What every connection shares.
pub(crate) struct ProxyState {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) routes: Routes,
    pub(crate) samples: Samples,
    pub(crate) copies: Copies,
    pub(crate) shadow: ShadowMetrics,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    pub(crate) drain: Arc<Drain>,
    pub(crate) ids: RequestIds,
    pub(crate) clock: Clock,
    pub(crate) readiness: Readiness,
    /// Where requests of routes are handed over.
    pub(crate) gateway: PingoraBridge,
    /// For the bodies of all requests.
    pub(crate) room: Room,
    pub(crate) streams: Streams,
    pub(crate) started: Instant,
}

impl ProxyState {
    /// A client's call ended on this slot: what the rollout is judged by.
    pub(crate) fn ended(&self, slot: Slot, verdict: CallResult, latency: Duration) {
        self.ended_at(slot, verdict, latency, Instant::now());
    }

    /// The same, for a caller who knows what time it is.
    pub(crate) fn ended_at(&self, slot: Slot, verdict: CallResult, latency: Duration, now: Instant) {
        if !self.samples.ended(slot, verdict, latency, now) {
            self.metrics.sample_dropped();
        }
    }

    /// A copy of a call ended.
    pub(crate) fn sample(&self, ended: FinishedCall) {
        if !self.samples.take_note(ended) {
            self.metrics.sample_dropped();
        }
    }

    /// Brings the gauges up to the moment, for a scrape.
    pub(crate) fn measure(&self) {
        let snapshot = self.snapshot.load();
        let split = &self.routes.load().split;
        let gone = |slot: &Slot| !snapshot.slots().any(|state| state.slot == *slot);
        for slot in Slot::ALL.into_iter().filter(gone) {
            self.metrics.set_slot(slot, None);
        }
        for slot in snapshot.slots() {
            let candidate = f64::from(split.candidate_weight().get()) / 100.0;
            let stable = slot.slot == split.stable();
            self.metrics.set_slot(
                slot.slot,
                Some(SlotGauges {
                    in_flight: slot.in_flight(),
                    waiting: slot.waiting(),
                    held: slot.hold.held(),
                    idle_connections: slot.pool.idle(),
                    reachable: slot.reachable(),
                    weight: if stable { 1.0 - candidate } else { candidate },
                }),
            );
        }
        self.metrics.set_routes(snapshot.open_routes.gauges());
        self.shadow.set_waiting(self.copies.waiting());
        let draining = self.drain.phase() != crate::proxy::drain::Phase::Serving;
        self.metrics.set_process(self.drain.open(), self.streams.count(), draining, self.log.dropped());
    }
}
