//! What of the configuration concerns the control plane.

use std::sync::Arc;

use crate::config::dependencies::Dependency;
use crate::config::{self, Config, SplitKey};
use crate::dependency::{self, Subject};
use crate::rollout::{Member, SplitContext};
use crate::upstream::{Backend, PerSlot, Secrets, Slot};

/// What of the configuration concerns the control plane.
#[derive(Clone)]
pub(crate) struct Settings {
    backends: PerSlot<Option<Backend>>,
    pub(super) stable: Slot,
    pub(super) says_stable: bool,
    pub(super) split_context: SplitContext,
    pub(super) health: config::Health,
    pub(super) rollout: config::plan::Rollout,
    dependencies: Vec<Dependency>,
    /// Must not be quoted from a backend's response.
    pub(super) secrets: Secrets,
    /// Digest of what all guards of a fleet must share.
    pub(super) shared_digest: String,
}

impl Settings {
    pub(crate) fn of(config: &Config) -> Settings {
        Settings {
            backends: PerSlot::new(|slot| config.backend(slot).cloned()),
            stable: config.stable,
            says_stable: config.says_stable,
            split_context: SplitContext { standby: config.standby, clients: members(config) },
            health: config.health,
            rollout: config.rollout.clone(),
            dependencies: config.dependencies.clone(),
            secrets: config.secrets.clone(),
            shared_digest: config.shared_digest(),
        }
    }

    pub(super) fn backend(&self, slot: Slot) -> Option<&Backend> {
        self.backends[slot].as_ref()
    }

    /// Every dependency, at each slot that it is asked of.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        dependency::subjects(&self.dependencies, &self.backends)
    }

    pub(super) fn configured(&self) -> Vec<Slot> {
        Slot::ALL.into_iter().filter(|slot| self.backend(*slot).is_some()).collect()
    }
}

/// With more clients than this, no share is empty, and they need not be known by name.
const MEMBERS_MAX: usize = 1_000;

/// The clients that a share consists of; none where the split assigns each request on its own, or each user of a grant: of a
/// grant there are users in every share.
fn members(config: &Config) -> Arc<[Member]> {
    match config.split_key {
        SplitKey::Client
            if config.clients.iter().any(|client| client.is_grant && client.cohort.is_none()) =>
        {
            Arc::default()
        }
        SplitKey::Client if config.clients.len() <= MEMBERS_MAX => {
            let members = config.clients.iter().map(|client| Member {
                name: client.name.clone(),
                key: client.cohort.as_ref().unwrap_or(&client.name).clone(),
            });
            members.collect()
        }
        SplitKey::Client | SplitKey::Request => Arc::default(),
    }
}
