//! `server/discover`: a slot's cached response is sent where another request would take from others what they wait for.
//!
//! A client opens with it, and takes a refusal for a verdict on the server, so it is not refused while a backend responds.
//! That must not let one client take the queue from the others: each has a few of them in flight at a time, and the rest of
//! that client's wait behind these, or get the cached response. It is the same for all clients but for its id, and seconds
//! old at most.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::context::CallContext;
use super::error::CallError;
use crate::http1::{KnownField, Occurs};
use crate::policy::Subject;
use crate::proxy::backend::discover_cache::{CachedResponse, Variant};
use crate::proxy::backend::response_head::ResponseHead;
use crate::proxy::backend::slot::SlotState;
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::response::DownstreamFraming;
use crate::proxy::downstream::stream::Downstream;
use crate::proxy::io::Parts;
use crate::telemetry::{Outcome, Record};
use crate::upstream::Accept;
use crate::wire::response_scan::{Format, ResponseKind};
use crate::wire::sse::lines;
use crate::wire::{Kind, scan};

/// The errors that the slot and the requested version decide. Any other may be about what else one client sent, and must not
/// be sent to another.
const METHOD_NOT_FOUND: i64 = -32601;
const UNSUPPORTED_VERSION: i64 = -32022;
/// A longer response is not cached.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
const HEAD_BYTES_MAX: usize = 4 * 1024;
/// How long a client may take to read a cached response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a discover goes on.
pub(crate) enum Turn {
    /// It is sent to the backend, holding this.
    Dispatch(Option<OwnedSemaphorePermit>),
    Reply(Arc<CachedResponse>),
}

/// Decides how a discover goes on. `is_limited` says that a limit stands against it.
pub(crate) async fn turn(
    ctx: &CallContext<'_>,
    slot: &SlotState,
    is_limited: bool,
    client: &mut Downstream,
) -> Result<Turn, CallError> {
    let who = ctx.who.key;
    let in_flight = slot.discover.in_flight(who);
    let permit = in_flight.clone().try_acquire_owned().ok();
    if (is_limited || permit.is_none() || !slot.calls.permits.has_permit(who))
        && let Some(cached) = cached(ctx, slot)
    {
        return Ok(Turn::Reply(cached));
    }
    if permit.is_some() {
        return Ok(Turn::Dispatch(permit));
    }
    // The semaphore is never closed.
    let permit = client.race(in_flight.acquire_owned()).await?.ok();
    Ok(cached(ctx, slot).map_or(Turn::Dispatch(permit), Turn::Reply))
}

/// The slot's cached response to this call, if there is one and it is fresh.
pub(crate) fn cached(ctx: &CallContext<'_>, slot: &SlotState) -> Option<Arc<CachedResponse>> {
    slot.discover.get(variant(ctx, slot), slot.pool.idle.generation())
}

/// Sends a cached response, with the id of this call.
pub(crate) async fn send_cached(
    ctx: &CallContext<'_>,
    cached: &CachedResponse,
    client: &mut Downstream,
    record: &mut Record<'_>,
) -> KeepAlive {
    let request = ctx.request;
    let id = ctx.call.reply_to().id.unwrap_or_default();
    let length = (cached.body.len() - cached.id.len() + id.len()) as u64;
    let framing = DownstreamFraming::Length(length);
    let (head, keep_alive) = request.relay_head(client, cached.rendered.clone(), Some(framing));
    client.set_timeout(WRITE_TIMEOUT);
    let (before, after) = (&cached.body[..cached.id.start], &cached.body[cached.id.end..]);
    record.slot = Some(cached.slot);
    request.state.metrics.stood_in(cached.slot);
    if client.write(Parts::new([head.as_slice(), before, id, after])).await.is_err() {
        record.set_client_gone();
        return KeepAlive::Close;
    }
    record.status = Some(cached.status);
    record.outcome = cached.outcome;
    record.bytes_out = length;
    keep_alive
}

