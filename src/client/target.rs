//! Where a server is and what it is sent besides the question: address, path, `Host`, fixed header fields.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use hyper::header::{HeaderName, HeaderValue};

use crate::tls::{ClientTls, ServerTls};
use crate::upstream::{Accept, Address, Backend, Secrets, UpstreamAuthorization};

const ACCEPT_BOTH: &str = "application/json, text/event-stream";
/// The `Accept` field for servers that refuse `text/event-stream`.
pub(super) const ACCEPT_JSON: &str = "application/json";

/// How to reach a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp {
        host: String,
        port: u16,
    },
    /// Without settings, the server proves the host's name to the system's authorities.
    Tls {
        host: String,
        port: u16,
        settings: Option<ClientTls>,
    },
    Unix(PathBuf),
}

/// A server to send requests to. `Display` names it without credentials.
#[derive(Clone)]
pub(crate) struct Target {
    pub(super) transport: Transport,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) accept: &'static str,
    pub(super) bearer: Option<String>,
    pub(super) set_headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("a server is `http://host:port/path`, `https://host/path` or `unix:/path/of.sock[:/path]`")]
    Scheme,
    #[error("the host is missing")]
    Host,
    #[error("the port is not a number from 1 to 65535")]
    Port,
    #[error("a URL must not carry a user, a token, a query or a fragment")]
    Extra,
    #[error("a Unix socket is named by an absolute path")]
    Socket,
    #[error("only visible ASCII characters may appear in it")]
    Characters,
}

