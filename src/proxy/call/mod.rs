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

use crate::policy::reply::{self, Circumstances, Executed};
use crate::policy::{Call, Denial, Permit, Refusal, ReplyTo, SessionRequest};
use crate::proxy::call::discover::Turn;
use crate::proxy::call::dispatch::{NotAsked, Question, To, Why, ask};
use crate::proxy::call::fallback::Tried;
use crate::proxy::call::limits::Refused;
use crate::proxy::call::peek::{Look, Opened, blame, open};
use crate::proxy::call::relay::Delivery;
use crate::proxy::downstream::body;
use crate::proxy::downstream::body::{Excess, NoBody};
use crate::proxy::downstream::connection::{Ending, Request};
use crate::proxy::downstream::local_reply::Persist;
use crate::proxy::downstream::record::Report;
use crate::proxy::downstream::stream::{Client, Interrupt, Leaving, Peer};
use crate::proxy::state::traffic_split::Route;
use crate::wire::{Era, Method};

/// Serves a request of a session, which has no body: it is passed on like a notification, its stream like a subscription.
pub(crate) async fn serve_session(
    request: &Request<'_>,
    client: &mut Client,
    session: (SessionRequest, Permit),
    report: &mut Report,
) -> Ending {
    let Request { runtime, ref head, wall, .. } = *request;
    let (asked, permit) = &session;
    report.client = Some(permit.client());
    report.detail = Some(format!("{} of a session", asked.as_str()));
    client.ticket().set_client(runtime.key(permit.client()));
    runtime.quotas.saw(permit, wall);
    let route = request.shared.routes.load();
    let persist = match runtime.policy.decide_session(session, head, runtime.max_version(route.fence)) {
        Ok(call) => conduct(request, client, &call, &[], route, report).await,
        Err(denial) => {
            report.detail = runtime.policy.detail(denial, head);
            request.answer(client, &reply::to_head(denial), Some(denial), report).await
        }
    };
    // It has no method of MCP, and how long a stream lives says nothing about how quick its slot is.
    report.method = None;
    ending(persist, 0)
}

/// Serves the call behind `permit`.
pub(crate) async fn serve(
    request: &Request<'_>,
    client: &mut Client,
    permit: Permit,
    report: &mut Report,
) -> Ending {
    let runtime = request.runtime;
    report.client = Some(permit.client());
    client.ticket().set_client(runtime.key(permit.client()));
    runtime.quotas.saw(&permit, request.wall);
    client.set_deadline(request.started + runtime.timeouts.body);
    let limits = runtime.policy.limits();
    let patience = runtime.timeouts.waiting;
    let share = request.shared.room.share(runtime.key(permit.client()), limits.bodies_bytes_max, patience);
    let (head, arrived) = (&request.head, request.arrived);
    let body = match body::read(client, head, arrived, limits.body_bytes_max, share, Excess::ReadOn).await {
        Ok(body) => body,
        Err(NoBody::Gone) => return report.client_gone(),
        Err(NoBody::Refused(denial)) => {
            let denial = body::reason(client, denial);
            return request.answer_and_close(client, &reply::to_head(denial), Some(denial), report).await;
        }
        Err(NoBody::Unkept { denial, addressee, consumed }) => {
            let to = ReplyTo::unkept(head, &addressee);
            return refuse_body(request, client, &Refusal { denial, to }, consumed, report).await;
        }
    };
    report.bytes_in = body.bytes.len() as u64;
    let route = request.shared.routes.load();
    let max_version = runtime.max_version(route.fence);
    match runtime.policy.decide_call(permit, head, &body.bytes, max_version) {
        Ok(call) => {
            let persist = conduct(request, client, &call, &body.bytes, route, report).await;
            // The watch on the client ends with the call: beside it, the next request's body would be read twice.
            client.set_leaving(Leaving::Ignored);
            ending(persist, body.consumed)
        }
        Err(refusal) => refuse_body(request, client, &refusal, body.consumed, report).await,
    }
}

/// The answer to a body or call that is refused, once the body has been read.
async fn refuse_body(
    request: &Request<'_>,
    client: &mut Client,
    refusal: &Refusal<'_>,
    consumed: usize,
    report: &mut Report,
) -> Ending {
    report.method = Some(refusal.to.method);
    report.detail = request.runtime.policy.detail(refusal.denial, &request.head);
    let circumstances = circumstances(request, Executed::No);
    let reply = reply::to_call(refusal.denial, &refusal.to, &circumstances);
    ending(request.answer(client, &reply, Some(refusal.denial), report).await, consumed)
}

fn ending(persist: Persist, consumed: usize) -> Ending {
    match persist {
        Persist::Keep | Persist::KeepAloud => Ending::Keep { consumed },
        Persist::Close => Ending::Close,
    }
}

