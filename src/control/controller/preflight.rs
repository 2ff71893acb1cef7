//! The preflight of a command that sends more traffic to a slot: a fresh probe of the slot, then the comparison with
//! stable where the parity gate needs it.

use std::time::Duration;

use crate::control::commands::PendingCommand;
use crate::control::parity_check::{self, Comparison};
use crate::control::probe::Prober;
use crate::parity::accept::Acceptance;
use crate::rollout::state::ServerSurface;
use crate::upstream::{Backend, Secrets, Slot};

/// What a preflight needs, apart from the controller.
pub(super) struct Preflight {
    pub(super) slot: Slot,
    pub(super) target: Backend,
    /// The backend to compare with, where the parity gate is closed.
    pub(super) stable: Option<Backend>,
    pub(super) timeout: Duration,
    pub(super) secrets: Secrets,
    pub(super) accepted: Vec<Acceptance>,
}

/// A preflight that has ended: the reason why the slot is not healthy, which `--force` does not override; or the findings.
pub(super) struct PreflightResult {
    pub(super) slot: Slot,
    pub(super) pending: PendingCommand,
    pub(super) found: Result<Findings, String>,
}

/// What a preflight has found on a healthy slot.
pub(super) struct Findings {
    pub(super) surface: ServerSurface,
    /// The names of its tools.
    pub(super) names: Vec<String>,
    pub(super) comparison: Option<Comparison>,
}

impl Preflight {
    pub(super) async fn run(self, pending: PendingCommand) -> PreflightResult {
        PreflightResult { slot: self.slot, pending, found: self.check().await }
    }

    async fn check(self) -> Result<Findings, String> {
        let Preflight { slot, target, stable, timeout, secrets, accepted } = self;
        let mut prober = Prober::new(&target, timeout, &secrets);
        let (found, sessions) = prober.probe().await;
        let names = sessions.names().unwrap_or_default();
        sessions.close().await;
        let surface = found.map_err(|why| format!("{} is not healthy: {why}", slot.as_str()))?;
        let comparison = match stable {
            Some(stable) => Some(parity_check::compare(&stable, &target, &secrets, accepted).await),
            None => None,
        };
        Ok(Findings { surface, names, comparison })
    }
}
