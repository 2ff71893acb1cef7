//! Backups: what is needed to be again as before: each slot's release, the configuration, the rollout's state.
//!
//! A backup is complete when its directory has its name; every file is listed with its checksum. Secrets in clear are not
//! in it. Must not know what is restored when.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{
    self, FileError, Lock, Owner, failed, make_folder, read_foreign, read_text, remove_tree, sha256_of,
};
use super::layout::Layout;
use super::manifest::ReleaseName;
use crate::upstream::Slot;

const MANIFEST: &str = "backup.json";
const INCOMING: &str = ".incoming";
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The content of `backup.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backup {
    pub(crate) name: String,
    pub(crate) at: String,
    /// Why it was taken.
    pub(crate) why: String,
    pub(crate) serving: Slot,
    /// What each slot ran.
    pub(crate) releases: BTreeMap<Slot, ReleaseName>,
    /// Files by their original path.
    pub(crate) files: Vec<SavedFile>,
    /// Configuration that was not there.
    pub(crate) absent: Vec<PathBuf>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedFile {
    pub(crate) path: PathBuf,
    /// Its name in the backup.
    pub(crate) saved_as: String,
    pub(crate) sha256: String,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether a restore puts it back; the rollout's state is kept for reading only.
    pub(crate) restored: bool,
}

/// Why there is no backup, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("there is no backup {0} (hint: `mcp-guard release backups`)")]
    Unknown(String),
    #[error("backup {name} is damaged: {what}; nothing was touched")]
    Damaged { name: String, what: String },
}

/// What a backup is made of.
pub(crate) struct Contents {
    pub(crate) why: String,
    pub(crate) serving: Slot,
    pub(crate) releases: BTreeMap<Slot, ReleaseName>,
    /// Configuration; a file that is not there is left out.
    pub(crate) configuration: Vec<PathBuf>,
    /// The rollout's state.
    pub(crate) state: Option<PathBuf>,
}

/// Takes a backup under a name. A whole one of this name is kept: it is from before an interruption.
pub(crate) fn take(
    layout: &Layout,
    name: &str,
    at: String,
    contents: Contents,
    _lock: &Lock,
) -> Result<Backup, BackupError> {
    let place = layout.backups().join(name);
    if let Ok(there) = read(layout, name) {
        return Ok(there);
    }
    make_folder(&layout.backups(), 0o700)?;
    let incoming = layout.backups().join(INCOMING);
    remove_tree(&incoming)?;
    make_folder(&incoming, 0o700)?;
    let (mut saved, mut absent) = (Vec::new(), Vec::new());
    let configuration = contents.configuration.into_iter().map(|path| (path, true));
    for (path, restored) in configuration.chain(contents.state.map(|path| (path, false))) {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                absent.extend(restored.then_some(path));
                continue;
            }
            Err(error) => return Err(failed("read", &path)(error).into()),
        };
        let saved_as = format!("{:02}-{}", saved.len(), file_name(&path));
        // The state's directory is the service user's. A configuration may be a link of the operator's.
        let content = if restored {
            fs::read(&path).map_err(failed("read", &path))?
        } else {
            read_foreign(&path, FILE_BYTES_MAX)?
        };
        files::replace(&incoming.join(&saved_as), &content, 0o600)?;
        let sha256 = sha256_of(&incoming.join(&saved_as))?;
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        saved.push(SavedFile { path, saved_as, sha256, mode, uid, gid, restored });
    }
    let Contents { why, serving, releases, .. } = contents;
    let backup = Backup { name: name.to_owned(), at, why, serving, releases, files: saved, absent };
    let text = serde_json::to_vec_pretty(&backup).unwrap_or_default();
    files::replace(&incoming.join(MANIFEST), &text, 0o600)?;
    fs::rename(&incoming, &place).map_err(failed("keep", &place))?;
    files::sync_folder_of(&place)?;
    Ok(backup)
}

/// Reads a backup and compares its files with their checksums.
pub(crate) fn read(layout: &Layout, name: &str) -> Result<Backup, BackupError> {
    let folder = layout.backups().join(name);
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    if !plain || fs::symlink_metadata(&folder).is_err() {
        return Err(BackupError::Unknown(name.to_owned()));
    }
    let damaged = |what: String| BackupError::Damaged { name: name.to_owned(), what };
    let text =
        read_text(&folder.join(MANIFEST), FILE_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
    let backup: Backup =
        serde_json::from_str(&text).map_err(|error| damaged(format!("{MANIFEST}: {error}")))?;
    for file in &backup.files {
        if file.saved_as.contains('/') {
            return Err(damaged(format!("{:?} is no name of a file", file.saved_as)));
        }
        let sum = sha256_of(&folder.join(&file.saved_as)).map_err(|error| damaged(error.to_string()))?;
        if sum != file.sha256 {
            return Err(damaged(format!("{} does not have its checksum", file.saved_as)));
        }
    }
    Ok(backup)
}

/// Every backup that can be read and the reason for each that cannot, the newest first.
pub(crate) fn list(layout: &Layout) -> Result<Vec<Result<Backup, BackupError>>, BackupError> {
    let folder = layout.backups();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", &folder)(error).into()),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    // Names begin with the time.
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names.iter().map(|name| read(layout, name)).collect())
}

/// Removes the oldest backups beyond `keep`. Returns their names. No operation is under way: it may need any of them.
pub(crate) fn forget(layout: &Layout, keep: usize, _lock: &Lock) -> Result<Vec<String>, BackupError> {
    let mut forgotten = Vec::new();
    for backup in list(layout)?.into_iter().flatten().skip(keep) {
        remove_tree(&layout.backups().join(&backup.name))?;
        forgotten.push(backup.name);
    }
    Ok(forgotten)
}

/// Puts the configuration of a backup back in its place. Returns the paths that changed.
pub(crate) fn restore_files(layout: &Layout, backup: &Backup) -> Result<Vec<PathBuf>, BackupError> {
    let folder = layout.backups().join(&backup.name);
    let mut changed = Vec::new();
    for file in backup.files.iter().filter(|file| file.restored) {
        if sha256_of(&file.path).is_ok_and(|sum| sum == file.sha256) {
            continue;
        }
        let saved = folder.join(&file.saved_as);
        let content = fs::read(&saved).map_err(failed("read", &saved))?;
        // Only root may give a file to another user.
        let owner = rustix::process::geteuid().is_root().then_some(Owner { uid: file.uid, gid: file.gid });
        files::replace_as(&file.path, &content, file.mode, owner)?;
        changed.push(file.path.clone());
    }
    Ok(changed)
}

/// Removes configuration that was not there when a backup was taken. Returns the paths.
pub(crate) fn remove_absent(backup: &Backup) -> Result<Vec<PathBuf>, BackupError> {
    let there: Vec<PathBuf> = backup.absent.iter().filter(|path| path.exists()).cloned().collect();
    for path in &there {
        files::remove(path)?;
    }
    Ok(there)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_gives_the_configuration_back_and_a_damaged_one_touches_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("lib"));
        let lock = Lock::take(&layout).unwrap();
        let file = folder.path().join("guard.toml");
        fs::write(&file, "one").unwrap();
        let contents = || Contents {
            why: "test".to_owned(),
            serving: Slot::Blue,
            releases: BTreeMap::from([(Slot::Blue, "app-1".parse().unwrap())]),
            configuration: vec![file.clone(), folder.path().join("absent")],
            state: None,
        };
        let taken = take(&layout, "b1", "2026".to_owned(), contents(), &lock).unwrap();
        assert_eq!(read(&layout, "b1").unwrap(), taken);
        fs::write(&file, "two").unwrap();
        assert_eq!(restore_files(&layout, &taken).unwrap(), std::slice::from_ref(&file));
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        assert!(restore_files(&layout, &taken).unwrap().is_empty());

        fs::write(layout.backups().join("b1").join(&taken.files[0].saved_as), "other").unwrap();
        let error = read(&layout, "b1").unwrap_err().to_string();
        assert!(error.contains("does not have its checksum"), "{error}");
        for name in ["", "..", ".incoming", "a/b", "nothing"] {
            assert!(matches!(read(&layout, name), Err(BackupError::Unknown(_))), "{name}");
        }
    }

    #[test]
    fn the_oldest_backups_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let lock = Lock::take(&layout).unwrap();
        for name in ["1", "2", "3"] {
            let contents = Contents {
                why: String::new(),
                serving: Slot::Blue,
                releases: BTreeMap::new(),
                configuration: Vec::new(),
                state: None,
            };
            take(&layout, name, String::new(), contents, &lock).unwrap();
        }
        assert_eq!(forget(&layout, 2, &lock).unwrap(), ["1"]);
        assert_eq!(list(&layout).unwrap().len(), 2);
    }
}
