//! Routes beside the endpoint: traffic that is not a call, on `pingora-proxy`, behind the same front.
//!
//! One request at a time: its head is judged and its body read by the front's own code, like a call's. Then `hand_over`
//! gives pingora-proxy a stream that replays the request as we wrote it, `far` shows it a backend whose answer we have
//! judged, and `answer` or `tunnel` carries what comes back to the client. Pingora never sees a byte of a client that was
//! not judged, so it cannot be made to see another request than we did. Read `serve`, then `answer`.

pub(crate) mod pingora;
mod request_head;
mod response;
pub(crate) mod state;
mod tunnel;
mod websocket;

pub(crate) use pingora::bridge::Gateway;
pub(crate) use state::Routes;
use state::{Busy, RouteState, Visit};

use crate::http1::RequestHead;
use crate::policy::Denial;
use crate::policy::cors::{self, Sendable};
use crate::policy::reply::{self, Reply};
use crate::policy::routes::{Caller, Match, RoutePermit};
use crate::proxy::downstream::body;
use crate::proxy::downstream::body::{Excess, NoBody};
use crate::proxy::downstream::connection::{AfterRequest, Request};
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::record::RecordBuilder;
use crate::proxy::downstream::stream::{Downstream, Interrupt, OnDisconnect, Peer};
use crate::proxy::state::snapshot::Snapshot;

/// What the policy says of a request that belongs to a route, or to the paths of routes.
pub(crate) enum Judged<'r> {
    /// No route at this path takes its method.
    OtherMethods,
    /// A browser asks whether a page of an allowed origin may send what a route here takes.
    Preflight,
    Refused(&'r RouteState, Denial),
    Permitted(&'r RouteState, RoutePermit),
}

impl Judged<'_> {
    pub(crate) fn is_permitted(&self) -> bool {
        matches!(self, Judged::Permitted(..))
    }
}

/// Judges the head of a request that `found` says belongs to routes. `now` is seconds since the epoch.
pub(crate) fn judge<'r>(
    snapshot: &'r Snapshot,
    found: Match,
    head: &RequestHead<'_>,
    now: u64,
) -> Judged<'r> {
    let routes = &snapshot.open_routes;
    if let Some(method) = cors::asked_method(head)
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
    match snapshot.policy.decide_route(&route.config.rule, head, now) {
        Ok(permit) => Judged::Permitted(route, permit),
        Err(denial) => Judged::Refused(route, denial),
    }
}

/// Serves a request that belongs to a route, or to the paths of routes that do not take its method.
pub(crate) async fn serve(
    request: &Request<'_>,
    client: &mut Downstream,
    judged: Judged<'_>,
    record: &mut RecordBuilder,
) -> AfterRequest {
    match judged {
        Judged::OtherMethods => {
            record.detail = request.snapshot.policy.detail(Denial::RouteMethod, &request.head);
            let reply = reply::to_route_method(request.snapshot.open_routes.allow(request.head.path));
            request.answer_unread(client, &reply, Some(Denial::RouteMethod), record).await
        }
        Judged::Preflight => {
            let methods = request.snapshot.open_routes.allow(request.head.path).into();
            request.answer_preflight(client, methods, Sendable::Any, record).await
        }
        Judged::Refused(route, denial) => {
            record.route = Some(route.name().to_owned());
            record.detail = request.snapshot.policy.detail(denial, &request.head);
            let reply = reply::to_route(denial, None);
            if denial.closes_connection() {
                return request.answer_and_close(client, &reply, Some(denial), record).await;
            }
            request.answer_unread(client, &reply, Some(denial), record).await
        }
        Judged::Permitted(route, permit) => serve_permitted(request, client, route, permit, record).await,
    }
}

