//! The data plane, and the only place that names Pingora: listeners, connections, calls, backends.
//!
//! Read `downstream/connection.rs` (one connection), then `call/mod.rs` (one call); everything else serves these two.

mod backend;
mod call;
mod date;
mod downstream;
mod drain;
mod error;
pub(crate) mod explain;
mod fairness;
mod head_writer;
mod io;
mod request_id;
mod route;
mod server;
mod state;
mod sync;
mod tls_stream;

pub(crate) use error::Error;
pub(crate) use server::handle::{GuardStatus, Handle, TokenUse};
pub(crate) use server::in_process::InProcessServer;
pub(crate) use server::{Drained, Server};
pub(crate) use state::shadow_queue::ShadowedCall;
pub(crate) use state::traffic_split::{TrafficSplit, VersionCap};
