//! The data plane, and the only place that names Pingora: listeners, connections, calls, backends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::telemetry::Log;
use crate::upstream::Slot;

/// Why the guard could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("listen on {address}")]
    Bind { address: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("start a thread")]
    Thread(#[source] std::io::Error),
    #[error("set up the metrics")]
    Metrics(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A guard whose listeners are bound: the kernel queues connections from here on.
pub(crate) struct Guard {}

impl Guard {
    /// Binds every listener. Call it before anything claims readiness: when it returns, the addresses are really ours.
    pub(crate) fn bind(config: Config, log: Log) -> Result<Guard, Error> {
        let _ = (config, log);
        todo!()
    }

    /// A handle for admin commands and signals.
    pub(crate) fn handle(&self) -> Handle {
        todo!()
    }

    /// Serves until SIGTERM, SIGINT or [`Handle::begin_shutdown`], then drains: returns as soon as nothing is in flight, and
    /// when `timeouts.drain` has passed in any case. Must not be called from inside a Tokio runtime.
    pub(crate) fn run(self) -> Result<Drained, Error> {
        todo!()
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Nothing was in flight any more.
    Idle,
    /// The drain deadline cut this many calls.
    Cut(usize),
}

/// A running guard, seen from outside. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    _shared: Arc<()>,
}

impl Handle {
    /// A snapshot for `status`.
    pub(crate) fn status(&self) -> StatusSnapshot {
        todo!()
    }

    /// Replaces policy, limits and backends in one pointer swap; requests under way finish on what they started with. The
    /// listeners stay as they are.
    pub(crate) fn publish(&self, config: Config) {
        let _ = config;
        todo!()
    }

    /// Starts the drain, as SIGTERM does.
    pub(crate) fn begin_shutdown(&self) {
        todo!()
    }
}

/// Plain data about a running guard.
#[derive(Debug, Clone)]
pub(crate) struct StatusSnapshot {
    pub(crate) version: &'static str,
    pub(crate) uptime: Duration,
    pub(crate) draining: bool,
    /// The address really bound, such as `127.0.0.1:8001` or `unix:/run/mcp-guard/guard.sock`.
    pub(crate) listen: String,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) connections: usize,
    pub(crate) clients: usize,
    pub(crate) stable: Slot,
    pub(crate) slots: Vec<SlotStatus>,
}

/// Plain data about one slot.
#[derive(Debug, Clone)]
pub(crate) struct SlotStatus {
    pub(crate) slot: Slot,
    pub(crate) address: String,
    /// Whether the last look at the backend (a call or a readiness check) reached it; `None` before the first.
    pub(crate) reachable: Option<bool>,
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) held: usize,
    pub(crate) idle_connections: usize,
}
