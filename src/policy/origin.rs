//! `Origin` and `Host`: protection against DNS rebinding (MCP, Transports: servers MUST validate `Origin`).
//!
//! Loopback is always allowed. Must not know paths or clients.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Denial;
use crate::http1::{Authority, KnownField, Occurs, RequestHead};

/// `[origin]`: what is allowed besides loopback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginRules {
    /// Compared exactly, scheme and host without regard to case.
    pub allowed: Vec<Origin>,
    /// Any port is accepted.
    pub hosts: Vec<Host>,
}

/// An origin such as `https://example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

/// A host name or address, without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(String);

const FILE: &str = "file://";

impl Origin {
    /// Parses `scheme://host[:port]`; a final slash, as copied from an address bar, is taken off.
    pub fn parse(text: &str) -> Option<Origin> {
        // Pages of some desktop programs have no host.
        if text.eq_ignore_ascii_case(FILE) {
            return Some(Origin(FILE.to_owned()));
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        Authority::parse(authority.as_bytes())?;
        is_scheme.then(|| Origin(text.to_ascii_lowercase()))
    }

    /// The origin as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// Parses a name or an address; an IPv6 address may stand in brackets.
    pub fn parse(text: &str) -> Option<Host> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let is_address = bare.parse::<Ipv6Addr>().is_ok();
        let authority = Authority::parse(text.as_bytes());
        let is_name = authority.is_some_and(|authority| authority.host.len() == text.len());
        (is_address || is_name).then(|| Host(bare.to_ascii_lowercase()))
    }

