//! The record of a rollout that was rolled back or has completed, made of its transitions and kept beside the state.
//!
//! Must not know how a rollout is decided.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use crate::incident::{self, Figures, Incident, Line, Modes};
use crate::rollout::Timestamp;
use crate::rollout::observations::Summary;
use crate::rollout::transition::{Cause, Transition, TransitionKind};
use crate::upstream::Slot;

/// Records that are kept; the oldest goes first.
const RECORDS_MAX: usize = 500;
/// From the transition to the last picture of it.
const AFTERMATH: Duration = Duration::from_secs(15);
/// The folder of the state is the guard's own.
const MODES: Modes = Modes { folder: 0o700, file: 0o600 };

/// The id of the record that this transition leads to, if it leads to one.
pub(crate) fn id_of(transition: &Transition) -> Option<String> {
    let what = match transition.kind {
        TransitionKind::RolledBack => "rollback",
        TransitionKind::Completed => "completion",
        TransitionKind::Started
        | TransitionKind::Advanced
        | TransitionKind::Promoted
        | TransitionKind::Paused
        | TransitionKind::Resumed
        | TransitionKind::Switched
        | TransitionKind::Retired
        | TransitionKind::Noted => return None,
    };
    Some(incident::id(time(transition.at), &format!("rollout-{what}-{}", transition.seq)))
}

/// The record of the last transition, if it leads to one, and of which these receivers were notified.
pub(super) fn of_last(history: &[Transition], notified: Vec<String>) -> Option<Incident> {
    let last = history.last()?;
    let id = id_of(last)?;
    let run: Vec<&Transition> =
        history.iter().filter(|transition| transition.rollout == last.rollout).collect();
    let (who, cause) = match &last.cause {
        Cause::Operator { who } => (who.clone(), None),
        by_itself @ (Cause::Analysis { .. } | Cause::Trigger { .. } | Cause::Parity { .. }) => {
            ("mcp-guard".to_owned(), Some(by_itself.to_string()))
        }
    };
    Some(Incident {
        id,
        kind: "rollout".to_owned(),
        outcome: last.kind.as_str().to_owned(),
        cause,
        who,
        reason: last.rollout.as_ref().map(|rollout| format!("rollout {rollout}")),
        began: text(run.first().map_or(last.at, |first| first.at)),
        ended: text(last.at),
        slot: last.slot.map(|slot| slot.as_str().to_owned()),
        served_before: Some(last.from.stable.as_str().to_owned()),
        release: None,
        former_release: None,
        strategy: None,
        timeline: run.iter().map(|transition| line_of(transition)).collect(),
        figures: run.iter().flat_map(|transition| figures_of(transition)).collect(),
        notified,
        picture: None,
        logs: Vec::new(),
    })
}

/// Draws the rollout that the last of these transitions belongs to, as SVG; none where nothing was counted.
pub(crate) type Draw = dyn Fn(&[Transition]) -> Option<String> + Send + Sync;

/// What makes the pictures of records. Both return at once.
#[derive(Clone)]
pub(crate) struct Pictures {
    /// Takes whether a rollout is under way.
    pub(crate) follow: Arc<dyn Fn(bool) + Send + Sync>,
    pub(crate) draw: Arc<Draw>,
}

impl Pictures {
    /// No pictures.
    #[cfg(any(test, not(feature = "console")))]
    pub(crate) fn none() -> Pictures {
        Pictures { follow: Arc::new(|_| {}), draw: Arc::new(|_| None) }
    }
}

/// Writes the record of the last transition, unless it is there, and forgets the oldest beyond the bound. First the record, then its
/// picture, then the record with the link to it: what is interrupted leaves neither a link to nothing nor a picture without a record
/// that could be pruned. The picture is drawn again a while after, because it also shows whether the transition has helped.
pub(super) async fn write_last(
    folder: PathBuf,
    history: Vec<Transition>,
    notified: Vec<String>,
    pictures: Pictures,
) {
    let Some(mut record) = of_last(&history, notified) else { return };
    let history = Arc::new(history);
    let (folder, id) = (folder_in(&folder), record.id.clone());
    let first = {
        let (folder, history, pictures) = (folder.clone(), history.clone(), pictures.clone());
        move || {
            if folder.join(format!("{}.json", record.id)).exists() {
                return Picture::None;
            }
            if write(&folder, &record) == Written::No {
                return Picture::None;
            }
            let picture = draw_into(&folder, &record.id, &history, &pictures);
            if picture == Picture::Drawn {
                record.picture = Some(picture_of(&record.id));
                write(&folder, &record);
            }
            log::info!("rollout: record {} (`mcp-guard incident show {0}`)", record.id);
            prune(&folder, RECORDS_MAX);
            picture
        }
    };
    if tokio::task::spawn_blocking(first).await.is_ok_and(|picture| picture == Picture::Drawn) {
        tokio::time::sleep(AFTERMATH).await;
        // What could not be drawn again stays as it was.
        let again = move || redraw(&folder, &id, &history, &pictures);
        let _ = tokio::task::spawn_blocking(again).await;
    }
}

