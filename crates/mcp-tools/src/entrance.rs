//! Who may send a request: everyone who can open the Unix socket, or who has the token of the loopback address.
//!
//! A browser on this machine reaches a loopback address too, also through a name that its owner points there, so `Host` and
//! `Origin` are checked. Must not know the requests.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri};

/// The names of this server. Another `Host` is refused: it is a browser under DNS rebinding.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Shorter tokens can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
const SCHEME: &str = "bearer ";

/// Why a request is refused: the status, and the reason for the client.
pub(crate) type Refusal = (StatusCode, String);

/// The way that a request came in.
#[derive(Debug, Clone)]
pub(crate) enum Entrance {
    /// The Unix socket, whose mode decides who may connect. The guard stands before it and names the caller.
    Socket,
    /// The address is a name of the server, too: it may be another one of 127.0.0.0/8.
    Loopback(IpAddr, Token),
}

impl Entrance {
    /// Checks what does not depend on the body.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        self.check_host(uri, headers)?;
        match self {
            Entrance::Socket => Ok(()),
            Entrance::Loopback(_, token) => {
                self.check_origin(headers)?;
                token.check(headers)
            }
        }
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let bad = |reason: &str| (StatusCode::BAD_REQUEST, reason.to_owned());
        let sent = match headers.get(HOST) {
            Some(host) if host == HOSTS[0] => return Ok(()),
            Some(host) => {
                let host = host.to_str().map_err(|_| bad("Bad Request: Invalid Host header encoding"))?;
                &Authority::try_from(host).map_err(|_| bad("Bad Request: Invalid Host header"))?
            }
            None => uri.authority().ok_or_else(|| bad("Bad Request: missing Host header"))?,
        };
        if self.is_own(sent.host()) {
            return Ok(());
        }
        Err((StatusCode::FORBIDDEN, format!("Forbidden: Host must be one of {}", self.names())))
    }

    /// A browser's page of another site has another origin.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_own_page = |origin: &str| {
            let uri = origin.parse::<Uri>().ok();
            uri.as_ref().and_then(Uri::host).is_some_and(|host| self.is_own(host))
        };
        let origins = headers.get_all(ORIGIN).iter();
        if origins.map(|origin| origin.to_str().unwrap_or_default()).all(is_own_page) {
            return Ok(());
        }
        Err((StatusCode::FORBIDDEN, format!("Forbidden: Origin must be on one of {}", self.names())))
    }

    fn is_own(&self, host: &str) -> bool {
        let name = host.trim_matches(['[', ']']);
        HOSTS.iter().any(|known| known.eq_ignore_ascii_case(name))
            || self.address().is_some_and(|address| name.parse() == Ok(address))
    }

    fn address(&self) -> Option<IpAddr> {
        match self {
            Entrance::Socket => None,
            Entrance::Loopback(address, _) => Some(*address),
        }
    }

    /// The names of the server, for a refused client.
    fn names(&self) -> String {
        let address = self.address().map(|address| address.to_string());
        let further = address.iter().map(String::as_str).filter(|address| !HOSTS.contains(address));
        HOSTS.into_iter().chain(further).collect::<Vec<_>>().join(", ")
    }
}

/// The token of a loopback address.
#[derive(Clone)]
pub(crate) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token(..)")
    }
}

impl Token {
    /// The token of a file or variable; blanks around it do not belong to it.
    pub(crate) fn new(text: &str) -> Result<Token, String> {
        let text = text.trim();
        if text.len() < TOKEN_BYTES_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "must be at least {TOKEN_BYTES_MIN} visible ASCII characters (hint: openssl rand -hex 32)"
            ));
        }
        Ok(Token(text.to_owned()))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let sent = match (values.next(), values.next()) {
            (Some(value), None) => value.as_bytes(),
            (_, _) => b"",
        };
        let (scheme, token) = sent.split_at_checked(SCHEME.len()).unwrap_or_default();
        if scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && same(token, self.0.as_bytes()) {
            return Ok(());
        }
        let reason =
            "Unauthorized: send Authorization: Bearer with the token that mcp-tools was started with";
        Err((StatusCode::UNAUTHORIZED, reason.to_owned()))
    }
}

/// Compares in a time that depends on the lengths alone.
fn same(sent: &[u8], token: &[u8]) -> bool {
    let differing =
        sent.iter().zip(token).fold(0, |found, (one, other)| std::hint::black_box(found | (one ^ other)));
    sent.len() == token.len() && differing == 0
}
