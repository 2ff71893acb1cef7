//! The address of a backend: a Unix socket, an address or a name with a port, and whether TLS is spoken there.
//!
//! A listener has no name (`value::address`): it is bound once. A backend's name is resolved again while the guard runs. Must not
//! know which backend it is.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::value;
use crate::config::diagnostics::InvalidValue;
use crate::upstream::Address;

/// What an `address` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BackendAddress {
    pub(super) address: Address,
    pub(super) scheme: Scheme,
}

/// How requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl BackendAddress {
    /// The `Host` that a backend of this address expects where nothing else is configured.
    pub(super) fn host_field(&self) -> String {
        match &self.address {
            Address::Name { .. } => self.address.to_string(),
            Address::Tcp(address) if self.scheme == Scheme::Https => address.to_string(),
            Address::Tcp(_) | Address::Unix(_) => "localhost:80".to_owned(),
        }
    }

    /// The name that a certificate must prove where nothing else is configured.
    pub(super) fn server_name(&self) -> String {
        match &self.address {
            Address::Name { host, .. } => host.clone(),
            Address::Tcp(address) => address.ip().to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// `unix:/path`, `ip:port`, `name:port`, `http://host:port` or `https://host:port`.
pub(super) fn parse(text: &str, folder: &Path) -> Result<BackendAddress, InvalidValue> {
    let (rest, scheme, default_port) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (rest, Scheme::Https, Some(443)),
        (None, Some(rest)) => (rest, Scheme::Http, Some(80)),
        (None, None) => (text, Scheme::Http, None),
    };
    if default_port.is_none() && text.starts_with("unix:") {
        return Ok(BackendAddress { address: value::address(text, folder)?, scheme });
    }
    let rest = if default_port.is_some() { rest.strip_suffix('/').unwrap_or(rest) } else { rest };
    if default_port.is_some() && rest.contains(['/', '@', '?', '#']) {
        let invalid = InvalidValue::new("must be a scheme, a host and a port, and nothing else");
        return Err(invalid.hint("the path has its own key; a token never stands here").secret());
    }
    let address = match (rest.parse::<SocketAddr>(), default_port) {
        (Ok(address), _) => Address::Tcp(address),
        (Err(_), default_port) => named(rest, default_port).ok_or_else(|| refusal(text))?,
    };
    Ok(BackendAddress { address, scheme })
}

/// A name, or an address without a port where there is a default.
fn named(text: &str, default_port: Option<u16>) -> Option<Address> {
    let (host, port) = value::split_port(text);
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => default_port?,
    };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        // Without brackets it could not be told which colon begins the port.
        return (ip.is_ipv4() || bare.len() < host.len()).then(|| Address::Tcp(SocketAddr::new(ip, port)));
    }
    // What ends in a number is an address with a mistake in it (WHATWG URL, 3.5), never a name.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_name = !host.contains(['[', ':']) && !last.bytes().all(|byte| byte.is_ascii_digit());
    let host = value::host_name(host).ok().filter(|_| is_name)?;
    Some(Address::Name { host, port })
}

/// Why a text is no address, in the words for addresses in general.
fn refusal(text: &str) -> InvalidValue {
    let invalid = match value::tcp(text) {
        Err(invalid) => invalid,
        Ok(_) => InvalidValue::new("must be an address"),
    };
    let reason = "must be ip:port, name:port, https://name:port or unix:/path";
    InvalidValue { reason: reason.to_owned(), ..invalid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let shown = parse(text, Path::new("/etc/guard")).ok().map(|found| {
            let tls = if found.scheme == Scheme::Https { " tls" } else { "" };
            format!("{}{tls} host={} name={}", found.address, found.host_field(), found.server_name())
        });
        assert_eq!(shown.as_deref(), expect, "{text}");
    }

    #[test]
    fn a_backend_address_is_a_socket_an_address_or_a_name_with_a_port() {
        check("unix:/run/a.sock", Some("unix:/run/a.sock host=localhost:80 name=localhost"));
        check("127.0.0.1:80", Some("127.0.0.1:80 host=localhost:80 name=127.0.0.1"));
        check("localhost:3001", Some("localhost:3001 host=localhost:3001 name=localhost"));
        check("http://Tools.Example:80/", Some("tools.example:80 host=tools.example:80 name=tools.example"));
        check("https://a.example:8443", Some("a.example:8443 tls host=a.example:8443 name=a.example"));
        check("https://a.example", Some("a.example:443 tls host=a.example:443 name=a.example"));
        check("https://10.0.0.1:8443", Some("10.0.0.1:8443 tls host=10.0.0.1:8443 name=10.0.0.1"));
        check("https://[::1]", Some("[::1]:443 tls host=[::1]:443 name=::1"));
        for text in [
            "",
            "name",
            "name:",
            "name:0",
            "name:99999",
            "127.0.0.1",
            "256.0.0.1:80",
            "1.2:80",
            "::1:80",
            "a b:80",
            "https://",
            "https://a:0",
            "https://a/mcp",
            "https://user@a",
            "https://a?x",
            "ftp://a:1",
            "/run/a.sock",
            "https://unix:/a",
            "a/b:80",
            "-:",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_backend_address_with_a_mistake_gets_the_hint_of_addresses() {
        let hint = |text| parse(text, Path::new("/")).unwrap_err().hint.unwrap_or_default();
        assert_eq!(hint("/run/a.sock"), "did you mean \"unix:/run/a.sock\"?");
        assert_eq!(hint("8001"), "did you mean \"127.0.0.1:8001\"?");
        assert!(hint("127.0.0.1:99999").contains("up to 65535"));
        assert!(hint("https://a/mcp").contains("path has its own key"));
    }
}
