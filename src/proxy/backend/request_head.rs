//! The head of a request to a backend (contract, section 6). A function of its arguments: no I/O, no state.

use std::net::IpAddr;
use std::ops::Range;

use crate::http1::hop_by_hop::passes_to_backend;
use crate::http1::same_name;
use crate::http1::{Field, KnownField, Occurs, RequestHead};
use crate::policy::auth::API_KEY_FIELD;
use crate::policy::{CredentialFields, SessionRequest, Subject};
use crate::proxy::head_writer::{append_field, append_length, append_line};
use crate::upstream::{Accept, Backend, UpstreamAuthorization};
use mcp_traces::TraceParent;

/// The line that names the proxy (RFC 9110, 7.6.3).
const VIA: &[u8] = b"Via: 1.1 mcp-guard\r\n";

/// Where a request comes from, as the backend receives it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForwardedFrom<'a> {
    /// The peer's address as text; `None` on a Unix socket.
    pub(crate) peer: Option<&'a [u8]>,
    pub(crate) trust: PeerTrust,
    /// Of the peer's own connection.
    pub(crate) scheme: Scheme,
    pub(crate) request_id: &'a str,
    pub(crate) client: Option<&'a str>,
    /// Which of those that the client stands for.
    pub(crate) subject: Option<&'a Subject>,
    /// The fields that may carry the client's credential: none of them reaches a backend.
    pub(crate) credentials: CredentialFields,
    pub(crate) trace: TraceFields,
}

/// What becomes of the trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TraceFields {
    /// The client's fields pass if they are valid.
    Pass,
    /// The guard is a part of the trace: its own `traceparent` stands in for the client's.
    Own { traceparent: [u8; 55], state: StateField },
}

/// What becomes of a client's `tracestate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateField {
    Pass,
    /// It belongs to another trace, or is malformed.
    Drop,
}

/// Whether the peer's own `X-Forwarded-*` and `X-Request-Id` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerTrust {
    Trusted,
    Untrusted,
}

/// Whether a peer's connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// The request line and the length.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RequestKind {
    /// A POST whose body has so many bytes.
    Call(usize),
    /// A request of a session, without a body.
    Session(SessionRequest),
}

