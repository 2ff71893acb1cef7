//! One connection: a head within its deadline, the policy's verdict, then a call or an answer of the guard's own, and
//! the same again while the framing allows it. Requests on one connection are answered in their order.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Cache;
use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::body;
use super::request_id::RequestId;
use crate::http1::{
    Arriving, BodyLength, FieldSpans, FramingError, HeadLimits, KnownField, Occurs, RequestHead, head_end,
    request,
};
use crate::policy::cors::{AllowedOrigin, Sendable};
use crate::policy::reply::{self, Reply};
use crate::policy::routes::Match;
use crate::policy::{Denial, Local, Verdict};
use crate::proxy::backend::request_head::{ForwardedFrom, PeerTrust};
use crate::proxy::call;
use crate::proxy::date::seconds;
use crate::proxy::downstream::health;
use crate::proxy::downstream::local_reply::{Content, KeepAlive, render, render_preflight};
use crate::proxy::downstream::record::RecordBuilder;
use crate::proxy::downstream::stream::{Downstream, Interrupt, address_of};
use crate::proxy::drain::Room;
use crate::proxy::io::{Parts, read_more};
use crate::proxy::route;
use crate::proxy::state::snapshot::{ProxyState, Snapshot};
use crate::telemetry::Outcome;

/// How long a connection that is closed lingers for the client to read the last answer.
const LINGER: Duration = Duration::from_secs(1);
/// Twice the default cap of a body: Apache reads our 413 only after it has sent the body that is too large.
const LINGER_BYTES_MAX: usize = 8 << 20;

/// Connections beyond the limit that are given the time to read why.
const TURNED_AWAY_MAX: usize = 64;

/// The application behind the listener for clients.
pub(crate) struct Front {
    state: Arc<ProxyState>,
    turning_away: Semaphore,
}

impl Front {
    pub(crate) fn new(state: Arc<ProxyState>) -> Front {
        Front { state, turning_away: Semaphore::new(TURNED_AWAY_MAX) }
    }

    /// The answer to a connection beyond the limit: written without reading, then lingered over by a few. A stranger must
    /// not be able to hold what is not counted.
    async fn turn_away(&self, mut stream: Stream) {
        self.state.metrics.connection_refused();
        let id = self.state.ids.next();
        let reply = reply::head_reply(Denial::Overloaded);
        let bytes = render(&reply, id.as_str(), &self.state.clock, KeepAlive::Close, Content::Full, None);
        // A new connection takes so few bytes at once: this does not wait.
        let written = tokio::time::timeout(Duration::ZERO, stream.write_all(&bytes)).await;
        let Ok(_place) = self.turning_away.try_acquire() else { return };
        let _ = tokio::time::timeout(LINGER, async {
            if !matches!(written, Ok(Ok(()))) {
                return;
            }
            let _ = AsyncWriteExt::shutdown(&mut stream).await;
            let mut forgotten = Vec::new();
            let mut total = 0;
            while total < LINGER_BYTES_MAX {
                forgotten.clear();
                match read_more(&mut stream, &mut forgotten).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => total += read,
                }
            }
        })
        .await;
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, stream: Stream, _shutdown: &ShutdownWatch) -> Option<Stream> {
        let connections_max = self.state.snapshot.load().policy.limits().connections_max;
        let Some((ticket, room)) = self.state.drain.enter(connections_max, address_of(&stream)) else {
            self.turn_away(stream).await;
            return None;
        };
        self.state.metrics.connection_accepted();
        if room == Room::Made {
            self.state.metrics.connection_evicted();
        }
        let client = Downstream::new(stream, ticket);
        Connection {
            state: &self.state,
            client,
            buffer: Vec::new(),
            spans: FieldSpans::default(),
            idle_since: Instant::now(),
        }
        .serve()
        .await;
        None
    }
}

/// What happens to the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterRequest {
    /// It lives on; this much of what had arrived behind the head belonged to the request.
    Keep {
        consumed: usize,
    },
    Close,
    /// It closes, but the client may still be sending what nobody will read.
    Linger,
}

/// Why there is no next head.
enum NoHead {
    /// The client left, or had nothing more to say.
    Quiet,
    Refused(Denial),
}