    /// The host as text, in lower case, without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Check 5. A request without `Origin` does not come from a web page.
pub(super) fn check(config: &OriginRules, head: &RequestHead<'_>) -> Result<(), Denial> {
    match head.fields.occurs(KnownField::Origin) {
        Occurs::Never => {}
        Occurs::Once(origin) if is_allowed_origin(config, origin) => {}
        Occurs::Once(_) | Occurs::Repeated => return Err(Denial::OriginNotAllowed),
    }
    if is_allowed_host(config, &head.authority) { Ok(()) } else { Err(Denial::HostNotAllowed) }
}

pub(super) fn is_allowed_origin(config: &OriginRules, origin: &[u8]) -> bool {
    config.allowed.iter().any(|allowed| allowed.0.as_bytes().eq_ignore_ascii_case(origin))
        || is_loopback_origin(origin)
}

fn is_loopback_origin(origin: &[u8]) -> bool {
    [b"http://".as_slice(), b"https://"].into_iter().any(|scheme| {
        let Some((start, rest)) = origin.split_at_checked(scheme.len()) else { return false };
        start.eq_ignore_ascii_case(scheme)
            && Authority::parse(rest).is_some_and(|authority| is_loopback(authority.bare_host()))
    })
}

fn is_allowed_host(config: &OriginRules, authority: &Authority<'_>) -> bool {
    let host = authority.bare_host();
    config.hosts.iter().any(|allowed| allowed.0.as_bytes().eq_ignore_ascii_case(host)) || is_loopback(host)
}

fn is_loopback(host: &[u8]) -> bool {
    // The plain spellings, which nearly every client sends, need no parser.
    if matches!(host, b"127.0.0.1" | b"::1") || host.eq_ignore_ascii_case(b"localhost") {
        return true;
    }
    let Ok(text) = std::str::from_utf8(host) else { return false };
    match host.first() {
        Some(b'1') => text.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        _ => host.contains(&b':') && text.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn config() -> OriginRules {
        OriginRules {
            allowed: vec![Origin::parse("https://Example.org/").unwrap()],
            hosts: vec![Host::parse("mcp.test").unwrap(), Host::parse("[2001:DB8::1]").unwrap()],
        }
    }

    #[track_caller]
    fn check_origin(origin: &str, expect: bool) {
        assert_eq!(is_allowed_origin(&config(), origin.as_bytes()), expect, "{origin}");
    }

    #[track_caller]
    fn check_host(host: &str, expect: bool) {
        let authority = Authority::parse(host.as_bytes()).unwrap();
        assert_eq!(is_allowed_host(&config(), &authority), expect, "{host}");
    }

    // MCP 2025-06-18, Transports: "Servers MUST validate the Origin header on all incoming connections to prevent DNS
    // rebinding attacks".
    #[test]
    fn allows_loopback_and_configured_origins_only() {
        for origin in [
            "http://localhost",
            "https://LOCALHOST:3000",
            "http://127.0.0.1:8001",
            "http://127.8.9.1",
            "http://[::1]:80",
            "https://example.org",
            "HTTPS://EXAMPLE.ORG",
        ] {
            check_origin(origin, true);
        }
        for origin in [
            "null",
            "",
            "http://example.org",
            "https://example.org:8443",
            "https://example.org.evil.test",
            "http://localhost.evil.test",
            "http://evil.test#localhost",
            "http://localhost@evil.test",
            "localhost",
            "file://localhost",
            "http://127.0.0.1.evil.test",
            "http://128.0.0.1",
            "http://[::2]",
            "http://localhost/x",
            "http://0x7f.1",
            "http://localhost, http://evil.test",
        ] {
            check_origin(origin, false);
        }
    }

    // "`Host` allowed (default: loopback names and addresses, any port; more by config)"
    #[test]
    fn allows_loopback_and_configured_hosts_at_any_port() {
        for host in [
            "localhost",
            "localhost:80",
            "127.0.0.1:8001",
            "[::1]",
            "[0:0:0:0:0:0:0:1]:1",
            "MCP.test:443",
            "[2001:db8::1]",
        ] {
            check_host(host, true);
        }
        for host in [
            "mcp.test.evil",
            "evil",
            "10.0.0.1",
            "127.1",
            "1",
            "localhost.",
            "[2001:db8::2]",
            "mcp",
            "1localhost",
        ] {
            check_host(host, false);
        }
    }

    proptest! {
        // "Same result for all input": what its spelling says, the standard library's parser says, too.
        #[test]
        fn knows_loopback_by_its_spelling_as_by_parsing(
            host in r"(127\.0\.0\.1|::1|[lL]ocal[hH]ost|[0:]{1,9}1?|[0-9:.]{0,12})[0-9a-z.:]{0,1}",
        ) {
            let parsed = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            prop_assert_eq!(is_loopback(host.as_bytes()), parsed || host.to_lowercase() == "localhost", "{}", host);
        }
    }

    #[test]
    fn a_configured_host_has_no_port_and_an_origin_has_a_scheme() {
        for (text, expect) in [
            ("mcp.test", Some("mcp.test")),
            ("::1", Some("::1")),
            ("[::1]", Some("::1")),
            ("mcp.test:80", None),
            ("mcp.test:", None),
            ("http://mcp.test", None),
            ("", None),
        ] {
            assert_eq!(Host::parse(text).as_ref().map(Host::as_str), expect, "{text}");
        }
        for (text, expect) in [
            ("https://a.b:1", Some("https://a.b:1")),
            ("vscode-webview://0abc", Some("vscode-webview://0abc")),
            (
                "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb",
                Some("chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb"),
            ),
            ("moz-extension://0a-1", Some("moz-extension://0a-1")),
            ("app://-", Some("app://-")),
            ("app://obsidian.md/", Some("app://obsidian.md")),
            ("capacitor://localhost", Some("capacitor://localhost")),
            ("file://", Some("file://")),
            ("file:///", None),
            ("file:///home", None),
            ("a.b", None),
            ("https://a.b/c", None),
            ("https://", None),
            ("null", None),
        ] {
            assert_eq!(Origin::parse(text).as_ref().map(Origin::as_str), expect, "{text}");
        }
    }
}
