//! One MCP call, from permit to recorded outcome: body, policy, limits, dispatch, peek, relay. Read it from top to bottom.
//!
//! What a disconnect means: in the modern era disconnection is cancellation, so the backend's connection is dropped at once.
//! A legacy call "SHOULD NOT" be taken as cancelled: a method that changes nothing ends when the connection is broken, any
//! other runs to its end, and its outcome is recorded although no client reads it.

pub(crate) mod classify;
pub(crate) mod context;
pub(crate) mod discover;
pub(crate) mod dispatch;
pub(crate) mod error;
pub(crate) mod fallback;
pub(crate) mod peek;
pub(crate) mod relay;
pub(crate) mod response_copy;
pub(crate) mod retry;
pub(crate) mod shadow;
pub(crate) mod tool_names;
pub(crate) mod tools_list_filter;

use std::sync::Arc;

use crate::config::traces::RequestIds;
use crate::http1::{KnownField, Occurs};
use crate::policy::reply::{self, Executed};
use crate::policy::{Call, Denial, Permit, Refusal, ReplyTo, SessionRequest};
use crate::proxy::call::context::{CallContext, error_context};
use crate::proxy::call::discover::Turn;
use crate::proxy::call::dispatch::Assignment;
use crate::proxy::call::error::CallError;
use crate::proxy::call::peek::denial_for_slot;
use crate::proxy::call::relay::Relay;
use crate::proxy::date::seconds;
use crate::proxy::downstream::body::{BodyError, Excess};
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::request::{AfterRequest, Request};
use crate::proxy::downstream::stream::{Downstream, OnDisconnect};
use crate::proxy::state::call_limits::{LimitClock, LimitGuard, Who};
use crate::proxy::state::subjects::SubjectState;
use crate::proxy::state::traffic_split::TrafficSplit;
use crate::telemetry::{Record, RequestTrace};
use crate::wire::{Era, ProtocolVersion};

/// A longer id of JSON-RPC is not part of a span.
const RPC_ID_BYTES_MAX: usize = 128;

/// Serves a request of a session, which has no body: it is passed on like a notification, its stream like a subscription.
pub(crate) async fn serve_session<'r>(
    request: &Request<'r>,
    client: &mut Downstream,
    session: (SessionRequest, Permit),
    record: &mut Record<'r>,
) -> AfterRequest {
    let Request { snapshot, ref head, .. } = *request;
    let (kind, permit) = &session;
    record.detail = Some(format!("{} of a session", kind.as_str()));
    let subject = set_client(request, client, permit, record);
    let who = who(request, permit, subject.as_deref());
    let split = request.state.traffic.load();
    let max_version = snapshot.max_version(split.version_cap);
    let decided = if client.is_late() { Err(Denial::Draining) } else { Ok(()) };
    let keep_alive = match decided.and_then(|()| snapshot.policy.decide_session(session, head, max_version)) {
        Ok(call) => {
            let ctx = CallContext { request, call: &call, body: &[], who };
            ctx.serve(split, client, record).await
        }
        Err(denial) => {
            record.detail = snapshot.policy.detail(denial, head);
            request.reply(client, &reply::head_reply(denial), Some(denial), record).await
        }
    };
    // It has no method of MCP, and how long a stream lives says nothing about how quick its slot is.
    record.method = None;
    AfterRequest::of(keep_alive, 0)
}

/// Names the caller in the record, and counts its token and its connection. Returns the state of a subject.
fn set_client<'r>(
    request: &Request<'r>,
    client: &mut Downstream,
    permit: &Permit,
    record: &mut Record<'r>,
) -> Option<Arc<SubjectState>> {
    let snapshot = request.snapshot;
    snapshot.name_client(permit.client(), record);
    let key = snapshot.key(permit.client());
    let subject = permit.subject().map(|subject| {
        record.subject = Some(subject.clone());
        request.state.subjects.find(snapshot.grant(permit.client()), subject.user())
    });
    client.guard().set_client(subject.as_ref().map_or(key, |subject| subject.key));
    snapshot.token_usage.record(permit, seconds(request.time));
    subject
}

