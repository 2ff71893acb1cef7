//! What one slot's backend is and what it receives: the `[slots.NAME]` table as domain types.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::tls::ClientTls;

/// Where a backend listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A socket's path.
    Unix(PathBuf),
    /// An address and a port.
    Tcp(SocketAddr),
    /// A host name, which is resolved again and again, and a port.
    Name {
        /// In lower case.
        host: String,
        /// Not 0.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What `Accept` the backend receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// `application/json, text/event-stream`
    Both,
    /// `application/json`
    Json,
    /// Whatever the client sent.
    Pass,
}

/// What `Authorization` the backend receives. The client's own never passes.
#[derive(Clone, PartialEq, Eq)]
pub enum UpstreamAuthorization {
    /// None.
    Strip,
    /// The value of the environment variable named in the config, sent as `Bearer …`.
    Bearer(String),
}

/// One slot's backend.
#[derive(Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: Address,
    /// How it is reached over TLS; in clear without this.
    pub tls: Option<ClientTls>,
    /// The path requested of the backend, starting with `/`.
    pub path: String,
    /// The `Host` sent to the backend.
    pub host: String,
    /// The `Accept` it receives.
    pub accept: Accept,
    /// The `Authorization` it receives.
    pub authorization: UpstreamAuthorization,
    /// Idle connections kept at most.
    pub pool: usize,
    /// Age at which an idle connection is closed; below the backend's own keep-alive time.
    pub pool_idle: Duration,
    /// Whether `Mcp-Session-Id` is removed in both directions (stateless backends).
    pub strip_session: bool,
    /// Whether `GET` and `DELETE` of a session pass (stateful backends).
    pub sessions: bool,
    /// Fixed fields, replacing the client's under any spelling of the name.
    pub set_headers: Vec<(String, String)>,
    /// Whether the query string is forwarded.
    pub query: bool,
    /// Whether `X-MCP-Client: <name>` is added.
    pub client_header: bool,
}

impl Backend {
    /// The address as the configuration writes it.
    pub fn place(&self) -> String {
        if self.tls.is_some() { format!("https://{}", self.address) } else { self.address.to_string() }
    }
}
