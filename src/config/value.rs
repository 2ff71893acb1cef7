//! Single values of the file, parsed: durations, addresses, names, origins. Each says why it refuses.
//!
//! Must not know which key a value stands under, nor where.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::suggest;
use crate::config::diagnostics::InvalidValue;
use crate::policy::origin::Origin;
use crate::upstream::Address;

/// A duration with its unit: `200ms`, `55s`, `5m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let invalid =
        || InvalidValue::new("must be a whole number with a unit: ms, s, m or h").hint("as in \"55s\"");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let milliseconds_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(invalid()),
    };
    number.checked_mul(milliseconds_each).map(Duration::from_millis).ok_or_else(invalid)
}

/// A duration as the file would spell it: the largest unit that needs no fraction.
pub(super) fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0 => "0s".to_owned(),
        _ if milliseconds.is_multiple_of(3_600_000) => format!("{}h", milliseconds / 3_600_000),
        _ if milliseconds.is_multiple_of(60_000) => format!("{}m", milliseconds / 60_000),
        _ if milliseconds.is_multiple_of(1_000) => format!("{}s", milliseconds / 1_000),
        _ => format!("{milliseconds}ms"),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(text: &str, options: &[(&str, T)]) -> Result<T, InvalidValue> {
    if let Some((_, chosen)) = options.iter().find(|(name, _)| *name == text) {
        return Ok(*chosen);
    }
    let names = || options.iter().map(|(name, _)| *name);
    let listed = names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let invalid = InvalidValue::new(format!("must be one of {listed}"));
    Err(match suggest::nearest(text, names()) {
        Some(near) => invalid.hint(format!("did you mean \"{near}\"?")),
        None => invalid,
    })
}

/// A path, relative to the folder of the config file.
pub(super) fn path(text: &str, folder: &Path) -> Result<PathBuf, InvalidValue> {
    if text.is_empty() || text.contains('\0') {
        return Err(InvalidValue::new("must be a path"));
    }
    Ok(folder.join(text))
}

/// A short name that is a label of the metrics.
pub(super) fn label(text: &str) -> Result<String, InvalidValue> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if (1..=40).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::new("must be 1 to 40 of a-z, 0-9, _ and -: it is a label of the metrics"))
}

/// `unix:/path` or `ip:port`.
pub(super) fn address(text: &str, folder: &Path) -> Result<Address, InvalidValue> {
    let Some(socket) = text.strip_prefix("unix:") else { return Ok(Address::Tcp(tcp(text)?)) };
    let socket = path(socket, folder)?;
    match mcp_host::socket::check_path(&socket) {
        Ok(()) => Ok(Address::Unix(socket)),
        Err(too_long) => Err(InvalidValue::new(too_long.to_string()).hint("choose a shorter path")),
    }
}

/// Whether two listeners cannot be bound at once: the same address, or all addresses of the same port beside one of them. What
/// listens on all IPv6 addresses has those of IPv4, too.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let has = |all: IpAddr, other: IpAddr| all.is_unspecified() && (all.is_ipv6() || other.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() != 0 && one.port() == other.port() && (a == b || has(a, b) || has(b, a))
}

/// `ip:port`. Names are refused: what they resolve to may change under a running guard.
pub(super) fn tcp(text: &str) -> Result<SocketAddr, InvalidValue> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let invalid = InvalidValue::new("must be ip:port or unix:/path");
    Err(match text.split_once(':') {
        _ if text.starts_with('/') => invalid.hint(format!("did you mean \"unix:{text}\"?")),
        _ if text.starts_with("http:") => invalid.hint("write only the address; the path has its own key"),
        Some((name @ ("localhost" | "" | "*"), port)) if port.parse::<u16>().is_ok() => {
            let all = if name == "*" { "0.0.0.0" } else { "127.0.0.1" };
            invalid.hint(format!("did you mean \"{all}:{port}\"?"))
        }
        Some(_) if misses_only_a_port(text) => {
            invalid.hint("the port is a number up to 65535, as in \"127.0.0.1:8001\"")
        }
        Some(_) => {
            invalid.hint("names are not resolved; an IPv6 address stands in brackets, as in \"[::1]:8001\"")
        }
        None if text.parse::<u16>().is_ok() => invalid.hint(format!("did you mean \"127.0.0.1:{text}\"?")),
        None => invalid.hint("as in \"127.0.0.1:8001\""),
    })
}

