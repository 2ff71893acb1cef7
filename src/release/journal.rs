//! The journal of the operation under way: one JSON line an entry, synced before the work that it announces.
//!
//! A line that was cut by a crash is the last one and is dropped. Must not know what the entries mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{self, FileError, Lock, failed, read_foreign};
use super::layout::Layout;
use super::plan::{Operation, OperationStep, Progress, StepEvent};
use crate::incident;

const BYTES_MAX: u64 = 16 << 20;
const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    Operation { version: u32, at: String, operation: Operation },
    Step { at: String, step: OperationStep, event: StepEvent },
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{} is damaged: {what} (hint: look at the slots, then move the file away)",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
}

/// What a journal says.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) at: String,
    pub(crate) operation: Operation,
    pub(crate) steps: Vec<(String, OperationStep, StepEvent)>,
}

impl Recorded {
    pub(crate) fn progress(&self) -> Progress {
        let mut progress = Progress::new(&self.operation.steps);
        for (_at, step, event) in &self.steps {
            progress.record(*step, event);
        }
        progress
    }
}

/// An open journal.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    pub(crate) recorded: Recorded,
}

impl Journal {
    /// Begins an operation. The caller holds the lock and has looked for one that is half done.
    pub(crate) fn begin(
        layout: &Layout,
        operation: Operation,
        _lock: &Lock,
    ) -> Result<Journal, JournalError> {
        let path = layout.operation();
        let at = now();
        let first = Entry::Operation { version: VERSION, at: at.clone(), operation: operation.clone() };
        // The file has its name only with a whole first line.
        files::replace(&path, &line(&first), 0o600)?;
        Journal::append_to(path, Recorded { at, operation, steps: Vec::new() })
    }

    /// The operation that is half done, if there is one.
    pub(crate) fn open(layout: &Layout) -> Result<Option<Journal>, JournalError> {
        let path = layout.operation();
        let Some(recorded) = read(layout)? else { return Ok(None) };
        // What a crash cut off must not stand before the next line.
        let whole = whole_lines(&path)?.len();
        let file = OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
        file.set_len(whole as u64).map_err(failed("cut", &path))?;
        Journal::append_to(path, recorded).map(Some)
    }

    fn append_to(path: PathBuf, recorded: Recorded) -> Result<Journal, JournalError> {
        let file = OpenOptions::new().append(true).mode(0o600).open(&path).map_err(failed("open", &path))?;
        Ok(Journal { path, file, recorded })
    }

    /// Adds an entry; it is on the disk when this returns.
    pub(crate) fn write(&mut self, step: OperationStep, event: StepEvent) -> Result<(), JournalError> {
        let entry = Entry::Step { at: now(), step, event };
        let written = self.file.write_all(&line(&entry)).and_then(|()| self.file.sync_all());
        written.map_err(failed("write", &self.path))?;
        let Entry::Step { at, step, event } = entry else { return Ok(()) };
        self.recorded.steps.push((at, step, event));
        Ok(())
    }

    /// Ends the operation. Its record is written.
    pub(crate) fn end(self) -> Result<Recorded, JournalError> {
        files::remove(&self.path)?;
        files::sync_folder_of(&self.path)?;
        Ok(self.recorded)
    }
}

/// The journal's content without owning it.
pub(crate) fn read(layout: &Layout) -> Result<Option<Recorded>, JournalError> {
    let path = layout.operation();
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(_) | Err(_) => {}
    }
    let text = whole_lines(&path)?;
    let damaged = |what: String| JournalError::Damaged { path: path.clone(), what };
    let mut recorded: Option<Recorded> = None;
    for (number, line) in text.lines().enumerate() {
        let entry: Entry =
            serde_json::from_str(line).map_err(|error| damaged(format!("line {}: {error}", number + 1)))?;
        match (&mut recorded, entry) {
            (None, Entry::Operation { version: VERSION, at, operation }) => {
                recorded = Some(Recorded { at, operation, steps: Vec::new() });
            }
            (None, Entry::Operation { version, .. }) => {
                return Err(damaged(format!("it has format {version}, this program knows {VERSION}")));
            }
            (Some(recorded), Entry::Step { at, step, event }) => recorded.steps.push((at, step, event)),
            (None, Entry::Step { .. }) | (Some(_), Entry::Operation { .. }) => {
                return Err(damaged(format!("line {} is out of place", number + 1)));
            }
        }
    }
    recorded.map(Some).ok_or_else(|| damaged("it has no first line".to_owned()))
}

/// The lines that are whole. A crash may cut the last one anywhere, also inside of a character.
fn whole_lines(path: &Path) -> Result<String, JournalError> {
    let mut bytes = read_foreign(path, BYTES_MAX)?;
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    String::from_utf8(bytes)
        .map_err(|_| JournalError::Damaged { path: path.to_owned(), what: "it is not UTF-8 text".to_owned() })
}

fn line(entry: &Entry) -> Vec<u8> {
    // Plain data with text keys: serialising it cannot fail.
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The time of an entry, in UTC.
pub(crate) fn now() -> String {
    incident::moment(jiff::Timestamp::now())
}