/// Whether a record has a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Picture {
    Drawn,
    None,
}

fn draw_into(folder: &Path, id: &str, history: &[Transition], pictures: &Pictures) -> Picture {
    let Some(svg) = (pictures.draw)(history) else { return Picture::None };
    match incident::write_beside(folder, &picture_of(id), svg.as_bytes(), MODES) {
        Ok(()) => Picture::Drawn,
        Err(error) => {
            log::error!("rollout: no picture of record {id}: {}", mcp_host::diagnostics::chain(&error));
            Picture::None
        }
    }
}

fn picture_of(id: &str) -> String {
    format!("{id}.svg")
}

/// Draws the picture once more, unless the record has gone meanwhile.
fn redraw(folder: &Path, id: &str, history: &[Transition], pictures: &Pictures) -> Picture {
    match folder.join(format!("{id}.json")).exists() {
        true => draw_into(folder, id, history, pictures),
        false => Picture::None,
    }
}

/// Whether a record is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Yes,
    No,
}

fn write(folder: &Path, record: &Incident) -> Written {
    match record.write(folder, MODES) {
        Ok(()) => Written::Yes,
        Err(error) => {
            log::error!("rollout: no record {}: {}", record.id, mcp_host::diagnostics::chain(&error));
            Written::No
        }
    }
}

/// Forgets the oldest records beyond this number.
fn prune(folder: &Path, max: usize) {
    for old in incident::ids(folder).unwrap_or_default().iter().skip(max) {
        // The `json` last, by which a record is found: what could not be removed is tried again at the next record.
        for ending in ["svg", "md", "json"] {
            let removed = fs::remove_file(folder.join(format!("{old}.{ending}")));
            if removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                break;
            }
        }
    }
}

/// Where the records are in the folder of the state.
pub(crate) fn folder_in(state: &Path) -> PathBuf {
    state.join("incidents")
}

fn line_of(transition: &Transition) -> Line {
    Line { at: text(transition.at), what: transition.to_string(), notes: Vec::new() }
}

/// What both slots showed in the step that the transition ended.
fn figures_of(transition: &Transition) -> Vec<Figures> {
    let Some(numbers) = transition.numbers else { return Vec::new() };
    let stable = transition.from.stable;
    let row = |role: &str, slot: Slot, of: Summary| Figures {
        of: format!("{role} ({}), {} until it {}", slot.as_str(), transition.from, transition.kind.as_str()),
        requests: of.requests,
        failures: of.failures,
        tool_errors: of.tool_errors,
        error_rate: of.error_rate,
        p50_ms: of.p50_ms,
        p95_ms: of.p95_ms,
    };
    vec![row("stable", stable, numbers.stable), row("candidate", stable.other(), numbers.candidate)]
}

fn time(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(i64::try_from(at.millis()).unwrap_or(i64::MAX)).unwrap_or_default()
}

fn text(at: Timestamp) -> String {
    incident::moment(time(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures() -> Pictures {
        Pictures { follow: Arc::new(|_| {}), draw: Arc::new(|_| Some("<svg/>".to_owned())) }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_pruned_record_leaves_nothing_and_is_not_drawn_again() {
        let folder = tempfile::tempdir().unwrap();
        let ids = ["2026-01-01T00-00-00Z-rollout-rollback-1", "2026-01-02T00-00-00Z-rollout-rollback-2"];
        for id in ids {
            for ending in ["json", "md", "svg"] {
                fs::write(folder.path().join(format!("{id}.{ending}")), "{}").unwrap();
            }
        }
        assert_eq!(incident::ids(folder.path()).unwrap().len(), 2);
        prune(folder.path(), 1);
        let kept = names(folder.path());
        assert!(kept.len() == 3 && kept.iter().all(|name| name.starts_with(ids[1])), "{kept:?}");
        assert_eq!(redraw(folder.path(), ids[0], &[], &pictures()), Picture::None);
        assert_eq!(redraw(folder.path(), ids[1], &[], &pictures()), Picture::Drawn);
        assert_eq!(names(folder.path()), kept);
    }

    #[test]
    fn a_picture_that_cannot_be_removed_keeps_its_record_to_be_pruned_again() {
        let folder = tempfile::tempdir().unwrap();
        let id = "2026-01-01T00-00-00Z-rollout-rollback-1";
        fs::write(folder.path().join(format!("{id}.json")), "{}").unwrap();
        // A folder is no file.
        fs::create_dir(folder.path().join(format!("{id}.svg"))).unwrap();
        prune(folder.path(), 0);
        assert!(folder.path().join(format!("{id}.json")).exists());
    }
}
