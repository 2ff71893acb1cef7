//! Which fields may pass on to the other side, in each direction (contract, section 6).
//!
//! Knows field names only. What a slot adds or replaces is the shell's part; [`super::same_name`] says what collides.

use super::fields::Field;
use super::known::{Disposition, KnownField};
use super::relied_on::{FORWARDING_CLAIMS, WEBSOCKET, is_of_family};

/// Whether a client's field reaches the backend as it is. `Accept`, `Content-Length`, `Host`, `X-Request-Id`,
/// `traceparent` and the forwarding fields are the guard's own to write, so the client's never pass here; its own `Via`
/// goes behind the others.
pub fn passes_to_backend(field: &Field<'_>) -> bool {
    !field.nominated
        && field.known.row().request == Disposition::Pass
        && !is_imitation(field)
        && !is_of_family(field.name, FORWARDING_CLAIMS)
        && !is_of_websocket(field.name)
}

/// Whether it is a known name in another spelling, which would be merged with that field behind a gateway interface.
fn is_imitation(field: &Field<'_>) -> bool {
    field.known == KnownField::Other && KnownField::recognise_any_spelling(field.name) != KnownField::Other
}

/// Whether a field belongs to a WebSocket handshake, without which it says nothing: it passes with the upgrade only.
pub fn is_of_websocket(name: &[u8]) -> bool {
    is_of_family(name, WEBSOCKET)
}

/// Whether a backend's field reaches the client as it is. Framing, `X-Request-Id` and CORS are the guard's own to write.
pub fn passes_to_client(field: &Field<'_>) -> bool {
    !field.nominated
        && field.known.row().response == Disposition::Pass
        && !is_of_family(field.name, CORS_GRANTS)
}

/// What a page may read is the guard's to say: a backend never sees the page's origin.
const CORS_GRANTS: &[u8] = b"access-control-";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::relied_on::is_relied_on;
    use crate::http1::same_name;
    use crate::http1::{FieldSpans, HeadLimits, request, response};

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 32 };

    #[track_caller]
    fn check_request(name: &str, connection: &str, expect: bool) {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{connection}{name}: x\r\n\r\n");
        let mut spans = FieldSpans::default();
        let head = request::parse(head.as_bytes(), &mut spans, &LIMITS).unwrap();
        let field = head.fields.iter().find(|field| field.name == name.as_bytes()).unwrap();
        assert_eq!(passes_to_backend(&field), expect, "{name}");
    }

    #[track_caller]
    fn check_response(name: &str, connection: &str, expect: bool) {
        let head = format!("HTTP/1.1 200 OK\r\n{connection}{name}: 1\r\n\r\n");
        let mut spans = FieldSpans::default();
        let head = response::parse(head.as_bytes(), &mut spans, &LIMITS).unwrap();
        let field = head.fields.iter().find(|field| field.name == name.as_bytes()).unwrap();
        assert_eq!(passes_to_client(&field), expect, "{name}");
    }

    // "Always stripped: `Authorization`, `Cookie`, `Origin`, `X-Remote-User`, every hop-by-hop header"
    #[test]
    fn the_fields_that_the_guard_writes_never_pass_from_a_client() {
        for name in [
            "Authorization",
            "Cookie",
            "Origin",
            "X-Remote-User",
            "Keep-Alive",
            "Proxy-Connection",
            "Proxy-Authorization",
            "TE",
            "Trailer",
            "Proxy",
            "HTTP2-Settings",
            "Upgrade",
            "Sec-WebSocket-Key",
            "Sec_WebSocket_Version",
            "X-Forwarded-For",
            "X-Forwarded-Port",
            "x-forwarded-user",
            "Forwarded",
            "X-Real-IP",
            "X-MCP-Client",
            "X-MCP-Subject",
            "X-Request-Id",
        ] {
            check_request(name, "", false);
        }
        check_request("X-Hop", "Connection: x-hop\r\n", false);
    }

    // "in any spelling (`X_Guard_Auth` too)"
    #[test]
    fn an_imitation_of_a_known_name_does_not_pass() {
        for name in [
            "X_Remote_User",
            "x.remote-user",
            "Mcp_Method",
            "Content_Length",
            "X_Forwarded_Host",
            "MCP.Session~Id",
        ] {
            check_request(name, "", false);
        }
        assert!(same_name(b"x_guard_auth", b"X-Guard-Auth"));
        assert!(!same_name(b"xguardauth", b"X-Guard-Auth"));
        assert!(!same_name(b"x-guard-autj", b"X-Guard-Auth"));
        assert!(!same_name(b"x-guard-auth-", b"X-Guard-Auth"));
    }

    // RFC 9110, 5.1: "A proxy MUST forward unrecognized header fields".
    #[test]
    fn end_to_end_fields_pass_to_the_backend() {
        for name in [
            "Content-Type",
            "Mcp-Session-Id",
            "MCP-Protocol-Version",
            "Mcp-Method",
            "Mcp-Name",
            "Mcp-Param-Region",
            "Last-Event-ID",
            "X-Custom",
            "User-Agent",
            "baggage",
            "Via",
        ] {
            check_request(name, "", true);
        }
    }

    // "`Connection`-nominated headers must not be able to remove `Authorization`": what a check reads, it reads as sent.
    #[test]
    fn whatever_a_check_reads_cannot_be_nominated() {
        const SOURCES: [&str; 8] = [
            include_str!("request.rs"),
            include_str!("framing.rs"),
            include_str!("../policy/head.rs"),
            include_str!("../policy/headers.rs"),
            include_str!("../policy/origin.rs"),
            include_str!("../policy/auth.rs"),
            include_str!("../policy/call.rs"),
            include_str!("../policy/session.rs"),
        ];
        // An offered upgrade is an option of the connection, and the client that offers it nominates it.
        let of_this_hop = [
            KnownField::Connection,
            KnownField::Upgrade,
            KnownField::Http2Settings,
            KnownField::KeepAlive,
            KnownField::Other,
        ];
        let code = |source: &'static str| source.split("#[cfg(test)]").next().unwrap_or_default();
        for known in KnownField::ALL.into_iter().filter(|known| !of_this_hop.contains(known)) {
            let variant = format!("KnownField::{known:?}");
            let is_read = SOURCES.iter().any(|source| {
                code(source).match_indices(&variant).any(|(at, _)| {
                    !code(source)[at + variant.len()..].starts_with(|next: char| next.is_alphanumeric())
                })
            });
            assert!(!is_read || is_relied_on(known.name().as_bytes()), "{known:?}");
        }
    }

    // "Response hop-by-hop headers, `Server` and `Set-Cookie` are stripped."
    #[test]
    fn hop_by_hop_fields_of_a_backend_stay_behind() {
        for name in [
            "Server",
            "Set-Cookie",
            "Keep-Alive",
            "Trailer",
            "Upgrade",
            "Proxy-Authenticate",
            "Content-Length",
            "Access-Control-Allow-Origin",
            "access-control-allow-credentials",
        ] {
            check_response(name, "", false);
        }
        check_response("X-Hop", "Connection: X-Hop\r\n", false);
        for name in
            ["Content-Type", "Mcp-Session-Id", "Cache-Control", "X-Accel-Buffering", "Retry-After", "Date"]
        {
            check_response(name, "", true);
        }
    }
}
