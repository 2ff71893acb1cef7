//! Starts guards, tool servers and scripted backends for the Rust tests of the workspace, and speaks raw HTTP to them:
//!
//! ```ignore
//! let backend = backend().await;
//! let guard = guard(env!("CARGO_BIN_EXE_mcp-guard")).token("t").upstream(&backend).start().await;
//! ```
//!
//! Everything is on Unix sockets in a temporary directory or on ports the system picks; every wait has a deadline. The path
//! of a program is passed in, because only the tests of its own package know it.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod address;
mod backend;
mod certificates;
mod client;
mod command;
mod guard;
mod issuer;
mod load;
mod mcp;
mod message;
mod program;
mod running;
mod token_key;
mod tools;
mod wait;

pub use address::closed_address;
pub use backend::{Backend, Peer, ServingBackend, backend, backend_at, backend_on_tcp, is_probe};
pub use certificates::Certificates;
pub use client::{Client, call, notification, post};
pub use command::CommandOutput;
pub use guard::{Builder, guard};
pub use issuer::{Issuer, IssuerAnswer, issuer};
pub use load::{FailedCall, Load};
pub use mcp::{Behaviour, ExecutedCalls, McpBackend, mcp_backend, old_mcp_backend};
pub use message::{Message, ReadError, read_message};
pub use program::{GuardProcess, Program, SPAWNING, guard_command};
pub use running::Guard;
pub use token_key::TokenKey;
pub use tools::{ToolServer, exchange};
pub use wait::{TIMEOUT, eventually, eventually_blocking, in_time, measured};

/// The JSON-RPC response of a scripted backend, where its content does not matter.
pub fn result(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#)
}

/// A complete HTTP response with a JSON body.
pub fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
