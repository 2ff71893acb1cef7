//! The state file: the part of the rollout that survives the process, however the process ends.
//!
//! One file, replaced whole: written beside, synced, renamed, the directory synced; the previous generation is kept. A first
//! line names the format and the checksum of the rest, which distinguishes a damaged file from a whole one and a foreign file
//! from one of ours. Any other content is refused, never guessed at. Must not know what a state means.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::parity::accept::Acceptance;
use crate::rollout::{State, Transition};

const NAME: &str = "rollout.state";
const PREVIOUS: &str = "rollout.state.previous";
const NEW: &str = "rollout.state.new";
const REFUSED: &str = "rollout.state.refused";
const LOCK: &str = "rollout.lock";
const MAGIC: &str = "mcp-guard-rollout";
const VERSION: u32 = 1;
/// More than any state we write: a plan of a hundred steps, its clients, and a full history.
const BYTES_MAX: u64 = 16 << 20;
/// Transitions remembered; older ones are in the log.
pub(crate) const HISTORY_MAX: usize = 200;

/// Everything in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) state: State,
    /// The oldest first.
    pub(crate) history: Vec<Transition>,
    /// Reviewed differences between the backends, for the rollout under way.
    #[serde(default)]
    pub(crate) accepted: Vec<Acceptance>,
    /// What a guard of a fleet follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fleet: Option<Followed>,
}

impl Saved {
    /// A state with nothing before it.
    pub(crate) fn new(state: State) -> Saved {
        Saved { state, history: Vec::new(), accepted: Vec::new(), fleet: None }
    }

    /// Appends a transition, forgetting the oldest one beyond the bound.
    pub(crate) fn remember(&mut self, transition: Transition) {
        self.history.push(transition);
        let excess = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..excess);
    }
}

/// The state that a guard follows, as it is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Followed {
    /// The fleet.
    pub(crate) fleet: String,
    pub(crate) generation: u64,
    pub(crate) epoch: u64,
    pub(crate) writer: u64,
    /// The state itself, as the fleet has it.
    pub(crate) state: String,
    /// Results of orders that it carries: start, number, result.
    pub(crate) done: Vec<(u64, u64, String)>,
    /// How many members there were.
    pub(crate) members: u64,
}

/// Why a file is not used, or could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is no rollout state of mcp-guard; it is left alone (hint: point listen.state elsewhere)")]
    Foreign { path: PathBuf },
    #[error(
        "{path} is damaged ({what}); the guard serves from the configured stable slot. The generation before it is \
         {previous}: to use that one, stop the guard and copy it over {path}"
    )]
    Damaged { path: PathBuf, what: &'static str, previous: PathBuf },
    #[error(
        "{path} was written by a newer mcp-guard (format {found}, this one knows {VERSION}); it is left alone"
    )]
    Newer { path: PathBuf, found: u32 },
}