/// One request while it is served.
pub(crate) struct Request<'r> {
    pub(crate) state: &'r ProxyState,
    pub(crate) snapshot: &'r Snapshot,
    pub(crate) head: RequestHead<'r>,
    /// What arrived behind the head.
    pub(crate) arrived: &'r [u8],
    /// In the answer, in the log and in what the backend receives; a trusted proxy may have chosen it.
    pub(crate) id: &'r str,
    /// What `routing.key = "request"` goes by: never chosen by a client.
    pub(crate) routing_id: &'r str,
    pub(crate) started: Instant,
    /// The same in seconds since the epoch.
    pub(crate) wall: u64,
    pub(crate) trust: PeerTrust,
    /// The web page that asks, if one does: it is told what it may read.
    pub(crate) page: Option<AllowedOrigin<'r>>,
}

struct Connection<'c> {
    state: &'c ProxyState,
    client: Downstream,
    /// What arrived and is not yet served. Empty, and without memory of its own, while the connection idles.
    buffer: Vec<u8>,
    spans: FieldSpans,
    /// When it was opened, or the last request was answered.
    idle_since: Instant,
}

impl Connection<'_> {
    async fn serve(mut self) {
        // Asking it for the value costs a look at a pointer; asking the original, a handful of locked instructions.
        let mut published = Cache::new(&self.state.snapshot);
        let mut patience = published.load().timeouts.header;
        loop {
            let length = match self.next_head(published.load(), patience).await {
                Ok(length) => length,
                Err(NoHead::Quiet) => return,
                Err(NoHead::Refused(denial)) => {
                    self.refuse_head(published.load(), denial).await;
                    return self.client.linger(LINGER, LINGER_BYTES_MAX).await;
                }
            };
            self.client.ticket().served();
            // The wait may have been long; the request goes by what holds now.
            let snapshot = published.load();
            patience = snapshot.timeouts.keepalive_idle;
            // Boxed, so that a connection that idles does not hold the room that a call needs; and made where it lies, since
            // moving it would cost more than all that it has to begin with.
            let serving = Box::write(Box::new_uninit(), self.serve_request(snapshot, length));
            match Box::into_pin(serving).await {
                AfterRequest::Keep { consumed } => {
                    self.client.ticket().idle(self.idle_since.into());
                    self.advance(length + consumed);
                }
                AfterRequest::Close => return,
                AfterRequest::Linger => return self.client.linger(LINGER, LINGER_BYTES_MAX).await,
            }
        }
    }

    /// Drops what is served, and takes over what arrived meanwhile.
    fn advance(&mut self, served: usize) {
        let carried = self.client.take_carried();
        if served >= self.buffer.len() {
            self.buffer = carried;
        } else {
            self.buffer.drain(..served);
            self.buffer.extend_from_slice(&carried);
        }
    }

    /// Waits for the next complete head and returns its length.
    async fn next_head(&mut self, snapshot: &Snapshot, patience: Duration) -> Result<usize, NoHead> {
        let Connection { client, buffer, idle_since, .. } = self;
        let limits = &snapshot.policy.limits().head;
        if buffer.is_empty() {
            client.set_deadline(*idle_since + patience);
            match client.wait_for_bytes(buffer, || self.state.drain.last_moment()).await {
                Ok(0) | Err(_) => return Err(NoHead::Quiet),
                Ok(_) => {}
            }
        }
        let (mut scanned, mut arriving) = (0, Arriving::default());
        loop {
            let refused = |error| NoHead::Refused(Denial::Framing(error));
            if let Some(length) = head_end(buffer, scanned, limits).map_err(refused)? {
                return Ok(length);
            }
            arriving.judge(buffer, limits).map_err(refused)?;
            if scanned == 0 {
                // One deadline for the whole head, from its first byte, however often it dribbles.
                client.set_timeout(snapshot.timeouts.header);
                client.ticket().reading();
            }
            scanned = buffer.len();
            match client.read(buffer).await {
                Err(Interrupt::Draining) if client.ticket().is_evicted() => {
                    return Err(NoHead::Refused(Denial::Overloaded));
                }
                Ok(0) | Err(Interrupt::ClientGone | Interrupt::Draining) => return Err(NoHead::Quiet),
                Ok(_) => {}
                // Stray line ends after a body are not the beginning of a request.
                Err(Interrupt::Deadline) if buffer.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => {
                    return Err(NoHead::Quiet);
                }
                Err(Interrupt::Deadline) => return Err(NoHead::Refused(Denial::HeaderTimeout)),
            }
        }
    }

    /// Answers a head that cannot be trusted.
    async fn refuse_head(&mut self, snapshot: &Snapshot, denial: Denial) {
        let started = Instant::now();
        let id = self.state.ids.next();
        let reply = reply::head_reply(denial);
        let bytes = render(&reply, id.as_str(), &self.state.clock, KeepAlive::Close, Content::Full, None);
        self.client.set_timeout(LINGER);
        let mut record = RecordBuilder::new(started, self.state.clock.time());
        record.denial = Some(denial);
        record.outcome = Outcome::of_denial(denial);
        record.status = Some(reply.status);
        if self.client.write(Parts::new([bytes.as_slice()])).await.is_ok() {
            record.bytes_out = reply.body.len() as u64;
        }
        self.idle_since = record.finish(self.state, snapshot, id.as_str(), self.client.peer());
    }

    /// Serves the request whose head is the first `length` bytes.
    async fn serve_request(&mut self, snapshot: &Snapshot, length: usize) -> AfterRequest {
        let state = self.state;
        let limits: &HeadLimits = &snapshot.policy.limits().head;
        let (block, arrived) = self.buffer.split_at(length);
        let head = match request::parse(block, &mut self.spans, limits) {
            Ok(head) => head,
            Err(error) => {
                self.refuse_head(snapshot, Denial::Framing(error)).await;
                return AfterRequest::Linger;
            }
        };
        let found = snapshot.open_routes.find(&head);
        if head.host.is_empty() && !snapshot.policy.is_probe(&head) {
            self.refuse_head(snapshot, Denial::Framing(FramingError::Host)).await;
            return AfterRequest::Linger;
        }
        let trust = snapshot.trust(self.client.peer());
        let started = Instant::now();
        let time = state.clock.time();
        let wall = seconds(time);
        let verdict = match found {
            Match::None => Judged::AtTheDoor(snapshot.policy.decide(&head, wall)),
            Match::Route(_) | Match::OtherMethods => {
                Judged::OnARoute(route::judge(snapshot, found, &head, wall))
            }
        };
        let given = match head.fields.occurs(KnownField::XRequestId) {
            // What the guard answers itself before it knows the client never repeats the client's words.
            Occurs::Once(value) if trust == PeerTrust::Trusted && verdict.is_permitted() => {
                RequestId::parse(value)
            }
            Occurs::Once(_) | Occurs::Never | Occurs::Repeated => None,
        };
        let own = state.ids.next();
        let id = given.as_ref().unwrap_or(&own).as_str();
        let routing_id = own.as_str();
        let page = snapshot.policy.allowed_origin(&head);
        let request = Request { state, snapshot, head, arrived, id, routing_id, started, wall, trust, page };
        let mut record = RecordBuilder::new(started, time);
        let client = &mut self.client;
        let ending = match verdict {
            Judged::OnARoute(judged) => route::serve(&request, client, judged, &mut record).await,
            Judged::AtTheDoor(Verdict::Forward(permit)) => {
                call::serve(&request, client, permit, &mut record).await
            }
            Judged::AtTheDoor(Verdict::Session(asked, permit)) => {
                call::serve_session(&request, client, (asked, permit), &mut record).await
            }
            Judged::AtTheDoor(Verdict::Deny(denial)) => {
                record.detail = snapshot.policy.detail(denial, &request.head);
                let reply = reply::head_reply(denial);
                request.answer_unread(client, &reply, Some(denial), &mut record).await
            }
            Judged::AtTheDoor(Verdict::Answer(Local::Preflight)) => {
                request.answer_preflight(client, "POST".into(), Sendable::Parameters, &mut record).await
            }
            Judged::AtTheDoor(Verdict::Answer(Local::Health)) => {
                request.answer_unread(client, &health::health(), None, &mut record).await
            }
            Judged::AtTheDoor(Verdict::Answer(Local::Ready)) => {
                let reply = health::readiness(state, snapshot).await;
                request.answer_unread(client, &reply, None, &mut record).await
            }
        };
        self.idle_since = record.finish(state, snapshot, id, client.peer());
        ending
    }
}

