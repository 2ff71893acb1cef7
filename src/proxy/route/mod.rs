//! Routes beside the endpoint: traffic that is not a call, on pingora-proxy.
//!
//! The guard's own code judges a request's head and reads its body, like a call's. `request_head` writes the request anew,
//! `backend::pingora` sends it and reads the response, `response` or `tunnel` passes the response on to the client. Pingora never
//! reads a client's bytes, so it cannot see another request than the one that was judged. Read `serve`, then `response`.

mod request;
mod request_head;
mod response;
mod target;
mod tunnel;
mod websocket;

use request::RouteRequest;
use response::RouteRelay;
use target::RouteBackend;

use bytes::Bytes;
use tokio::time::Instant;

use crate::http1::RequestHead;
use crate::policy::cors::{self, Sendable};
use crate::policy::reply;
use crate::policy::routes::{Caller, Match, RoutePermit, RouteRule};
use crate::policy::{Denial, Presented};
use crate::proxy::backend::pingora::exchange::{BridgeExchange, UpstreamError};
use crate::proxy::downstream::body::{BodyError, Excess};
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::request::{AfterRequest, Request};
use crate::proxy::downstream::stream::{Downstream, OnDisconnect};
use crate::proxy::state::routes::RouteState;
use crate::proxy::state::snapshot::Snapshot;
use crate::telemetry::Record;

/// What the policy says of a request that belongs to a route, or to the paths of routes.
pub(crate) enum Judged<'r, P = RoutePermit> {
    /// No route at this path takes its method.
    OtherMethods,
    /// A browser asks whether a page of an allowed origin may send what a route here takes.
    Preflight,
    Refused(&'r RouteState, Denial),
    Permitted(&'r RouteState, P),
}

impl Judged<'_> {
    pub(crate) fn is_permitted(&self) -> bool {
        matches!(self, Judged::Permitted(..))
    }

    /// Whether it is permitted without a credential.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Judged::Permitted(_, permit) if permit.caller() == Caller::Anyone)
    }
}

/// Judges the head of a request that `found` says belongs to routes. `now` is seconds since the epoch.
pub(crate) fn judge<'r>(
    snapshot: &'r Snapshot,
    found: Match,
    head: &RequestHead<'_>,
    presented: Presented<'_>,
    now: u64,
) -> Judged<'r> {
    judge_by(snapshot, found, head, |rule| snapshot.policy.decide_route(rule, head, presented, now))
}

/// The same; `decide` says whether the request may use the route that takes it.
pub(crate) fn judge_by<'r, P>(
    snapshot: &'r Snapshot,
    found: Match,
    head: &RequestHead<'_>,
    decide: impl FnOnce(&RouteRule) -> Result<P, Denial>,
) -> Judged<'r, P> {
    let routes = &snapshot.open_routes;
    if let Some(method) = cors::preflight_method(head)
        && routes.takes(head.path, method)
        && snapshot.policy.allowed_origin(head).is_some()
    {
        return Judged::Preflight;
    }
    let route = match found {
        Match::Route(index) => routes.get(index),
        Match::OtherMethods | Match::None => None,
    };
    let Some(route) = route else { return Judged::OtherMethods };
    match decide(&route.config.rule) {
        Ok(permit) => Judged::Permitted(route, permit),
        Err(denial) => Judged::Refused(route, denial),
    }
}

/// Serves a request that belongs to a route, or to the paths of routes that do not take its method.
pub(crate) async fn serve<'r>(
    request: &Request<'r>,
    downstream: &mut Downstream,
    judged: Judged<'r>,
    record: &mut Record<'r>,
) -> AfterRequest {
    match judged {
        Judged::OtherMethods => {
            record.detail = request.snapshot.policy.detail(Denial::RouteMethod, &request.head);
            let reply = reply::to_route_method(request.snapshot.open_routes.allow(request.head.path));
            request.reply_discarding_body(downstream, &reply, Some(Denial::RouteMethod), record).await
        }
        Judged::Preflight => {
            let methods = request.snapshot.open_routes.allow(request.head.path).into();
            request.reply_preflight(downstream, methods, Sendable::Any, record).await
        }
        Judged::Refused(route, denial) => {
            record.route = Some(route.name());
            record.detail = request.snapshot.policy.detail(denial, &request.head);
            let reply = request.snapshot.policy.challenged(denial, reply::route_reply(denial, None));
            if denial.closes_connection() {
                return request.reply_and_close(downstream, &reply, Some(denial), record).await;
            }
            request.reply_discarding_body(downstream, &reply, Some(denial), record).await
        }
        Judged::Permitted(route, permit) => {
            serve_permitted(request, downstream, (route, permit), record).await
        }
    }
}

