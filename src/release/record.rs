//! Records of what was done: `incidents/ID.json` for programs and `ID.md` for people.
//!
//! Made of the journal, so that a record says what was done and not what was meant. Must not know how an operation runs.

use std::fmt::Write as _;
use std::fs;

use serde::{Deserialize, Serialize};

use super::files::{self, FileError, failed, make_folder, read_text};
use super::journal::{Recorded, now};
use super::layout::Layout;
use super::plan::{Kind, Outcome, StepEvent, Strategy};

const BYTES_MAX: u64 = 16 << 20;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incident {
    pub(crate) id: String,
    /// `deploy`, `rollback`, ...
    pub(crate) kind: String,
    /// `done` or `undone`.
    pub(crate) outcome: String,
    /// The step that failed, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    pub(crate) who: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) began: String,
    pub(crate) ended: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) served_before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) release: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) former_release: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) strategy: Option<Strategy>,
    pub(crate) timeline: Vec<Line>,
    /// Last lines of the units' journals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) logs: Vec<LogExcerpt>,
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at: String,
    pub(crate) what: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// Lines of one unit's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogExcerpt {
    pub(crate) unit: String,
    pub(crate) lines: Vec<String>,
}

impl Incident {
    /// The record of an operation that has ended.
    pub(crate) fn of_operation(recorded: &Recorded, outcome: Outcome, logs: Vec<LogExcerpt>) -> Incident {
        let operation = &recorded.operation;
        let failure = recorded.progress().failure().map(|(step, why)| format!("{}: {why}", step.as_str()));
        let named = |name: &Option<super::manifest::ReleaseName>| name.as_ref().map(ToString::to_string);
        Incident {
            id: operation.id.clone(),
            kind: operation.kind.as_str().to_owned(),
            outcome: outcome.as_str().to_owned(),
            cause: failure,
            who: operation.who.clone(),
            reason: operation.reason.clone(),
            began: recorded.at.clone(),
            ended: recorded.steps.last().map_or_else(now, |(at, ..)| at.clone()),
            slot: Some(operation.slot.as_str().to_owned()),
            served_before: Some(operation.serving.as_str().to_owned()),
            release: named(&operation.release),
            former_release: named(&operation.former),
            strategy: (operation.kind == Kind::Deploy).then_some(operation.strategy),
            timeline: recorded.steps.iter().filter_map(line_of).collect(),
            logs,
        }
    }

    /// Writes both forms. The same record may be written again.
    pub(crate) fn write(&self, layout: &Layout) -> Result<(), FileError> {
        make_folder(&layout.incidents(), 0o750)?;
        let path = |ending: &str| layout.incidents().join(format!("{}.{ending}", self.id));
        files::replace(&path("md"), self.markdown().as_bytes(), 0o640)?;
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        files::replace(&path("json"), &json, 0o640)
    }

    /// For people, and for pasting into an incident report.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("# {} {}: {}\n\n", self.kind, self.id, self.outcome);
        let mut fact = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                let _ = writeln!(text, "* **{name}**: {value}");
            }
        };
        fact("Cause", self.cause.as_deref());
        fact("Ordered by", Some(&self.who));
        fact("Reason", self.reason.as_deref());
        fact("Began", Some(&self.began));
        fact("Ended", Some(&self.ended));
        fact("Slot", self.slot.as_deref());
        fact("Served before", self.served_before.as_deref());
        fact("Release", self.release.as_deref());
        fact("Release before", self.former_release.as_deref());
        text.push_str("\n## Timeline\n\n");
        for line in &self.timeline {
            let _ = writeln!(text, "* {} {}", line.at, line.what);
            for note in &line.notes {
                let _ = writeln!(text, "  * {}", note.replace('\n', "\n    "));
            }
        }
        for log in &self.logs {
            let _ = write!(text, "\n## Log of {}\n\n```text\n", log.unit);
            for line in &log.lines {
                let _ = writeln!(text, "{}", line.replace("```", "'''"));
            }
            text.push_str("```\n");
        }
        text
    }
}

fn line_of((at, step, event): &(String, super::plan::OperationStep, StepEvent)) -> Option<Line> {
    let step = step.as_str();
    let (what, notes) = match event {
        // What was begun is told by how it ended.
        StepEvent::Begun | StepEvent::UndoBegun => return None,
        StepEvent::Done { notes } => (format!("{step}: done"), notes.clone()),
        StepEvent::Failed { why } => (format!("{step}: failed"), vec![why.clone()]),
        StepEvent::Undone { notes } => (format!("{step}: undone"), notes.clone()),
        StepEvent::UndoFailed { why } => (format!("{step}: could not be undone"), vec![why.clone()]),
    };
    Some(Line { at: at.clone(), what, notes })
}

/// A record by its id.
pub(crate) fn read(layout: &Layout, id: &str) -> Result<Option<Incident>, FileError> {
    if id.is_empty() || id.starts_with('.') || id.contains(['/', '\0']) {
        return Ok(None);
    }
    let path = layout.incidents().join(format!("{id}.json"));
    match read_text(&path, BYTES_MAX) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| failed("understand", &path)(std::io::Error::other(error.to_string()))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every record that can be read, the newest first.
pub(crate) fn list(layout: &Layout) -> Result<Vec<Incident>, FileError> {
    let folder = layout.incidents();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", &folder)(error)),
    };
    let mut ids: Vec<String> = entries
        .filter_map(|entry| {
            entry.ok()?.file_name().into_string().ok()?.strip_suffix(".json").map(str::to_owned)
        })
        .collect();
    // Ids begin with the time.
    ids.sort_unstable_by(|one, other| other.cmp(one));
    Ok(ids.iter().filter_map(|id| read(layout, id).ok().flatten()).collect())
}
