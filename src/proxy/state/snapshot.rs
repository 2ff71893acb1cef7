//! The published configuration: policy, limits and slots, immutable, replaced as a whole. A request reads it once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::shadow::Shadow;
use crate::config::traces::Sampling;
use crate::config::{Config, MaxVersionSetting, SplitKey};
use crate::policy::reply::ErrorMode;
use crate::policy::shared_rates::SharedRates;
use crate::policy::{Call, ClientId, Policy, SessionRequest, Sessions, Subject, Timeouts, ToolRules};
use crate::proxy::backend::request_head::PeerTrust;
use crate::proxy::backend::slot::{SlotBounds, SlotState};
use crate::proxy::downstream::stream::Peer;
use crate::proxy::fairness::client_keys::ClientKeys;
use crate::proxy::fairness::open_streams::StreamBounds;
use crate::proxy::fairness::per_client::ClientKey;
use crate::proxy::fairness::semaphore::{Bounds, most_of_one, reserve_of};
use crate::proxy::state::call_limits::{CallLimits, LimitSubjects};
use crate::proxy::state::routes::Routes;
use crate::proxy::state::subjects::Grant;
use crate::proxy::state::token_usage::TokenUsage;
use crate::proxy::state::traffic_split::VersionCap;
use crate::telemetry::Record;
use crate::telemetry::metrics::SlotStatus;
use crate::tls::ServerTls;
use crate::upstream::{Choice, PerSlot, Secrets, Slot, Split};
use crate::wire::ProtocolVersion;
use crate::wire::era::MaxVersion;

/// Clients beyond this many share one metric row.
const CLIENT_ROWS_MAX: usize = 200;

/// One configuration as requests use it.
pub(crate) struct Snapshot {
    pub(crate) policy: Policy,
    pub(crate) timeouts: Timeouts,
    pub(crate) tool_rules: ToolRules,
    pub(crate) call_limits: CallLimits,
    pub(crate) token_usage: TokenUsage,
    pub(crate) error_mode: ErrorMode,
    pub(crate) shadow: Shadow,
    /// None where traces are off.
    pub(crate) tracing: Option<Sampling>,
    max_version: MaxVersionSetting,
    split_key: SplitKey,
    keys: ClientKeys,
    trusted_proxies: Vec<IpAddr>,
    /// What new connections are shown; in clear without it.
    pub(crate) tls: Option<ServerTls>,
    /// When the certificate of the console expires, in seconds since the epoch.
    console_certificate_ends: Option<u64>,
    /// The name of the fleet that the guard has joined.
    pub(crate) fleet: Option<String>,
    /// Removed from the text of a backend before it is logged.
    pub(crate) secrets: Secrets,
    /// The routes beside the endpoint.
    pub(crate) open_routes: Routes,
    /// Whether the rates of clients, users and tools are counted with other guards.
    pub(crate) has_shared_rates: bool,
    slots: PerSlot<Option<Arc<SlotState>>>,
}

