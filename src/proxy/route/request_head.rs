//! The request head for a route's backend: the same hygiene as for calls, with the path, the query and `Accept` of the
//! client. A function of what it is given: no I/O, no state.

use pingora::http::RequestHeader;

use super::request::RouteRequest;
use crate::http1::hop_by_hop::{is_of_websocket, passes_to_backend};
use crate::http1::same_name;
use crate::http1::{BodyLength, Field, KnownField, RequestHead};
use crate::policy::routes::Auth;
use crate::proxy::backend::request_head::{append_own_fields, carries_key, drops_state};
use crate::proxy::head_writer::{append_field, append_length};
use crate::upstream::Backend;

/// The head of a request whose body has so many bytes.
pub(super) fn request_head(
    routed: &RouteRequest<'_>,
    backend: &Backend,
    body_bytes: usize,
) -> pingora::Result<RequestHeader> {
    let head = &routed.request.head;
    let mut out = Vec::with_capacity(1024);
    append_field(&mut out, b"Host", backend.host.as_bytes());
    if routed.permit.is_upgrade() {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else if !matches!(head.body, BodyLength::None) {
        append_length(&mut out, body_bytes as u64);
    }
    let from = routed.request.forwarded_from(routed.caller, routed.permit.subject().map(AsRef::as_ref));
    let passing = |field: &Field<'_>| passes(routed, backend, field) && !drops_state(&from.trace, field);
    for field in head.fields.iter().filter(passing) {
        append_field(&mut out, field.name, field.value);
    }
    append_own_fields(&mut out, backend, head, &from);
    to_pingora(head.method, &target(head, routed.route.config.stripped), &out)
}

/// The path as the client sent it, without what is stripped from its beginning, and the query.
fn target(head: &RequestHead<'_>, stripped: usize) -> Vec<u8> {
    let path = head.path.get(stripped..).unwrap_or_default();
    let mut target = if path.is_empty() { b"/".to_vec() } else { path.to_vec() };
    if let Some(query) = head.query {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target
}

fn to_pingora(method: &[u8], target: &[u8], lines: &[u8]) -> pingora::Result<RequestHeader> {
    let mut header = RequestHeader::build(method, target, None)?;
    for line in lines.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(colon) = memchr::memchr(b':', line) {
            let name = String::from_utf8_lossy(&line[..colon]).into_owned();
            header.append_header(name, line[colon + 1..].trim_ascii())?;
        }
    }
    Ok(header)
}

/// Whether a client's field reaches the backend as it is.
fn passes(routed: &RouteRequest<'_>, backend: &Backend, field: &Field<'_>) -> bool {
    let is_key_of_route = match &routed.route.config.rule.auth {
        Auth::ApiKey { field: name, .. } => same_name(field.name, name.as_bytes()),
        Auth::Bearer | Auth::None => false,
    };
    // Whatever the route asks for: a client that sends its credential with every request sends it to every route.
    let is_key = is_key_of_route || carries_key(routed.request.snapshot.policy.credentials(), field);
    let replaced = || backend.set_headers.iter().any(|(name, _)| same_name(field.name, name.as_bytes()));
    let accept = field.known == KnownField::Accept && !field.nominated;
    let handshake = routed.permit.is_upgrade() && is_of_websocket(field.name);
    (accept || handshake || passes_to_backend(field)) && !is_key && !replaced()
}
