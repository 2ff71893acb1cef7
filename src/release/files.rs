//! Writing files so that a crash leaves the old content or the new, and the lock that keeps two commands apart.
//!
//! Must not know what is written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use sha2::{Digest, Sha256};

use super::layout::Layout;

/// A failed access to a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", path.display())]
pub(crate) struct FileError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Names what was tried on which file.
pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { what, path, source }
}

impl FileError {
    pub(crate) fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Makes a directory, and those above it. The mode is exact, whatever the mask of this process.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folder(above, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("make", path)(error));
        }
        Ok(()) | Err(_) => {}
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
}

/// The user and group of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Replaces a file as a whole: beside it, synced, renamed. The mode is exact.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    replace_as(path, content, mode, None)
}

/// The same; the file has its owner before it has its name.
pub(crate) fn replace_as(
    path: &Path,
    content: &[u8],
    mode: u32,
    owner: Option<Owner>,
) -> Result<(), FileError> {
    let beside = with_suffix(path, ".new");
    remove(&beside)?;
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(mode).open(&beside).map_err(failed("write", &beside))?;
    if let Some(owner) = owner {
        let owned = std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid));
        owned.map_err(failed("set the owner of", &beside))?;
    }
    let permitted = file.set_permissions(fs::Permissions::from_mode(mode));
    permitted.map_err(failed("set the mode of", &beside))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write", &beside))?;
    fs::rename(&beside, path).map_err(failed("replace", path))?;
    sync_folder_of(path)
}

/// Replaces a symbolic link atomically.
pub(crate) fn replace_link(path: &Path, target: &Path) -> Result<(), FileError> {
    let beside = with_suffix(path, ".new");
    remove(&beside)?;
    std::os::unix::fs::symlink(target, &beside).map_err(failed("make the link", &beside))?;
    fs::rename(&beside, path).map_err(failed("replace", path))?;
    sync_folder_of(path)
}

/// Removes a file or link that need not be there.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes a directory tree that need not be there.
pub(crate) fn remove_tree(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

/// A whole text file up to a bound.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String, FileError> {
    let mut text = String::new();
    let file = File::open(path).map_err(failed("read", path))?;
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(failed("read", path))?;
    if text.len() as u64 > bytes_max {
        let error = io::Error::other(format!("larger than {bytes_max} bytes"));
        return Err(failed("read", path)(error));
    }
    Ok(text)
}

/// A file that another user may have put there: no link is followed, nothing but a regular file is read, up to a bound.
pub(crate) fn read_foreign(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed("read", path))?;
    let metadata = file.metadata().map_err(failed("read", path))?;
    if !metadata.is_file() || metadata.len() > bytes_max {
        let error = io::Error::other(format!("no file of at most {bytes_max} bytes"));
        return Err(failed("read", path)(error));
    }
    let mut content = Vec::new();
    file.take(bytes_max).read_to_end(&mut content).map_err(failed("read", path))?;
    Ok(content)
}

/// SHA-256 of a file's content, in hexadecimal.
pub(crate) fn sha256_of(path: &Path) -> Result<String, FileError> {
    let mut file = File::open(path).map_err(failed("read", path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(failed("read", path))?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    Ok(hex(&digest.finalize()))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The right to change what lies below `[release] directory`; one process has it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Why a command may not change anything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("another release command runs (it holds {}); try again when it has ended", path.display())]
    Taken { path: PathBuf },
}

impl Lock {
    /// Takes the lock, making the directory if need be. A process that ends, however it ends, gives it back.
    pub(crate) fn take(layout: &Layout) -> Result<Lock, LockError> {
        make_folder(layout.root(), 0o755)?;
        let path = layout.lock();
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(failed("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Taken { path }),
            Err(error) => Err(failed("lock", &path)(error.into()).into()),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