/// What a response depends on: the requested version and, where the slot receives them, the client and what it accepts.
fn variant(ctx: &CallContext<'_>, slot: &SlotState) -> Variant {
    let (request, backend) = (ctx.request, &slot.backend);
    let clients = request.snapshot.policy.clients();
    let field = |known| match request.head.fields.occurs(known) {
        Occurs::Once(value) => Some(value),
        Occurs::Never | Occurs::Repeated => None,
    };
    let mut hasher = DefaultHasher::new();
    field(KnownField::McpProtocolVersion).hash(&mut hasher);
    (ctx.call.era() as u8).hash(&mut hasher);
    // As the backend is told: a user has one key, whatever the grant and the program.
    let told = || (clients.name(ctx.call.client()), ctx.call.subject().map(Subject::text), ctx.who.key);
    backend.client_header.then(told).hash(&mut hasher);
    (backend.accept == Accept::Pass).then(|| field(KnownField::Accept)).hash(&mut hasher);
    backend.query.then_some(request.head.query).hash(&mut hasher);
    hasher.finish()
}

/// A response that passes, to be cached if other clients may have it.
pub(crate) struct DiscoverCapture {
    variant: Variant,
    generation: u64,
    status: u16,
    format: Format,
    rendered: Vec<u8>,
}

impl DiscoverCapture {
    pub(crate) fn of(
        ctx: &CallContext<'_>,
        slot: &SlotState,
        head: &ResponseHead,
    ) -> Option<DiscoverCapture> {
        let ResponseHead { status, format, ref rendered, .. } = *head;
        // A session is its client's own.
        let has_session =
            || rendered.windows(16).any(|name| name.eq_ignore_ascii_case(b"\r\nmcp-session-id"));
        let is_short = rendered.len() <= HEAD_BYTES_MAX && format != Format::Opaque;
        let is_cacheable =
            ctx.is_discover() && is_short && matches!(status, 200 | 400 | 404) && !has_session();
        is_cacheable.then(|| DiscoverCapture {
            variant: variant(ctx, slot),
            generation: slot.pool.idle.generation(),
            status,
            format,
            rendered: rendered.clone(),
        })
    }

    /// The whole response has been sent.
    pub(crate) fn finish(self, slot: &SlotState, kind: ResponseKind, body: &[u8]) {
        let outcome = match kind {
            ResponseKind::Ok => Outcome::Ok,
            ResponseKind::RpcError(METHOD_NOT_FOUND | UNSUPPORTED_VERSION) => Outcome::RpcError,
            ResponseKind::RpcError(_)
            | ResponseKind::ToolError
            | ResponseKind::NotRpc
            | ResponseKind::Empty => return,
        };
        let DiscoverCapture { variant, generation, status, format, rendered } = self;
        let Some(id) = id_in(body, format) else { return };
        slot.discover.put(CachedResponse {
            slot: slot.slot,
            variant,
            generation,
            since: Instant::now(),
            status,
            outcome,
            rendered,
            body: body.to_vec(),
            id,
        });
    }
}

/// Where the id of the one message in a response stands.
fn id_in(body: &[u8], format: Format) -> Option<Range<usize>> {
    let message = match format {
        Format::Json => body,
        Format::EventStream => {
            let mut data = lines(body).filter_map(|line| line.data());
            let only = data.next()?;
            // With a message on several lines, or several messages, it is not clear which id is the response's.
            if data.next().is_some() {
                return None;
            }
            only
        }
        Format::Opaque => return None,
    };
    let scanned = scan(message).ok()?;
    let id = scanned.id.filter(|_| scanned.kind == Kind::Response)?;
    let start = (id.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    (body.get(start..start + id.len()) == Some(id)).then(|| start..start + id.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, format: Format, expect: Option<&str>) {
        let found = id_in(body.as_bytes(), format);
        assert_eq!(found.map(|range| &body[range]), expect, "{body:?}");
    }

    #[test]
    fn the_id_is_found_where_it_stands() {
        let json = r#"{"result":{"id":5,"x":{"id":1}},"jsonrpc":"2.0", "id" : "1"}"#;
        check(json, Format::Json, Some("\"1\""));
        check(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"id"}}"#, Format::Json, Some("7"));
        check(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, Format::Json, None);
        check("<html>", Format::Json, None);
        let event = "event: message\r\nid: 3\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":17,\"result\":{}}\r\n\r\n";
        check(event, Format::EventStream, Some("17"));
        check(&format!("{event}{event}"), Format::EventStream, None);
        check(": nothing\n\n", Format::EventStream, None);
    }
}
