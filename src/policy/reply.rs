//! Denial to the answer that a client survives (contract, sections 2 and 8).

use super::{Denial, call::ReplyTo};

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
    No,
    /// At least one byte reached a backend.
    Unknown,
}

/// The circumstances of a refusal after the scan.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    pub request_id: &'a str,
    pub executed: Executed,
    pub retry_after_ms: Option<u64>,
    pub mode: ErrorMode,
}

/// A complete answer of the guard's own, without connection-level fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// `Allow: POST`, `WWW-Authenticate: Bearer realm="mcp"`; static by construction.
    pub extra: Option<(&'static str, &'static str)>,
    pub body: std::borrow::Cow<'static, [u8]>,
}

/// The answer to a refusal on the head, or of a body that could not be scanned: fixed bytes, real status.
pub fn to_head(denial: Denial) -> Reply {
    let _ = denial;
    todo!()
}

/// The answer to a refusal after the scan.
pub fn to_call(denial: Denial, to: &ReplyTo<'_>, circumstances: &Circumstances<'_>) -> Reply {
    let _ = (denial, to, circumstances);
    todo!()
}
