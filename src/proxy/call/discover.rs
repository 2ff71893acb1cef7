//! `server/discover`: a slot's last answer stands in where asking again would take from others what they wait for.
//!
//! A client opens with it, and takes a refusal for a verdict on the server, so it is not refused while a backend can
//! answer. That must not let one client take the line from the others: each has a few of them under way at a time, and
//! the others of that client wait behind these, or get the answer that came last. It is the same for everybody but for
//! its id, and seconds old at most.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::http1::KnownField;
use crate::http1::Occurs;
use crate::policy::Call;
use crate::proxy::backend::response_body::{Coding, Sending, finish_head};
use crate::proxy::backend::slot::SlotState;
use crate::proxy::downstream::connection::Request;
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::record::RecordBuilder;
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::fairness::semaphore::Key;
use crate::proxy::io::Parts;
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};
use crate::telemetry::Outcome;
use crate::upstream::Accept;
use crate::wire::response_scan::{Format, ResponseKind};
use crate::wire::{Kind, Method, scan};

/// How old an answer may be that stands in for one of the backend.
const FRESH: Duration = Duration::from_secs(5);
/// Discovers of one client that ask a slot at a time.
const LANES: usize = 2;
/// The errors that the slot and the version asked for decide. Any other may be about what else one client sent, and is
/// not what another asked for.
const METHOD_NOT_FOUND: i64 = -32601;
const UNSUPPORTED_VERSION: i64 = -32022;
const BODY_BYTES_MAX: usize = 64 * 1024;
const HEAD_BYTES_MAX: usize = 4 * 1024;
/// Answers kept for a slot: one for each protocol version that clients speak, and some more.
const KEPT_MAX: usize = 16;
/// How long a client may take to read an answer that is kept.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// What a slot answered last, and who is asking it.
#[derive(Default)]
pub(crate) struct Discover {
    kept: Mutex<Vec<Arc<Kept>>>,
    lanes: Mutex<HashMap<Key, Weak<Semaphore>>>,
}

/// An answer to `server/discover`.
struct Kept {
    view: View,
    generation: u64,
    since: Instant,
    status: u16,
    outcome: Outcome,
    rendered: Vec<u8>,
    body: Vec<u8>,
    /// Where the request's id stands in the body.
    id: Range<usize>,
}

/// What an answer may depend on besides the slot, hashed.
type View = u64;

/// How a discover goes on.
pub(crate) enum Turn {
    /// It asks the backend, holding this.
    Ask(Option<OwnedSemaphorePermit>),
    /// The answer that is kept has been sent.
    Answered(KeepAlive),
}

impl Discover {
    fn fresh(&self, view: View, generation: u64) -> Option<Arc<Kept>> {
        let kept = lock(&self.kept);
        let found = kept.iter().find(|kept| kept.view == view)?;
        (found.generation == generation && found.since.elapsed() < FRESH).then(|| found.clone())
    }

    fn keep(&self, answer: Kept) {
        let mut kept = lock(&self.kept);
        kept.retain(|other| other.view != answer.view);
        if kept.len() >= KEPT_MAX {
            // A client may name any version and gets an error for it: that drives out no good answer.
            let of_error = kept.iter().position(|other| other.outcome != Outcome::Ok);
            if of_error.is_none() && answer.outcome != Outcome::Ok {
                return;
            }
            kept.remove(of_error.unwrap_or(0));
        }
        kept.push(Arc::new(answer));
    }

