//! One MCP call, from permit to recorded outcome: body, scan, admit, ask, relay, classify. Read it from top to bottom.
//!
//! What a client's leaving means: in the modern era disconnection is cancellation, so the backend's connection is dropped
//! at once. A legacy call "SHOULD NOT" be taken as cancelled: a method that changes nothing ends when the connection is
//! broken, any other runs to its end, and its outcome is recorded even though nobody reads it.

pub(crate) mod discover;
pub(crate) mod dispatch;
pub(crate) mod fallback;
pub(crate) mod limits;
pub(crate) mod peek;
pub(crate) mod relay;
pub(crate) mod shadow;
pub(crate) mod tool_names;
pub(crate) mod tools_list_filter;

use std::sync::Arc;
use std::time::Duration;

use crate::policy::reply::{self, ErrorContext, Executed};
use crate::policy::{Call, Denial, Permit, Refusal, ReplyTo, SessionRequest};
use crate::proxy::call::discover::Turn;
use crate::proxy::call::dispatch::{NotAsked, Question, To, Why, ask};
use crate::proxy::call::fallback::Tried;
use crate::proxy::call::limits::Refused;
use crate::proxy::call::peek::{Look, Opened, blame, open};
use crate::proxy::call::relay::Delivery;
use crate::proxy::downstream::body;
use crate::proxy::downstream::body::{Excess, NoBody};
use crate::proxy::downstream::connection::{AfterRequest, Request};
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::record::RecordBuilder;
use crate::proxy::downstream::stream::{Downstream, Interrupt, OnDisconnect, Peer};
use crate::proxy::state::traffic_split::Route;
use crate::wire::{Era, Method};

/// Serves a request of a session, which has no body: it is passed on like a notification, its stream like a subscription.
pub(crate) async fn serve_session(
    request: &Request<'_>,
    client: &mut Downstream,
    session: (SessionRequest, Permit),
    record: &mut RecordBuilder,
) -> AfterRequest {
    let Request { snapshot, ref head, wall, .. } = *request;
    let (asked, permit) = &session;
    record.client = Some(permit.client());
    record.detail = Some(format!("{} of a session", asked.as_str()));
    client.ticket().set_client(snapshot.key(permit.client()));
    snapshot.quotas.saw(permit, wall);
    let route = request.state.routes.load();
    let keep_alive = match snapshot.policy.decide_session(session, head, snapshot.max_version(route.fence)) {
        Ok(call) => conduct(request, client, &call, &[], route, record).await,
        Err(denial) => {
            record.detail = snapshot.policy.detail(denial, head);
            request.answer(client, &reply::head_reply(denial), Some(denial), record).await
        }
    };
    // It has no method of MCP, and how long a stream lives says nothing about how quick its slot is.
    record.method = None;
    ending(keep_alive, 0)
}

/// Serves the call behind `permit`.
pub(crate) async fn serve(
    request: &Request<'_>,
    client: &mut Downstream,
    permit: Permit,
    record: &mut RecordBuilder,
) -> AfterRequest {
    let snapshot = request.snapshot;
    record.client = Some(permit.client());
    client.ticket().set_client(snapshot.key(permit.client()));
    snapshot.quotas.saw(&permit, request.wall);
    client.set_deadline(request.started + snapshot.timeouts.body);
    let limits = snapshot.policy.limits();
    let patience = snapshot.timeouts.waiting;
    let share = request.state.room.share(snapshot.key(permit.client()), limits.bodies_bytes_max, patience);
    let (head, arrived) = (&request.head, request.arrived);
    let body = match body::read(client, head, arrived, limits.body_bytes_max, share, Excess::ReadOn).await {
        Ok(body) => body,
        Err(NoBody::Gone) => return record.set_client_gone(),
        Err(NoBody::Refused(denial)) => {
            let denial = body::reason(client, denial);
            return request.answer_and_close(client, &reply::head_reply(denial), Some(denial), record).await;
        }
        Err(NoBody::Unkept { denial, addressee, consumed }) => {
            let to = ReplyTo::unkept(head, &addressee);
            return refuse_body(request, client, &Refusal { denial, to }, consumed, record).await;
        }
    };
    record.bytes_in = body.bytes.len() as u64;
    let route = request.state.routes.load();
    let max_version = snapshot.max_version(route.fence);
    match snapshot.policy.decide_call(permit, head, &body.bytes, max_version) {
        Ok(call) => {
            let keep_alive = conduct(request, client, &call, &body.bytes, route, record).await;
            // The watch on the client ends with the call: beside it, the next request's body would be read twice.
            client.set_on_disconnect(OnDisconnect::Ignore);
            ending(keep_alive, body.consumed)
        }
        Err(refusal) => refuse_body(request, client, &refusal, body.consumed, record).await,
    }
}

