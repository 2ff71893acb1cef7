//! The configuration as domain types: what the tables of the file become.
//!
//! Must not know how a file is read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::dependencies::Dependency;
use super::oauth::Oauth;
use super::{console, fleet, plan, reload, shadow, traces};
use crate::policy::identity::TokenVerifier;
use crate::policy::rate::Rate;
use crate::policy::reply::ErrorMode;
use crate::policy::routes::RouteRule;
use crate::policy::shared_rates::SharedRates;
use crate::policy::tools::ReadOnlyTools;
use crate::policy::{CredentialFields, Limits, SwitchedOff, Timeouts, ToolRules, auth, origin, paths};
use crate::tls::{ServerTls, must_keep_tls};
use crate::upstream::{Address, Backend, PerSlot, Secrets, Slot};
use crate::wire::ProtocolVersion;

/// A whole, valid configuration.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    pub(crate) auth: auth::AuthRules,
    /// The fields that carry a credential.
    pub(crate) credentials: CredentialFields,
    /// `[auth.oauth]`
    pub(crate) oauth: Option<Arc<Oauth>>,
    /// What verifies the tokens of issuers; the part that has their keys sets it.
    pub(crate) verifier: Option<Arc<dyn TokenVerifier>>,
    /// What counts rates with other guards; the part that speaks to them sets it. It stays the same for a process.
    pub(crate) shared_rates: Option<Arc<dyn SharedRates>>,
    /// Every configured client: `default` from the environment, then `tokens.toml`. Empty is legal and warned of.
    pub(crate) clients: auth::Clients,
    pub(crate) paths: paths::PathRules,
    pub(crate) origin: origin::OriginRules,
    pub(crate) limits: Limits,
    /// `[limits.tools]`
    pub(crate) tool_rules: ToolRules,
    /// `[tools]`: what is known to change nothing.
    pub(crate) read_only: ReadOnlyTools,
    pub(crate) timeouts: Timeouts,
    pub(crate) backends: PerSlot<Option<Backend>>,
    /// The slot that is stable where no state says otherwise.
    pub(crate) stable: Slot,
    /// Whether the file says so, or it is a default.
    pub(crate) says_stable: bool,
    /// Whether the other slot stands by although it has never been stable.
    pub(crate) standby: bool,
    pub(crate) split_key: SplitKey,
    pub(crate) max_version: MaxVersionSetting,
    pub(crate) error_mode: ErrorMode,
    pub(crate) log: Log,
    pub(crate) health: Health,
    /// What is copied to the candidate in a shadow stage.
    pub(crate) shadow: shadow::Shadow,
    /// What the file named by `[rollout] plan` says, or the built-in plan.
    pub(crate) rollout: plan::Rollout,
    /// What the backends depend on.
    pub(crate) dependencies: Vec<Dependency>,
    /// Where the console listens, and for whom.
    pub(crate) console: console::Console,
    /// None where traces are off.
    pub(crate) traces: Option<traces::Traces>,
    /// The guards that this one works with; none where it works alone.
    pub(crate) fleet: Option<Arc<fleet::Fleet>>,
    /// What makes a running guard reload when it changes.
    pub(crate) reload: reload::Watch,
    /// What is open beside the endpoint.
    pub(crate) routes: Vec<Route>,
    /// Tools and clients that are switched off at run time; the file has none.
    pub(crate) off: SwitchedOff,
    /// What must not be quoted from any response.
    pub(crate) secrets: Secrets,
}

impl Config {
    /// Puts the fleet that a guard has joined in place of what the file says, until the next start: the key, if they differ.
    pub(crate) fn keep_fleet(&mut self, joined: Option<&Arc<fleet::Fleet>>) -> Option<&'static str> {
        if self.fleet.as_ref() == joined {
            return None;
        }
        self.fleet = joined.cloned();
        if let Some(fleet) = joined {
            self.secrets = self.secrets.and(&Secrets::new(fleet.secrets()));
        }
        Some("fleet")
    }

    /// The backend in a slot.
    pub(crate) fn backend(&self, slot: Slot) -> Option<&Backend> {
        self.backends[slot].as_ref()
    }
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: Address,
    /// Of the file, when the address is a Unix socket.
    pub(crate) mode: u32,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) admin: Option<PathBuf>,
    pub(crate) state: Option<PathBuf>,
    /// Peers whose `X-Forwarded-*` is believed and appended to.
    pub(crate) trusted_proxies: Vec<std::net::IpAddr>,
    /// Worker threads of the data path.
    pub(crate) threads: usize,
    /// `[listen.tls]`; in clear without it.
    pub(crate) tls: Option<ServerTls>,
}

impl Listen {
    /// Whether the listener at `bound` keeps its running TLS until the next start.
    pub(crate) fn must_keep_tls(&self, bound: &Address, running: Option<&ServerTls>) -> bool {
        must_keep_tls((bound, running), (&self.address, self.tls.as_ref()))
    }
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

/// One `[[route]]`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) rule: RouteRule,
    pub(crate) target: RouteTarget,
    /// Bytes at the start of a path that the backend does not see.
    pub(crate) stripped: usize,
    /// Between two pieces of a response; for a WebSocket, of either direction.
    pub(crate) idle: Duration,
    /// A whole exchange, unless it is a stream.
    pub(crate) total: Duration,
    pub(crate) in_flight_max: usize,
    pub(crate) rate: Option<Rate>,
    pub(crate) rate_key: RateKey,
}

/// Whose requests the rate of a route counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateKey {
    /// Those of a client or an API key; without either, everyone's.
    Caller,
    /// Those of a client's address.
    Address,
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum RouteTarget {
    /// The backend in this slot.
    Slot(Slot),
    /// The backend in whichever slot is stable when the request comes.
    Stable,
    /// A backend of its own.
    Own(Box<Backend>),
}
