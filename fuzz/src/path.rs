//! Any bytes as the target of a call with a good token.

use std::sync::LazyLock;

use mcp_guard::http1::{FieldSpans, HeadLimits, request};
use mcp_guard::policy::auth::{AuthRules, ClientConfig, TokenHash, WrongToken};
use mcp_guard::policy::{Clients, Limits, Policy, Presented, Verdict, origin, paths};

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    b"/swf-monitor/mcp/",
    b"/mcp?a=b",
    b"/",
    b"/mcp/../x",
    b"/mcp%2f;x",
    b"/swf-monitor/mcp/health",
    b"/mcp/register",
    b"/.well-known/oauth-protected-resource/mcp",
    b"http://localhost/mcp/",
    b"HTTP://LOCALHOST?/mcp",
];

const LIMITS: Limits = Limits {
    head: HeadLimits { bytes_max: 8192, fields_max: 16 },
    body_bytes_max: 1,
    bodies_bytes_max: 1 << 20,
    connections_max: 1,
    in_flight_max: 1,
    waiting_max: 1,
    held_max: 1,
    streams_max: 1,
    streams_per_client_max: 1,
};

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let prefixes =
        ["/swf-monitor/mcp", "/mcp", "/"].iter().flat_map(|text| paths::Prefix::parse(text)).collect();
    let hashes = vec![TokenHash::of(b"t")];
    let bot = ClientConfig::new("bot", hashes);
    let clients = Clients::new(vec![bot]).unwrap_or_default();
    let auth = AuthRules { wrong_token: WrongToken::Forbidden };
    Policy::new(&paths::PathRules { prefixes }, origin::OriginRules::default(), auth, LIMITS, clients)
});

/// Only these bytes reach the endpoint, however the rest of a target looks.
const ENDPOINTS: [&[u8]; 5] = [b"/swf-monitor/mcp", b"/swf-monitor/mcp/", b"/mcp", b"/mcp/", b"/"];

/// A target is forwarded exactly when its path is an endpoint, byte for byte.
pub fn target(data: &[u8]) {
    // A line end would end the request line: what follows is no target.
    if data.contains(&b'\r') {
        return;
    }
    let fields =
        b" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\n\r\n";
    let head = [b"POST ", data, fields].concat();
    let mut spans = FieldSpans::default();
    let Ok(parsed) = request::parse(&head, &mut spans, &LIMITS.head) else { return };
    let forwarded = matches!(POLICY.decide(&parsed, Presented::default(), 0), Verdict::Forward(_));
    assert_eq!(forwarded, ENDPOINTS.contains(&own_path(data)), "{}", data.escape_ascii());
}

/// The path as another parser would cut it out of the target.
fn own_path(target: &[u8]) -> &[u8] {
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    if path.starts_with(b"/") {
        return path;
    }
    let authority = path.splitn(3, |&byte| byte == b'/').nth(2).unwrap_or_default();
    match authority.iter().position(|&byte| byte == b'/') {
        Some(slash) => &authority[slash..],
        None => b"/",
    }
}
