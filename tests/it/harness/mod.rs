//! The real guard, scripted backends and raw clients, so that a test reads as prose:
//!
//! ```ignore
//! let backend = backend().await;
//! let guard = guard().token("t").upstream(&backend).start().await;
//! ```
//!
//! Everything is on Unix sockets in a temporary directory or on ports the system picks; every wait has a deadline.

mod backend;
mod client;
mod guard;
mod load;
mod mcp;
mod message;
mod operator;

pub(crate) use backend::{Backend, Peer, Serving, backend, backend_at, backend_on_tcp, is_probe};
pub(crate) use client::{Client, call, notification, post};
pub(crate) use guard::{Guard, STARTING, guard};
pub(crate) use load::{Load, Told};
pub(crate) use mcp::{Mcp, Mood, Tally, mcp, old_mcp};
pub(crate) use message::Message;
pub(crate) use operator::Typed;

use std::future::Future;
use std::io::Write;
use std::time::Duration;

/// Says what was measured, also where the output of tests that succeed is kept back.
pub(crate) fn measured(what: &str) {
    let _ = writeln!(std::io::stderr(), "measured: {what}");
}

/// How long anything may take before a test gives up: generous, because two cores are shared by many.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Reads one request of a test's own backend.
pub(crate) async fn read_message<R: tokio::io::AsyncRead + Unpin>(
    stream: &mut R,
    buffer: &mut Vec<u8>,
) -> Result<Message, message::NoMessage> {
    message::read(stream, buffer, false).await
}

/// Awaits `future`, or fails the test.
#[track_caller]
pub(crate) fn soon<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("{what} did not happen within {PATIENCE:?} ({place})"),
        }
    }
}

/// Asks again and again until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    soon(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// The JSON-RPC answer that a test's backend gives when its content does not matter.
pub(crate) fn result(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#)
}

/// A complete HTTP answer with a JSON body.
pub(crate) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
