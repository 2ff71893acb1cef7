//! An answer on its way from the backend to the client, and what is recorded of it.
//!
//! An event stream that ends without the answer to its call gets one last event with the error: clients wait for an answer
//! as long as none comes (contract, section 8). It is never appended once the answer was seen, and never inside an event.

use tokio::time::Instant;

use super::discover::Keeping;
use super::shadow::Copying;
use crate::http1::BodyLength;
use crate::policy::reply::{self, Executed};
use crate::policy::{Call, Denial, SessionRequest};
use crate::proxy::backend::response_body::{Cut, Ended, Sending, Sent, Watch, send};
use crate::proxy::call::error_context;
use crate::proxy::call::peek::{Opened, Read, blame, failure_of};
use crate::proxy::call::tool_names::Listing;
use crate::proxy::downstream::connection::Request;
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::record::RecordBuilder;
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::downstream::stream_timeouts::{AtDrain, StreamTime};
use crate::proxy::fairness::open_streams::OpenStream;
use crate::proxy::fairness::semaphore::Place;
use crate::rollout::sample::{CallResult, Failure, judge_rpc_error};
use crate::telemetry::Outcome;
use crate::upstream::Slot;
use crate::wire::response_scan::{Format, ResponseKind};
use crate::wire::sse::Boundary;
use crate::wire::{Kind, Method};

/// What is needed to pass an answer on.
pub(crate) struct Delivery<'d> {
    pub(crate) request: &'d Request<'d>,
    pub(crate) call: &'d Call<'d>,
    pub(crate) is_stream: bool,
}

impl Delivery<'_> {
    pub(crate) async fn deliver(
        &self,
        opened: Opened<'_>,
        stream: Option<OpenStream<'_>>,
        client: &mut Downstream,
        copying: Option<Copying<'_>>,
        record: &mut RecordBuilder,
    ) -> KeepAlive {
        let Opened { slot, place, mut source, head, read, since } = opened;
        let (status, format) = (head.status, head.format);
        record.slot = Some(slot.slot);
        record.tool = self.call.tool().map(|tool| slot.tool_label(tool));
        let streams = self.is_stream || format == Format::EventStream;
        let (stream, place) = self.count_apart(streams, stream, place);
        let keeping = Keeping::of(self.request, self.call, slot, (status, format, &head.rendered));
        let sending = Sending {
            rendered: head.rendered,
            request_id: self.request.id,
            page: self.request.page,
            keep_alive: self.request.keep_alive(client),
            version: self.request.head.version,
            stream: streams.then(|| self.stream_time(stream.is_some())),
            bodiless: head.body == BodyLength::None,
        };
        let listing = Listing::of(self.call.method(), slot);
        let mut watching =
            Watching { delivery: self, slot: slot.slot, status, read, listing, keeping, copying, told: None };
        if format == Format::EventStream {
            source.leave_length_open();
        }
        let sent = send(sending, &mut source, client, &mut watching).await;
        let Watching { read, listing, keeping, copying, told, .. } = watching;
        let now = Instant::now();
        record.ended = Some(now);
        // The connection first: who gets the place looks for it.
        if sent.result.is_ok()
            && let Some(connection) = source.into_reusable()
        {
            slot.pool.put(connection, now.into());
        }
        if let Some(place) = place {
            place.leave(now);
        }
        let upstream = now.saturating_duration_since(since);
        record.upstream = Some(upstream);
        record.status = Some(status);
        record.bytes_out = sent.bytes;
        let answer = read.kind();
        record.denial = told;
        record.outcome = told.map_or_else(|| self.classify(&sent, answer, status), Outcome::of_denial);
        // How long a subscription lives says nothing about how quick its slot is.
        if let Some(verdict) = self.verdict(&sent, answer, status).filter(|_| !self.is_stream) {
            self.request.state.ended_at(slot.slot, verdict, upstream, now.into());
        }
        if sent.ended == Ended::Cut {
            // The client must see that this is not all: no end marker, no further answer on this connection.
            return KeepAlive::Close;
        }
        if sent.result.is_ok() && told.is_none() {
            listing.learn(slot, format);
            if let Some(keeping) = keeping {
                keeping.finish(slot, answer);
            }
            if let Some(copying) = copying {
                copying.finish(slot.slot, format);
            }
        }
        sent.keep_alive
    }

    /// An answer that streams is counted among the streams from its head on, and its place in flight is free. Where its
    /// client has no stream left, it stays a call like any other: it may have been executed, so it is not refused.
    fn count_apart<'p>(
        &self,
        streams: bool,
        stream: Option<OpenStream<'p>>,
        place: Place<'p>,
    ) -> (Option<OpenStream<'p>>, Option<Place<'p>>)
    where
        Self: 'p,
    {
        if !streams {
            return (None, Some(place));
        }
        let Request { state, snapshot, .. } = self.request;
        let open = || state.streams.open(snapshot.key(self.call.client()), snapshot.stream_bounds());
        let stream = stream.or_else(open);
        let place = stream.is_none().then_some(place);
        (stream, place)
    }

    /// Silence ends every stream. One that answers a call has an end besides, and one that holds a place has a call's.
    fn stream_time(&self, is_counted_apart: bool) -> StreamTime {
        let Request { snapshot, started, .. } = *self.request;
        let tool = self.call.tool();
        let total = match (self.is_stream, is_counted_apart) {
            (true, _) => None,
            (false, true) => Some(snapshot.stream_total(tool)),
            (false, false) => Some(snapshot.total(tool)),
        };
        let times = &snapshot.timeouts;
        StreamTime {
            idle: times.stream_idle,
            end: total.map(|total| started + total),
            ping: times.stream_ping,
            at_drain: if self.is_session_stream() { AtDrain::Ends } else { AtDrain::Finishes },
        }
    }

    /// Whether the answer is what a server sends outside of calls: it answers nothing, and may end behind any event.
    fn is_session_stream(&self) -> bool {
        self.call.session() == Some(SessionRequest::Stream)
    }

    fn classify(&self, sent: &Sent, answer: ResponseKind, status: u16) -> Outcome {
        match &sent.result {
            Err(Cut::Interrupted(Interrupt::Draining)) if self.is_session_stream() => return Outcome::Ok,
            Err(Cut::Interrupted(interrupt) | Cut::Unwritten(interrupt)) => return interrupt.outcome(),
            Err(Cut::Closed | Cut::Malformed(_) | Cut::TooLong | Cut::Unreadable) => {
                return Outcome::Upstream;
            }
            Ok(()) => {}
        }
        match answer {
            _ if self.is_acknowledged(status) => Outcome::Ok,
            ResponseKind::Ok => Outcome::Ok,
            ResponseKind::ToolError => Outcome::ToolError,
            ResponseKind::RpcError(_) => Outcome::RpcError,
            ResponseKind::Empty | ResponseKind::NotRpc => Outcome::Upstream,
        }
    }

    /// What the answer says about its slot; nothing, if it was the client or the guard who ended it.
    fn verdict(&self, sent: &Sent, answer: ResponseKind, status: u16) -> Option<CallResult> {
        if let Err(cut) = &sent.result {
            return failure_of(cut).map(CallResult::Failed);
        }
        Some(match answer {
            _ if status >= 500 => CallResult::Failed(Failure::Status),
            // A refusal by status (400, 404) is an answer, whatever its body.
            _ if status >= 300 || self.is_acknowledged(status) => CallResult::Completed,
            ResponseKind::Ok => CallResult::Completed,
            ResponseKind::ToolError => CallResult::ToolError,
            ResponseKind::RpcError(code) => judge_rpc_error(code),
            ResponseKind::Empty | ResponseKind::NotRpc => CallResult::Failed(Failure::Garbage),
        })
    }

    /// Notifications and posted responses are acknowledged, not answered.
    fn is_acknowledged(&self, status: u16) -> bool {
        self.call.kind() != Kind::Request && (200..300).contains(&status)
    }

    /// The refusal that a stream which ends like this says; `None` where its end is as it should be.
    fn refusal(&self, cut: Option<&Cut>) -> Option<Denial> {
        match cut {
            // A subscription is not due an answer: its end says that it is over.
            None if self.call.method() == Method::SubscriptionsListen => None,
            None => Some(Denial::BackendNoAnswer),
            Some(Cut::Closed) => Some(Denial::BackendReset),
            Some(Cut::Malformed(_) | Cut::TooLong | Cut::Unreadable) => Some(Denial::BackendInvalid),
            Some(Cut::Interrupted(Interrupt::Deadline)) => Some(Denial::Deadline),
            Some(Cut::Interrupted(Interrupt::Draining)) => Some(Denial::Draining),
            // Behind half a piece, an event of the guard's own would not be one.
            Some(Cut::Interrupted(Interrupt::ClientGone) | Cut::Unwritten(_)) => None,
        }
    }
}