/// What the policy says of a head.
enum Judged<'r> {
    AtTheDoor(Verdict),
    OnARoute(route::Judged<'r>),
}

impl Judged<'_> {
    fn is_permitted(&self) -> bool {
        match self {
            Judged::AtTheDoor(verdict) => matches!(verdict, Verdict::Forward(_) | Verdict::Session(..)),
            Judged::OnARoute(judged) => judged.is_permitted(),
        }
    }
}

impl Request<'_> {
    /// Where it comes from, as a backend receives it. `peer` is the peer's address as text.
    pub(crate) fn forwarded_from<'a>(&'a self, peer: Option<&'a [u8]>, client: &'a str) -> ForwardedFrom<'a> {
        ForwardedFrom { peer, trust: self.trust, request_id: self.id, client }
    }

    /// What the answer says about the connection.
    pub(crate) fn keep_alive(&self, client: &Downstream) -> KeepAlive {
        if client.is_draining() { KeepAlive::Close } else { KeepAlive::requested(&self.head) }
    }

    /// Sends an answer of the guard's own to a request whose body has been read.
    pub(crate) async fn answer(
        &self,
        client: &mut Downstream,
        reply: &Reply,
        denial: Option<Denial>,
        record: &mut RecordBuilder,
    ) -> KeepAlive {
        let keep_alive = self.keep_alive(client);
        self.send(client, reply, denial, keep_alive, record).await
    }

    /// Sends an answer of the guard's own and closes: where the next request begins is not known.
    pub(crate) async fn answer_and_close(
        &self,
        client: &mut Downstream,
        reply: &Reply,
        denial: Option<Denial>,
        record: &mut RecordBuilder,
    ) -> AfterRequest {
        self.send(client, reply, denial, KeepAlive::Close, record).await;
        AfterRequest::Linger
    }

    /// Sends an answer of the guard's own to a request whose body nobody wants, and gets the body out of the way.
    pub(crate) async fn answer_unread(
        &self,
        client: &mut Downstream,
        reply: &Reply,
        denial: Option<Denial>,
        record: &mut RecordBuilder,
    ) -> AfterRequest {
        let wanted = self.keep_alive(client);
        if wanted == KeepAlive::Close || !body::is_forgettable(&self.head) {
            return self.answer_and_close(client, reply, denial, record).await;
        }
        if self.send(client, reply, denial, wanted, record).await == KeepAlive::Close {
            return AfterRequest::Close;
        }
        client.set_deadline(self.started + self.snapshot.timeouts.body);
        client.ticket().reading();
        match body::forget(client, &self.head, self.arrived).await {
            Some(consumed) => AfterRequest::Keep { consumed },
            None => AfterRequest::Linger,
        }
    }

    async fn send(
        &self,
        client: &mut Downstream,
        reply: &Reply,
        denial: Option<Denial>,
        keep_alive: KeepAlive,
        record: &mut RecordBuilder,
    ) -> KeepAlive {
        let content = Content::of(&self.head);
        let bytes = render(reply, self.id, &self.state.clock, keep_alive, content, self.page);
        record.denial = denial;
        if let Some(denial) = denial {
            record.outcome = Outcome::of_denial(denial);
        }
        if self.write(client, &bytes, reply.status, record).await.is_err() {
            return KeepAlive::Close;
        }
        record.bytes_out = reply.body.len() as u64;
        keep_alive
    }

    /// Answers the preflight of an allowed page, where these methods are taken.
    pub(crate) async fn answer_preflight(
        &self,
        client: &mut Downstream,
        methods: Cow<'static, str>,
        sendable: Sendable,
        record: &mut RecordBuilder,
    ) -> AfterRequest {
        let Some(page) = self.page else { return AfterRequest::Close };
        // A browser sends no body with it.
        let bare = matches!(self.head.body, BodyLength::None | BodyLength::Bytes(0));
        let keep_alive = if bare { self.keep_alive(client) } else { KeepAlive::Close };
        let preflight = page.preflight(&self.head, methods, sendable);
        let bytes = render_preflight(&preflight, self.id, &self.state.clock, keep_alive);
        match self.write(client, &bytes, 204, record).await {
            Err(gone) => gone,
            Ok(()) if keep_alive == KeepAlive::Close => AfterRequest::Linger,
            Ok(()) => AfterRequest::Keep { consumed: 0 },
        }
    }

    /// Writes an answer of the guard's own.
    async fn write(
        &self,
        client: &mut Downstream,
        bytes: &[u8],
        status: u16,
        record: &mut RecordBuilder,
    ) -> Result<(), AfterRequest> {
        // The call's own deadline may be what is being reported: the answer has a moment of its own.
        client.set_timeout(LINGER);
        if client.write(Parts::new([bytes])).await.is_err() {
            return Err(record.set_client_gone());
        }
        record.status = Some(status);
        Ok(())
    }
}
