//! Which fields may pass on to the other side, in each direction (contract, section 6).
//!
//! Knows field names only. What a slot adds or replaces is the shell's business; [`same_name`] tells it what collides.

use super::fields::Field;
use super::known::Known;

/// Whether two field names are one to somebody behind a gateway interface: letters and digits equal without regard to
/// case, and punctuation in the same places (`X-Guard-Auth`, `x_guard_auth`).
pub fn same_name(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(a, b)| {
            a.eq_ignore_ascii_case(b) || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric())
        })
}

/// Whether a client's field reaches the backend as it is. `Accept`, `Content-Length`, `Host`, `Via`, `X-Request-Id`,
/// `traceparent` and the forwarding fields are the guard's own to write, so the client's never pass here.
pub fn passes_to_backend(field: &Field<'_>) -> bool {
    !field.nominated && !is_forwarding_claim(field.name) && request_disposition(field) == Disposition::Pass
}

/// Whether a backend's field reaches the client as it is. Framing and `X-Request-Id` are the guard's own to write.
pub fn passes_to_client(field: &Field<'_>) -> bool {
    !field.nominated && response_disposition(field.known) == Disposition::Pass
}

/// Fields that decide framing, authentication or policy: `Connection` must not be able to take them away.
pub(super) fn is_relied_on(known: Known) -> bool {
    match known {
        Known::Connection
        | Known::Cookie
        | Known::Date
        | Known::Http2Settings
        | Known::KeepAlive
        | Known::Proxy
        | Known::ProxyAuthenticate
        | Known::ProxyAuthorization
        | Known::ProxyConnection
        | Known::RetryAfter
        | Known::Server
        | Known::SetCookie
        | Known::Te
        | Known::Trailer
        | Known::Upgrade
        | Known::Other => false,
        Known::Accept
        | Known::Authorization
        | Known::ContentEncoding
        | Known::ContentLength
        | Known::ContentType
        | Known::Expect
        | Known::Forwarded
        | Known::Host
        | Known::LastEventId
        | Known::McpMethod
        | Known::McpName
        | Known::McpProtocolVersion
        | Known::McpSessionId
        | Known::Origin
        | Known::Traceparent
        | Known::Tracestate
        | Known::TransferEncoding
        | Known::Via
        | Known::XForwardedFor
        | Known::XForwardedHost
        | Known::XForwardedProto
        | Known::XMcpClient
        | Known::XRealIp
        | Known::XRemoteUser
        | Known::XRequestId => true,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disposition {
    Pass,
    Drop,
}

/// Proxies name clients, schemes and addresses in a family of fields; the guard writes the ones it stands for.
fn is_forwarding_claim(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    name.len() >= PREFIX.len() && same_name(&name[..PREFIX.len()], PREFIX)
}

fn request_disposition(field: &Field<'_>) -> Disposition {
    match field.known {
        Known::ContentEncoding
        | Known::ContentType
        | Known::Date
        | Known::LastEventId
        | Known::McpMethod
        | Known::McpName
        | Known::McpProtocolVersion
        | Known::McpSessionId
        | Known::RetryAfter
        | Known::Server
        | Known::SetCookie
        | Known::Tracestate => Disposition::Pass,
        Known::Accept
        | Known::Authorization
        | Known::Connection
        | Known::ContentLength
        | Known::Cookie
        | Known::Expect
        | Known::Forwarded
        | Known::Host
        | Known::Http2Settings
        | Known::KeepAlive
        | Known::Origin
        | Known::Proxy
        | Known::ProxyAuthenticate
        | Known::ProxyAuthorization
        | Known::ProxyConnection
        | Known::Te
        | Known::Traceparent
        | Known::Trailer
        | Known::TransferEncoding
        | Known::Upgrade
        | Known::Via
        | Known::XForwardedFor
        | Known::XForwardedHost
        | Known::XForwardedProto
        | Known::XMcpClient
        | Known::XRealIp
        | Known::XRemoteUser
        | Known::XRequestId => Disposition::Drop,
        // An imitation of a known name in another spelling would be merged with it behind a gateway interface.
        Known::Other => match Known::recognise_any_spelling(field.name) {
            Known::Other => Disposition::Pass,
            _imitated => Disposition::Drop,
        },
    }
}

fn response_disposition(known: Known) -> Disposition {
    match known {
        Known::Connection
        | Known::ContentLength
        | Known::Http2Settings
        | Known::KeepAlive
        | Known::ProxyAuthenticate
        | Known::ProxyAuthorization
        | Known::ProxyConnection
        | Known::Server
        | Known::SetCookie
        | Known::Te
        | Known::Trailer
        | Known::TransferEncoding
        | Known::Upgrade
        | Known::XRequestId => Disposition::Drop,
        Known::Accept
        | Known::Authorization
        | Known::ContentEncoding
        | Known::ContentType
        | Known::Cookie
        | Known::Date
        | Known::Expect
        | Known::Forwarded
        | Known::Host
        | Known::LastEventId
        | Known::McpMethod
        | Known::McpName
        | Known::McpProtocolVersion
        | Known::McpSessionId
        | Known::Origin
        | Known::Proxy
        | Known::RetryAfter
        | Known::Traceparent
        | Known::Tracestate
        | Known::Via
        | Known::XForwardedFor
        | Known::XForwardedHost
        | Known::XForwardedProto
        | Known::XMcpClient
        | Known::XRealIp
        | Known::XRemoteUser
        | Known::Other => Disposition::Pass,
    }
}
