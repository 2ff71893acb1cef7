//! Where the server listens: a Unix socket, its own or the service manager's, or a loopback address.
//!
//! Must not know the connections' requests.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use mcp_host::socket::{BindError, BoundSocket, SocketFile, bind_unix};
use mcp_host::socket_activation::{InheritError, Inherited};

use crate::entrance::{Entrance, Token};

/// Owner and group may connect: the guard runs as another user of the group.
const SOCKET_MODE: u32 = 0o660;

/// A place to listen at.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Socket(PathBuf),
    Loopback(SocketAddr, Token),
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("cannot serve")]
    Bind(#[from] BindError),
    #[error("cannot take the service manager's socket over")]
    Inherit(#[from] InheritError),
    #[error("the service manager passed a socket for {place}, and --socket is {}", path.display())]
    Unwanted { place: String, path: PathBuf },
    #[error("cannot listen on {place}")]
    Io { place: String, source: io::Error },
}

/// An open listener.
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// One accepted connection.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// An open place: the listener, its name for the log, and the file of a socket of our own.
pub(crate) struct Opened {
    pub(crate) listener: Listener,
    pub(crate) entrance: Entrance,
    pub(crate) name: String,
    pub(crate) file: Option<SocketFile>,
}

impl Place {
    pub(crate) fn open(self) -> Result<Opened, ListenError> {
        match self {
            Place::Socket(path) => {
                let name = path.display().to_string();
                let (listener, file) = unix(&path)?;
                let listener = UnixListener::from_std(listener)
                    .map_err(|source| ListenError::Io { place: name.clone(), source })?;
                Ok(Opened { listener: Listener::Unix(listener), entrance: Entrance::Socket, name, file })
            }
            Place::Loopback(address, token) => {
                let failed = |source| ListenError::Io { place: address.to_string(), source };
                let listener = std::net::TcpListener::bind(address).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let name = format!("http://{}", listener.local_addr().map_err(failed)?);
                let listener = Listener::Tcp(TcpListener::from_std(listener).map_err(failed)?);
                Ok(Opened { listener, entrance: Entrance::Loopback(address.ip(), token), name, file: None })
            }
        }
    }
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A response is one write: waiting for more would only delay it.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    /// The connections of the listen queue; their clients are already connected.
    pub(crate) fn queue(self) -> Vec<Stream> {
        let mut queue = Vec::new();
        match self {
            Listener::Unix(listener) => {
                let Ok(listener) = listener.into_std() else { return queue };
                while let Ok((stream, _)) = listener.accept() {
                    let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
                    queue.extend(stream.map(Stream::Unix).ok());
                }
            }
            Listener::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return queue };
                while let Ok((stream, _)) = listener.accept() {
                    let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    queue.extend(stream.map(Stream::Tcp).ok());
                }
            }
        }
        queue
    }
}

/// The service manager's socket, if it passed one; else one of our own, with its file.
fn unix(path: &Path) -> Result<(std::os::unix::net::UnixListener, Option<SocketFile>), ListenError> {
    let mut inherited = Inherited::from_service_manager()?;
    if let Some((listener, _owner)) = inherited.take_unix(path) {
        return Ok((listener, None));
    }
    if let Some(place) = inherited.unclaimed().next() {
        return Err(ListenError::Unwanted { place: place.to_string(), path: path.to_owned() });
    }
    let BoundSocket { listener, file } = bind_unix(path, SOCKET_MODE)?;
    Ok((listener, Some(file)))
}
