//! Whose fault a failed probe is: the service's, which a restart may mend, or the watchdog's own, which it cannot.
//!
//! A wrong token, a wrong URL or an unknown certificate says nothing about the service. Where both are possible it is taken
//! for the watchdog's own: a restart drops calls. Must not restart or remember anything.

use std::fmt;
use std::io;

use crate::client::Error;

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProbeFailure {
    /// The service does not respond as it should.
    Service(String),
    /// The watchdog's own request was wrong, or could not be made.
    Own { reason: String, mend: &'static str },
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeFailure::Service(reason) => f.write_str(reason),
            ProbeFailure::Own { reason, mend } => {
                write!(f, "{reason}; this is not counted toward a restart (hint: {mend})")
            }
        }
    }
}

const URL: &str = "correct --url, or [paths] prefixes: the MCP endpoint is not there";
const TOKEN: &str =
    "use a token that `mcp-guard token list` names: MCP_BEARER_TOKEN, --token-env or --token-file";
const GUARD: &str = "mcp-guard token new default, and reload the guard: it has no token";
const HOST: &str = "add the name to [origin] hosts of the guard, or use its address in --url";
const RIGHTS: &str = "this client may not list tools or calls too often: see its entry in tokens.toml";
const TLS: &str = "correct the name in --url, or install the authority of the certificate (ca-certificates)";
const NAME: &str = "correct the host in --url, or the machine's name service";
const OPEN: &str = "run the watchdog as a user who may open the socket";
const NETWORK: &str = "the machine has no way to this address: correct --url or the network";

impl ProbeFailure {
    /// A configuration, a token file or a variable that could not be used.
    pub(super) fn unprepared(reason: String) -> ProbeFailure {
        ProbeFailure::Own { reason, mend: "correct the watchdog's options; nothing was asked" }
    }

    /// A response to a health check that is not healthy. `is_json` is whether its body was JSON.
    pub(super) fn of_health(path: &str, status: u16, is_json: bool) -> ProbeFailure {
        let reason = format!("GET {path}: HTTP {status}, not healthy");
        match of_status(status) {
            Some(mend) => ProbeFailure::Own { reason, mend },
            None if status == 200 && !is_json => {
                ProbeFailure::Own { reason, mend: "correct --url or --health-path: this is no health check" }
            }
            None => ProbeFailure::Service(reason),
        }
    }

    /// No tools at all: the client may have none, or the service.
    pub(super) fn no_tools() -> ProbeFailure {
        ProbeFailure::Own { reason: "tools/list: no tool is listed".to_owned(), mend: RIGHTS }
    }

    pub(super) fn of(error: &Error) -> ProbeFailure {
        let reason = error.to_string();
        match hint_for(error) {
            Some(mend) => ProbeFailure::Own { reason, mend },
            None => ProbeFailure::Service(reason),
        }
    }
}

/// What to correct where the request was wrong; nothing where the service is.
pub(crate) fn hint_for(error: &Error) -> Option<&'static str> {
    match error {
        Error::Authorities { .. } => Some(TLS),
        Error::Request { .. } => Some(URL),
        Error::Connect { source, .. } => of_connect(source),
        Error::Status { status: 503, excerpt, .. } | Error::NotRpc { status: 503, excerpt, .. } => {
            excerpt.contains("token not configured").then_some(GUARD)
        }
        Error::NotRpc { status: 200, content_type, .. } => content_type.contains("html").then_some(URL),
        Error::Status { status, .. } | Error::NotRpc { status, .. } => of_status(*status),
        // Codes of the guard's own: too many calls. Then: a method or a tool that this client may not use.
        Error::Rpc { code: -31_429 | -32_601 | -32_602, .. } => Some(RIGHTS),
        Error::Rpc { status, .. } => of_status(*status),
        Error::ConnectTimeout { .. }
        | Error::Timeout { .. }
        | Error::Broken { .. }
        | Error::TooLarge { .. }
        | Error::TooHeavy { .. }
        | Error::TooMany { .. }
        | Error::Shape { .. }
        | Error::Pages { .. } => None,
    }
}

/// A status that says that the question was wrong. 408 and 425 speak of the moment.
fn of_status(status: u16) -> Option<&'static str> {
    match status {
        401 | 403 => Some(TOKEN),
        421 => Some(HOST),
        429 => Some(RIGHTS),
        408 | 425 => None,
        300..=499 => Some(URL),
        _ => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not known is the service's, which is probed again"
)]
fn of_connect(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::PermissionDenied => Some(OPEN),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Some(TLS),
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable => Some(NETWORK),
        _ => source.to_string().contains("lookup").then_some(NAME),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_speaks_of_the_caller_is_the_watchdogs_own_mistake() {
        for status in [301, 302, 307, 308, 400, 401, 403, 404, 405, 406, 410, 413, 415, 421, 429, 431] {
            assert!(of_status(status).is_some(), "{status}");
        }
        for status in [200, 204, 408, 425, 500, 502, 503, 504] {
            assert_eq!(of_status(status), None, "{status}");
        }
    }

    #[test]
    fn a_connection_that_is_refused_or_lost_is_the_services() {
        for kind in [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::NotFound,
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::TimedOut,
        ] {
            assert_eq!(of_connect(&kind.into()), None, "{kind}");
        }
        for kind in
            [io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidData, io::ErrorKind::HostUnreachable]
        {
            assert!(of_connect(&kind.into()).is_some(), "{kind}");
        }
        let lookup = io::Error::other("failed to lookup address information: Name or service not known");
        assert_eq!(of_connect(&lookup), Some(NAME));
    }
}
