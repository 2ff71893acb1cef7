//! What a route takes from the published state: its backend, its caller's name, and the key of its caller.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::config::{RateKey, RouteTarget};
use crate::policy::routes::{Auth, Caller};
use crate::proxy::backend::dial::Dialer;
use crate::proxy::backend::request_head::{PeerTrust, client_address};
use crate::proxy::downstream::request::Request;
use crate::proxy::downstream::stream::Peer;
use crate::proxy::fairness::per_client::ClientKey;
use crate::proxy::state::ProxyState;
use crate::proxy::state::route_meters::Counted;
use crate::proxy::state::routes::{CallerKey, RouteState};
use crate::proxy::state::snapshot::Snapshot;
use crate::proxy::state::subjects::SubjectState;
use crate::upstream::{Backend, Slot};

/// Where a request goes.
pub(super) struct RouteBackend<'r> {
    pub(super) backend: &'r Backend,
    pub(super) dialer: &'r Arc<Dialer>,
    /// The slot, unless it is a backend of the route's own.
    pub(super) slot: Option<Slot>,
}

impl RouteState {
    /// The caller's configured name.
    pub(crate) fn caller_name<'r>(&'r self, snapshot: &'r Snapshot, caller: Caller) -> Option<&'r str> {
        match (caller, &self.config.rule.auth) {
            (Caller::Client(client), _) => Some(snapshot.policy.clients().name(client)),
            (Caller::Key(index), Auth::ApiKey { keys, .. }) => keys.get(index).map(|key| key.name.as_str()),
            (Caller::Key(_) | Caller::Anyone, _) => None,
        }
    }

    /// The backend that the route leads to now.
    pub(super) fn backend<'r>(
        &'r self,
        state: &ProxyState,
        snapshot: &'r Snapshot,
    ) -> Option<RouteBackend<'r>> {
        let slot = match &self.config.target {
            RouteTarget::Own(backend) => {
                let dialer = self.dialer.as_ref()?;
                return Some(RouteBackend { backend, dialer, slot: None });
            }
            RouteTarget::Slot(slot) => *slot,
            RouteTarget::Stable => state.traffic.stable(),
        };
        let state = snapshot.slot(slot)?;
        Some(RouteBackend { backend: &state.backend, dialer: &state.pool.dialer, slot: Some(slot) })
    }

    /// Whose requests the rate counts together.
    pub(crate) fn counted<'c>(&self, request: &Request<'_>, caller: Option<&'c str>) -> Counted<'c> {
        let by_name = Counted::Caller(caller.unwrap_or_default());
        match self.config.rate_key {
            RateKey::Caller => by_name,
            RateKey::Address => {
                let peer = request.peer.map(|peer| peer.address);
                client_address(&request.head, request.trust, peer).map_or(by_name, Counted::Address)
            }
        }
    }

    /// The caller to count a request for. Anonymous callers are distinguished by their address, unless they connect through a
    /// trusted proxy or a Unix socket, where all have the same.
    pub(crate) fn caller_key(
        &self,
        snapshot: &Snapshot,
        caller: Caller,
        subject: Option<&SubjectState>,
        peer: Option<&Peer>,
    ) -> CallerKey {
        if let Some(subject) = subject {
            return CallerKey { key: subject.key, has_others: true };
        }
        let stranger = peer.filter(|_| snapshot.trust(peer) == PeerTrust::Untrusted);
        let hashed = |name: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            self.name().hash(&mut hasher);
            name(&mut hasher);
            // Above the numbers of clients.
            ClientKey::try_from(hasher.finish() >> 33).unwrap_or_default() | 1 << 31
        };
        let (key, has_others) = match (caller, &self.config.rule.auth) {
            (Caller::Client(client), _) => (snapshot.key(client), snapshot.policy.clients().are_several()),
            (Caller::Key(index), Auth::ApiKey { keys, .. }) => {
                (hashed(&|hasher| index.hash(hasher)), keys.len() > 1)
            }
            (Caller::Key(_) | Caller::Anyone, _) => {
                (hashed(&|hasher| stranger.map(|peer| peer.address).hash(hasher)), stranger.is_some())
            }
        };
        CallerKey { key, has_others }
    }
}