async fn conduct(
    request: &Request<'_>,
    client: &mut Client,
    call: &Call<'_>,
    body: &[u8],
    route: Arc<Route>,
    report: &mut Report,
) -> Persist {
    let runtime = request.runtime;
    let name = runtime.policy.clients().name(call.client());
    report.method = Some(call.method());
    let is_stream =
        call.method() == Method::SubscriptionsListen || call.session() == Some(SessionRequest::Stream);
    let patience = if is_stream { runtime.timeouts.stream_idle } else { runtime.total(call.tool()) };
    client.set_deadline(request.started + patience);
    client.set_leaving(leaving(call));
    let pass = match runtime.admit(request.shared, call, client).await {
        Ok(pass) => Some(pass),
        // It is how a client finds out whom it speaks to: it is not refused while a backend can answer.
        Err(Refused { why: Why::Refused(_), .. }) if discover::is_discover(call) => None,
        Err(refused) => return turn_down(request, client, call, &refused, report).await,
    };
    let who = runtime.key(call.client());
    let stream = is_stream.then(|| request.shared.streams.open(who, runtime.stream_bounds()));
    if let Some(None) = stream {
        return refuse(request, client, call, Denial::StreamsLimited, Executed::No, report).await;
    }
    let peer = client.peer();
    let peer = peer.as_ref().map(Peer::text);
    let origin = request.origin(peer, name);
    let mut copying = shadow::begin(request, call, body, &route.split);
    let question = Question {
        shared: request.shared,
        runtime,
        request: &request.head,
        call,
        body,
        origin,
        to: To::Route(route),
    };
    let again: Question<'_>;
    let lane = match take_turn(&question, request, client, pass.is_none(), report).await {
        Ok(Turn::Ask(lane)) => lane,
        Ok(Turn::Answered(persist)) => return persist,
        Err(interrupt) => {
            let not_asked =
                NotAsked { why: interrupt.into(), executed: Executed::No, slot: None, since: None };
            return answer_instead(&question, request, not_asked, client, report).await;
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
    let persist = match opened {
        Ok(opened) => {
            // A subscription is no call under way.
            let _pass = pass.filter(|_| !is_stream);
            let stream = stream.flatten();
            let delivery = Delivery { request, call, is_stream };
            delivery.deliver(opened, stream, client, copying.take(), report).await
        }
        Err(not_asked) => answer_instead(&question, request, not_asked, client, report).await,
    };
    drop(lane);
    persist
}

/// What it means to the call that its client leaves.
fn leaving(call: &Call<'_>) -> Leaving {
    if call.session() == Some(SessionRequest::Stream) {
        return Leaving::Ends;
    }
    match (call.era(), call.method().repeatable()) {
        (Era::Modern, _) => Leaving::Ends,
        (Era::Legacy, true) => Leaving::EndsWhenBroken,
        (Era::Legacy, false) => Leaving::Ignored,
    }
}

/// Any call asks at once, but for a discover whose client has others under way.
async fn take_turn(
    question: &Question<'_>,
    request: &Request<'_>,
    client: &mut Client,
    refused: bool,
    report: &mut Report,
) -> Result<Turn, Interrupt> {
    let To::Route(route) = &question.to else { return Ok(Turn::Ask(None)) };
    match request.runtime.slot(question.pick(route)) {
        Some(slot) if discover::is_discover(question.call) => {
            discover::turn(request, client, question.call, slot, refused, report).await
        }
        Some(_) | None => Ok(Turn::Ask(None)),
    }
}

async fn ask_and_open<'q>(question: &'q Question<'q>, client: &mut Client) -> Result<Opened<'q>, NotAsked> {
    let asked = ask(question, client).await?;
    open(question, asked, Look::Beginning, client).await
}

/// The answer to a call for which there is none of a backend.
async fn answer_instead(
    question: &Question<'_>,
    request: &Request<'_>,
    not_asked: NotAsked,
    client: &mut Client,
    report: &mut Report,
) -> Persist {
    let NotAsked { why, executed, slot, since } = not_asked;
    let (runtime, call) = (request.runtime, question.call);
    report.slot = slot;
    report.tool = call.tool().zip(slot.and_then(|slot| runtime.slot(slot))).map(|(t, s)| s.tool_label(t));
    report.upstream = since.map(|since| since.elapsed());
    if let (Why::Refused(_), true) = (why, discover::is_discover(call))
        && let Some(slot) = slot.and_then(|slot| runtime.slot(slot))
        && let Some(persist) = discover::stand_in(request, client, call, slot, report).await
    {
        return persist;
    }
    match why {
        Why::Refused(Denial::Overloaded) => {
            let wait = slot.and_then(|slot| runtime.slot(slot)?.places.expected_wait());
            let refused = Refused { why: Why::Refused(Denial::Overloaded), limit: None, retry_after: wait };
            turn_down(request, client, call, &refused, report).await
        }
        Why::Refused(denial) => {
            let denial = blame(question.shared, slot, denial);
            refuse(request, client, call, denial, executed, report).await
        }
        Why::ClientGone => {
            report.client_gone();
            Persist::Close
        }
    }
}

/// The answer to a call for which its client or its tool has no room.
async fn turn_down(
    request: &Request<'_>,
    client: &mut Client,
    call: &Call<'_>,
    refused: &Refused,
    report: &mut Report,
) -> Persist {
    let Why::Refused(denial) = refused.why else {
        report.client_gone();
        return Persist::Close;
    };
    let circumstances = Circumstances {
        retry_after_ms: refused.retry_after.map(milliseconds),
        ..circumstances(request, Executed::No)
    };
    let reply = reply::to_call(denial, &call.reply_to(), &circumstances);
    request.answer(client, &reply, Some(denial), report).await
}

/// Rounded up: who comes back a moment too early is refused again.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The guard's own answer to a call it could not have answered.
async fn refuse(
    request: &Request<'_>,
    client: &mut Client,
    call: &Call<'_>,
    denial: Denial,
    executed: Executed,
    report: &mut Report,
) -> Persist {
    let reply = reply::to_call(denial, &call.reply_to(), &circumstances(request, executed));
    request.answer(client, &reply, Some(denial), report).await
}

pub(crate) fn circumstances<'r>(request: &'r Request<'_>, executed: Executed) -> Circumstances<'r> {
    Circumstances { request_id: request.id, executed, retry_after_ms: None, mode: request.runtime.error_mode }
}
