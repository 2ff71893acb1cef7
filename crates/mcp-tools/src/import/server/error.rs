//! Why a server's tools could not be read.

use super::bounds::{BYTES_MAX, PAGES_MAX, TIME_MAX, TOOLS_MAX};

/// Why a server's tools could not be read: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(
        "{0}: is no address of a server (hint: http://HOST:PORT/PATH, https://HOST/PATH, or the path of a Unix socket)"
    )]
    Address(String),
    #[error("the token cannot stand in a header: it holds a control character or a letter that is not ASCII")]
    Token,
    #[error(
        "cannot connect to {place}: {reason} (hint: does the server run, and is the address the one that clients use?)"
    )]
    Connect { place: String, reason: String },
    #[error("{place}: {method}: the exchange broke: {reason}")]
    Broken { place: String, method: String, reason: String },
    #[error("{place}: {method}: status {status}: {excerpt}{}", hint(*.status))]
    Status { place: String, method: String, status: u16, excerpt: String },
    #[error(
        "{place}: {method}: no JSON-RPC response: {excerpt} (hint: is this the address of an MCP server, with its path?)"
    )]
    NoResponse { place: String, method: String, excerpt: String },
    #[error("{place}: {method}: error {code}: {message}")]
    Refused { place: String, method: String, code: i64, message: String },
    #[error("{place}: {method}: the result has no {lacks}")]
    Shape { place: String, method: String, lacks: &'static str },
    #[error("{place}: the responses have more than {} MiB", BYTES_MAX / 1024 / 1024)]
    TooLarge { place: String },
    #[error("{place}: more than {TOOLS_MAX} tools or {PAGES_MAX} pages, or a cursor that comes again")]
    TooMany { place: String },
    #[error("{place}: not done within {} s", TIME_MAX.as_secs())]
    Time { place: String },
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => " (hint: --token-env VARIABLE sends that variable's value as bearer token)",
        404 | 405 => " (hint: is this the whole address, as in http://HOST:PORT/mcp?)",
        _ => "",
    }
}

impl ServerError {
    /// Whether a refusal of `server/discover` means that the server only has `initialize`. A refused token or a server
    /// that failed says nothing of that.
    pub(super) fn says_handshake(&self) -> bool {
        match self {
            ServerError::Status { status, .. } => *status < 500 && *status != 401 && *status != 403,
            ServerError::Refused { .. } | ServerError::Shape { .. } | ServerError::NoResponse { .. } => true,
            ServerError::Address(_)
            | ServerError::Token
            | ServerError::Connect { .. }
            | ServerError::Broken { .. }
            | ServerError::TooLarge { .. }
            | ServerError::TooMany { .. }
            | ServerError::Time { .. } => false,
        }
    }
}
