//! Relays a response to the client, byte-exact, and records it. Each piece passes the taps: the scan, and the copy.
//!
//! An event stream that ends without the response to its call gets one last event with the error: clients wait for a
//! response as long as none arrives (contract, section 8). The event is never appended after the response, and never inside
//! an event.

use std::time::Duration;

use tokio::time::Instant;

use super::classify::{Stage, classify, fault};
use super::context::{CallContext, error_context};
use super::peek::{PendingResponse, denial_for_slot};
use super::response_copy::ResponseCopy;
use super::shadow::ShadowCapture;
use crate::http1::BodyLength;
use crate::policy::Denial;
use crate::policy::reply::{self, Executed};
use crate::proxy::backend::exchange::ExchangeError;
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::response::{DownstreamFraming, End, Piece, RelayError};
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::fairness::open_streams::StreamGuard;
use crate::proxy::io::{Parts, TOGETHER_BYTES_MAX};
use crate::telemetry::{Outcome, Record};
use crate::wire::response_scan::{Format, ResponseKind};
use crate::wire::sse::Boundary;
use crate::wire::{Kind, Method};

/// A comment, which clients of event streams skip.
const PING: &[u8] = b": \n\n";
/// How long the client has to take the event that ends a stream.
const LAST_EVENT_TIME: Duration = Duration::from_secs(1);

/// A response on its way to the client.
pub(crate) struct Relay<'r, 'c> {
    ctx: &'r CallContext<'c>,
    pending: Box<PendingResponse<'c>>,
    /// Counts it among the streams, if it is one.
    stream: Option<StreamGuard<'c>>,
    copy: Option<Box<ResponseCopy<'c>>>,
    /// What the last event of a stream, the guard's own, has said.
    last_event: Option<Denial>,
    /// What bounds a stream; none for a response that has a deadline.
    stream_time: Option<StreamTime>,
}

/// How long a stream may be silent, and when it ends in any case.
#[derive(Clone, Copy)]
struct StreamTime {
    idle: Duration,
    end: Option<Instant>,
    /// After this much silence, a comment is sent.
    ping: Option<Duration>,
}

/// How far a response was relayed.
struct Relayed {
    bytes: u64,
    result: Result<(), RelayError>,
    /// Whether the connection to the client lives on. It must not behind a body that was cut.
    keep_alive: KeepAlive,
}

impl<'r, 'c> Relay<'r, 'c> {
    /// `stream` counts the call from its start.
    ///
    /// A response that streams is counted among the streams from its head on, and its permit is released. Where its client
    /// has no stream left, it stays a call like any other: it may have been executed, so it is not refused.
    pub(crate) fn new(
        ctx: &'r CallContext<'c>,
        mut pending: Box<PendingResponse<'c>>,
        stream: Option<StreamGuard<'c>>,
        shadow: Option<ShadowCapture<'c>>,
    ) -> Relay<'r, 'c> {
        let is_events = pending.head.format == Format::EventStream;
        let streams = ctx.is_stream() || is_events;
        let stream = if streams { stream.or_else(|| ctx.open_stream()) } else { None };
        if stream.is_some() {
            pending.permit = None;
        }
        if is_events {
            pending.body.leave_length_open();
        }
        let stream_time = streams.then(|| stream_time(ctx, stream.is_some()));
        let copy = ResponseCopy::of(ctx, &pending, shadow);
        Relay { ctx, pending, stream, copy, last_event: None, stream_time }
    }