/// What looks on while an answer passes.
struct Watching<'w, 'd> {
    delivery: &'w Delivery<'d>,
    slot: Slot,
    status: u16,
    read: Read<'w>,
    listing: Listing,
    keeping: Option<Keeping>,
    copying: Option<Copying<'w>>,
    /// What the last event of a stream, the guard's own, has said.
    told: Option<Denial>,
}

impl Watch for Watching<'_, '_> {
    fn see(&mut self, bytes: &[u8]) {
        self.read.see(bytes);
        self.listing.feed(bytes);
        if let Some(keeping) = &mut self.keeping {
            keeping.feed(bytes);
        }
        if let Some(copying) = &mut self.copying {
            copying.feed(bytes);
        }
    }

    fn last_event(&mut self, cut: Option<&Cut>) -> Option<Vec<u8>> {
        let (is_answered, boundary) = self.read.events()?;
        let call = self.delivery.call;
        let is_session_stream = self.delivery.is_session_stream();
        if is_answered || call.kind() != Kind::Request && !is_session_stream || self.status >= 300 {
            return None;
        }
        let end: &[u8] = match boundary {
            Boundary::Between => b"",
            // Whichever way its lines end, this ends the line and the event.
            Boundary::Blank => b"\n\n",
            Boundary::Inside => return None,
        };
        if is_session_stream {
            // What the guard ends, it ends properly; what the backend cuts stays cut.
            return matches!(cut, Some(Cut::Interrupted(_))).then(|| end.to_vec());
        }
        let refusal = self.delivery.refusal(cut)?;
        let request = self.delivery.request;
        let denial = blame(request.state, Some(self.slot), refusal);
        self.told = Some(denial);
        let reply = reply::call_reply(denial, &call.reply_to(), &error_context(request, Executed::Unknown));
        Some([end, b"data: ", &reply.body, b"\n\n"].concat())
    }

    fn is_torn(&self) -> bool {
        self.delivery.call.kind() == Kind::Request && self.status < 300 && self.read.is_torn()
    }

    fn is_between_events(&self) -> bool {
        matches!(self.read.events(), Some((_, Boundary::Between)))
    }
}