    /// Where the discovers of a client wait for each other.
    fn lane(&self, who: Key) -> Arc<Semaphore> {
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(&who).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Semaphore::new(LANES));
        lanes.insert(who, Arc::downgrade(&lane));
        lane
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this call is one.
pub(crate) fn is_discover(call: &Call<'_>) -> bool {
    call.method() == Method::Discover && call.kind() == Kind::Request
}

/// Decides how a discover goes on. `refused` says that a quota stands against it.
pub(crate) async fn turn(
    request: &Request<'_>,
    client: &mut Downstream,
    call: &Call<'_>,
    slot: &SlotState,
    refused: bool,
    record: &mut RecordBuilder,
) -> Result<Turn, Interrupt> {
    let who = request.snapshot.key(call.client());
    let lane = slot.discover.lane(who);
    let permit = lane.clone().try_acquire_owned().ok();
    if (refused || permit.is_none() || !slot.places.has_room(who))
        && let Some(keep_alive) = stand_in(request, client, call, slot, record).await
    {
        return Ok(Turn::Answered(keep_alive));
    }
    if permit.is_some() {
        return Ok(Turn::Ask(permit));
    }
    // The lane is never closed.
    let permit = client.until(lane.acquire_owned()).await?.ok();
    match stand_in(request, client, call, slot, record).await {
        Some(keep_alive) => Ok(Turn::Answered(keep_alive)),
        None => Ok(Turn::Ask(permit)),
    }
}

/// Sends the answer that is kept, if there is one and it is fresh.
pub(crate) async fn stand_in(
    request: &Request<'_>,
    client: &mut Downstream,
    call: &Call<'_>,
    slot: &SlotState,
    record: &mut RecordBuilder,
) -> Option<KeepAlive> {
    let kept = slot.discover.fresh(view(request, call, slot), slot.pool.who_listens())?;
    let id = call.reply_to().id?;
    let keep_alive = request.keep_alive(client);
    let mut sending = Sending {
        rendered: kept.rendered.clone(),
        request_id: request.id,
        page: request.page,
        keep_alive,
        version: request.head.version,
        stream: None,
        bodiless: false,
    };
    let length = kept.body.len() - kept.id.len() + id.len();
    finish_head(&mut sending, Coding::Length(length as u64), keep_alive);
    client.set_timeout(WRITE_TIME);
    let (before, after) = (&kept.body[..kept.id.start], &kept.body[kept.id.end..]);
    record.slot = Some(slot.slot);
    request.state.metrics.stood_in(slot.slot);
    if client.write(Parts::new([sending.rendered.as_slice(), before, id, after])).await.is_err() {
        record.set_client_gone();
        return Some(KeepAlive::Close);
    }
    record.status = Some(kept.status);
    record.outcome = kept.outcome;
    record.bytes_out = length as u64;
    Some(keep_alive)
}

/// What an answer depends on: the version asked for and, where the slot is told of them, the client and what it accepts.
fn view(request: &Request<'_>, call: &Call<'_>, slot: &SlotState) -> View {
    let field = |known| match request.head.fields.occurs(known) {
        Occurs::Once(value) => Some(value),
        Occurs::Never | Occurs::Repeated => None,
    };
    let mut hasher = DefaultHasher::new();
    field(KnownField::McpProtocolVersion).hash(&mut hasher);
    (call.era() as u8).hash(&mut hasher);
    slot.backend.client_header.then(|| request.snapshot.key(call.client())).hash(&mut hasher);
    (slot.backend.accept == Accept::Pass).then(|| field(KnownField::Accept)).hash(&mut hasher);
    slot.backend.query.then_some(request.head.query).hash(&mut hasher);
    hasher.finish()
}

/// A copy of an answer that passes, to be kept if it turns out to be one that others may have.
pub(crate) struct Keeping {
    view: View,
    generation: u64,
    status: u16,
    format: Format,
    rendered: Vec<u8>,
    body: Vec<u8>,
}

impl Keeping {
    pub(crate) fn of(
        request: &Request<'_>,
        call: &Call<'_>,
        slot: &SlotState,
        (status, format, rendered): (u16, Format, &[u8]),
    ) -> Option<Keeping> {
        // A session is its client's own.
        let has_session =
            || rendered.windows(16).any(|name| name.eq_ignore_ascii_case(b"\r\nmcp-session-id"));
        let is_short = rendered.len() <= HEAD_BYTES_MAX && format != Format::Opaque;
        (is_discover(call) && is_short && matches!(status, 200 | 400 | 404) && !has_session()).then(|| {
            Keeping {
                view: view(request, call, slot),
                generation: slot.pool.who_listens(),
                status,
                format,
                rendered: rendered.to_vec(),
                body: Vec::new(),
            }
        })
    }

    /// A part of the answer passes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        // What is too long stays one byte too long, and is not kept.
        let room = (BODY_BYTES_MAX + 1).saturating_sub(self.body.len());
        self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The whole answer has gone out.
    pub(crate) fn finish(self, slot: &SlotState, answer: ResponseKind) {
        let outcome = match answer {
            ResponseKind::Ok => Outcome::Ok,
            ResponseKind::RpcError(METHOD_NOT_FOUND | UNSUPPORTED_VERSION) => Outcome::RpcError,
            ResponseKind::RpcError(_)
            | ResponseKind::ToolError
            | ResponseKind::NotRpc
            | ResponseKind::Empty => return,
        };
        let Keeping { view, generation, status, format, rendered, body } = self;
        if body.len() > BODY_BYTES_MAX {
            return;
        }
        let Some(id) = id_in(&body, format) else { return };
        let since = Instant::now();
        slot.discover.keep(Kept { view, generation, since, status, outcome, rendered, body, id });
    }
}

/// Where the id of the one message in an answer stands.
fn id_in(body: &[u8], format: Format) -> Option<Range<usize>> {
    let message = match format {
        Format::Json => body,
        Format::EventStream => {
            let mut data = body.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
            let only = data.next()?;
            // A message on several lines, or several messages: whose id is which?
            if data.next().is_some() || body.contains(&b'\r') && !body.contains(&b'\n') {
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

    #[tokio::test]
    async fn a_client_has_a_few_discovers_under_way_and_others_have_their_own() {
        let discover = Discover::default();
        let _two: Vec<_> = (0..LANES).map(|_| discover.lane(1).try_acquire_owned().unwrap()).collect();
        assert!(discover.lane(1).try_acquire_owned().is_err());
        assert!(discover.lane(2).try_acquire_owned().is_ok());
        discover.lane(3);
        assert_eq!(lock(&discover.lanes).len(), 2, "lanes that nobody is in are forgotten");
    }
}