fn who<'s>(request: &Request<'_>, permit: &Permit, subject: Option<&'s SubjectState>) -> Who<'s> {
    let key = subject.map_or_else(|| request.snapshot.key(permit.client()), |subject| subject.key);
    Who { key, subject }
}

/// Serves the call behind `permit`.
pub(crate) async fn serve<'r>(
    request: &Request<'r>,
    client: &mut Downstream,
    permit: Permit,
    record: &mut Record<'r>,
) -> AfterRequest {
    let snapshot = request.snapshot;
    let subject = set_client(request, client, &permit, record);
    let who = who(request, &permit, subject.as_deref());
    let head = &request.head;
    let bytes_max = snapshot.policy.limits().body_bytes_max;
    let body = match request.read_body(client, who.key, bytes_max, Excess::ReadOn).await {
        Ok(body) => body,
        Err(BodyError::ClientGone) => {
            record.set_client_gone();
            return AfterRequest::Close;
        }
        Err(BodyError::Rejected(denial)) => {
            return request.reply_and_close(client, &reply::head_reply(denial), Some(denial), record).await;
        }
        Err(BodyError::Discarded { denial, addressee, consumed }) => {
            let to = ReplyTo::unkept(head, &addressee);
            let keep_alive = refuse(request, client, &Refusal { denial, to }, record).await;
            return AfterRequest::of(keep_alive, consumed);
        }
    };
    record.bytes_in = body.bytes.len() as u64;
    let split = request.state.traffic.load();
    let max_version = snapshot.max_version(split.version_cap);
    let decided = snapshot.policy.decide_call(permit, head, &body.bytes, max_version);
    let keep_alive = match decided.and_then(|call| in_time(client, call)) {
        Ok(call) => {
            let ctx = CallContext { request, call: &call, body: &body.bytes, who };
            let keep_alive = ctx.serve(split, client, record).await;
            // The watch on the client ends with the call: beside it, the next request's body would be read twice.
            client.set_on_disconnect(OnDisconnect::Ignore);
            keep_alive
        }
        Err(refusal) => refuse(request, client, &refusal, record).await,
    };
    AfterRequest::of(keep_alive, body.consumed)
}

/// The call, unless it began when no request may begin any more.
fn in_time<'b>(client: &Downstream, call: Call<'b>) -> Result<Call<'b>, Refusal<'b>> {
    if client.is_late() { Err(Refusal { denial: Denial::Draining, to: call.reply_to() }) } else { Ok(call) }
}

/// Refuses a body or a call, once the body has been read.
async fn refuse(
    request: &Request<'_>,
    client: &mut Downstream,
    refusal: &Refusal<'_>,
    record: &mut Record<'_>,
) -> KeepAlive {
    record.method = Some(refusal.to.method);
    record.detail = request.snapshot.policy.detail(refusal.denial, &request.head);
    let reply = reply::call_reply(refusal.denial, &refusal.to, &error_context(request, Executed::No, None));
    request.reply(client, &reply, Some(refusal.denial), record).await
}

impl<'c> CallContext<'c> {
    async fn serve(
        &self,
        split: Arc<TrafficSplit>,
        client: &mut Downstream,
        record: &mut Record<'_>,
    ) -> KeepAlive {
        record.method = Some(self.call.method());
        if let Some(trace) = self.request.trace {
            self.describe(trace, &split);
        }
        match self.run(split, client, record).await {
            Ok(keep_alive) => keep_alive,
            Err(error) => self.deny(error, client, record).await,
        }
    }

