//! The steps of an operation on a real host.
//!
//! Each step looks at what is there before it acts, so that a second time does nothing or the same. Must not know the order of
//! steps.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mcp_host::diagnostics::chain;
use mcp_host::systemctl::Unit;

use super::backup::{self, Contents};
use super::calls::{self, Moment};
use super::host::{Host, block_on, load_config, unexpected, with_log};
use super::manifest::{ReleaseName, SLOT_SETTINGS};
use super::operate::Site;
use super::plan::{Kind, Operation, OperationStep, StepEvent, Strategy};
use super::{checkpoint, drill, figures, journal, self_check, verify};
use crate::admin::{AdminCommand, AdminResponse};
use crate::client::Session;
use crate::config;
use crate::control::{RolloutCommand, parity_check};
use crate::rollout::transition::TransitionKind;
use crate::rollout::{Compared, Transition};
use crate::upstream::Slot;

/// For a unit to stop: longer than the units' own time.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);
/// For calls in flight on a slot that no longer serves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// A unit that was restarted so often since its start will not become ready.
const RESTARTS_MAX: u32 = 3;
/// Free bytes that an operation needs for its backup, journal and record.
const FREE_BYTES_MIN: u64 = 64 << 20;

impl Site for Host<'_> {
    fn perform(&mut self, step: OperationStep, operation: &Operation) -> Result<Vec<String>, String> {
        match step {
            OperationStep::Preflight if operation.kind == Kind::Drill => drill::preflight(self, operation),
            OperationStep::Preflight => self.preflight(operation),
            OperationStep::Figures => figures::before(self, operation),
            OperationStep::Checkpoint => checkpoint::take(self, operation),
            OperationStep::Backup => match self.backup(operation) {
                // Going back at once matters more: a full disk must not keep traffic on a failed release.
                Err(why) if operation.kind == Kind::SwitchBack => Ok(vec![format!("no backup: {why}")]),
                taken => taken,
            },
            OperationStep::RestoreFiles => self.restore_files(operation.backup.as_deref()),
            OperationStep::StopUnit => self.stop_unit(operation),
            OperationStep::Assign => self.assign(operation.slot, operation.release.as_ref()),
            OperationStep::ReloadGuard => self.reload_guard(),
            OperationStep::StartUnit => self.start_release(operation),
            OperationStep::Ready => self.wait_ready(operation),
            OperationStep::Parity => self.parity(operation),
            OperationStep::Verify if operation.kind == Kind::Drill => drill::verify(self, operation),
            OperationStep::Verify => verify::slot(self, operation),
            OperationStep::Traffic => {
                if operation.kind != Kind::SwitchBack {
                    calls::note(self, operation, Moment::Traffic);
                }
                let started = Instant::now();
                let mut notes = self.move_traffic(operation)?;
                notes.push(format!(
                    "ordered and in force in {:.1} ms",
                    started.elapsed().as_secs_f64() * 1_000.0
                ));
                Ok(notes)
            }
            OperationStep::VerifyService => verify::service(self, operation),
            OperationStep::Fail => drill::fail(self, operation),
            OperationStep::Recover => drill::recover(self, operation),
        }
    }

    fn undo(&mut self, step: OperationStep, operation: &Operation) -> Result<Vec<String>, String> {
        match step {
            OperationStep::Traffic => self.move_traffic_back(operation),
            OperationStep::StartUnit => self.stop_release(operation),
            OperationStep::Assign => {
                let mut notes = self.assign(operation.slot, operation.former.as_ref())?;
                notes.extend(self.reload_guard()?);
                Ok(notes)
            }
            OperationStep::StopUnit if operation.was_active => Ok(self.start_former(operation.slot)),
            OperationStep::RestoreFiles => self.put_files_back(operation),
            OperationStep::Fail => drill::recover(self, operation),
            OperationStep::StopUnit
            | OperationStep::ReloadGuard
            | OperationStep::Preflight
            | OperationStep::Figures
            | OperationStep::Checkpoint
            | OperationStep::Backup
            | OperationStep::Ready
            | OperationStep::Parity
            | OperationStep::Verify
            | OperationStep::VerifyService
            | OperationStep::Recover => Ok(Vec::new()),
        }
    }

    fn tell(&mut self, step: OperationStep, event: &StepEvent) {
        (self.tell)(step, event);
    }
}