/// Whether an address stands before the last colon, and no port behind it.
fn misses_only_a_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_err() && format!("{host}:1").parse::<SocketAddr>().is_ok()
    })
}

/// A path prefix of the endpoint.
pub(super) fn prefix(text: &str) -> Result<String, InvalidValue> {
    let text = plain_path(text)?;
    let last = text.rsplit('/').next();
    if text.split('/').any(|segment| segment == ".well-known")
        || matches!(last, Some("health" | "ready" | "register"))
    {
        return Err(InvalidValue::new("is a path the guard answers itself").hint("choose another prefix"));
    }
    Ok(text)
}

/// An absolute path that every program reads alike, without a final slash.
pub(super) fn plain_path(text: &str) -> Result<String, InvalidValue> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let segments = || text.split('/').skip(1);
    if !text.starts_with('/') {
        return Err(InvalidValue::new("must start with /"));
    }
    if text == "/" {
        return Ok(text.to_owned());
    }
    if text.ends_with('/') {
        let hint = format!("write \"{}\": it covers both forms", text.trim_end_matches('/'));
        return Err(InvalidValue::new("must not end with /").hint(hint));
    }
    if !text.bytes().all(plain) {
        return Err(InvalidValue::new("may hold letters, digits, and - . _ ~ /, compared byte for byte"));
    }
    if segments().any(|segment| segment.is_empty() || segment == "." || segment == "..") {
        return Err(InvalidValue::new("must not hold empty, . or .. segments"));
    }
    Ok(text.to_owned())
}

/// A web origin as browsers send it: scheme, host, optional port.
pub(super) fn origin(text: &str) -> Result<String, InvalidValue> {
    let invalid = InvalidValue::new("must be an origin: scheme://host or scheme://host:port");
    if text == "*" {
        return Err(invalid.hint("list each origin; there is no way to allow any"));
    }
    if text == "null" {
        return Err(invalid.hint("every sandboxed page sends null: it names nobody"));
    }
    let web = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    // Extensions and desktop programs have schemes of their own.
    let Some(authority) = web.or_else(|| text.split_once("://").map(|(_scheme, host)| host)) else {
        return Err(invalid.hint("as in \"https://example.org\" or \"vscode-webview://ID\""));
    };
    if web.is_none() {
        let exact = text.to_ascii_lowercase();
        let hint = "write it as the client sends it: the guard's log shows it under detail";
        return Origin::parse(&exact).map(|_| exact).ok_or_else(|| invalid.hint(hint));
    }
    let (host, port) = split_port(authority);
    if authority.contains('/') {
        return Err(invalid.hint("an origin has no path and no slash at its end"));
    }
    if host_name(host).is_err() || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(invalid.hint("as in \"https://example.org\""));
    }
    Ok(text.to_ascii_lowercase())
}

/// A host name or address, without a port.
pub(super) fn host_name(text: &str) -> Result<String, InvalidValue> {
    let invalid = InvalidValue::new("must be a host name or an IP address, without a port");
    let (host, port) = split_port(text);
    if text == "*" {
        return Err(invalid.hint("list each name; there is no way to allow any"));
    }
    if port.is_some() {
        return Err(invalid.hint(format!("write \"{host}\": any port is accepted")));
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let label = |label: &str| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                (1..=63).contains(&label.len()) && label.bytes().all(plain)
            };
            host.len() <= 253 && host.split('.').all(label)
        }
    };
    if valid { Ok(host.to_ascii_lowercase()) } else { Err(invalid) }
}

/// The name of an environment variable. Not quoted back: a token may have been pasted in its place.
pub(super) fn variable_name(text: &str) -> Result<String, InvalidValue> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.is_empty() || text.starts_with(|first: char| first.is_ascii_digit()) || !text.bytes().all(plain) {
        let invalid = InvalidValue::new("must be the name of an environment variable: letters, digits and _");
        return Err(invalid.hint("put the token in the variable, never in this file").secret());
    }
    Ok(text.to_owned())
}

