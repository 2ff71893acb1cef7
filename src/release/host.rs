//! The host that steps are performed on: units of the service manager, files, and a running guard over its admin socket.
//!
//! Must not know what a step does.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use mcp_host::diagnostics::chain;
use mcp_host::systemctl::Unit;
use serde::{Deserialize, Serialize};

use super::files::Lock;
use super::plan::{OperationStep, StepEvent};
use super::store::Store;
use crate::admin::{AdminCommand, AdminResponse, GuardStatus};
use crate::client::{Client, Limits, Session, Target};
use crate::config::release::Release;
use crate::config::{self, Config, Environment, LoadError};
use crate::control::{RolloutCommand, RolloutReport};
use crate::rollout::status::SlotReport;
use crate::upstream::{Address, Backend, Slot};

const LOG_LINES: usize = 20;
/// For a backend to show that it runs: more than a busy one needs.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running guard, as commands reach it.
pub(crate) trait GuardPort {
    /// The response, or why there is none.
    fn ask(&self, command: &AdminCommand) -> Result<AdminResponse, String>;
}

/// What is installed and runs on a host: enough to look at it, not to change it.
pub(crate) struct Installation<'a> {
    pub(crate) store: &'a Store,
    pub(crate) guard: &'a dyn GuardPort,
    pub(crate) settings: &'a Release,
    /// The whole configuration, or what is wrong with it. The quick way back does without.
    pub(crate) config: Result<Config, String>,
    /// The guard's configuration file.
    pub(crate) file: &'a Path,
}

/// Which way requests of a verification take. Times of the two ways say nothing about each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// As clients: through the guard, with the client token.
    Guard,
    /// To the slot's backend itself.
    Slot,
}

impl Way {
    /// In a sentence.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Way::Guard => "through the guard",
            Way::Slot => "to the slot directly",
        }
    }
}

/// Everything that steps need of a host.
pub(crate) struct Host<'a> {
    pub(crate) installation: Installation<'a>,
    pub(crate) lock: &'a Lock,
    /// What must be right before anything is changed, besides what a step looks at itself.
    pub(crate) preflight: Box<dyn Fn() -> Result<Vec<String>, String> + 'a>,
    /// Tells the operator what happened to a step.
    pub(crate) tell: fn(OperationStep, &StepEvent),
}

impl<'a> Deref for Host<'a> {
    type Target = Installation<'a>;

    fn deref(&self) -> &Installation<'a> {
        &self.installation
    }
}