async fn serve_permitted<'r>(
    request: &Request<'r>,
    downstream: &mut Downstream,
    (route, permit): (&'r RouteState, RoutePermit),
    record: &mut Record<'r>,
) -> AfterRequest {
    record.route = Some(route.name());
    let (snapshot, rule) = (request.snapshot, &route.config.rule);
    let caller = route.caller_name(snapshot, permit.caller());
    match permit.caller() {
        Caller::Client(client) => snapshot.name_client(client, record),
        Caller::Key(_) | Caller::Anyone => {
            (record.client, record.client_label) = (caller, caller.unwrap_or_default());
        }
    }
    record.subject = permit.subject().cloned();
    let subject = permit.caller().client().zip(permit.subject());
    let subject =
        subject.map(|(client, subject)| request.state.subjects.find(snapshot.grant(client), subject.user()));
    let who = route.caller_key(snapshot, permit.caller(), subject.as_deref(), request.peer);
    downstream.guard().set_client(who.key);
    if downstream.is_late() {
        let reply = reply::route_reply(Denial::Draining, None);
        return request.reply_discarding_body(downstream, &reply, Some(Denial::Draining), record).await;
    }
    let body = match request.read_body(downstream, who.key, rule.body_bytes_max, Excess::Refuse).await {
        Ok(body) => body,
        Err(BodyError::ClientGone) => {
            record.set_client_gone();
            return AfterRequest::Close;
        }
        Err(BodyError::Rejected(denial) | BodyError::Discarded { denial, .. }) => {
            let reply = reply::route_reply(denial, None);
            return request.reply_and_close(downstream, &reply, Some(denial), record).await;
        }
    };
    record.bytes_in = body.bytes.len() as u64;
    let counted = route.counted(request, caller);
    let guard = match route.acquire(counted, subject.as_deref(), who, request.state.now_ns()) {
        Ok(guard) => guard,
        Err((denial, wait)) => {
            let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            let reply = reply::route_reply(denial, wait_ms);
            let keep_alive = request.reply(downstream, &reply, Some(denial), record).await;
            return AfterRequest::of(keep_alive, body.consumed);
        }
    };
    let routed = RouteRequest { request, route, permit, caller, guard };
    let keep_alive = forward(&routed, downstream, &body.bytes, record).await;
    AfterRequest::of(keep_alive, body.consumed)
}

/// Sends the request to its backend and passes the response on.
async fn forward(
    routed: &RouteRequest<'_>,
    downstream: &mut Downstream,
    body: &[u8],
    record: &mut Record<'_>,
) -> KeepAlive {
    let RouteRequest { request, route, permit, .. } = routed;
    let Some(RouteBackend { backend, dialer, slot }) = route.backend(request.state, request.snapshot) else {
        return routed.deny(downstream, Denial::NoBackend, record).await;
    };
    record.slot = slot;
    let since = Instant::now();
    if let Some(trace) = request.trace {
        trace.begin_exchange(&request.state.tracing.ids, slot, backend, since);
    }
    downstream.set_deadline(request.started + route.config.total);
    downstream.set_on_disconnect(match request.head.method {
        b"GET" | b"HEAD" => OnDisconnect::Abort,
        // A client that has only finished sending may still read.
        _ => OnDisconnect::AbortOnReset,
    });
    let head = request_head::request_head(routed, backend, body.len());
    let connect_timeout = request.snapshot.timeouts.connect;
    let exchange = BridgeExchange::new(dialer.clone(), connect_timeout, permit.is_upgrade());
    let mut relay = RouteRelay::new(routed, downstream, record);
    let keep_alive = match head {
        Err(_unwritable) => relay.deny(UpstreamError::Closed.into()).await,
        Ok(head) => {
            let bridged = request.state.gateway.send(exchange, head, Bytes::copy_from_slice(body));
            if permit.is_upgrade() { tunnel::serve(relay, bridged).await } else { relay.serve(bridged).await }
        }
    };
    record.upstream = Some(since.elapsed());
    downstream.set_on_disconnect(OnDisconnect::Ignore);
    keep_alive
}
