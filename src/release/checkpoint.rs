//! The checkpoint before a standard rollback: what an incident's analysis needs, before anything is changed.
//!
//! A part that cannot be had is told and left out: the way back does not wait for it. Must not know how the rollback goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_host::diagnostics::chain;
use mcp_host::systemctl::Unit;

use super::figures::Figures;
use super::files::{self, FileError, failed, make_folder, remove_tree};
use super::host::{Host, Installation, unexpected};
use super::plan::Operation;
use super::verify;
use crate::admin::{AdminCommand, AdminResponse};
use crate::config;
use crate::upstream::Slot;

/// Lines of each unit's journal.
const LOG_LINES: usize = 1_000;
/// The way back waits for the measurement.
const LOAD_TIME_MAX: Duration = Duration::from_secs(3);
const WATCHDOG: &str = "mcp-watchdog.service";
/// The guard's unit, where it does not say in which it runs.
const GUARD: &str = "mcp-guard.service";
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
const INCOMING: &str = ".incoming";

/// Writes the checkpoint directory. A whole one of this operation is kept: it is from before an interruption.
pub(super) fn take(host: &Host<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    let folder = host.store.layout().checkpoints();
    let place = folder.join(&operation.id);
    if fs::symlink_metadata(&place).is_ok() {
        return Ok(vec![format!("checkpoint {}", place.display())]);
    }
    let mut missing = Vec::new();
    write(host, &folder, &place, &mut missing).map_err(|error| chain(&error))?;
    let mut notes = vec![format!("checkpoint {}", place.display())];
    notes.extend(missing.into_iter().map(|why| format!("not in the checkpoint: {why}")));
    let forgotten = forget(&folder, host.settings.backups).map_err(|error| chain(&error))?;
    notes
        .extend(forgotten.iter().map(|name| format!("checkpoint {name} is removed: beyond release.backups")));
    Ok(notes)
}

fn write(host: &Host<'_>, folder: &Path, place: &Path, missing: &mut Vec<String>) -> Result<(), FileError> {
    make_folder(folder, 0o700)?;
    let incoming = folder.join(INCOMING);
    remove_tree(&incoming)?;
    make_folder(&incoming, 0o700)?;
    for (name, part) in parts(host) {
        match part {
            Ok(text) => files::replace(&incoming.join(name), text.as_bytes(), 0o600)?,
            Err(why) => missing.push(format!("{name}: {why}")),
        }
    }
    let configuration = incoming.join("configuration");
    make_folder(&configuration, 0o700)?;
    for (number, path) in config::files_of(host.file).into_iter().enumerate() {
        match fs::read(&path) {
            Ok(content) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                files::replace(&configuration.join(format!("{number:02}-{name}")), &content, 0o600)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => missing.push(format!("{}: {error}", path.display())),
        }
    }
    fs::rename(&incoming, place).map_err(failed("keep", place))?;
    files::sync_folder_of(place)
}

/// The files of a checkpoint by name, or why one is not to be had.
fn parts(installation: &Installation<'_>) -> Vec<(String, Result<String, String>)> {
    let status = installation.status();
    let guard = status.as_ref().ok().and_then(|status| Unit::of_process(status.pid)).map(Ok);
    let units = [guard.unwrap_or_else(|| GUARD.parse()), WATCHDOG.parse()];
    let slots = Slot::ALL.into_iter().map(|slot| installation.unit(slot));
    let mut parts: Vec<_> = units
        .into_iter()
        .chain(slots)
        .flatten()
        .map(|unit| (format!("journal-{unit}.log"), unit.journal(LOG_LINES)))
        .collect();
    let metrics = status.as_ref().map_err(Clone::clone).and_then(|status| {
        let address = status.metrics.as_ref().ok_or("listen.metrics is not set")?;
        verify::scrape(installation, address, SCRAPE_TIMEOUT)
    });
    parts.push(("metrics.txt".to_owned(), metrics));
    parts.push(("status.json".to_owned(), status.and_then(|status| json(&status))));
    parts.push(("rollout.json".to_owned(), installation.report().and_then(|report| json(&report))));
    parts.push(("history.json".to_owned(), history(installation)));
    let figures = Figures::measure_within(installation, LOAD_TIME_MAX).map_err(|error| error.to_string());
    parts.push(("figures.json".to_owned(), figures.and_then(|figures| json(&figures))));
    parts
}

fn history(installation: &Installation<'_>) -> Result<String, String> {
    let response = installation.guard.ask(&AdminCommand::History)?;
    if let AdminResponse::History(history) = &response { json(history) } else { Err(unexpected(&response)) }
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|error| error.to_string())
}

/// Removes the oldest checkpoints beyond `keep`. Returns their names.
fn forget(folder: &Path, keep: usize) -> Result<Vec<String>, FileError> {
    let entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    // Names begin with the time.
    names.sort_unstable_by(|one, other| other.cmp(one));
    let forgotten = names.split_off(names.len().min(keep));
    let gone: Vec<PathBuf> = forgotten.iter().map(|name| folder.join(name)).collect();
    gone.iter().try_for_each(|path| remove_tree(path))?;
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_checkpoints_go_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["3", "1", ".incoming", "2"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(forget(folder.path(), 2).unwrap(), ["1"]);
        assert!(forget(folder.path(), 2).unwrap().is_empty());
        assert!(folder.path().join(".incoming").exists());
    }
}