impl Snapshot {
    /// Builds the snapshot of a configuration. Counts and facts of the previous one are kept.
    pub(crate) fn new(config: Config, previous: Option<&Snapshot>) -> Snapshot {
        let (limits, timeouts) = (config.limits, config.timeouts);
        let shares = if config.clients.are_several() { Bounds::shared } else { Bounds::of_one };
        let bounds = SlotBounds {
            permits: shares(limits.in_flight_max, limits.waiting_max),
            reserve: shares(reserve_of(limits.in_flight_max), limits.waiting_max),
            held_max: limits.held_max,
            connect_time: timeouts.connect,
            workers: config.listen.threads,
        };
        let state = |slot: Slot| {
            let backend = config.backends[slot].clone()?;
            let previous = previous.and_then(|previous| previous.slot(slot)).map(Arc::as_ref);
            Some(Arc::new(SlotState::new(slot, backend, &bounds, previous)))
        };
        let subjects = LimitSubjects { clients: &config.clients, rules: &config.tool_rules };
        let keys = ClientKeys::new(&config.clients, previous.map(|old| (&old.keys, old.policy.clients())));
        let old_limits = previous.map(|old| (&old.call_limits, old.limit_subjects()));
        let shared: Option<Arc<dyn SharedRates>> = config.shared_rates;
        let call_limits = CallLimits::new(subjects, &limits, shared.as_deref(), old_limits);
        let old_usage = previous.map(|old| (&old.token_usage, old.policy.clients()));
        let token_usage = TokenUsage::new(&config.clients, old_usage);
        let passes = config.backends.iter().flatten().any(|backend| backend.sessions);
        // The same settings are kept, with what they remember of sessions.
        let tls = config.listen.tls;
        let tls = previous.map(|old| &old.tls).filter(|old| **old == tls).cloned().unwrap_or(tls);
        let console = config.console.tls.filter(|_| config.console.address.is_some());
        let sessions = if passes { Sessions::Passed } else { Sessions::Refused };
        Snapshot {
            slots: PerSlot::new(state),
            policy: Policy::new(&config.paths, config.origin, config.auth, limits, config.clients)
                .with_read_only_tools(config.read_only)
                .with_sessions(sessions)
                .with_switched_off(config.off)
                .with_credentials(config.credentials)
                .with_oauth(
                    config
                        .oauth
                        .zip(config.verifier)
                        .map(|(oauth, verifier)| (oauth.resource.clone(), verifier)),
                ),
            tool_rules: config.tool_rules,
            call_limits,
            token_usage,
            timeouts,
            error_mode: config.error_mode,
            shadow: config.shadow,
            tracing: config.traces.map(|traces| traces.sampling),
            max_version: config.max_version,
            split_key: config.split_key,
            keys,
            trusted_proxies: config.listen.trusted_proxies,
            tls,
            console_certificate_ends: console.as_ref().map(ServerTls::not_after),
            fleet: config.fleet.map(|fleet| fleet.name.clone()),
            secrets: config.secrets,
            open_routes: Routes::new(
                config.routes,
                shared.as_ref(),
                previous.map(|previous| &previous.open_routes),
            ),
            has_shared_rates: shared.is_some(),
        }
    }

    pub(crate) fn slot(&self, slot: Slot) -> Option<&Arc<SlotState>> {
        self.slots[slot].as_ref()
    }

    /// When the first certificate expires of those that clients, backends and operators are shown, in seconds since the epoch.
    pub(crate) fn first_certificate_ends(&self) -> Option<u64> {
        let slots = self.slots().filter_map(|slot| slot.backend.tls.as_ref()?.not_after());
        slots
            .chain(self.open_routes.certificates_end())
            .chain(self.tls.as_ref().map(ServerTls::not_after))
            .chain(self.console_certificate_ends)
            .min()
    }

    /// Where a call goes that the split assigns to `slot`. A slot that the configuration no longer has is one that cannot be
    /// reached.
    pub(crate) fn serving(&self, split: &Split, slot: Slot) -> Option<&Arc<SlotState>> {
        self.slot(slot).or_else(|| self.slot(split.fallback(slot)?))
    }

    /// The slot that stands in for one that cannot be reached. A session lives in one backend: the other one does not know it.
    pub(crate) fn fallback(
        &self,
        split: &Split,
        slot: Slot,
        session: Option<SessionRequest>,
    ) -> Option<&Arc<SlotState>> {
        let fallback = split.fallback(slot).filter(|_| session.is_none());
        fallback.and_then(|slot| self.slot(slot))
    }

