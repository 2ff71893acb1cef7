//! Commands to a running guard over its Unix socket: one request, one response.
//!
//! Access is checked twice, by the socket's mode (0600) and by the peer's user; every command is logged. Must not know Pingora, nor the command line.

pub(crate) mod client;
pub(crate) mod protocol;
pub(crate) mod server;

pub(crate) use crate::proxy::{GuardStatus, TokenUse};
#[cfg(feature = "console")]
pub(crate) use protocol::Overview;
pub(crate) use protocol::{AdminCommand, AdminResponse, FeatureReport, Reloaded, Upgraded};
pub(crate) use server::{Handler, HandlerFuture, Server};
