//! A running guard, seen from outside: status as plain data, a new configuration, the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::Config;
use crate::policy::ClientId;
use crate::policy::auth::TokenHash;
use crate::proxy::call::shadow::CallCopy;
use crate::proxy::drain::Phase;
use crate::proxy::state::snapshot::{ProxyState, Snapshot};
use crate::proxy::state::traffic_split::Route;
use crate::rollout::sample::FinishedCall;
use crate::telemetry::metrics::{Reload, RolloutMetrics, ShadowMetrics};
use crate::upstream::Slot;

/// A handle for admin commands and signals. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    state: Arc<ProxyState>,
    pub(crate) listen: String,
    pub(crate) metrics: Option<SocketAddr>,
}

/// Plain data about a running guard.
#[derive(Debug, Clone)]
pub(crate) struct StatusSnapshot {
    pub(crate) version: &'static str,
    pub(crate) uptime: Duration,
    pub(crate) draining: bool,
    /// The address really bound, such as `127.0.0.1:8001` or `unix:/run/mcp-guard/guard.sock`.
    pub(crate) listen: String,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) connections: usize,
    pub(crate) clients: usize,
    pub(crate) stable: Slot,
    pub(crate) slots: Vec<SlotStatus>,
}

/// Plain data about one slot.
#[derive(Debug, Clone)]
pub(crate) struct SlotStatus {
    pub(crate) slot: Slot,
    pub(crate) address: String,
    /// Whether the last look at the backend (a call or a readiness check) reached it; `None` before the first.
    pub(crate) reachable: Option<bool>,
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) held: usize,
    pub(crate) idle_connections: usize,
}

/// Tokens that are told: what an answer to an operator can hold.
const TOKENS_SHOWN_MAX: usize = 20_000;

/// A token that is accepted.
#[derive(Debug, Clone)]
pub(crate) struct KnownToken {
    pub(crate) client: String,
    pub(crate) fingerprint: String,
    /// Seconds since the epoch.
    pub(crate) last_used: Option<u64>,
    /// Seconds since the epoch.
    pub(crate) not_after: Option<u64>,
}

impl Handle {
    pub(crate) fn new(state: Arc<ProxyState>, listen: String, metrics: Option<SocketAddr>) -> Handle {
        Handle { state, listen, metrics }
    }

    /// A snapshot for `status`.
    pub(crate) fn status(&self) -> StatusSnapshot {
        let snapshot = self.state.snapshot.load();
        let slots = snapshot.slots().map(|slot| SlotStatus {
            slot: slot.slot,
            address: slot.address(),
            reachable: slot.reachable(),
            in_flight: slot.in_flight(),
            waiting: slot.waiting(),
            held: slot.hold.held(),
            idle_connections: slot.pool.idle(),
        });
        StatusSnapshot {
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.state.started.elapsed(),
            draining: self.state.drain.phase() != Phase::Serving,
            listen: self.listen.clone(),
            metrics: self.metrics,
            connections: self.state.drain.open(),
            clients: snapshot.policy.clients().len(),
            stable: self.state.routes.load().split.stable(),
            slots: slots.collect(),
        }
    }

    /// Replaces policy, limits and backends in one pointer swap; requests under way finish on what they started with. The
    /// listeners stay as they are.
    pub(crate) fn publish(&self, config: Config) {
        let previous = self.state.snapshot.load();
        self.state.snapshot.store(Arc::new(Snapshot::new(config, Some(&previous))));
    }

    /// The tokens of the running configuration, client by client; of more than an answer holds, those used last.
    pub(crate) fn tokens_known(&self) -> Vec<KnownToken> {
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
        let show = |(last_used, (hash, client)): (Option<u64>, (&TokenHash, ClientId))| KnownToken {
            client: clients.name(client).to_owned(),
            fingerprint: hash.fingerprint(),
            last_used,
            not_after: clients.not_after(client),
        };
        known.into_iter().map(show).collect()
    }

    /// The names of a slot's tools, as its own list has them: they may be labels.
    pub(crate) fn learn_tools(&self, slot: Slot, names: Vec<String>) {
        let snapshot = self.state.snapshot.load();
        if let Some(state) = snapshot.slots().find(|state| state.slot == slot) {
            state.add_tool_names(names.into_iter().collect());
        }
    }

    /// Counts what became of a new configuration.
    pub(crate) fn reloaded(&self, outcome: Reload) {
        self.state.metrics.reloaded(outcome);
    }

    /// Replaces the route in one pointer swap: the next call goes by it.
    pub(crate) fn publish_route(&self, route: Route) {
        self.state.routes.publish(route);
    }

    /// Every finished call from here on, as what it says about its slot. Only the first to ask gets it.
    pub(crate) fn samples(&self) -> Option<mpsc::Receiver<FinishedCall>> {
        self.state.samples.take()
    }

    /// The copies of calls for the candidate. Only the first to ask gets them.
    pub(crate) fn copies(&self) -> Option<mpsc::Receiver<CallCopy>> {
        self.state.copies.take()
    }

    /// How many calls were not copied since the start: dropped because too many were waiting, and skipped.
    pub(crate) fn copies_left_out(&self) -> (u64, u64) {
        self.state.copies.left_out()
    }

    /// A copy has ended: what it says about its slot. Never waits.
    pub(crate) fn copy_ended(&self, ended: FinishedCall) {
        self.state.sample(ended);
    }

    /// The metric family of copies.
    pub(crate) fn shadow_metrics(&self) -> ShadowMetrics {
        self.state.shadow.clone()
    }

    /// The metric families of the control plane.
    pub(crate) fn rollout_metrics(&self) -> RolloutMetrics {
        self.state.metrics.rollout()
    }

    /// Starts the drain. Asked a second time, somebody will not wait for its end: it is over at once.
    pub(crate) fn begin_shutdown(&self) {
        if self.state.drain.phase() == Phase::Serving {
            self.state.drain.begin();
        } else {
            self.state.drain.hurry();
        }
    }

    /// Another process accepts on the same listeners now: this one finishes what it has.
    pub(crate) fn hand_over(&self) {
        self.state.drain.hand_over();
    }

    /// Whether another process has taken over.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.state.drain.is_handed_over()
    }
}