/// Splits `host:port`; the colons of an IPv6 address in brackets are part of the host.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says<T>(result: Result<T, InvalidValue>) -> Result<T, String> {
        result.map_err(|invalid| invalid.reason)
    }

    #[test]
    fn durations_need_a_unit_and_show_as_they_are_written() {
        for text in ["200ms", "55s", "5m", "1h", "90s", "1500ms"] {
            assert_eq!(show(duration(text).unwrap()), text);
        }
        assert_eq!(show(duration("60s").unwrap()), "1m");
        for text in [
            "",
            "55",
            "s",
            "5 s",
            "-5s",
            "5.5s",
            "5d",
            "1h30m",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_literal() {
        let folder = Path::new("/etc/guard");
        assert_eq!(says(address("127.0.0.1:80", folder)), Ok(Address::Tcp(([127, 0, 0, 1], 80).into())));
        assert_eq!(says(address("unix:/run/a.sock", folder)), Ok(Address::Unix("/run/a.sock".into())));
        assert_eq!(says(address("unix:a.sock", folder)), Ok(Address::Unix("/etc/guard/a.sock".into())));
        for text in ["", "localhost:80", "127.0.0.1", "unix:", "/run/a.sock", "http://127.0.0.1:80", "::1:80"]
        {
            assert!(address(text, folder).is_err(), "{text}");
        }
        let long = format!("unix:/{}", "x".repeat(120));
        assert!(address(&long, folder).is_err());
        let hint = |text| address(text, folder).unwrap_err().hint.unwrap();
        assert_eq!(hint("localhost:80"), "did you mean \"127.0.0.1:80\"?");
        assert_eq!(hint("/run/a.sock"), "did you mean \"unix:/run/a.sock\"?");
        assert_eq!(hint(":8001"), "did you mean \"127.0.0.1:8001\"?");
        assert_eq!(hint("8001"), "did you mean \"127.0.0.1:8001\"?");
        assert_eq!(hint("*:8001"), "did you mean \"0.0.0.0:8001\"?");
        for text in ["127.0.0.1:99999", "127.0.0.1:", "127.0.0.1:http", "[::1]:65536", "[::1]:"] {
            assert!(hint(text).contains("up to 65535"), "{text}");
        }
        for text in ["guard:8001", "::1:80", "256.0.0.1:80"] {
            assert!(hint(text).contains("names are not resolved"), "{text}");
        }
    }

    #[test]
    fn prefixes_are_plain_paths_that_the_guard_does_not_serve_itself() {
        for text in ["/", "/mcp", "/swf-monitor/mcp", "/a.b/~c_d", "/healthy"] {
            assert_eq!(says(prefix(text)), Ok(text.to_owned()));
        }
        for text in [
            "",
            "mcp",
            "/mcp/",
            "//",
            "//mcp",
            "/a//b",
            "/a/../b",
            "/./a",
            "/a%2fb",
            "/a;b",
            "/a?b",
            "/a#b",
            "/a b",
            "/é",
            "/health",
            "/x/health",
            "/ready",
            "/register",
            "/.well-known/x",
            "/a\0",
        ] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_have_a_scheme_and_a_host_and_nothing_else() {
        for text in ["https://example.org", "http://localhost:6274", "http://[::1]:80", "https://a-b.c"] {
            assert_eq!(says(origin(text)), Ok(text.to_owned()));
        }
        for text in
            ["vscode-webview://0abc", "chrome-extension://abc", "app://-", "tauri://localhost", "file://"]
        {
            assert_eq!(says(origin(text)), Ok(text.to_owned()));
        }
        assert_eq!(says(origin("https://Example.ORG")), Ok("https://example.org".to_owned()));
        for text in [
            "",
            "*",
            "null",
            "example.org",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a:b",
            "vscode webview://a",
            "app:",
            "app://a/b",
            "file:///home",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn host_names_have_no_port() {
        for text in ["example.org", "10.0.0.1", "[::1]", "my_host"] {
            assert_eq!(says(host_name(text)), Ok(text.to_owned()));
        }
        for text in ["", "*", "example.org:443", "a b", "a/b", "[::1", "[x]", "a..b", "é", &"a.".repeat(200)]
        {
            assert!(host_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_in_the_place_of_a_variable_name_is_not_quoted() {
        assert_eq!(says(variable_name("MCP_BEARER_TOKEN")), Ok("MCP_BEARER_TOKEN".to_owned()));
        assert!(variable_name("swf-abc").unwrap_err().secret);
        assert!(variable_name("").is_err());
        assert!(variable_name("1A").is_err());
    }
}
