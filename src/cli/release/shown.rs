//! `release list` and `release backups`: what there is, for people and programs.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::operation;
use super::room::{Done, Failure, Room};
use crate::admin::{AdminCommand, AdminResponse};
use crate::cli::exit::Exit;
use crate::cli::guard::Guard;
use crate::cli::output::{complain, say, table};
use crate::release::manifest::ReleaseName;
use crate::release::{backup, journal};
use crate::upstream::{PerSlot, Slot};

pub(super) fn list(room: &Room, guard: &Guard, json: bool) -> Done {
    let store = &room.store;
    let mut current: PerSlot<Option<ReleaseName>> = PerSlot::default();
    for slot in Slot::ALL {
        current[slot] = store.current(slot)?;
    }
    let slots_of = |name: &ReleaseName| -> Vec<&str> {
        Slot::ALL.into_iter().filter(|slot| current[*slot].as_ref() == Some(name)).map(Slot::as_str).collect()
    };
    let back = way_back(room, guard, &current)?;
    let mut rows = Vec::new();
    let mut listed = Vec::new();
    for found in store.list()? {
        let damaged = store.check(&found.name).err().map(|error| mcp_host::diagnostics::chain(&error));
        let slots = slots_of(&found.name);
        let is_back = back.as_ref() == Some(&found.name);
        let age = SystemTime::now().duration_since(found.installed).unwrap_or_default();
        listed.push(json!({
            "name": found.name, "version": found.version, "bytes": found.bytes, "age_seconds": age.as_secs(),
            "slots": slots, "way_back": is_back, "damaged": damaged,
        }));
        rows.push([
            found.name.to_string(),
            found.version.clone(),
            format!("{:.1} MiB", found.bytes as f64 / f64::from(1 << 20)),
            age_of(age),
            slots.join(", "),
            if is_back { "yes".to_owned() } else { String::new() },
            damaged.unwrap_or_else(|| "ok".to_owned()),
        ]);
    }
    let interrupted = journal::read(store.layout())?.map(|recorded| recorded.operation.id);
    if json {
        say(json!({ "releases": listed, "interrupted": interrupted }));
        return Ok(Exit::Done);
    }
    table(["RELEASE", "VERSION", "SIZE", "AGE", "SLOTS", "WAY BACK", "FILES"], &rows);
    if let Some(id) = interrupted {
        complain(format_args!("{id} was interrupted (hint: `mcp-guard release resume` or `undo`)"));
    }
    Ok(Exit::Done)
}

/// The release that `rollback` leads to; none where the guard cannot be asked which slot serves.
fn way_back(
    room: &Room,
    guard: &Guard,
    current: &PerSlot<Option<ReleaseName>>,
) -> Result<Option<ReleaseName>, Failure> {
    let Ok(AdminResponse::Rollout(report)) = guard.ask_quietly(&AdminCommand::Rollout).0 else {
        return Ok(None);
    };
    let idle = report.status.position.stable.other();
    let former = operation::former(room, idle)?;
    Ok(former
        .filter(|release| current[idle].as_ref() == Some(release) || room.store.manifest(release).is_ok()))
}

pub(super) fn backups(room: &Room, json: bool) -> Done {
    let all = backup::list(room.store.layout())?;
    if json {
        let shown: Vec<_> = all
            .iter()
            .map(|found| match found {
                Ok(backup) => json!(backup),
                Err(error) => json!({ "damaged": error.to_string() }),
            })
            .collect();
        say(json!({ "backups": shown }));
        return Ok(Exit::Done);
    }
    let mut rows = Vec::new();
    for found in &all {
        match found {
            Ok(backup) => {
                let releases = backup.releases.iter().map(|(slot, name)| format!("{}={name}", slot.as_str()));
                rows.push([
                    backup.name.clone(),
                    backup.why.clone(),
                    backup.serving.as_str().to_owned(),
                    releases.collect::<Vec<_>>().join(" "),
                    backup.files.len().to_string(),
                ]);
            }
            Err(error) => complain(error),
        }
    }
    table(["BACKUP", "WHY", "SERVING", "RELEASES", "FILES"], &rows);
    Ok(Exit::Done)
}

fn age_of(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
