//! Listening sockets that this process inherits: from the service manager (`LISTEN_FDS`, socket activation) or from the
//! process that it replaces ([`super::handoff`]). They are looked up by address; unclaimed ones are reported.
//!
//! Must not know which server uses a socket.

use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::FdFlags;
use rustix::net::sockopt;

use super::socket::SocketFile;

/// The first inherited file descriptor (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
const SOCKETS_MAX: RawFd = 16;

/// Why an inherited socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    #[error("LISTEN_FDS={0} is not a number from 1 to {SOCKETS_MAX}")]
    Count(String),
    #[error("file {0} from the service manager is not a listening stream socket")]
    NotListening(RawFd),
    #[error("an inherited socket cannot be used")]
    Io(#[from] io::Error),
}

/// The address of a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddr {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddr {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenAddr::Tcp(address) => address.fmt(formatter),
            ListenAddr::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Who removes the file of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketOwner {
    /// The process that listens.
    Server,
    ServiceManager,
}

/// A socket that is already listening.
#[derive(Debug)]
pub struct InheritedListener {
    pub address: ListenAddr,
    pub owner: SocketOwner,
    pub socket: OwnedFd,
}

impl InheritedListener {
    pub fn try_clone(&self) -> io::Result<InheritedListener> {
        let socket = self.socket.try_clone()?;
        Ok(InheritedListener { address: self.address.clone(), owner: self.owner, socket })
    }
}

/// The inherited sockets that no listener has claimed yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<InheritedListener>,
}

impl Inherited {
    pub fn new(sockets: Vec<InheritedListener>) -> Inherited {
        Inherited { sockets }
    }

    /// The sockets that the service manager passed to this process. Call it once.
    pub fn from_service_manager() -> Result<Inherited, InheritError> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Ok(Inherited::default());
        }
        let text = std::env::var("LISTEN_FDS").unwrap_or_default();
        let count = text.parse().ok().filter(|count| (1..=SOCKETS_MAX).contains(count));
        let count: RawFd = count.ok_or(InheritError::Count(text))?;
        let sockets = (FIRST..FIRST + count).map(adopt).collect::<Result<_, _>>()?;
        Ok(Inherited { sockets })
    }

    /// The socket that listens on this address. Port 0 means any port of that address.
    pub fn take_tcp(&mut self, wanted: SocketAddr) -> Option<(TcpListener, SocketOwner)> {
        let InheritedListener { socket, owner, .. } = self.take(|address| match address {
            ListenAddr::Tcp(bound) => *bound == wanted || (wanted.port() == 0 && wanted.ip() == bound.ip()),
            ListenAddr::Unix(_) => false,
        })?;
        Some((socket.into(), owner))
    }

    /// The socket that listens on this path. `None` if its file is gone or replaced: no client could connect to it.
    pub fn take_unix(&mut self, path: &Path) -> Option<(UnixListener, SocketOwner)> {
        let InheritedListener { socket, owner, .. } =
            self.take(|address| matches!(address, ListenAddr::Unix(bound) if bound == path))?;
        SocketFile::adopt(path)?.leave();
        Some((socket.into(), owner))
    }

    /// The addresses of the sockets that no listener has claimed.
    pub fn unclaimed(&self) -> impl Iterator<Item = &ListenAddr> {
        self.sockets.iter().map(|listening| &listening.address)
    }

    fn take(&mut self, wanted: impl Fn(&ListenAddr) -> bool) -> Option<InheritedListener> {
        let at = self.sockets.iter().position(|listening| wanted(&listening.address))?;
        Some(self.sockets.remove(at))
    }
}

/// Takes one file descriptor of the service manager, if it is a listening socket.
fn adopt(number: RawFd) -> Result<InheritedListener, InheritError> {
    // SAFETY: LISTEN_PID names this process, so the descriptors from 3 on were open when it started. No other value owns
    // them, and descriptors opened since have other numbers.
    #[expect(unsafe_code, reason = "socket activation passes open files by their number")]
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let refused = |_| InheritError::NotListening(number);
    if !sockopt::socket_acceptconn(&socket).map_err(refused)? {
        return Err(InheritError::NotListening(number));
    }
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(io::Error::from)?;
    rustix::io::ioctl_fionbio(&socket, true).map_err(io::Error::from)?;
    let address = local_address(&socket)?;
    Ok(InheritedListener { address, owner: SocketOwner::ServiceManager, socket })
}

/// The address of a socket as the kernel reports it.
fn local_address(socket: impl AsFd) -> Result<ListenAddr, InheritError> {
    let address = rustix::net::getsockname(socket).map_err(io::Error::from)?;
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return Ok(ListenAddr::Tcp(address));
    }
    let unix = rustix::net::SocketAddrUnix::try_from(address).map_err(io::Error::from)?;
    Ok(ListenAddr::Unix(OsStr::from_bytes(unix.path_bytes().unwrap_or_default()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> (SocketAddr, InheritedListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = listener.local_addr().unwrap();
        let address = local_address(&listener).unwrap();
        assert_eq!(address, ListenAddr::Tcp(bound));
        (bound, InheritedListener { address, owner: SocketOwner::ServiceManager, socket: listener.into() })
    }

    #[test]
    fn a_socket_is_found_by_its_address_and_only_once() {
        let (address, listening) = tcp();
        let (other, another) = tcp();
        let mut inherited = Inherited::new(vec![listening, another]);
        assert_eq!(inherited.take_tcp(address).unwrap().0.local_addr().unwrap(), address);
        assert!(inherited.take_tcp(address).is_none());
        assert_eq!(inherited.unclaimed().collect::<Vec<_>>(), [&ListenAddr::Tcp(other)]);
        let any = SocketAddr::new(other.ip(), 0);
        assert_eq!(inherited.take_tcp(any).unwrap().0.local_addr().unwrap(), other);
    }

    #[test]
    fn a_unix_socket_is_found_by_its_path_and_its_file_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(local_address(&listener).unwrap(), ListenAddr::Unix(path.clone()));
        let address = ListenAddr::Unix(path.clone());
        let mut inherited = Inherited::new(vec![InheritedListener {
            address,
            owner: SocketOwner::ServiceManager,
            socket: listener.into(),
        }]);
        let (listener, owner) = inherited.take_unix(&path).unwrap();
        assert_eq!(owner, SocketOwner::ServiceManager);
        drop(listener);
        assert!(path.exists());
    }

    #[test]
    fn a_unix_socket_without_its_file_is_not_taken() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let address = ListenAddr::Unix(path.clone());
        let listening = InheritedListener { address, owner: SocketOwner::Server, socket: listener.into() };
        assert!(Inherited::new(vec![listening]).take_unix(&path).is_none());
    }
}
