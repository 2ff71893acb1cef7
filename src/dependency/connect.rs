//! Connects to a dependency, over TCP or a Unix socket.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::dependencies::Endpoint;

const HINT: &str = "is it running, and may this user and this machine reach it?";

/// A connection of either kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

/// Connects. The caller bounds the time.
pub(super) async fn to(endpoint: &Endpoint) -> Result<Box<dyn Connection>, String> {
    let connected: std::io::Result<Box<dyn Connection>> = match endpoint {
        Endpoint::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(error),
        },
        Endpoint::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(error),
        },
    };
    connected.map_err(|error| format!("cannot connect to {endpoint}: {error} (hint: {HINT})"))
}