impl Installation<'_> {
    /// The unit of a slot.
    pub(crate) fn unit(&self, slot: Slot) -> Result<Unit, String> {
        self.settings.unit.replace("{slot}", slot.as_str()).parse()
    }

    /// The whole configuration.
    pub(crate) fn config(&self) -> Result<&Config, String> {
        self.config.as_ref().map_err(|problems| format!("the configuration is not valid: {problems}"))
    }

    /// The backend of a slot, as the guard reaches it.
    pub(crate) fn backend(&self, slot: Slot) -> Result<&Backend, String> {
        let missing = || format!("slot {} is not configured (slots.{0} in guard.toml)", slot.as_str());
        self.config()?.backend(slot).ok_or_else(missing)
    }

    /// A client of a slot's backend.
    pub(crate) fn client(&self, slot: Slot, total: Duration) -> Result<Client, String> {
        let target = Target::of_backend(self.backend(slot)?);
        Ok(Client::new(target, limits(total)).with_secrets(&self.config()?.secrets))
    }

    /// How often systemd has restarted each unit that it knows: the guard's and those of the slots.
    pub(crate) fn restarts(&self, guard_pid: u32) -> BTreeMap<String, u32> {
        let slots = Slot::ALL.into_iter().filter_map(|slot| self.unit(slot).ok());
        let units = slots.chain(Unit::of_process(guard_pid));
        let count = |unit: Unit| Some((unit.to_string(), unit.property("NRestarts").ok()?.parse().ok()?));
        units.filter_map(count).collect()
    }

    /// A client of the service as clients reach it; of the stable slot's backend where no client token is known.
    pub(crate) fn service_client(&self, stable: Slot, total: Duration) -> Result<(Client, Way), String> {
        let config = self.config()?;
        let Some(token) = config::client_token(self.file, &Environment::of_process()) else {
            return Ok((self.client(stable, total)?, Way::Slot));
        };
        let path = config.paths.prefixes.first().map_or("/", |prefix| prefix.as_str());
        let listen = &config.listen;
        let target =
            Target::of_listener(&listen.address, listen.tls.as_ref(), path)?.with_bearer(Some(token));
        Ok((Client::new(target, limits(total)).with_secrets(&config.secrets), Way::Guard))
    }

    /// A client of an address of the guard's that needs no token.
    pub(crate) fn open_client(&self, address: &Address, total: Duration) -> Result<Client, String> {
        let config = self.config()?;
        // Metrics are in clear.
        let tls = config.listen.tls.as_ref().filter(|_| *address == config.listen.address);
        let target = Target::of_listener(address, tls, "/")?;
        Ok(Client::new(target, limits(total)).with_secrets(&config.secrets))
    }

    /// The running guard.
    pub(crate) fn status(&self) -> Result<GuardStatus, String> {
        let response = self.guard.ask(&AdminCommand::Status)?;
        if let AdminResponse::Status(status) = response { Ok(*status) } else { Err(unexpected(&response)) }
    }

    /// Whether a slot's backend responds now. Where the configuration cannot be read it counts as one that does: the way back
    /// works with a half-edited file, and the guard's own probe is known.
    pub(crate) fn responds(&self, slot: Slot) -> bool {
        let Ok(client) = self.client(slot, RESPONSE_TIMEOUT) else { return true };
        let asked = block_on(async {
            let session = Session::open(&client).await.ok()?;
            session.close().await;
            Some(())
        });
        matches!(asked, Ok(Some(())))
    }

    /// The rollout and both slots.
    pub(crate) fn report(&self) -> Result<RolloutReport, String> {
        let response = self.guard.ask(&AdminCommand::Rollout)?;
        if let AdminResponse::Rollout(report) = response { Ok(*report) } else { Err(unexpected(&response)) }
    }

    /// One slot, as the guard sees it.
    pub(super) fn slot_report(&self, slot: Slot) -> Result<SlotReport, String> {
        let report = self.report()?;
        let found = report.status.slots.into_iter().find(|found| found.slot == slot);
        found.ok_or_else(|| format!("the guard does not know slot {}", slot.as_str()))
    }

    /// Calls that a slot has not finished.
    pub(super) fn calls_in_flight(&self, slot: Slot) -> Result<usize, String> {
        let status = self.status()?;
        let found = status.slots.iter().find(|found| found.slot == slot);
        Ok(found.map_or(0, |found| found.in_flight))
    }

    /// Runs a command of the rollout in the guard.
    pub(crate) fn order(&self, command: RolloutCommand) -> Result<Vec<String>, String> {
        let response = self.guard.ask(&AdminCommand::Control(command))?;
        let AdminResponse::Done(done) = response else { return Err(unexpected(&response)) };
        let mut notes = vec![done.transition.to_string()];
        notes.extend(done.notes);
        Ok(notes)
    }
}

fn limits(total: Duration) -> Limits {
    Limits { connect: total.min(Duration::from_secs(1)), total, ..Limits::default() }
}

/// Reads a configuration file; the problems otherwise.
pub(crate) fn load_config(file: &Path) -> Result<Config, String> {
    config::load(file, &Environment::of_process()).map(|loaded| loaded.config).map_err(|error| match error {
        LoadError::Unreadable(error) => chain(&error),
        LoadError::Invalid(found) => {
            found.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
    })
}

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| format!("cannot start a runtime: {error}"))?.block_on(future))
}

/// A reason, with the last lines of a unit's journal.
pub(super) fn with_log(unit: &Unit, why: String) -> String {
    match unit.journal(LOG_LINES) {
        Ok(log) if !log.is_empty() => format!("{why}\nlast lines of {unit}:\n{log}"),
        Ok(_) | Err(_) => why,
    }
}

/// What the guard said where it did not do what was asked.
pub(crate) fn unexpected(response: &AdminResponse) -> String {
    if let AdminResponse::Rejected(why) = response {
        return why.clone();
    }
    "the guard sent a response that does not fit the command (is it another version?)".to_owned()
}
