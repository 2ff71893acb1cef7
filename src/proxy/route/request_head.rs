//! The request as a route's backend gets it: the same hygiene as for calls, with the path, the query and `Accept` of the
//! client. A function of what it is given: no I/O, no state.

use bytes::Bytes;

use super::state::RouteState;
use crate::http1::hop_by_hop::{is_of_websocket, passes_to_backend, same_name};
use crate::http1::{BodyLength, Field, Known, RequestHead};
use crate::policy::routes::{Entry, RoutePermit};
use crate::proxy::backend::request_head::{VIA, append_forwarded, append_trace};
use crate::proxy::downstream::connection::Request;
use crate::proxy::downstream::local_reply::{append_field, append_length};
use crate::upstream::{Backend, UpstreamAuthorization};

/// The whole request, head and body.
pub(crate) fn replay(
    request: &Request<'_>,
    route: &RouteState,
    backend: &Backend,
    permit: &RoutePermit,
    caller: Option<&str>,
    body: &[u8],
    peer: Option<&[u8]>,
) -> Bytes {
    let head = &request.head;
    let mut out = Vec::with_capacity(1024 + body.len());
    append_request_line(&mut out, head, route.config.stripped);
    append_field(&mut out, b"Host", backend.host.as_bytes());
    if permit.is_upgrade() {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else if !matches!(head.body, BodyLength::None) {
        append_length(&mut out, body.len() as u64);
    }
    for field in head.fields.iter().filter(|field| passes(route, backend, permit, field)) {
        append_field(&mut out, field.name, field.value);
    }
    if let UpstreamAuthorization::Bearer(token) = &backend.authorization {
        out.extend_from_slice(b"Authorization: Bearer ");
        out.extend_from_slice(token.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let client = caller.unwrap_or_default();
    let origin = request.origin(peer, client);
    append_forwarded(&mut out, head, &origin);
    append_trace(&mut out, head);
    append_field(&mut out, b"X-Request-Id", request.id.as_bytes());
    out.extend_from_slice(VIA);
    if let (true, Some(caller)) = (backend.client_header, caller) {
        append_field(&mut out, b"X-MCP-Client", caller.as_bytes());
    }
    for (name, value) in &backend.set_headers {
        append_field(&mut out, name.as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out.into()
}

/// The path as the client sent it, without what is stripped from its beginning, and the query.
fn append_request_line(out: &mut Vec<u8>, head: &RequestHead<'_>, stripped: usize) {
    out.extend_from_slice(head.method);
    out.push(b' ');
    let path = head.path.get(stripped..).unwrap_or_default();
    out.extend_from_slice(if path.is_empty() { b"/" } else { path });
    if let Some(query) = head.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Whether a client's field reaches the backend as it is.
fn passes(route: &RouteState, backend: &Backend, permit: &RoutePermit, field: &Field<'_>) -> bool {
    let is_key = match &route.config.rule.entry {
        Entry::ApiKey { field: name, .. } => same_name(field.name, name.as_bytes()),
        Entry::Bearer | Entry::Anyone => false,
    };
    let replaced = || backend.set_headers.iter().any(|(name, _)| same_name(field.name, name.as_bytes()));
    let accept = field.known == Known::Accept && !field.nominated;
    let handshake = permit.is_upgrade() && is_of_websocket(field.name);
    (accept || handshake || passes_to_backend(field)) && !is_key && !replaced()
}
