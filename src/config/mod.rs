//! The configuration file: a serde mirror of the TOML becomes domain types, and every problem is reported at once.
//!
//! Each domain module owns its config type; this module builds them. Must not know Pingora or Tokio.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::policy::reply::ErrorMode;
use crate::policy::{Limits, Timeouts, auth, origin, paths};
use crate::upstream::{Address, Backend, Slot};
use crate::wire::ProtocolVersion;

/// A whole, valid configuration.
pub(crate) struct Config {
    pub(crate) listen: Listen,
    pub(crate) auth: auth::Config,
    /// Every configured client: `default` from the environment, then `tokens.toml`. Empty is legal and warned of.
    pub(crate) clients: auth::Clients,
    pub(crate) paths: paths::Config,
    pub(crate) origin: origin::Config,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) blue: Option<Backend>,
    pub(crate) green: Option<Backend>,
    pub(crate) stable: Slot,
    pub(crate) split_key: SplitKey,
    pub(crate) max_version: MaxVersionSetting,
    pub(crate) error_mode: ErrorMode,
    pub(crate) log: Log,
    pub(crate) health: Health,
}

/// `[listen]`
pub(crate) struct Listen {
    pub(crate) address: Address,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) admin: Option<PathBuf>,
    pub(crate) state: Option<PathBuf>,
    /// Peers whose `X-Forwarded-*` is believed and appended to.
    pub(crate) trusted_proxies: Vec<std::net::IpAddr>,
    /// Worker threads of the data path.
    pub(crate) threads: usize,
}

/// `[routing] key`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SplitKey {
    Client,
    Request,
}

/// `[protocol] max_version`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxVersionSetting {
    Auto,
    Unbounded,
    Version(ProtocolVersion),
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: log::LevelFilter,
}

/// `[log] format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Json,
    Text,
}

/// `[health]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) rise: u32,
    pub(crate) fall: u32,
}
