//! mcp-guard: a reverse proxy that owns transport policy for MCP backends.
//!
//! The crate is a pure core that decides and a shell that acts. Read the core first, in this order:
//!
//! * [`http1`] - HTTP/1.1 messages, judged strictly on raw bytes;
//! * [`wire`] - JSON-RPC and MCP in the body: scan, era, outcome;
//! * [`policy`] - the order of checks: one function on the head, one on the call;
//! * [`upstream`] - slots, and which share of the traffic each gets;
//! * [`parity`] - are two servers the same to their clients?
//! * [`rollout`] - how a candidate takes over, and when it must not.
//!
//! The shell (`config`, `telemetry`, `proxy`, `control`, `admin`, `app`, `cli`) performs what the core
//! decided.

pub mod http1;
pub mod parity;
pub mod policy;
pub mod rollout;
pub mod upstream;
pub mod wire;

mod admin;
mod app;
pub mod cli;
mod client;
mod collect;
mod config;
#[cfg(feature = "console")]
mod console;
mod control;
mod dependency;
#[cfg(feature = "fleet")]
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(any(feature = "console", feature = "release"))]
mod histogram;
#[cfg(feature = "oauth")]
mod identity;
mod incident;
mod systemd_journal;

mod proxy;
#[cfg(feature = "release")]
mod release;
#[cfg(feature = "console")]
mod series;
mod shadow;

mod telemetry;
mod tls;
#[cfg(feature = "traces")]
mod traces;
mod worker;