    /// Relays the response and records it.
    pub(crate) async fn run(mut self, client: &mut Downstream, record: &mut Record<'_>) -> KeepAlive {
        let (ctx, slot) = (self.ctx, self.pending.slot);
        record.slot = Some(slot.slot);
        record.tool = ctx.call.tool().map(|tool| slot.tool_label(tool));
        let Relayed { bytes, result, keep_alive } = self.send(client).await;
        if result.is_err() && keep_alive == KeepAlive::Close {
            client.cut();
        }
        let Relay { pending, stream: _stream, copy, last_event, .. } = self;
        let (status, kind, since) = (pending.head.status, pending.scan.kind(), pending.since);
        let PendingResponse { permit, body, .. } = *pending;
        let now = Instant::now();
        record.total = Some(now.saturating_duration_since(ctx.request.started));
        // The connection first: the next holder of the permit looks for it.
        if result.is_ok()
            && let Some(connection) = body.into_reusable()
        {
            slot.pool.put(connection, now);
        }
        if let Some(permit) = permit {
            permit.release_at(now);
        }
        let upstream = now.saturating_duration_since(since);
        let (outcome, verdict) = classify(ctx, status, kind, result);
        if let (Some(trace), ResponseKind::RpcError(code)) = (ctx.request.trace, kind) {
            trace.set_rpc_code(code);
        }
        record.upstream = Some(upstream);
        record.status = Some(status);
        record.bytes_out = bytes;
        record.denial = last_event;
        record.outcome = last_event.map_or(outcome, Outcome::of_denial);
        // How long a subscription lives says nothing about how quick its slot is.
        if let Some(verdict) = verdict.filter(|_| !ctx.is_stream()) {
            ctx.request.state.record_sample(slot.slot, verdict, upstream, now);
        }
        if let Some(copy) = copy.filter(|_| result.is_ok() && last_event.is_none()) {
            copy.finish(slot, kind);
        }
        keep_alive
    }

    /// Sends the head with whatever has arrived, then the rest as it arrives.
    async fn send(&mut self, client: &mut Downstream) -> Relayed {
        self.tap();
        let (request, body) = (self.ctx.request, &self.pending.body);
        let framing = DownstreamFraming::of(body.length(), request.head.version);
        let rendered = std::mem::take(&mut self.pending.head.rendered);
        let framed = (self.pending.head.body != BodyLength::None).then_some(framing);
        let (mut head, keep_alive) = request.relay_head(client, rendered, framed);
        let mut relayed = Relayed { bytes: 0, result: Ok(()), keep_alive: KeepAlive::Close };
        self.begin_silence(client);
        let is_length = matches!(framing, DownstreamFraming::Length(_));
        if is_length && body.is_complete() && body.data.len() <= TOGETHER_BYTES_MAX {
            head.extend_from_slice(&body.data);
            relayed.bytes = body.data.len() as u64;
            match client.write(Parts::new([head.as_slice()])).await {
                Ok(_) => relayed.keep_alive = keep_alive,
                Err(interrupt) => relayed.result = Err(RelayError::Unwritten(interrupt)),
            }
            return relayed;
        }
        let mut head: &[u8] = &head;
        loop {
            let body = &self.pending.body;
            relayed.bytes += body.data.len() as u64;
            let piece = Piece { head, data: &body.data, end: End::of(body.is_complete()) };
            if let Err(interrupt) = framing.write(client, piece).await {
                relayed.result = Err(RelayError::Unwritten(interrupt));
                return relayed;
            }
            if body.is_torn() {
                relayed.result = Err(RelayError::Backend(ExchangeError::ConnectionClosed));
                return relayed;
            }
            if body.is_complete() {
                relayed.keep_alive = keep_alive;
                return relayed;
            }
            head = &[];
            self.pending.body.data.clear();
            if let Err(error) = self.next_piece(framing, client).await {
                relayed.result = Err(error);
                if let Some(event) = self.closing_event(Some(error)) {
                    relayed.bytes += event.len() as u64;
                    // What has passed may have been the call's own time.
                    client.set_timeout(LAST_EVENT_TIME);
                    let piece = Piece { head, data: &event, end: End::Last };
                    if framing.write(client, piece).await.is_ok() {
                        relayed.keep_alive = keep_alive;
                    }
                }
                return relayed;
            }
            self.begin_silence(client);
            self.tap();
        }
    }

