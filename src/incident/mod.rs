//! Records of what was done to the service: `ID.json` for programs and `ID.md` for people, in a folder of such files; beside them
//! `ID.svg` where there is a picture.
//!
//! The commands of `release` write those of their operations, the running guard those of its rollouts. Must not know what led to
//! a record.

#[cfg(feature = "release")]
pub(crate) mod reading;

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use mcp_host::files;
use serde::{Deserialize, Serialize};

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Incident {
    pub(crate) id: String,
    /// `deploy`, `rollback`, `rollout`, ...
    pub(crate) kind: String,
    /// `done`, `undone`, `rolled_back` or `completed`.
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
    pub(crate) strategy: Option<String>,
    pub(crate) timeline: Vec<Line>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) figures: Vec<Figures>,
    /// The receivers that were notified of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notified: Vec<String>,
    /// A file beside this one that shows calls, errors, times and memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) picture: Option<String>,
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

/// What was measured of one slot's calls in a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Which slot, and when.
    pub(crate) of: String,
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) tool_errors: u64,
    pub(crate) error_rate: f64,
    #[serde(default)]
    pub(crate) p50_ms: Option<f64>,
    #[serde(default)]
    pub(crate) p95_ms: Option<f64>,
}

/// Lines of one unit's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogExcerpt {
    pub(crate) unit: String,
    pub(crate) lines: Vec<String>,
}

/// Why a record is not written or read.
#[derive(Debug, thiserror::Error)]
#[error("record {path}")]
pub(crate) struct IncidentError {
    path: PathBuf,
    source: io::Error,
}

impl Incident {
    /// Writes both forms into a folder, which is made. The same record may be written again.
    pub(crate) fn write(&self, folder: &Path, mode: Modes) -> Result<(), IncidentError> {
        let write =
            |ending: &str, bytes: &[u8]| write_beside(folder, &format!("{}.{ending}", self.id), bytes, mode);
        write("md", self.markdown().as_bytes())?;
        // Plain data with text keys: serialising it cannot fail.
        write("json", &serde_json::to_vec_pretty(self).unwrap_or_default())
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
        let notified = Some(self.notified.join(", ")).filter(|names| !names.is_empty());
        fact("Notified", notified.as_deref());
        text.push_str("\n## Timeline\n\n");
        for line in &self.timeline {
            let _ = writeln!(text, "* {} {}", line.at, line.what);
            for note in &line.notes {
                let _ = writeln!(text, "  * {}", note.replace('\n', "\n    "));
            }
        }
        text.push_str(&table_of(&self.figures));
        if let Some(picture) = &self.picture {
            let _ = write!(text, "\n![Calls, errors, times and memory of both slots]({picture})\n");
        }
        for log in &self.logs {
            let _ = write!(text, "\n## Log of {}\n\n```text\n", log.unit);
            for line in &log.lines {
                let _ = writeln!(text, "{}", line.replace("```", "'''"));
            }
            text.push_str("```\n");
        }
        // A record may hold the words of a backend, and is printed to a terminal.
        text.retain(|character| character == '\n' || !character.is_control());
        text
    }
}

/// Writes a file among records, whose folder is made. It may be written again.
pub(crate) fn write_beside(
    folder: &Path,
    name: &str,
    bytes: &[u8],
    mode: Modes,
) -> Result<(), IncidentError> {
    let made = DirBuilder::new().recursive(true).mode(mode.folder).create(folder);
    made.map_err(failed(folder))?;
    let path = folder.join(name);
    files::replace(&path, bytes, mode.file).map_err(failed(&path))
}

/// Modes of what is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Modes {
    pub(crate) folder: u32,
    pub(crate) file: u32,
}

fn table_of(figures: &[Figures]) -> String {
    if figures.is_empty() {
        return String::new();
    }
    let mut text = "\n## Figures\n\n| of | calls | failures | tool errors | error rate | p50 | p95 |\n|---|---|---|---|---|---|---|\n".to_owned();
    let time =
        |millis: Option<f64>| millis.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.0} ms"));
    for row in figures {
        let Figures { of, requests, failures, tool_errors, error_rate, p50_ms, p95_ms } = row;
        let rate = error_rate * 100.0;
        let (p50, p95) = (time(*p50_ms), time(*p95_ms));
        let _ = writeln!(
            text,
            "| {of} | {requests} | {failures} | {tool_errors} | {rate:.1} % | {p50} | {p95} |"
        );
    }
    text
}

/// A moment in a record, in UTC.
pub(crate) fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The id of a record: it begins with the moment, so that ids are in the order of time.
pub(crate) fn id(at: jiff::Timestamp, what: &str) -> String {
    format!("{}-{what}", at.strftime("%Y%m%dT%H%M%SZ"))
}

/// The ids of a folder's records, the newest first; none where there is no folder.
pub(crate) fn ids(folder: &Path) -> Result<Vec<String>, IncidentError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let id = |entry: io::Result<fs::DirEntry>| {
        entry.ok()?.file_name().into_string().ok()?.strip_suffix(".json").map(str::to_owned)
    };
    let mut ids: Vec<String> = entries.filter_map(id).collect();
    // Ids begin with the time.
    ids.sort_unstable_by(|one, other| other.cmp(one));
    Ok(ids)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> IncidentError {
    let path = path.to_owned();
    move |source| IncidentError { path, source }
}
