//! The data plane, and the only place that names Pingora: listeners, connections, calls, backends.
//!
//! Read `front.rs` (one connection), then `call.rs` (one call); everything else serves these two.

mod admission;
mod answer;
mod ask;
mod backend;
mod body;
mod call;
mod client;
mod clock;
mod deliver;
mod discover;
mod drain;
mod exchange;
mod filter;
mod front;
mod handle;
mod hold;
mod io;
mod keys;
mod learn;
mod local;
mod metrics_service;
mod open;
mod pool;
mod quota;
mod ready;
mod relay;
mod report;
mod request_id;
mod rig;
mod room;
mod route;
mod routes;
mod runtime;
mod seat;
mod server;
mod shadow;
mod shelf;
mod slot;
mod stream_time;
mod streams;
mod sync;
mod trial;

pub(crate) use handle::{Handle, KnownToken, SlotStatus, StatusSnapshot};
pub(crate) use rig::Rig;
pub(crate) use route::{Fence, Route};
pub(crate) use server::Guard;
pub(crate) use shadow::CallCopy;

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