impl Target {
    /// Parses `http://…`, `https://…` or `unix:/socket[:/path]`. Without a path it is `/`.
    pub(crate) fn parse(text: &str) -> Result<Target, TargetError> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TargetError::Characters);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            return Target::parse_unix(rest);
        }
        let (rest, default_port) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (rest, 80),
            (None, Some(rest)) => (rest, 443),
            (None, None) => return Err(TargetError::Scheme),
        };
        if rest.contains(['@', '?', '#']) {
            return Err(TargetError::Extra);
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let (host, port) = host_and_port(authority, default_port)?;
        let transport =
            if default_port == 443 { tls(host, port, None) } else { Transport::Tcp { host, port } };
        Ok(Target::new(transport, path, authority))
    }

    /// The same, with this query behind the path.
    #[cfg(feature = "oauth")]
    pub(crate) fn with_query(mut self, query: &str) -> Target {
        self.path.push('?');
        self.path.push_str(query);
        self
    }

    fn parse_unix(rest: &str) -> Result<Target, TargetError> {
        let (socket, path) = match rest.split_once(":/") {
            Some((socket, path)) => (socket, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        if !socket.starts_with('/') || socket.len() < 2 {
            return Err(TargetError::Socket);
        }
        if path.contains(['?', '#']) {
            return Err(TargetError::Extra);
        }
        Ok(Target::new(Transport::Unix(PathBuf::from(socket)), &path, "localhost:80"))
    }

    fn new(transport: Transport, path: &str, host: &str) -> Target {
        Target {
            transport,
            path: path.to_owned(),
            host: host.to_owned(),
            accept: ACCEPT_BOTH,
            bearer: None,
            set_headers: Vec::new(),
        }
    }

    /// A slot's backend, with the fields that the guard's own requests have. A fixed field that is no valid header is left out: the
    /// config has judged it.
    pub(crate) fn of_backend(backend: &Backend) -> Target {
        let transport = match &backend.address {
            Address::Unix(path) => Transport::Unix(path.clone()),
            Address::Tcp(address) => over(address.ip().to_string(), address.port(), backend.tls.as_ref()),
            Address::Name { host, port } => over(host.clone(), *port, backend.tls.as_ref()),
        };
        let mut target = Target::new(transport, &backend.path, &backend.host);
        target.accept = match backend.accept {
            Accept::Both | Accept::Pass => ACCEPT_BOTH,
            Accept::Json => ACCEPT_JSON,
        };
        target.bearer = match &backend.authorization {
            UpstreamAuthorization::Strip => None,
            UpstreamAuthorization::Bearer(token) => Some(token.clone()),
        };
        let parsed = backend.set_headers.iter().filter_map(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
        });
        target.set_headers = parsed.collect();
        target
    }

    /// What listens on this address, at `path`, from this machine. An error says why its TLS cannot be spoken.
    pub(crate) fn of_listener(
        address: &Address,
        tls: Option<&ServerTls>,
        path: &str,
    ) -> Result<Target, String> {
        let settings = tls.map(ServerTls::own_client).transpose()?;
        Ok(match address {
            Address::Unix(socket) => Target::new(Transport::Unix(socket.clone()), path, "localhost:80"),
            Address::Tcp(address) => {
                let (ip, port) = (address.ip(), address.port());
                let ip = match ip {
                    IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                    ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
                };
                let host = SocketAddr::new(ip, port).to_string();
                Target::new(over(ip.to_string(), port, settings.as_ref()), path, &host)
            }
            Address::Name { host, port } => {
                Target::new(over(host.clone(), *port, settings.as_ref()), path, &address.to_string())
            }
        })
    }

    /// The same server, with this bearer token.
    pub(crate) fn with_bearer(mut self, token: Option<String>) -> Target {
        self.bearer = token;
        self
    }

    /// The same server under another `Host`.
    pub(crate) fn with_host(mut self, host: &str) -> Target {
        self.host = host.to_owned();
        self
    }

    /// What it is sent and must not be quoted with.
    pub(super) fn secrets(&self) -> Secrets {
        let fixed = self.set_headers.iter().filter_map(|(_, value)| value.to_str().ok());
        Secrets::new(self.bearer.as_deref().into_iter().chain(fixed))
    }

    /// The path of requests.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether questions carry a token.
    pub(crate) fn has_bearer(&self) -> bool {
        self.bearer.is_some()
    }
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Target, TargetError> {
        Target::parse(text)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.transport {
            Transport::Tcp { host, port } => write!(f, "http://{}:{port}{path}", bracketed(host)),
            Transport::Tls { host, port, .. } => write!(f, "https://{}:{port}{path}", bracketed(host)),
            Transport::Unix(socket) if path == "/" => write!(f, "unix:{}", socket.display()),
            Transport::Unix(socket) => write!(f, "unix:{}:{path}", socket.display()),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// TCP, or TLS where there are settings for it.
fn over(host: String, port: u16, settings: Option<&ClientTls>) -> Transport {
    match settings {
        Some(settings) => tls(host, port, Some(settings.clone())),
        None => Transport::Tcp { host, port },
    }
}

fn tls(host: String, port: u16, settings: Option<ClientTls>) -> Transport {
    Transport::Tls { host, port, settings }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn host_and_port(authority: &str, default_port: u16) -> Result<(String, u16), TargetError> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or(TargetError::Port)?)),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(TargetError::Host);
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(TargetError::Port)?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, TargetError>) {
        let shown = Target::parse(text).map(|target| format!("{target} host={}", target.host));
        assert_eq!(shown, expect.map(str::to_owned), "{text}");
    }

    #[test]
    fn reads_every_form() {
        check("http://127.0.0.1:8001/mcp/", Ok("http://127.0.0.1:8001/mcp/ host=127.0.0.1:8001"));
        check("http://localhost", Ok("http://localhost:80/ host=localhost"));
        check(
            "https://mcp.example.org/swf/mcp",
            Ok("https://mcp.example.org:443/swf/mcp host=mcp.example.org"),
        );
        check("http://[::1]:9/x", Ok("http://[::1]:9/x host=[::1]:9"));
        check("unix:/run/a.sock", Ok("unix:/run/a.sock host=localhost:80"));
        check("unix:/run/a.sock:/mcp/", Ok("unix:/run/a.sock:/mcp/ host=localhost:80"));
    }

    #[test]
    fn refuses_what_is_ambiguous_or_secret() {
        check("127.0.0.1:8001", Err(TargetError::Scheme));
        check("ftp://x/", Err(TargetError::Scheme));
        check("http:///x", Err(TargetError::Host));
        check("http://a:0/", Err(TargetError::Port));
        check("http://a:99999/", Err(TargetError::Port));
        check("http://user:secret@a/", Err(TargetError::Extra));
        check("http://a/?token=x", Err(TargetError::Extra));
        check("unix:relative.sock", Err(TargetError::Socket));
        check("unix:", Err(TargetError::Socket));
        check("http://a/b c", Err(TargetError::Characters));
    }

    #[test]
    fn debug_and_display_do_not_show_the_token() {
        let Ok(target) = Target::parse("http://a/") else { panic!("parses") };
        let target = target.with_bearer(Some("secret-token".to_owned()));
        assert!(!format!("{target} {target:?}").contains("secret"));
    }
}
