//! What every HTTP request of ours needs: the origin in a URL, a connection to it over TCP or TLS, and one exchange on it.
//!
//! Must not know what is sent, nor what a response means.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use mcp_host::tls::{client_config, system_roots};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, Error as TlsError};

/// `User-Agent` of our requests.
pub(crate) const USER_AGENT: &str = concat!("mcp-tools/", env!("CARGO_PKG_VERSION"));

/// Where an `http` or `https` URL leads, without its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As it stands in the `Host` header.
    pub(crate) authority: String,
}

/// Why a URL has no origin for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoOrigin {
    /// Neither `http://HOST` nor `https://HOST`.
    Form,
    /// It holds a user name or password.
    User,
}

impl Origin {
    pub(crate) fn of(url: &Uri) -> Result<Origin, NoOrigin> {
        let tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(NoOrigin::Form),
        };
        let authority =
            url.authority().filter(|authority| !authority.host().is_empty()).ok_or(NoOrigin::Form)?;
        if authority.as_str().contains('@') {
            return Err(NoOrigin::User);
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Origin { tls, host, port, authority: authority.to_string() })
    }

    /// A new connection; the error says why there is none.
    pub(crate) async fn connect(&self, tls: &TlsSettings) -> Result<Connection, ConnectError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        if !self.tls {
            return Connection::over(stream).await;
        }
        let config = tls.get().map_err(unreachable)?;
        let name = ServerName::try_from(self.host.clone()).map_err(unreachable)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        Connection::over(stream.map_err(unreachable)?).await
    }
}

/// Why there is no connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// Nothing was sent.
    Unreachable(String),
    /// It ended before a request could be sent.
    Broken(String),
}

fn unreachable(error: impl Display) -> ConnectError {
    ConnectError::Unreachable(error.to_string())
}

/// TLS settings with the authorities of this machine, which are read on first use.
#[derive(Default)]
pub(crate) struct TlsSettings(OnceLock<Arc<ClientConfig>>);

impl TlsSettings {
    fn get(&self) -> Result<&Arc<ClientConfig>, TlsError> {
        if let Some(config) = self.0.get() {
            return Ok(config);
        }
        let config = Arc::new(client_config(system_roots().0)?);
        Ok(self.0.get_or_init(|| config))
    }
}

/// A connection for one exchange. It ends when it is dropped.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Connection {
    pub(crate) async fn over<S>(stream: S) -> Result<Connection, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| ConnectError::Broken(error.to_string()))?;
        Ok(Connection { sender, driver: tokio::spawn(connection) })
    }

    /// Sends the request, and returns the response with the body yet to be read.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