async fn serve_permitted(
    request: &Request<'_>,
    client: &mut Downstream,
    route: &RouteState,
    permit: RoutePermit,
    record: &mut RecordBuilder,
) -> AfterRequest {
    record.route = Some(route.name().to_owned());
    let rule = &route.config.rule;
    let caller = route.caller_name(request.snapshot, permit.caller());
    match permit.caller() {
        Caller::Client(client) => record.client = Some(client),
        Caller::Key(_) | Caller::Anyone => record.caller = caller.map(str::to_owned),
    }
    client.set_deadline(request.started + request.snapshot.timeouts.body);
    let snapshot = request.snapshot;
    let (bytes_max, patience) = (snapshot.policy.limits().bodies_bytes_max, snapshot.timeouts.waiting);
    let who = route.visitor(snapshot, permit.caller(), client.peer());
    client.ticket().set_client(who.key);
    let share = request.state.room.share(who.key, bytes_max, patience);
    let (head, arrived) = (&request.head, request.arrived);
    let body = match body::read(client, head, arrived, rule.body_bytes_max, share, Excess::Refuse).await {
        Ok(body) => body,
        Err(NoBody::Gone) => return record.set_client_gone(),
        Err(NoBody::Refused(denial) | NoBody::Unkept { denial, .. }) => {
            let denial = body::reason(client, denial);
            let reply = reply::to_route(denial, None);
            return request.answer_and_close(client, &reply, Some(denial), record).await;
        }
    };
    record.bytes_in = body.bytes.len() as u64;
    let visit = match route.enter(caller.unwrap_or_default(), who) {
        Ok(visit) => visit,
        Err(busy) => {
            let (denial, reply) = too_much(busy);
            let keep_alive = request.answer(client, &reply, Some(denial), record).await;
            return ending(keep_alive, body.consumed);
        }
    };
    let passage = Passage { request, route, visit, permit };
    let keep_alive = passage.conduct(client, &body.bytes, caller, record).await;
    // What the client of a tunnel has sent last must not take back what it was sent last.
    if passage.permit.is_upgrade() { AfterRequest::Linger } else { ending(keep_alive, body.consumed) }
}

fn ending(keep_alive: KeepAlive, consumed: usize) -> AfterRequest {
    match keep_alive {
        KeepAlive::Implicit | KeepAlive::Explicit => AfterRequest::Keep { consumed },
        KeepAlive::Close => AfterRequest::Close,
    }
}

fn too_much(busy: Busy) -> (Denial, Reply) {
    let (denial, wait) = match busy {
        Busy::Rate(wait) => (Denial::RateLimited, Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))),
        Busy::Full => (Denial::Overloaded, None),
        Busy::OwnExcess => (Denial::ClientShare, None),
    };
    (denial, reply::to_route(denial, wait))
}

/// One admitted request on its way through a route.
struct Passage<'p> {
    request: &'p Request<'p>,
    route: &'p RouteState,
    /// The place it holds; given back when it is over.
    visit: Visit<'p>,
    permit: RoutePermit,
}

impl Passage<'_> {
    async fn conduct(
        &self,
        client: &mut Downstream,
        body: &[u8],
        caller: Option<&str>,
        record: &mut RecordBuilder,
    ) -> KeepAlive {
        let Passage { request, route, .. } = self;
        let Some((backend, slot)) = route.backend(request.state, request.snapshot) else {
            return self.refuse(client, Denial::NoBackend, record).await;
        };
        record.slot = slot;
        client.set_deadline(request.started + route.config.total);
        client.set_on_disconnect(match request.head.method {
            b"GET" | b"HEAD" => OnDisconnect::Abort,
            // A client that has only finished sending may still read.
            _ => OnDisconnect::AbortOnReset,
        });
        let peer = client.peer();
        let peer = peer.as_ref().map(Peer::text);
        let replay = request_head::replay(request, route, backend, &self.permit, caller, body, peer);
        let exchange = pingora::bridge::Exchange::new(
            backend.address.clone(),
            request.snapshot.timeouts.connect,
            self.permit.is_upgrade(),
            request.head.method == b"HEAD",
        );
        let handed = request.state.gateway.hand_over(exchange, replay);
        let keep_alive = if self.permit.is_upgrade() {
            tunnel::serve(self, client, handed, record).await
        } else {
            response::serve(self, client, handed, record).await
        };
        client.set_on_disconnect(OnDisconnect::Ignore);
        keep_alive
    }

    /// Answers instead of the backend.
    async fn refuse(&self, client: &mut Downstream, denial: Denial, record: &mut RecordBuilder) -> KeepAlive {
        let reply = reply::to_route(denial, None);
        self.request.answer(client, &reply, Some(denial), record).await
    }

    /// Answers for a backend that did not.
    async fn give_up(
        &self,
        client: &mut Downstream,
        why: pingora::bridge::NoAnswer,
        record: &mut RecordBuilder,
    ) -> KeepAlive {
        use pingora::bridge::NoAnswer;
        let denial = match why {
            NoAnswer::Interrupted(Interrupt::ClientGone) => {
                record.set_client_gone();
                return KeepAlive::Close;
            }
            NoAnswer::Interrupted(Interrupt::Deadline) => Denial::Deadline,
            NoAnswer::Interrupted(Interrupt::Draining) => Denial::Draining,
            NoAnswer::Unreachable(kind) => {
                self.route.missed(kind);
                Denial::BackendRefused
            }
            NoAnswer::Closed => Denial::BackendReset,
            NoAnswer::Invalid(error) => {
                log::warn!("route {}: the backend's answer is malformed: {error}", self.route.name());
                Denial::BackendInvalid
            }
        };
        self.refuse(client, denial, record).await
    }
}
