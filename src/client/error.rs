//! What can go wrong with a request to a server: every variant names the server, the request and what happened instead.

use std::fmt::Write as _;

/// The most characters of a foreign response that an error quotes.
const EXCERPT_CHARS_MAX: usize = 160;

/// The guard's code of a rate or concurrency limit, under any HTTP status (docs/denials.md).
const RATE_CODE: i64 = -31429;

/// Where a question went and what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestLabel {
    /// The server, without credentials.
    pub(crate) at: String,
    /// The MCP method, or the HTTP method and path.
    pub(crate) what: String,
}

impl std::fmt::Display for RequestLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.what, self.at)
    }
}

/// Why a request has no usable response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{question}: cannot connect: {source}")]
    Connect { question: RequestLabel, source: std::io::Error },
    #[error("{question}: not connected within {millis} ms")]
    ConnectTimeout { question: RequestLabel, millis: u128 },
    #[error("{question}: cannot load the certificate authorities: {reason}")]
    Authorities { question: RequestLabel, reason: String },
    #[error("{question}: no whole answer within {millis} ms")]
    Timeout { question: RequestLabel, millis: u128 },
    #[error("{question}: the connection broke before the answer was whole: {source}")]
    Broken { question: RequestLabel, source: hyper::Error },
    #[error("{question}: the request cannot be built: {reason}")]
    Request { question: RequestLabel, reason: String },
    #[error("{question}: the answer is larger than {max} bytes")]
    TooLarge { question: RequestLabel, max: usize },
    #[error("{question}: the answer takes more than {max} bytes of memory to read")]
    TooHeavy { question: RequestLabel, max: usize },
    #[error("{question}: more than {max} tools are listed")]
    TooMany { question: RequestLabel, max: usize },
    #[error("{question}: HTTP {status}{}", quoted(.excerpt))]
    Status { question: RequestLabel, status: u16, excerpt: String },
    #[error("{question}: HTTP {status}, but the body is no JSON-RPC answer ({content_type}){}", quoted(.excerpt))]
    NotRpc { question: RequestLabel, status: u16, content_type: &'static str, excerpt: String },
    #[error("{question}: JSON-RPC error {code}: {message}")]
    Rpc { question: RequestLabel, status: u16, code: i64, message: String },
    #[error("{question}: the result lacks {lacks}")]
    Shape { question: RequestLabel, lacks: &'static str },
    #[error("{question}: more than {max} pages, or a page that repeats")]
    Pages { question: RequestLabel, max: usize },
}

impl Error {
    /// Whether there was no response at all: no connection, or no whole HTTP response.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(
            self,
            Error::Connect { .. }
                | Error::ConnectTimeout { .. }
                | Error::Authorities { .. }
                | Error::Timeout { .. }
                | Error::Broken { .. }
        )
    }

    /// Whether the server refused the request because of a limit of the client.
    pub(crate) fn is_limit(&self) -> bool {
        let by_code = matches!(self, Error::Rpc { code, .. } if *code == RATE_CODE);
        by_code || self.status() == Some(429)
    }

    /// The HTTP status of the response that is not usable, if one came.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Error::Status { status, .. } | Error::NotRpc { status, .. } | Error::Rpc { status, .. } => {
                Some(*status)
            }
            Error::Connect { .. }
            | Error::ConnectTimeout { .. }
            | Error::Authorities { .. }
            | Error::Timeout { .. }
            | Error::Broken { .. }
            | Error::Request { .. }
            | Error::TooLarge { .. }
            | Error::TooHeavy { .. }
            | Error::TooMany { .. }
            | Error::Shape { .. }
            | Error::Pages { .. } => None,
        }
    }
}

fn quoted(excerpt: &str) -> String {
    if excerpt.is_empty() { String::new() } else { format!(": `{excerpt}`") }
}

/// The beginning of a foreign text, fit for a terminal: control characters are escaped, length is bounded.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXCERPT_CHARS_MAX)]);
    let mut out = String::new();
    for (count, char) in text.trim().chars().enumerate() {
        if count == EXCERPT_CHARS_MAX {
            out.push('…');
            break;
        }
        if char.is_control() {
            let _ = write!(out, "{}", char.escape_default());
        } else {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_cannot_drive_a_terminal_and_is_bounded() {
        assert_eq!(excerpt(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb");
        assert_eq!(excerpt(&[b'x'; 5000]).chars().count(), EXCERPT_CHARS_MAX + 1);
        assert_eq!(excerpt(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn an_error_says_what_and_where() {
        let question = RequestLabel { at: "http://127.0.0.1:1/".to_owned(), what: "tools/list".to_owned() };
        let error = Error::Status { question, status: 502, excerpt: "<html>".to_owned() };
        assert_eq!(error.to_string(), "tools/list at http://127.0.0.1:1/: HTTP 502: `<html>`");
    }
}
