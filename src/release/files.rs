//! Files of releases, with errors that name what was tried on which one, and the lock that keeps two commands apart.
//!
//! Must not know what is written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mcp_host::files;
pub(crate) use mcp_host::files::Owner;
use rustix::fs::{FlockOperation, flock};
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

/// Replaces a file as a whole, with exactly this mode.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    files::replace(path, content, mode).map_err(failed("write", path))
}

/// The same; the file has its owner before it has its name.
pub(crate) fn replace_as(
    path: &Path,
    content: &[u8],
    mode: u32,
    owner: Option<Owner>,
) -> Result<(), FileError> {
    files::replace_as(path, content, mode, owner).map_err(failed("write", path))
}

/// Replaces a symbolic link atomically.
pub(crate) fn replace_link(path: &Path, target: &Path) -> Result<(), FileError> {
    files::replace_link(path, target).map_err(failed("make the link", path))
}

/// Removes a file or link that need not be there.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    files::remove(path).map_err(failed("remove", path))
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
    files::sync_folder_of(path).map_err(failed("sync the directory of", path))
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

/// A file that another user may have put there, up to a bound.
pub(crate) fn read_foreign(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    files::read_foreign(path, bytes_max).map_err(failed("read", path))
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
fn hex(bytes: &[u8]) -> String {
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