    fn limit_subjects(&self) -> LimitSubjects<'_> {
        LimitSubjects { clients: self.policy.clients(), rules: &self.tool_rules }
    }

    /// The configured slots.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<SlotState>> {
        self.slots.iter().flatten()
    }

    /// The state of every configured slot.
    pub(crate) fn slot_statuses(&self) -> Vec<SlotStatus> {
        let status = |slot: &Arc<SlotState>| SlotStatus {
            slot: slot.slot,
            address: slot.backend.place(),
            reachable: slot.reachable(),
            in_flight: slot.in_flight(),
            waiting: slot.waiting(),
            held: slot.calls.hold.held(),
            idle_connections: slot.pool.idle.idle(),
        };
        self.slots().map(status).collect()
    }

    /// The slot of a call. `routing_id` is never chosen by the client.
    pub(crate) fn pick(&self, split: &Split, call: &Call<'_>, routing_id: &str) -> Slot {
        self.choose(split, (call.client(), call.subject()), routing_id).slot
    }

    /// The slot of a call of this client, and why.
    pub(crate) fn choose(
        &self,
        split: &Split,
        (client, subject): (ClientId, Option<&Subject>),
        routing_id: &str,
    ) -> Choice {
        let clients = self.policy.clients();
        let name = clients.name(client).as_bytes();
        match self.split_key {
            SplitKey::Client => split.choose(name, clients.split_key(client, subject).as_bytes()),
            SplitKey::Request => split.choose(name, routing_id.as_bytes()),
        }
    }

    /// What calls are split by.
    pub(crate) fn split_key(&self) -> SplitKey {
        self.split_key
    }

    /// Whether the cap of a rollout holds here: a configured version stands in its place.
    pub(crate) fn is_capped_by_rollout(&self, cap: VersionCap) -> bool {
        self.max_version == MaxVersionSetting::Auto && cap == VersionCap::Legacy
    }

    /// How long a call may take in all.
    pub(crate) fn total(&self, tool: Option<&str>) -> Duration {
        let rule = tool.and_then(|tool| self.tool_rules.find(tool));
        rule.and_then(|(_, rule)| rule.total).unwrap_or(self.timeouts.total)
    }

    /// How long the response to a call may stream.
    pub(crate) fn stream_total(&self, tool: Option<&str>) -> Duration {
        let rule = tool.and_then(|tool| self.tool_rules.find(tool));
        rule.and_then(|(_, rule)| rule.stream_total).unwrap_or(self.timeouts.stream_total)
    }

    /// How many streams may be open.
    pub(crate) fn stream_bounds(&self) -> StreamBounds {
        let limits = self.policy.limits();
        let (all_max, own_max) = (limits.streams_max, limits.streams_per_client_max);
        let has_others = self.policy.clients().are_several();
        let per_client_max = if has_others { own_max.min(most_of_one(all_max)) } else { own_max };
        StreamBounds { all_max, per_client_max }
    }

    /// The newest protocol version that is accepted. A configured version overrides the cap.
    pub(crate) fn max_version(&self, cap: VersionCap) -> MaxVersion {
        match (self.max_version, cap) {
            (MaxVersionSetting::Auto, VersionCap::Legacy) => Some(ProtocolVersion::LEGACY_LAST),
            (MaxVersionSetting::Auto, VersionCap::None) | (MaxVersionSetting::Unbounded, _) => None,
            (MaxVersionSetting::Version(version), _) => Some(version),
        }
    }

    /// Whether `X-Forwarded-*` and `X-Request-Id` of this peer are used. A peer on a Unix socket has passed its mode.
    pub(crate) fn trust(&self, peer: Option<&Peer>) -> PeerTrust {
        let believed = peer.is_none_or(|peer| self.trusted_proxies.contains(&peer.address));
        if believed { PeerTrust::Trusted } else { PeerTrust::Untrusted }
    }

    /// The key under which a client's part of shared bounds is counted.
    pub(crate) fn key(&self, client: ClientId) -> ClientKey {
        self.keys.of(client)
    }

    /// A client as the grant of its subjects.
    pub(crate) fn grant(&self, client: ClientId) -> Grant<'_> {
        Grant { key: self.key(client), name: self.policy.clients().name(client) }
    }

    /// Names the client in a record: for the log, and as a metric label.
    pub(crate) fn name_client<'s>(&'s self, client: ClientId, record: &mut Record<'s>) {
        let name = self.policy.clients().name(client);
        record.client = Some(name);
        record.client_label = if client.index() < CLIENT_ROWS_MAX { name } else { "other" };
    }
}
