//! A small MCP client for health checks, parity and the watchdog: both eras, over TCP, TLS or a Unix socket.
//!
//! Everything is bounded (connecting, the whole answer, its size, the number of pages) and every failure is a value that
//! says what was asked, where, and what came back instead. Must not know rollouts, slots' roles or the command line.

mod copy;
mod door;
mod envelope;
mod error;
mod exchange;
mod listing;
mod session;
mod sse;
mod survey;
mod target;
#[cfg(test)]
mod tests;
mod timing;
mod tls;

pub(crate) use copy::message_in_stream;
pub(crate) use door::auth_matrix;
pub(crate) use error::Error;
pub(crate) use exchange::{Client, Limits, Method, Reply, Request};
pub(crate) use listing::Listing;
pub(crate) use session::{Answer, Answered, Session, says_legacy};
pub(crate) use survey::survey;
pub(crate) use target::{Target, TargetError};
pub(crate) use timing::time_both;
