//! What an explanation goes by: a configuration, a traffic split, and what a running guard has counted.

use std::sync::Arc;

use crate::policy::explain::JudgedCall;
use crate::proxy::fairness::per_client::ClientKey;
use crate::proxy::state::ProxyState;
use crate::proxy::state::snapshot::Snapshot;
use crate::proxy::state::subjects::SubjectState;
use crate::proxy::state::traffic_split::TrafficSplit;
use crate::proxy::state::usage::Usages;

/// What an explanation goes by.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) traffic: &'s TrafficSplit,
    /// Of a running guard.
    pub(super) live: Option<&'s ProxyState>,
    /// Whether the caller was named by the operator, and not proved by a credential.
    pub(super) is_named: bool,
}

impl Surroundings<'_> {
    /// The number under which the caller is counted in shared bounds.
    pub(super) fn key(&self, call: &JudgedCall<'_>) -> ClientKey {
        let own = self.snapshot.key(call.client);
        self.subject(call).flatten().map_or(own, |subject| subject.key)
    }

    /// What is known of the subject of a grant; `None` for a client that stands for itself.
    pub(super) fn subject(&self, call: &JudgedCall<'_>) -> Option<Option<Arc<SubjectState>>> {
        let is_grant = self.snapshot.policy.clients().is_grant(call.client);
        let user = call.subject.as_ref().filter(|_| !self.is_named);
        let known = || {
            let grant = self.snapshot.key(call.client);
            self.live?.subjects.known(grant, user?.user())
        };
        is_grant.then(known)
    }

    /// Whether it is known who calls, down to the user of a grant.
    pub(super) fn knows_user(&self, call: &JudgedCall<'_>) -> bool {
        !self.is_named || !self.snapshot.policy.clients().is_grant(call.client)
    }

    /// What a user of a grant has used who has not called yet; it is known who calls.
    pub(super) fn unused(&self, call: &JudgedCall<'_>) -> Option<Usages> {
        let user = call.subject.as_ref()?.user();
        Some(self.live?.subjects.unused(self.snapshot.grant(call.client), user))
    }

    /// Nanoseconds on the clock of the meters.
    pub(super) fn now_ns(&self) -> u64 {
        self.live.map_or(0, ProxyState::now_ns)
    }
}
