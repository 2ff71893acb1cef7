//! The record of a rollout that was rolled back or has completed, made of its transitions and kept beside the state.
//!
//! Must not know how a rollout is decided.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
    #[cfg(not(feature = "console"))]
    pub(crate) fn none() -> Pictures {
        Pictures { follow: Arc::new(|_| {}), draw: Arc::new(|_| None) }
    }
}

/// Writes the record of the last transition, unless it is there, and forgets the oldest beyond the bound. The picture is drawn again
/// a while after, because it also shows whether the transition has helped.
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
            let picture = draw_into(&folder, &record.id, &history, &pictures);
            record.picture = (picture == Picture::Drawn).then(|| picture_of(&record.id));
            write(&folder, &record);
            picture
        }
    };
    if tokio::task::spawn_blocking(first).await.is_ok_and(|picture| picture == Picture::Drawn) {
        tokio::time::sleep(AFTERMATH).await;
        // What could not be drawn again stays as it was.
        let _ = tokio::task::spawn_blocking(move || draw_into(&folder, &id, &history, &pictures)).await;
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

fn write(folder: &Path, record: &Incident) {
    match record.write(folder, MODES) {
        Ok(()) => log::info!("rollout: record {} (`mcp-guard incident show {0}`)", record.id),
        Err(error) => {
            log::error!("rollout: no record {}: {}", record.id, mcp_host::diagnostics::chain(&error));
        }
    }
    for old in incident::ids(folder).unwrap_or_default().iter().skip(RECORDS_MAX) {
        for ending in ["json", "md", "svg"] {
            // Tried again at the next record.
            let _ = fs::remove_file(folder.join(format!("{old}.{ending}")));
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