impl Host<'_> {
    fn preflight(&mut self, operation: &Operation) -> Result<Vec<String>, String> {
        let mut notes = (self.preflight)()?;
        self.backend(operation.slot)?;
        let unit = self.unit(operation.slot)?;
        if unit.property("LoadState")? != "loaded" {
            return Err(format!(
                "there is no unit {unit} (hint: release.unit in guard.toml, `systemctl daemon-reload`)"
            ));
        }
        let status = self.report()?.status;
        if let Some(run) = &status.run {
            let hint = "`mcp-guard rollout status`; finish it or roll it back first";
            return Err(format!("rollout {} is under way ({hint})", run.id));
        }
        if status.position.stable == operation.slot {
            return Err(format!("slot {} serves; only the other one is changed", operation.slot.as_str()));
        }
        let root = self.store.layout().root();
        let space = rustix::fs::statvfs(root).map_err(|error| format!("{}: {error}", root.display()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < FREE_BYTES_MIN {
            return Err(format!(
                "{} has {} MiB free; {} are needed",
                root.display(),
                free >> 20,
                FREE_BYTES_MIN >> 20
            ));
        }
        if let Some(name) = &operation.release {
            let manifest =
                self.store.check(name).map_err(|error| format!("release {name}: {}", chain(&error)))?;
            notes.push(format!("release {name}: every file has its checksum"));
            let folder = self.store.layout().release(name);
            config::check_slot_settings(&folder.join(SLOT_SETTINGS))?;
            notes.extend(self_check::run(&folder, &manifest, operation.slot, &unit)?);
        }
        Ok(notes)
    }

    fn backup(&mut self, operation: &Operation) -> Result<Vec<String>, String> {
        let mut releases = BTreeMap::new();
        for slot in Slot::ALL {
            if let Some(name) = self.store.current(slot).map_err(|error| chain(&error))? {
                releases.insert(slot, name);
            }
        }
        // A half-done operation has its backup from before.
        if let Some(former) = &operation.former {
            releases.insert(operation.slot, former.clone());
        }
        let contents = Contents {
            why: format!("before {}", operation.id),
            serving: operation.serving,
            releases,
            configuration: config::files_of(self.file),
            state: self
                .config
                .as_ref()
                .ok()
                .and_then(|config| config.listen.state.as_ref())
                .map(|folder| folder.join("rollout.state")),
        };
        let layout = self.store.layout();
        let backup = backup::take(layout, &operation.id, journal::now(), contents, self.lock)
            .map_err(|error| chain(&error))?;
        Ok(vec![format!("backup {} with {} files", backup.name, backup.files.len())])
    }

    fn restore_files(&mut self, backup: Option<&str>) -> Result<Vec<String>, String> {
        let name = backup.ok_or("no backup is named")?;
        let layout = self.store.layout();
        let backup = backup::read(layout, name).map_err(|error| chain(&error))?;
        let changed = backup::restore_files(layout, &backup).map_err(|error| chain(&error))?;
        Ok(changed.iter().map(|path| format!("{} is as in backup {name}", path.display())).collect())
    }

    /// The configuration as it was before the operation.
    fn put_files_back(&mut self, operation: &Operation) -> Result<Vec<String>, String> {
        let mut notes = self.restore_files(Some(&operation.id))?;
        let backup = backup::read(self.store.layout(), &operation.id).map_err(|error| chain(&error))?;
        let removed = backup::remove_absent(&backup).map_err(|error| chain(&error))?;
        notes.extend(removed.iter().map(|path| format!("{} is removed: it was not there", path.display())));
        notes.extend(self.reload_guard()?);
        Ok(notes)
    }

    /// An operator may have switched since the operation began: the slot that serves is never stopped or changed.
    fn refuse_if_serving(&self, slot: Slot) -> Result<(), String> {
        let status = self.report()?.status;
        let slot = slot.as_str();
        let healthy = |name: &str| {
            status.slots.iter().any(|found| found.slot.as_str() == name && found.health == "healthy")
        };
        let stable = status.position.stable.as_str();
        if stable != slot && !healthy(stable) && healthy(slot) {
            return Err(format!(
                "slot {slot} may take the calls, because {stable} is not healthy \
                 (hint: `mcp-guard slots switch {slot}`, then repair {stable})"
            ));
        }
        if stable == slot {
            return Err(format!(
                "slot {slot} serves now (hint: `mcp-guard slots switch` to the other one first)"
            ));
        }
        match status.run {
            Some(run) => {
                Err(format!("rollout {} is under way (hint: `mcp-guard rollout rollback` first)", run.id))
            }
            None => Ok(()),
        }
    }

    fn stop_unit(&mut self, operation: &Operation) -> Result<Vec<String>, String> {
        let slot = operation.slot;
        self.refuse_if_serving(slot)?;
        // Calls that a switch left on this slot are not cut.
        match self.drain(slot)? {
            0 => self.unit(slot)?.stop(STOP_TIMEOUT).map(|()| Vec::new()),
            calls => {
                Err(format!("slot {} still has {calls} calls in flight; they are not cut", slot.as_str()))
            }
        }
    }

    /// Waits for a slot's calls to end: how many are left after the time for it.
    fn drain(&self, slot: Slot) -> Result<usize, String> {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        loop {
            let calls = self.calls_in_flight(slot)?;
            if calls == 0 || Instant::now() >= deadline {
                return Ok(calls);
            }
            sleep(POLL);
        }
    }

    fn assign(&mut self, slot: Slot, release: Option<&ReleaseName>) -> Result<Vec<String>, String> {
        self.refuse_if_serving(slot)?;
        self.store.assign(slot, release, self.lock).map_err(|error| chain(&error))?;
        let what = release.map_or_else(|| "no release".to_owned(), |name| format!("release {name}"));
        Ok(vec![format!("slot {} has {what}", slot.as_str())])
    }

    fn reload_guard(&mut self) -> Result<Vec<String>, String> {
        // What the slot runs now may be reached in another way than what it ran before.
        self.installation.config = load_config(self.file);
        let response = self.guard.ask(&AdminCommand::Reload)?;
        if let AdminResponse::NotReloaded(problems) = &response {
            return Err(format!("the guard refuses its configuration: {}", problems.join("; ")));
        }
        if let AdminResponse::Reloaded(reloaded) = response {
            Ok(reloaded.warnings)
        } else {
            Err(unexpected(&response))
        }
    }

    fn start_unit(&self, slot: Slot) -> Result<Vec<String>, String> {
        let unit = self.unit(slot)?;
        // A socket unit may have started what the slot ran before.
        let started = unit.restart(self.settings.ready_timeout);
        started.map(|()| Vec::new()).map_err(|why| with_log(&unit, why))
    }

    /// The slot's unit, started and enabled like that of the serving slot.
    fn start_release(&self, operation: &Operation) -> Result<Vec<String>, String> {
        let unit = self.unit(operation.slot)?;
        let mut notes = self.start_unit(operation.slot)?;
        if operation.enables_unit {
            unit.enable()?;
            notes.push(format!("{unit} is enabled: it starts at boot"));
        }
        Ok(notes)
    }

    /// The release that the slot had, started again. One that did not start before does not start now, and that must not
    /// keep the slot from another release for ever.
    fn start_former(&self, slot: Slot) -> Vec<String> {
        let failed = |why| {
            vec![format!("slot {} has its release as before, which does not start: {why}", slot.as_str())]
        };
        self.start_unit(slot).unwrap_or_else(failed)
    }

    /// The opposite of `start_release`. Calls that the slot got meanwhile have time to end, but do not keep a failed release running.
    fn stop_release(&mut self, operation: &Operation) -> Result<Vec<String>, String> {
        self.refuse_if_serving(operation.slot)?;
        let unit = self.unit(operation.slot)?;
        if operation.enables_unit {
            unit.disable()?;
        }
        let _left = self.drain(operation.slot);
        unit.stop(STOP_TIMEOUT).map(|()| Vec::new())
    }

    fn wait_ready(&mut self, operation: &Operation) -> Result<Vec<String>, String> {
        let (slot, started) = (operation.slot, Instant::now());
        let deadline = started + self.settings.ready_timeout;
        let unit = self.unit(slot)?;
        let restarts =
            |unit: &Unit| unit.property("NRestarts").ok().and_then(|count| count.parse::<u32>().ok());
        let before = restarts(&unit).unwrap_or(0);
        loop {
            let why = match self.readiness(slot)? {
                Ok(tools) => {
                    let seconds = started.elapsed().as_secs_f64();
                    return Ok(vec![format!(
                        "slot {} is healthy after {seconds:.1} s, {tools} tools",
                        slot.as_str()
                    )]);
                }
                Err(why) => why,
            };
            let restarted = restarts(&unit).unwrap_or(0).saturating_sub(before);
            if restarted >= RESTARTS_MAX {
                return Err(with_log(&unit, format!("{unit} was restarted {restarted} times: {why}")));
            }
            if Instant::now() >= deadline {
                let seconds = self.settings.ready_timeout.as_secs();
                return Err(with_log(&unit, format!("not ready within {seconds} s: {why}")));
            }
            sleep(POLL);
        }
    }

    /// The number of tools of a slot that can serve, or what is missing. The backend is asked itself, because the guard's
    /// latest probe may be of the process before.
    fn readiness(&self, slot: Slot) -> Result<Result<usize, String>, String> {
        let client = self.client(slot, Duration::from_secs(5))?;
        let listed = block_on(async {
            let session = Session::open(&client).await.map_err(|error| chain(&error))?;
            let listed = session.list_tools().await.map_err(|error| chain(&error));
            session.close().await;
            Ok(listed?.0.len())
        })?;
        let tools = match listed {
            Ok(tools) => tools,
            Err(why) => return Ok(Err(why)),
        };
        let found = self.slot_report(slot)?;
        if found.health == "healthy" {
            return Ok(Ok(tools));
        }
        let why = found.why.map_or(String::new(), |why| format!(": {why}"));
        Ok(Err(format!("the guard finds slot {} {}{why}", slot.as_str(), found.health)))
    }

    fn parity(&mut self, operation: &Operation) -> Result<Vec<String>, String> {
        let (stable, candidate) = (self.backend(operation.serving)?, self.backend(operation.slot)?);
        let compared =
            block_on(parity_check::compare(stable, candidate, &self.config()?.secrets, Vec::new()))?;
        let text = parity_check::describe(&compared.compared, &compared.notes);
        match &compared.compared {
            Compared::Holds => Ok(compared.notes),
            Compared::Breaks(_) | Compared::Unknown(_) if operation.force => {
                Ok(vec![format!("parity does not hold, and --force goes on: {text}")])
            }
            Compared::Breaks(_) | Compared::Unknown(_) => {
                Err(format!("{text}\n(hint: `mcp-guard parity` shows all; --force goes on all the same)"))
            }
        }
    }

    fn move_traffic(&mut self, operation: &Operation) -> Result<Vec<String>, String> {
        let status = self.report()?.status;
        match operation.strategy {
            _ if status.position.stable == operation.slot => Ok(vec!["traffic is there already".to_owned()]),
            Strategy::Rollout if status.run.is_some() => Ok(vec!["the rollout is under way".to_owned()]),
            // Killed after the start, and ended since: it is not begun a second time.
            Strategy::Rollout if self.rolled_back_since(operation)? => {
                Err("the rollout was rolled back (hint: `mcp-guard rollout history`)".to_owned())
            }
            Strategy::Rollout => {
                self.wait_ready_again(operation)?;
                self.order(RolloutCommand::Start { force: operation.force, accept: Vec::new() })
            }
            Strategy::Switch => {
                self.wait_ready_again(operation)?;
                // On the way back a slot may lack what the failed one had.
                let force = operation.force || operation.kind != Kind::Deploy;
                self.order(RolloutCommand::Switch { to: operation.slot, force })
            }
        }
    }

    /// A probe that failed since, beside the load of the verification, ends no operation: the next one is waited for.
    fn wait_ready_again(&mut self, operation: &Operation) -> Result<(), String> {
        if operation.steps.contains(&OperationStep::Ready) {
            self.wait_ready(operation)?;
        }
        Ok(())
    }

    fn rolled_back_since(&self, operation: &Operation) -> Result<bool, String> {
        let response = self.guard.ask(&AdminCommand::History)?;
        let AdminResponse::History(history) = &response else { return Err(unexpected(&response)) };
        let since = |transition: &&Transition| transition.at.millis() >= operation.began_millis;
        let newest = history
            .iter()
            .rev()
            .filter(since)
            .find(|transition| transition.kind == TransitionKind::RolledBack);
        Ok(newest.is_some())
    }

    fn move_traffic_back(&mut self, operation: &Operation) -> Result<Vec<String>, String> {
        let status = self.report()?.status;
        if status.run.is_some() {
            return self.order(RolloutCommand::Rollback { to: None });
        }
        if status.position.stable == operation.serving {
            return Ok(Vec::new());
        }
        self.order(RolloutCommand::Switch { to: operation.serving, force: true })
    }
}