/// The directory that holds the state, locked: two guards never write the same state.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens the directory (making it if need be) and locks it; `None` while another guard has it.
    pub(crate) fn open(folder: &Path) -> Result<Option<Store>, StateError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(failed(&path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Store { folder: folder.to_owned(), _lock: lock })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed(&path)(error.into())),
        }
    }

    /// The saved state; `None` where none was ever saved.
    pub(crate) fn load(&self) -> Result<Option<Saved>, StateError> {
        load(&self.folder)
    }

    /// Replaces the saved state. After success the new state is on the disk; after a failure the old one still is.
    pub(crate) fn save(&self, saved: &Saved) -> Result<(), StateError> {
        let path = |name: &str| self.folder.join(name);
        let failed = |name: &str| {
            let path = path(name);
            move |source| StateError::Io { path, source }
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path(NEW))
            .map_err(failed(NEW))?;
        file.write_all(&encode(saved)).and_then(|()| file.sync_all()).map_err(failed(NEW))?;
        drop(file);
        self.keep_previous().map_err(failed(PREVIOUS))?;
        fs::rename(path(NEW), path(NAME)).map_err(failed(NAME))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed("."))
    }

    /// Renames a refused file, so that saving does not destroy it.
    pub(crate) fn quarantine(&self) -> Result<(), StateError> {
        let path = self.folder.join(NAME);
        match fs::rename(&path, self.folder.join(REFUSED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::Io { path, source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Gives the present generation a second name. The first name exists all the time.
    fn keep_previous(&self) -> io::Result<()> {
        let (name, previous) = (self.folder.join(NAME), self.folder.join(PREVIOUS));
        let linked = self.folder.join("rollout.state.link");
        remove(&linked)?;
        match fs::hard_link(&name, &linked) {
            Ok(()) => fs::rename(&linked, &previous)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Renaming onto a name of the same file does nothing and leaves both.
        remove(&linked)
    }
}

/// Reads the state of a directory without owning it.
pub(crate) fn load(folder: &Path) -> Result<Option<Saved>, StateError> {
    let (path, previous) = (folder.join(NAME), folder.join(PREVIOUS));
    let failed = |source| StateError::Io { path: path.clone(), source };
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Saving never removes the name. If only the previous generation exists, something else removed it.
            return match previous.try_exists() {
                Ok(true) => Err(StateError::Damaged { path, what: "it is missing", previous }),
                Ok(false) | Err(_) => Ok(None),
            };
        }
        Err(error) => return Err(failed(error)),
    };
    decode(&bytes).map(Some).map_err(|refusal| match refusal {
        Refused::Foreign => StateError::Foreign { path },
        Refused::Damaged(what) => StateError::Damaged { path, what, previous },
        Refused::Newer(found) => StateError::Newer { path, found },
    })
}

/// Why bytes are not a state file of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Foreign,
    Damaged(&'static str),
    Newer(u32),
}

/// The bytes of the file.
pub(crate) fn encode(saved: &Saved) -> Vec<u8> {
    // Plain data with text keys: serialising it cannot fail; an empty body would be refused as damaged.
    let body = serde_json::to_vec(saved).unwrap_or_default();
    let mut bytes = format!("{MAGIC} {VERSION} {}\n", checksum(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    bytes.push(b'\n');
    bytes
}

/// Reads the bytes of the file.
pub(crate) fn decode(bytes: &[u8]) -> Result<Saved, Refused> {
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Refused::Foreign);
    }
    // An empty file is what a file system leaves of a file whose blocks were lost.
    if bytes.is_empty() {
        return Err(Refused::Damaged("it is empty"));
    }
    let split = bytes.iter().position(|byte| *byte == b'\n');
    let (head, rest) = split.map(|at| (&bytes[..at], &bytes[at + 1..])).ok_or_else(|| headless(bytes))?;
    let head = std::str::from_utf8(head).map_err(|_| headless(bytes))?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(headless(bytes));
    }
    let version = words.next().and_then(|version| version.parse::<u32>().ok());
    match version {
        Some(VERSION) => {}
        Some(newer) if newer > VERSION => return Err(Refused::Newer(newer)),
        Some(_) | None => return Err(Refused::Damaged("its first line is not understood")),
    }
    let body = rest.strip_suffix(b"\n").ok_or(Refused::Damaged("it is cut short"))?;
    if words.next() != Some(checksum(body).as_str()) || words.next().is_some() {
        return Err(Refused::Damaged("its checksum does not fit"));
    }
    let saved: Saved =
        serde_json::from_slice(body).map_err(|_| Refused::Damaged("its content is not understood"))?;
    if saved.state.is_legal() { Ok(saved) } else { Err(Refused::Damaged("its content contradicts itself")) }
}

/// Distinguishes a damaged state file from a foreign file.
fn headless(bytes: &[u8]) -> Refused {
    let alike = bytes.iter().zip(MAGIC.as_bytes()).filter(|(a, b)| a == b).count();
    let likely = MAGIC.len().min(bytes.len()).saturating_sub(1).max(1);
    if alike >= likely { Refused::Damaged("its first line is not understood") } else { Refused::Foreign }
}

/// The checksum in the first line.
pub(crate) fn checksum(body: &[u8]) -> String {
    sha2::Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
