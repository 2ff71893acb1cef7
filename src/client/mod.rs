//! A small MCP client for health checks, parity and the watchdog: both eras, over TCP, TLS or a Unix socket.
//!
//! Everything is bounded (connecting, the whole response, its size, the number of pages) and every failure is a value that
//! names the request, the server and what came back instead. Must not know rollouts, slots' roles or the command line.

mod connect;
mod error;
mod exchange;
pub(crate) mod load;
mod replay;
mod session;
mod target;
#[cfg(test)]
mod tests;
mod tools_list;

pub(crate) use error::Error;
#[cfg(feature = "oauth")]
pub(crate) use error::excerpt;
pub(crate) use exchange::{Client, KeptConnection, Limits, Method, Request, Response};
pub(crate) use replay::message_in_stream;
pub(crate) use session::{RpcResponse, Session, TimedResponse, says_legacy};
pub(crate) use target::{Target, TargetError};
pub(crate) use tools_list::CachedToolsList;
