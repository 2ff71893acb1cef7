//! The watchdog's memory: one small JSON file, held by one watchdog at a time and replaced whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::policy::Record;

const FILE_BYTES_MAX: u64 = 64 << 10;

/// The record and the right to change it. Ends with the value.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    _lock: File,
    pub(super) record: Record,
    /// Where the former file is now, if it could not be understood.
    pub(super) set_aside: Option<PathBuf>,
}

/// Why there is no record to work with.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("cannot use the state file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("another watchdog holds the state file {path}")]
    Busy { path: PathBuf },
}

impl Held {
    /// Opens the record at `path`, or a new one. A file that cannot be understood is set aside, not trusted.
    pub(super) fn open(path: &Path) -> Result<Held, RecordError> {
        let failed = |source| RecordError::Io { path: path.to_owned(), source };
        // The lock is a file of its own: the record is replaced, and a lock on the old one would guard nothing.
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(beside(path, "lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RecordError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut set_aside = None;
        let record = match File::open(path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
                match serde_json::from_slice(&bytes) {
                    Ok(record) => record,
                    Err(_) => {
                        let aside = beside(path, "unreadable");
                        std::fs::rename(path, &aside).map_err(failed)?;
                        set_aside = Some(aside);
                        Record::default()
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Record::default(),
            Err(error) => return Err(failed(error)),
        };
        Ok(Held { path: path.to_owned(), _lock: lock, record, set_aside })
    }

    /// Writes the record so that a crash leaves the old or the new one, never half of one.
    pub(super) fn save(&self) -> Result<(), RecordError> {
        let failed = |source| RecordError::Io { path: self.path.clone(), source };
        let next = beside(&self.path, "next");
        let write = || {
            let mut file = File::create(&next)?;
            file.write_all(serde_json::to_string_pretty(&self.record)?.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&next, &self.path)?;
            // Of a name alone, the folder is this one.
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(failed)
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_admits_one_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("watchdog.json");
        let mut held = Held::open(&path).expect("a new record");
        assert!(matches!(Held::open(&path), Err(RecordError::Busy { .. })));
        held.record.failures = 2;
        held.save().expect("saved");
        drop(held);
        assert_eq!(Held::open(&path).expect("the record").record.failures, 2);
    }

    #[test]
    fn a_broken_file_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("watchdog.json");
        std::fs::write(&path, "{\"failures\":").expect("written");
        let held = Held::open(&path).expect("a new record");
        assert_eq!(held.record, Record::default());
        let aside = held.set_aside.as_deref().expect("it is told");
        assert_eq!(std::fs::read_to_string(aside).expect("the old file"), "{\"failures\":");
    }
}