/// The answer to a body or call that is refused, once the body has been read.
async fn refuse_body(
    request: &Request<'_>,
    client: &mut Downstream,
    refusal: &Refusal<'_>,
    consumed: usize,
    record: &mut RecordBuilder,
) -> AfterRequest {
    record.method = Some(refusal.to.method);
    record.detail = request.snapshot.policy.detail(refusal.denial, &request.head);
    let error_context = error_context(request, Executed::No);
    let reply = reply::call_reply(refusal.denial, &refusal.to, &error_context);
    ending(request.answer(client, &reply, Some(refusal.denial), record).await, consumed)
}

fn ending(keep_alive: KeepAlive, consumed: usize) -> AfterRequest {
    match keep_alive {
        KeepAlive::Implicit | KeepAlive::Explicit => AfterRequest::Keep { consumed },
        KeepAlive::Close => AfterRequest::Close,
    }
}

async fn conduct(
    request: &Request<'_>,
    client: &mut Downstream,
    call: &Call<'_>,
    body: &[u8],
    route: Arc<Route>,
    record: &mut RecordBuilder,
) -> KeepAlive {
    let snapshot = request.snapshot;
    let name = snapshot.policy.clients().name(call.client());
    record.method = Some(call.method());
    let is_stream =
        call.method() == Method::SubscriptionsListen || call.session() == Some(SessionRequest::Stream);
    let patience = if is_stream { snapshot.timeouts.stream_idle } else { snapshot.total(call.tool()) };
    client.set_deadline(request.started + patience);
    client.set_on_disconnect(on_disconnect(call));
    let pass = match snapshot.admit(request.state, call, client).await {
        Ok(pass) => Some(pass),
        // It is how a client finds out whom it speaks to: it is not refused while a backend can answer.
        Err(Refused { why: Why::Refused(_), .. }) if discover::is_discover(call) => None,
        Err(refused) => return turn_down(request, client, call, &refused, record).await,
    };
    let who = snapshot.key(call.client());
    let stream = is_stream.then(|| request.state.streams.open(who, snapshot.stream_bounds()));
    if let Some(None) = stream {
        return refuse(request, client, call, Denial::StreamsLimited, Executed::No, record).await;
    }
    let peer = client.peer();
    let peer = peer.as_ref().map(Peer::text);
    let origin = request.origin(peer, name);
    let mut copying = shadow::begin(request, call, body, &route.split);
    let question = Question {
        state: request.state,
        snapshot,
        request: &request.head,
        call,
        body,
        origin,
        to: To::Route(route),
    };
    let again: Question<'_>;
    let lane = match take_turn(&question, request, client, pass.is_none(), record).await {
        Ok(Turn::Ask(lane)) => lane,
        Ok(Turn::Answered(keep_alive)) => return keep_alive,
        Err(interrupt) => {
            let not_asked =
                NotAsked { why: interrupt.into(), executed: Executed::No, slot: None, since: None };
            return answer_instead(&question, request, not_asked, client, record).await;
        }
    };
    let opened = match fallback::stand_in(&question) {
        None => ask_and_open(&question, client).await,
        Some(stand_in) => match fallback::try_out(&question, stand_in, client).await {
            Tried::Ended(result) => *result,
            Tried::Failed(stand_in) => {
                again = Question { to: To::Slot(stand_in), ..question.clone() };
                ask_and_open(&again, client).await
            }
        },
    };
    let keep_alive = match opened {
        Ok(opened) => {
            // A subscription is no call under way.
            let _pass = pass.filter(|_| !is_stream);
            let stream = stream.flatten();
            let delivery = Delivery { request, call, is_stream };
            delivery.deliver(opened, stream, client, copying.take(), record).await
        }
        Err(not_asked) => answer_instead(&question, request, not_asked, client, record).await,
    };
    drop(lane);
    keep_alive
}