/// The whole head.
pub(crate) fn render(
    backend: &Backend,
    request: &RequestHead<'_>,
    from: &ForwardedFrom<'_>,
    kind: RequestKind,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    match kind {
        RequestKind::Call(_) => out.extend_from_slice(b"POST "),
        RequestKind::Session(session) => {
            out.extend_from_slice(session.as_str().as_bytes());
            out.push(b' ');
        }
    }
    out.extend_from_slice(backend.path.as_bytes());
    if let (true, Some(query)) = (backend.query, request.query) {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    append_line(&mut out, b"Host: ", backend.host.as_bytes());
    match (kind, backend.accept) {
        (RequestKind::Session(SessionRequest::Stream), Accept::Both | Accept::Json) => {
            out.extend_from_slice(b"Accept: text/event-stream\r\n");
        }
        (RequestKind::Session(_), accept) => append_accept(&mut out, accept, request),
        (RequestKind::Call(length), accept) => {
            append_length(&mut out, length as u64);
            append_accept(&mut out, accept, request);
        }
    }
    request.fields.append_lines(&mut out, |field| passes(backend, from, field));
    append_own_fields(&mut out, backend, request, from);
    out.extend_from_slice(b"\r\n");
    out
}

/// The fields that the guard adds to every request: whose it is, where it comes from, and what the configuration sets.
pub(crate) fn append_own_fields(
    out: &mut Vec<u8>,
    backend: &Backend,
    request: &RequestHead<'_>,
    from: &ForwardedFrom<'_>,
) {
    if let UpstreamAuthorization::Bearer(token) = &backend.authorization {
        append_line(out, b"Authorization: Bearer ", token.as_bytes());
    }
    append_forwarded(out, request, from);
    append_trace(out, request, &from.trace);
    append_line(out, b"X-Request-Id: ", from.request_id.as_bytes());
    out.extend_from_slice(VIA);
    if let (true, Some(client)) = (backend.client_header, from.client) {
        append_line(out, b"X-MCP-Client: ", client.as_bytes());
        if let Some(subject) = from.subject {
            // White space at the edges is no part of a field's value (RFC 9110, 5.5).
            append_line(out, b"X-MCP-Subject: ", subject.text().trim().as_bytes());
        }
    }
    for (name, value) in &backend.set_headers {
        append_field(out, name.as_bytes(), value.as_bytes());
    }
}

/// Whether a client's field passes to this backend as it is.
fn passes(backend: &Backend, from: &ForwardedFrom<'_>, field: &Field<'_>) -> bool {
    let of_a_session = backend.strip_session && field.known == KnownField::McpSessionId;
    // The response is scanned as it passes, which compression would prevent, and this hop has nothing to save: Apache
    // compresses on the hop that has.
    let negotiates_compression = field.name.eq_ignore_ascii_case(b"accept-encoding");
    let replaced = || backend.set_headers.iter().any(|(name, _)| same_name(field.name, name.as_bytes()));
    passes_to_backend(field)
        && !carries_key(from.credentials, field)
        && !drops_state(&from.trace, field)
        && !of_a_session
        && !negotiates_compression
        && !replaced()
}

/// Whether the field may carry the client's credential beside `Authorization`, in any spelling.
pub(crate) fn carries_key(credentials: CredentialFields, field: &Field<'_>) -> bool {
    credentials == CredentialFields::AuthorizationOrApiKey && same_name(field.name, API_KEY_FIELD)
}

fn append_accept(out: &mut Vec<u8>, accept: Accept, request: &RequestHead<'_>) {
    match accept {
        Accept::Both => out.extend_from_slice(b"Accept: application/json, text/event-stream\r\n"),
        Accept::Json => out.extend_from_slice(b"Accept: application/json\r\n"),
        Accept::Pass => {
            for field in request.fields.iter().filter(|field| field.known == KnownField::Accept) {
                append_line(out, b"Accept: ", field.value);
            }
        }
    }
}

fn append_forwarded(out: &mut Vec<u8>, request: &RequestHead<'_>, from: &ForwardedFrom<'_>) {
    let forwarded = |known| match (from.trust, request.fields.occurs(known)) {
        (PeerTrust::Trusted, Occurs::Once(value)) if !value.is_empty() => Some(value),
        (PeerTrust::Trusted | PeerTrust::Untrusted, _) => None,
    };
    append_forwarded_for(out, request, from);
    let proto = match (forwarded(KnownField::XForwardedProto), from.scheme) {
        (Some(https), _) if https.eq_ignore_ascii_case(b"https") => {
            b"X-Forwarded-Proto: https\r\n".as_slice()
        }
        (None, Scheme::Https) => b"X-Forwarded-Proto: https\r\n",
        (Some(_), _) | (None, Scheme::Http) => b"X-Forwarded-Proto: http\r\n",
    };
    out.extend_from_slice(proto);
    append_line(out, b"X-Forwarded-Host: ", forwarded(KnownField::XForwardedHost).unwrap_or(request.host));
}

/// The peer, behind those that a trusted peer names, and which of them is the client; no line where neither is known.
fn append_forwarded_for(out: &mut Vec<u8>, request: &RequestHead<'_>, from: &ForwardedFrom<'_>) {
    let line = out.len();
    out.extend_from_slice(b"X-Forwarded-For: ");
    let list = out.len();
    if from.trust == PeerTrust::Trusted {
        for field in request.fields.iter().filter(|field| field.known == KnownField::XForwardedFor) {
            if out.len() > list && !field.value.is_empty() {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(field.value);
        }
    }
    let named_by_peer = last_entry(out, list);
    if let Some(peer) = from.peer {
        if out.len() > list {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(peer);
    }
    if out.len() == list {
        out.truncate(line);
        return;
    }
    let client = if is_address(&out[named_by_peer.clone()]) { named_by_peer } else { last_entry(out, list) };
    out.extend_from_slice(b"\r\n");
    // A proxy may have written `unknown`.
    if is_address(&out[client.clone()]) {
        out.extend_from_slice(b"X-Real-IP: ");
        out.extend_from_within(client);
        out.extend_from_slice(b"\r\n");
    }
}

/// The client's address, as `X-Real-IP` says it to a backend: the last one that a trusted peer names, else the peer's.
pub(crate) fn client_address(
    request: &RequestHead<'_>,
    trust: PeerTrust,
    peer: Option<IpAddr>,
) -> Option<IpAddr> {
    let forwarded = request.fields.iter().filter(|field| field.known == KnownField::XForwardedFor);
    let last =
        forwarded.filter(|field| !field.value.is_empty()).last().filter(|_| trust == PeerTrust::Trusted);
    let named = last.and_then(|field| {
        let entry = field.value.rsplit(|byte| *byte == b',').next()?.trim_ascii();
        std::str::from_utf8(entry).ok()?.parse::<IpAddr>().ok()
    });
    named.map(|address| address.to_canonical()).or(peer)
}

/// The last entry of the list that begins at `list`. A proxy appends: the entries before it are what its own client claims.
fn last_entry(out: &[u8], list: usize) -> Range<usize> {
    let entries = &out[list..];
    let begin = entries.iter().rposition(|byte| *byte == b',').map_or(0, |comma| comma + 1);
    let blanks = entries[begin..].iter().take_while(|byte| **byte == b' ').count();
    list + begin + blanks..out.len()
}

/// An IPv4 or IPv6 address by its characters: what a backend may take for an address, and no name such as `unknown`.
fn is_address(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    text.iter().all(allowed) && text.iter().any(|byte| matches!(byte, b'.' | b':'))
}

/// Whether the field is a `tracestate` that belongs to no trace of the guard's.
pub(crate) fn drops_state(trace: &TraceFields, field: &Field<'_>) -> bool {
    field.known == KnownField::Tracestate && matches!(trace, TraceFields::Own { state: StateField::Drop, .. })
}

/// `tracestate` has passed with the other fields: without a `traceparent` it means nothing.
fn append_trace(out: &mut Vec<u8>, request: &RequestHead<'_>, trace: &TraceFields) {
    match (trace, request.fields.occurs(KnownField::Traceparent)) {
        (TraceFields::Own { traceparent, .. }, _) => append_line(out, b"traceparent: ", traceparent),
        (TraceFields::Pass, Occurs::Once(value)) if TraceParent::parse(value).is_some() => {
            append_line(out, b"traceparent: ", value);
        }
        (TraceFields::Pass, Occurs::Once(_) | Occurs::Never | Occurs::Repeated) => {}
    }
}
