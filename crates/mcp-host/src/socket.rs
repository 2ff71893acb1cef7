//! Unix sockets: bound with the right permissions from the start, without displacing a running server or a file.
//!
//! A socket file outlives its process, so a path may hold a stale socket: it is replaced only when no process accepts
//! connections on it. A file that is not a socket is never removed. Must not know which server uses the socket.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Bytes of a socket path, without the final NUL (`sun_path` of `sockaddr_un`).
const PATH_BYTES_MAX: usize = 107;
/// Two servers that start at once bind one after the other; the second one fails after this time.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{path}: the path is {length} bytes long; a Unix socket path may have {PATH_BYTES_MAX}")]
    PathTooLong { path: PathBuf, length: usize },
    #[error("{path}: another process is serving on this socket (stop it, or choose another path)")]
    InUse { path: PathBuf },
    #[error("{path}: something that is not a socket is in the way (move it, or choose another path)")]
    NotASocket { path: PathBuf },
    #[error("{path}: cannot tell whether the socket that is there is still served; it is left alone")]
    Unclear { path: PathBuf, source: io::Error },
    #[error("{directory}: another process has held the directory's lock for {} s", LOCK_WAIT_MAX.as_secs())]
    Locked { directory: PathBuf },
    #[error("{path}: cannot {action}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
}

/// A bound listener and its socket file.
#[derive(Debug)]
pub struct BoundSocket {
    pub listener: UnixListener,
    pub file: SocketFile,
}

/// The file of a bound socket. [`SocketFile::remove`] or drop removes it, but only if this process bound it: a successor
/// may have replaced it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Takes ownership of the file of a socket that another process bound; `None` if there is no socket at this path.
    pub fn adopt(path: &Path) -> Option<SocketFile> {
        let there = fs::symlink_metadata(path).ok().filter(|there| there.file_type().is_socket())?;
        Some(SocketFile { path: path.to_owned(), identity: (there.dev(), there.ino()) })
    }

    /// Keeps the file: another process serves on the socket.
    pub fn leave(self) {
        std::mem::forget(self);
    }

    /// Removes the file, unless it is gone or another process has replaced it.
    pub fn remove(self) {
        drop(self);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Ok(_lock) = lock(parent(&self.path)) else { return };
        if fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a listening, non-blocking socket at `path` with `mode`.
///
/// The socket is bound inside a private directory, gets its mode there and is then renamed: a user whom the mode excludes
/// can never connect, and the path never names a socket that does not listen.
pub fn bind_unix(path: &Path, mode: u32) -> Result<BoundSocket, BindError> {
    let failed = |action| move |source| BindError::Io { path: path.to_owned(), action, source };
    check_path(path)?;
    let directory = parent(path);
    let _lock = lock(directory)?;
    refuse_if_occupied(path)?;

    let private =
        private_directory(directory).map_err(failed("make a private directory beside the socket"))?;
    let made = private.path.join("s");
    check_path(&made)?;
    let listener = UnixListener::bind(&made).map_err(failed("bind the socket"))?;
    fs::set_permissions(&made, fs::Permissions::from_mode(mode)).map_err(failed("set the socket's mode"))?;
    listener.set_nonblocking(true).map_err(failed("make the socket non-blocking"))?;
    let metadata = fs::symlink_metadata(&made).map_err(failed("look at the new socket"))?;
    fs::rename(&made, path).map_err(failed("move the socket into place"))?;

    let file = SocketFile { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
    Ok(BoundSocket { listener, file })
}

/// The process id at the other end of a connected Unix socket; for the client, the process that listens.
pub fn peer_pid(stream: impl AsFd) -> io::Result<u32> {
    let pid = rustix::net::sockopt::socket_peercred(stream)?.pid;
    Ok(pid.as_raw_pid().cast_unsigned())
}

/// Checks that a socket can have this path.
pub fn check_path(path: &Path) -> Result<(), BindError> {
    let length = path.as_os_str().as_bytes().len();
    if length > PATH_BYTES_MAX {
        return Err(BindError::PathTooLong { path: path.to_owned(), length });
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Locks a directory against other servers that bind there. The lock ends with the returned file.
fn lock(directory: &Path) -> Result<File, BindError> {
    let failed = |action| move |source| BindError::Io { path: directory.to_owned(), action, source };
    let file = File::open(directory).map_err(failed("open the socket's directory (does it exist?)"))?;
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                return Err(BindError::Locked { directory: directory.to_owned() });
            }
            Err(other) => return Err(failed("lock the socket's directory")(other.into())),
        }
    }
}

fn refuse_if_occupied(path: &Path) -> Result<(), BindError> {
    let unclear = |source| BindError::Unclear { path: path.to_owned(), source };
    let there = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(unclear(source)),
    };
    if !there.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match probe(path) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        // EAGAIN means a full backlog: a process listens but does not keep up.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse { path: path.to_owned() }),
        Err(other) => Err(unclear(other.into())),
    }
}

/// Tries to connect, without waiting.
fn probe(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

/// A directory that only this user can enter; drop removes it and its socket.
struct PrivateDirectory {
    path: PathBuf,
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path.join("s"));
        let _ = fs::remove_dir(&self.path);
    }
}

fn private_directory(parent: &Path) -> io::Result<PrivateDirectory> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..16 {
        let path = parent.join(format!(".{:04x}", getrandom::u32()? & 0xffff));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(PrivateDirectory { path }),
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => last = taken,
            Err(other) => return Err(other),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn binds_with_the_mode_and_leaves_nothing_else_behind() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sock");
        let bound = bind_unix(&path, 0o660).unwrap();
        assert_eq!(mode_of(&path), 0o660);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "only the socket");
        UnixStream::connect(&path).unwrap();
        bound.file.remove();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn replaces_a_stale_socket() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a closed listener leaves its file");
        let _bound = bind_unix(&path, 0o600).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn leaves_a_living_server_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sock");
        let _alive = bind_unix(&path, 0o600).unwrap();
        assert!(matches!(bind_unix(&path, 0o600), Err(BindError::InUse { .. })));
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn never_removes_what_is_not_a_socket() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("precious");
        fs::write(&file, "kept").unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link, &home.path().to_owned()] {
            assert!(matches!(bind_unix(path, 0o600), Err(BindError::NotASocket { .. })), "{path:?}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    }

    #[test]
    fn a_predecessor_does_not_remove_its_successors_socket() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sock");
        let BoundSocket { listener, file } = bind_unix(&path, 0o600).unwrap();
        drop(listener);
        let _successor = bind_unix(&path, 0o600).unwrap();
        file.remove();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn only_one_of_many_that_start_at_once_wins() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || bind_unix(&path, 0o600))
            })
            .collect();
        let outcomes: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    }

    #[test]
    fn refuses_a_path_that_is_too_long_and_a_directory_that_is_missing() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        assert!(matches!(bind_unix(&long, 0o600), Err(BindError::PathTooLong { .. })));
        let missing = tempfile::tempdir().unwrap().path().join("gone/a.sock");
        assert!(matches!(bind_unix(&missing, 0o600), Err(BindError::Io { .. })));
    }

    #[test]
    fn names_the_peer_of_a_socket() {
        let (here, _there) = UnixStream::pair().unwrap();
        assert_eq!(peer_pid(&here).unwrap(), std::process::id());
    }
}