    /// The way of a call: its limits, its slot, the beginning of a response, and the relay.
    async fn run(
        &self,
        split: Arc<TrafficSplit>,
        client: &mut Downstream,
        record: &mut Record<'_>,
    ) -> Result<KeepAlive, CallError> {
        let Request { snapshot, started, .. } = *self.request;
        let is_stream = self.is_stream();
        let time = if is_stream { snapshot.timeouts.stream_idle } else { snapshot.total(self.call.tool()) };
        client.set_deadline(started + time);
        client.set_on_disconnect(self.on_disconnect());
        let mut limits = match self.admit(client).await {
            Ok(guard) => Some(guard),
            // Discover tells a client what the server is: it is not refused while there is a response.
            Err(CallError { denial: Some(_), .. }) if self.is_discover() => None,
            Err(error) => return Err(error),
        };
        let stream = if is_stream { self.open_stream() } else { None };
        if is_stream && stream.is_none() {
            return Err(CallError::denied(Denial::StreamsLimited));
        }
        let shadow = shadow::begin(self, &split.split);
        let assignment = Assignment::by(self, split);
        let mut in_flight = None;
        if self.is_discover()
            && let Some(slot) = snapshot.slot(assignment.slot)
        {
            match discover::turn(self, slot, limits.is_none(), client).await? {
                Turn::Reply(cached) => return Ok(discover::send_cached(self, &cached, client, record).await),
                Turn::Dispatch(permit) => in_flight = permit,
            }
        }
        let pending = fallback::respond(self, assignment, client).await?;
        if is_stream {
            // A subscription is no call in flight.
            limits = None;
        }
        let keep_alive = Relay::new(self, pending, stream, shadow).run(client, record).await;
        drop((limits, in_flight));
        Ok(keep_alive)
    }

    /// Adds to the trace what its spans say of a call.
    fn describe(&self, trace: &RequestTrace, split: &TrafficSplit) {
        let Some(mut facts) = trace.facts() else { return };
        let Request { snapshot, ref head, .. } = *self.request;
        facts.stage = Some(split.stage.as_str());
        if let Occurs::Once(version) = head.fields.occurs(KnownField::McpProtocolVersion) {
            let known = |version: &ProtocolVersion| ProtocolVersion::KNOWN.contains(version);
            facts.version = ProtocolVersion::parse(version).filter(known);
        }
        let shown = snapshot.tracing.is_some_and(|sampling| sampling.request_ids == RequestIds::Shown);
        let id = self.call.reply_to().id.filter(|id| shown && id.len() <= RPC_ID_BYTES_MAX);
        facts.rpc_id = id.map(|id| String::from_utf8_lossy(id.trim_ascii()).trim_matches('"').to_owned());
    }

    /// Admits the call within the limits of its client and its tool.
    async fn admit(&self, client: &mut Downstream) -> Result<LimitGuard<'c>, CallError> {
        let Request { state, snapshot, .. } = *self.request;
        let (timeout, who) = (snapshot.timeouts.waiting, self.who);
        let at = LimitClock { started: state.started.into(), timeout, client: who.key };
        let admitted =
            client.race(snapshot.call_limits.admit(&snapshot.tool_rules, self.call, who.subject, at)).await?;
        Ok(admitted.inspect_err(|exceeded| state.metrics.limited(exceeded.limit))?)
    }

    /// Sends the reply to a call that has no response of a backend.
    async fn deny(&self, error: CallError, client: &mut Downstream, record: &mut Record<'_>) -> KeepAlive {
        let slot = error.slot.and_then(|slot| self.request.snapshot.slot(slot));
        record.slot = error.slot;
        record.tool = self.call.tool().zip(slot).map(|(tool, slot)| slot.tool_label(tool));
        record.upstream = error.since.map(|since| since.elapsed());
        let Some(denial) = error.denial else {
            record.set_client_gone();
            return KeepAlive::Close;
        };
        if self.is_discover()
            && let Some(cached) = slot.and_then(|slot| discover::cached(self, slot))
        {
            return discover::send_cached(self, &cached, client, record).await;
        }
        let denial = slot.map_or(denial, |slot| denial_for_slot(self, slot, denial));
        let context = error_context(self.request, error.executed, error.retry_after);
        let reply = reply::call_reply(denial, &self.call.reply_to(), &context);
        self.request.reply(client, &reply, Some(denial), record).await
    }

    /// What a disconnect of the client means to the call.
    fn on_disconnect(&self) -> OnDisconnect {
        if self.is_session_stream() {
            return OnDisconnect::Abort;
        }
        match (self.call.era(), self.call.method().repeatable()) {
            (Era::Modern, _) => OnDisconnect::Abort,
            (Era::Legacy, true) => OnDisconnect::AbortOnReset,
            (Era::Legacy, false) => OnDisconnect::Ignore,
        }
    }
}
