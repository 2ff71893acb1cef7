//! The data plane, and the only place that names Pingora: listeners, connections, calls, backends.
//!
//! Read `downstream/connection.rs` (one connection), then `call/mod.rs` (one call); everything else serves these two.

mod backend;
mod call;
mod date;
mod downstream;
mod drain;
mod fairness;
mod head_writer;
mod io;
mod route;
mod server;
mod state;
mod sync;

pub(crate) use call::shadow::CallCopy;
pub(crate) use server::Guard;
pub(crate) use server::handle::{Handle, KnownToken, SlotStatus, StatusSnapshot};
pub(crate) use server::in_process::Rig;
pub(crate) use state::traffic_split::{Fence, Route};

/// Why the guard could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("listen on {address}")]
    Bind { address: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("start a thread")]
    Thread(#[source] std::io::Error),
    #[error("set up the metrics")]
    Metrics(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("get random numbers from the system")]
    Random(#[source] getrandom::Error),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Nothing was in flight any more.
    Idle,
    /// The drain deadline cut this many calls.
    Cut(usize),
}