/// What it means to the call that its client leaves.
fn on_disconnect(call: &Call<'_>) -> OnDisconnect {
    if call.session() == Some(SessionRequest::Stream) {
        return OnDisconnect::Abort;
    }
    match (call.era(), call.method().repeatable()) {
        (Era::Modern, _) => OnDisconnect::Abort,
        (Era::Legacy, true) => OnDisconnect::AbortOnReset,
        (Era::Legacy, false) => OnDisconnect::Ignore,
    }
}

/// Any call asks at once, but for a discover whose client has others under way.
async fn take_turn(
    question: &Question<'_>,
    request: &Request<'_>,
    client: &mut Downstream,
    refused: bool,
    record: &mut RecordBuilder,
) -> Result<Turn, Interrupt> {
    let To::Route(route) = &question.to else { return Ok(Turn::Ask(None)) };
    match request.snapshot.slot(question.pick(route)) {
        Some(slot) if discover::is_discover(question.call) => {
            discover::turn(request, client, question.call, slot, refused, record).await
        }
        Some(_) | None => Ok(Turn::Ask(None)),
    }
}

async fn ask_and_open<'q>(
    question: &'q Question<'q>,
    client: &mut Downstream,
) -> Result<Opened<'q>, NotAsked> {
    let asked = ask(question, client).await?;
    open(question, asked, Look::Beginning, client).await
}

/// The answer to a call for which there is none of a backend.
async fn answer_instead(
    question: &Question<'_>,
    request: &Request<'_>,
    not_asked: NotAsked,
    client: &mut Downstream,
    record: &mut RecordBuilder,
) -> KeepAlive {
    let NotAsked { why, executed, slot, since } = not_asked;
    let (snapshot, call) = (request.snapshot, question.call);
    record.slot = slot;
    record.tool = call.tool().zip(slot.and_then(|slot| snapshot.slot(slot))).map(|(t, s)| s.tool_label(t));
    record.upstream = since.map(|since| since.elapsed());
    if let (Why::Refused(_), true) = (why, discover::is_discover(call))
        && let Some(slot) = slot.and_then(|slot| snapshot.slot(slot))
        && let Some(keep_alive) = discover::stand_in(request, client, call, slot, record).await
    {
        return keep_alive;
    }
    match why {
        Why::Refused(Denial::Overloaded) => {
            let wait = slot.and_then(|slot| snapshot.slot(slot)?.places.expected_wait());
            let refused = Refused { why: Why::Refused(Denial::Overloaded), limit: None, retry_after: wait };
            turn_down(request, client, call, &refused, record).await
        }
        Why::Refused(denial) => {
            let denial = blame(question.state, slot, denial);
            refuse(request, client, call, denial, executed, record).await
        }
        Why::ClientGone => {
            record.set_client_gone();
            KeepAlive::Close
        }
    }
}

/// The answer to a call for which its client or its tool has no room.
async fn turn_down(
    request: &Request<'_>,
    client: &mut Downstream,
    call: &Call<'_>,
    refused: &Refused,
    record: &mut RecordBuilder,
) -> KeepAlive {
    let Why::Refused(denial) = refused.why else {
        record.set_client_gone();
        return KeepAlive::Close;
    };
    let error_context = ErrorContext {
        retry_after_ms: refused.retry_after.map(milliseconds),
        ..error_context(request, Executed::No)
    };
    let reply = reply::call_reply(denial, &call.reply_to(), &error_context);
    request.answer(client, &reply, Some(denial), record).await
}

/// Rounded up: who comes back a moment too early is refused again.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The guard's own answer to a call it could not have answered.
async fn refuse(
    request: &Request<'_>,
    client: &mut Downstream,
    call: &Call<'_>,
    denial: Denial,
    executed: Executed,
    record: &mut RecordBuilder,
) -> KeepAlive {
    let reply = reply::call_reply(denial, &call.reply_to(), &error_context(request, executed));
    request.answer(client, &reply, Some(denial), record).await
}

pub(crate) fn error_context<'r>(request: &'r Request<'_>, executed: Executed) -> ErrorContext<'r> {
    ErrorContext { request_id: request.id, executed, retry_after_ms: None, mode: request.snapshot.error_mode }
}
