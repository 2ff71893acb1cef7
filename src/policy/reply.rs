//! Denial to the answer that a client survives (contract, sections 2 and 8).
//!
//! Makes status, fields and body; writes nothing to a connection and reads no clock.

use std::borrow::Cow;

use super::denial::{Body, Row};
use super::{Denial, call::ReplyTo};
use crate::wire::era::{EraError, supported_up_to};
use crate::wire::rpc::{ErrorParts, write_error};
use crate::wire::{Era, Method};

/// Whether call errors are translated so that clients survive them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorMode {
    /// Section 8: HTTP 200 and a JSON-RPC error for legacy requests with an id.
    #[default]
    Survivable,
    /// The real status always.
    Http,
}

/// Whether the backend may have acted on the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// No byte reached a backend.
    No,
    /// At least one byte reached a backend.
    Unknown,
}

/// The circumstances of a refusal after the scan.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The `X-Request-Id` of the answer.
    pub request_id: &'a str,
    /// Whether the call may be repeated without harm.
    pub executed: Executed,
    /// When it makes sense to, if better is known than the table's default.
    pub retry_after_ms: Option<u64>,
    /// `[errors] mode`
    pub mode: ErrorMode,
}

/// A complete answer of the guard's own, without connection-level fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// `Allow: POST`, `WWW-Authenticate: Bearer realm="mcp"`; static by construction.
    pub extra: Option<(&'static str, &'static str)>,
    /// `application/json`
    pub body: Cow<'static, [u8]>,
}

/// The answer to a refusal on the head, or of a body that could not be scanned: fixed bytes, real status.
pub fn to_head(denial: Denial) -> Reply {
    let row = denial.row();
    let body = match row.body {
        Body::Fixed(text) => Cow::Borrowed(text.as_bytes()),
        Body::Rpc(code) => Cow::Owned(rpc_body(None, code, &message(denial, &row), None)),
    };
    Reply { status: row.status, retry_after: row.retry_after_ms.map(whole_seconds), extra: row.extra, body }
}

/// The answer to a refusal after the scan.
pub fn to_call(denial: Denial, to: &ReplyTo<'_>, circumstances: &Circumstances<'_>) -> Reply {
    let row = denial.row();
    let Body::Rpc(code) = row.body else { return to_head(denial) };
    let retry_after_ms = circumstances.retry_after_ms.or(row.retry_after_ms);
    let data = retry_after_ms.map(|retry_after_ms| data(&row, retry_after_ms, circumstances));
    let body = Cow::Owned(rpc_body(to.id, code, &message(denial, &row), data.as_deref()));
    if survives(denial, &row, to, circumstances.mode) {
        return Reply { status: 200, retry_after: None, extra: None, body };
    }
    let status = match (denial, to.method) {
        // A client takes any 4xx to the opening probe for a verdict on the protocol era, and may remember it.
        (Denial::RateLimited, Method::Discover) => 503,
        _ => row.status,
    };
    Reply { status, retry_after: retry_after_ms.map(whole_seconds), extra: row.extra, body }
}

/// Whether the refusal travels under HTTP 200. It never does without an id: `id: null` under 200 hangs clients.
fn survives(denial: Denial, row: &Row, to: &ReplyTo<'_>, mode: ErrorMode) -> bool {
    let translated = match denial {
        // A forbidden tool must look like one that does not exist, in either era and mode.
        Denial::UnknownTool => true,
        _ => mode == ErrorMode::Survivable && to.era == Era::Legacy && !opens_session(to.method),
    };
    row.survivable && translated && to.id.is_some()
}

/// A client that cannot even connect does best with the real status.
fn opens_session(method: Method) -> bool {
    matches!(method, Method::Initialize | Method::Discover)
}

fn message(denial: Denial, row: &Row) -> Cow<'static, str> {
    match denial {
        Denial::Era(EraError::Fenced { max }) => {
            Cow::Owned(format!("{}. Supported versions: {}", row.message, supported_up_to(max)))
        }
        _ => Cow::Borrowed(row.message),
    }
}

fn data(row: &Row, retry_after_ms: u64, circumstances: &Circumstances<'_>) -> String {
    let executed = match circumstances.executed {
        Executed::No => "no",
        Executed::Unknown => "unknown",
    };
    let request_id = serde_json::Value::from(circumstances.request_id);
    let reason = row.code;
    format!(
        r#"{{"reason":"{reason}","retryAfterMs":{retry_after_ms},"requestId":{request_id},"executed":"{executed}"}}"#
    )
}

fn rpc_body(id: Option<&[u8]>, code: i32, message: &str, data: Option<&str>) -> Vec<u8> {
    let mut body = Vec::with_capacity(192);
    write_error(&mut body, &ErrorParts { id, code, message, data });
    body
}

/// `Retry-After` counts whole seconds; rounding down would invite a retry that is refused again.
fn whole_seconds(milliseconds: u64) -> u64 {
    milliseconds.div_ceil(1000).max(1)
}
