//! `host[:port]`, as it stands in `Host`, in an absolute-form target and behind the scheme of an `Origin`.
//!
//! Syntax only; which hosts are allowed is policy.

use std::net::Ipv6Addr;

/// A well-formed authority without userinfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'b> {
    /// The host as sent; an IPv6 address keeps its brackets.
    pub host: &'b [u8],
    /// The port, if one is given.
    pub port: Option<u16>,
}

impl<'b> Authority<'b> {
    /// Parses `host[:port]`. Stricter than RFC 3986, which allows names that no resolver knows (`a,b`, `%41`).
    pub fn parse(text: &'b [u8]) -> Option<Authority<'b>> {
        let host_length = match text.first()? {
            b'[' => ipv6_length(text)?,
            _ => text.iter().position(|&byte| !is_name_byte(byte)).unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(host_length);
        if host.is_empty() {
            return None;
        }
        match rest {
            // RFC 3986, 3.2.3: `port = *DIGIT`, so a lone colon is an absent port.
            [] | [b':'] => Some(Authority { host, port: None }),
            [b':', digits @ ..] => Some(Authority { host, port: Some(port(digits)?) }),
            _ => None,
        }
    }

    /// The IPv6 address without its brackets, or the name as it is.
    pub fn bare_host(&self) -> &'b [u8] {
        match self.host {
            [b'[', inner @ .., b']'] => inner,
            name => name,
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn ipv6_length(text: &[u8]) -> Option<usize> {
    let close = text.iter().position(|&byte| byte == b']')?;
    let address = std::str::from_utf8(&text[1..close]).ok()?;
    address.parse::<Ipv6Addr>().ok().map(|_| close + 1)
}

fn port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 {
        return None;
    }
    digits.iter().try_fold(0_u16, |port, &digit| {
        let digit = char::from(digit).to_digit(10).and_then(|digit| u16::try_from(digit).ok())?;
        port.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<(&str, Option<u16>)>) {
        let parsed = Authority::parse(text.as_bytes());
        assert_eq!(parsed.map(|a| (a.host, a.port)), expect.map(|(host, port)| (host.as_bytes(), port)));
    }

    // RFC 9110, 7.2: `Host = uri-host [ ":" port ]`.
    #[test]
    fn accepts_names_and_addresses_with_and_without_port() {
        check("mcp.test", Some(("mcp.test", None)));
        check("mcp.test:8001", Some(("mcp.test", Some(8001))));
        check("127.0.0.1:80", Some(("127.0.0.1", Some(80))));
        check("[::1]:8080", Some(("[::1]", Some(8080))));
        check("[::ffff:127.0.0.1]", Some(("[::ffff:127.0.0.1]", None)));
        check("mcp.test:", Some(("mcp.test", None)));
        check("a:65535", Some(("a", Some(65535))));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            ":80",
            "a/x",
            "a:8o",
            "a:80:80",
            "a?x",
            "a\\x",
            "<a>",
            "a b",
            "\"a\"",
            "[::1]x",
            "{a}",
            "u@a",
            "a#b",
            "[::1",
            "[]",
            "[g::1]",
            "[::1%25eth0]",
            "a:65536",
            "a:000080",
            "a,b",
            "a%41",
            "::1",
            "a:-1",
            "caf\u{e9}",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn bare_host_takes_the_brackets_off() {
        assert_eq!(Authority::parse(b"[::1]:1").map(|a| a.bare_host()), Some(b"::1".as_slice()));
        assert_eq!(Authority::parse(b"a:1").map(|a| a.bare_host()), Some(b"a".as_slice()));
    }
}