    /// Waits for the next piece. Comments fill the silence of a stream; they do not count as its backend's.
    async fn next_piece(
        &mut self,
        framing: DownstreamFraming,
        client: &mut Downstream,
    ) -> Result<(), RelayError> {
        // It has no end of its own: it ends behind a whole event as soon as a drain begins.
        let ends_at_drain = self.ctx.is_session_stream();
        let ping = self.stream_time.and_then(|time| time.ping);
        let PendingResponse { body, scan, .. } = &mut *self.pending;
        if ping.is_none() && !ends_at_drain {
            return Ok(client.race(body.read()).await??);
        }
        let is_between_events = matches!(scan.events(), Some((_, Boundary::Between)));
        loop {
            let read = Box::pin(tokio::time::timeout(ping.unwrap_or(Duration::MAX), body.read()));
            let read = if ends_at_drain && is_between_events {
                client.race_drain(read).await?.ok_or(RelayError::Interrupted(Interrupt::Draining))?
            } else {
                client.race(read).await?
            };
            match read {
                Ok(read) => return Ok(read?),
                Err(_silent) if is_between_events => {
                    let ping = Piece { head: &[], data: PING, end: End::Open };
                    framing.write(client, ping).await.map_err(RelayError::Unwritten)?;
                }
                Err(_silent) => {}
            }
        }
    }

    /// From now on, waiting ends when a stream is silent for too long or has lasted long enough.
    fn begin_silence(&self, client: &mut Downstream) {
        let Some(StreamTime { idle, end, .. }) = self.stream_time else { return };
        client.set_timeout(idle);
        if let Some(end) = end {
            client.set_deadline(client.deadline().min(end));
        }
    }

    /// Shows the taps what has arrived, and adds to a complete body what it lacks.
    fn tap(&mut self) {
        let bytes = &self.pending.body.data;
        self.pending.scan.feed(bytes);
        if let Some(copy) = &mut self.copy {
            copy.feed(bytes);
        }
        if !self.pending.body.is_complete() {
            return;
        }
        if let Some(event) = self.closing_event(None) {
            self.pending.body.data.extend_from_slice(&event);
        }
        let is_call = self.ctx.call.kind() == Kind::Request && self.pending.head.status < 300;
        if is_call && self.pending.scan.is_torn() {
            self.pending.body.mark_torn();
        }
    }

    /// What an event stream that ends like this still lacks: an error for the call, as a whole event. None for a body that
    /// is complete, or that nothing can be appended to. Without an error, the backend has ended it.
    fn closing_event(&mut self, error: Option<RelayError>) -> Option<Vec<u8>> {
        let (has_response, boundary) = self.pending.scan.events()?;
        let ctx = self.ctx;
        let is_session_stream = ctx.is_session_stream();
        if has_response
            || ctx.call.kind() != Kind::Request && !is_session_stream
            || self.pending.head.status >= 300
        {
            return None;
        }
        let end: &[u8] = match boundary {
            Boundary::Between => b"",
            // Whichever way its lines end, this ends the line and the event.
            Boundary::Blank => b"\n\n",
            Boundary::Inside => return None,
        };
        if is_session_stream {
            // A stream that the guard ends is ended properly; one that the backend cuts stays cut.
            return matches!(error, Some(RelayError::Interrupted(_))).then(|| end.to_vec());
        }
        let denial = denial_for_slot(ctx, self.pending.slot, denial_of(ctx, error)?);
        self.last_event = Some(denial);
        let context = error_context(ctx.request, Executed::Unknown, None);
        let reply = reply::call_reply(denial, &ctx.call.reply_to(), &context);
        Some([end, b"data: ", &reply.body, b"\n\n"].concat())
    }
}

/// Silence ends every stream. A stream that responds to a call has an end besides, and one that holds a permit has a call's.
fn stream_time(ctx: &CallContext<'_>, is_counted_apart: bool) -> StreamTime {
    let (snapshot, tool) = (ctx.request.snapshot, ctx.call.tool());
    let total = match (ctx.is_stream(), is_counted_apart) {
        (true, _) => None,
        (false, true) => Some(snapshot.stream_total(tool)),
        (false, false) => Some(snapshot.total(tool)),
    };
    StreamTime {
        idle: snapshot.timeouts.stream_idle,
        end: total.map(|total| ctx.request.started + total),
        ping: snapshot.timeouts.stream_ping,
    }
}

/// The refusal that a stream which ends like this says; none where its end is as it should be.
fn denial_of(ctx: &CallContext<'_>, error: Option<RelayError>) -> Option<Denial> {
    match error {
        // A subscription has no response: its end says that it is over.
        None if ctx.call.method() == Method::SubscriptionsListen => None,
        None => Some(Denial::BackendNoAnswer),
        Some(error) => fault(error, Stage::Relay).denial,
    }
}
