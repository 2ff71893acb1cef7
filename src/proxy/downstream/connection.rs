//! One connection: a head within its deadline, the policy's verdict, then a call, a route or a local reply, and the same
//! again while the framing allows it. Requests on one connection are served in their order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Cache;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::client_stream::{Accepted, ClientStream};
use super::handshake::{self, Opened};
use super::health;
use super::local_reply::{BodyMode, KeepAlive, ReplyHead};
use super::request::{AfterRequest, LINGER, LINGER_BYTES_MAX, Request};
use super::shown_certificate::{ShownCertificate, Standing, standing};
use super::stream::{Downstream, Interrupt, Peer};
use crate::http1::{
    Arriving, FieldSpans, FramingError, HeadLimits, KnownField, Occurs, RequestHead, head_end, request,
};
use crate::policy::cors::Sendable;
use crate::policy::reply;
use crate::policy::routes::Match;
use crate::policy::{Denial, Local, Presented, Verdict};
use crate::proxy::backend::request_head::{PeerTrust, Scheme};
use crate::proxy::call;
use crate::proxy::date::seconds;
use crate::proxy::drain::{Admission, ConnectionGuard};
use crate::proxy::io::{Parts, read_more};
use crate::proxy::request_id::RequestId;
use crate::proxy::route;
use crate::proxy::state::ProxyState;
use crate::proxy::state::snapshot::Snapshot;
use crate::proxy::state::tracing::Origin;
use crate::telemetry::metrics::Handshake;
use crate::telemetry::{Record, RequestTrace};
use crate::tls::ServerTls;

/// Connections beyond the limit that linger, so that their clients can read the reply.
const REJECTED_LINGERING_MAX: usize = 64;

/// The application behind the listener for clients.
pub(crate) struct ConnectionHandler {
    state: Arc<ProxyState>,
    rejected_lingering: Semaphore,
}

impl ConnectionHandler {
    pub(crate) fn new(state: Arc<ProxyState>) -> ConnectionHandler {
        ConnectionHandler { state, rejected_lingering: Semaphore::new(REJECTED_LINGERING_MAX) }
    }

    /// Encrypts a connection that was opened at this time; none where that fails.
    async fn handshake(
        &self,
        accepted: Accepted,
        tls: &ServerTls,
        guard: &mut ConnectionGuard,
        opened: Instant,
    ) -> Option<Opened> {
        let deadline = opened + self.state.snapshot.load().timeouts.header;
        let result = handshake::accept(accepted, tls, guard, deadline).await;
        let outcome = result.as_ref().map_or_else(|failed| *failed, |_| Handshake::Done);
        self.state.metrics.tls.handshake(outcome);
        result.ok()
    }

    /// The reply to a connection beyond the limit, written without reading. Few of these connections linger: a client
    /// without a token must not hold connections that are not counted.
    async fn reject_connection(&self, mut stream: Accepted) {
        self.state.metrics.connection_refused();
        let id = self.state.ids.next();
        let (request_id, clock, keep_alive) = (id.as_str(), &self.state.clock, KeepAlive::Close);
        let head = ReplyHead { request_id, clock, now: clock.now(), keep_alive };
        let bytes = head.reply(&reply::head_reply(Denial::Overloaded), BodyMode::Full, None);
        // A new connection takes so few bytes at once: this does not wait.
        let written = tokio::time::timeout(Duration::ZERO, stream.write_all(&bytes)).await;
        let Ok(_lingering) = self.rejected_lingering.try_acquire() else { return };
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
        let _ = tokio::time::timeout(LINGER, async {
            let _ = stream.shutdown().await;
            let (mut discarded, mut total) = (Vec::new(), 0);
            while total < LINGER_BYTES_MAX {
                discarded.clear();
                match read_more(&mut stream, &mut discarded).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => total += read,
                }
            }
        })
        .await;
    }
}

impl ConnectionHandler {
    /// Counts a connection, where it is accepted: a drain waits for it from then on. None beyond the limit.
    pub(crate) fn admit(&self, peer: Option<IpAddr>) -> Option<ConnectionGuard> {
        let connections_max = self.state.snapshot.load().policy.limits().connections_max;
        let (guard, admission) = self.state.drain.enter(connections_max, peer)?;
        self.state.metrics.connection_accepted();
        if admission == Admission::Evicting {
            self.state.metrics.connection_evicted();
        }
        Some(guard)
    }

    /// Serves a connection to its end, or refuses one that was not admitted.
    pub(crate) async fn serve(
        &self,
        accepted: Accepted,
        peer: Option<IpAddr>,
        admitted: Option<ConnectionGuard>,
    ) {
        let tls = self.state.snapshot.load().tls.clone();
        let Some(mut guard) = admitted else {
            return match tls {
                // Boxed, like everything that a connection seldom does, so that one that waits does not have its size.
                None => Box::pin(self.reject_connection(accepted)).await,
                // A reply would take a handshake, which is what there is no room for.
                Some(_) => self.state.metrics.connection_refused(),
            };
        };
        let mut peer = peer.map(Peer::at);
        let (mut idle_since, mut shown) = (Instant::now(), None);
        let stream = if let Some(tls) = tls {
            let handshake = Box::pin(self.handshake(accepted, &tls, &mut guard, idle_since));
            let Some(shaken) = handshake.await else { return };
            (shown, idle_since) = (shaken.shown, Instant::now());
            let Some(peer) = peer.as_mut() else {
                // Without an address it would be taken for a proxy on a Unix socket, whose word about its clients is believed.
                log::warn!("a connection over TLS whose client has no address is closed");
                return;
            };
            peer.scheme = Scheme::Https;
            shaken.stream
        } else {
            ClientStream::Clear(accepted)
        };
        let mut connection = Connection {
            state: &self.state,
            downstream: Downstream::new(stream, guard),
            peer,
            shown,
            buffer: Vec::new(),
            // A slow handshake takes nothing from the time of the first head.
            idle_since,
        };
        connection.serve().await;
    }
}

/// Why there is no next head.
enum HeadError {
    /// The client closed the connection, or it idled for too long.
    Closed,
    Rejected(Denial),
}

struct Connection<'c> {
    state: &'c ProxyState,
    downstream: Downstream,
    /// None on a Unix socket.
    peer: Option<Peer>,
    /// What the client of the connection has proved to own.
    shown: Option<Box<ShownCertificate>>,
    /// What arrived and is not yet served. Empty, and without memory of its own, while the connection idles.
    buffer: Vec<u8>,
    /// When it was opened, or its last request ended.
    idle_since: Instant,
}

impl Connection<'_> {
    async fn serve(&mut self) {
        // A cached load compares a pointer; a load of the original costs a handful of locked instructions.
        let mut published = Cache::new(&self.state.snapshot);
        let mut timeout = published.load().timeouts.header;
        loop {
            let length = match self.next_head(published.load(), timeout).await {
                Ok(length) => length,
                Err(HeadError::Closed) => return self.downstream.end().await,
                Err(HeadError::Rejected(denial)) => {
                    return Box::pin(async {
                        self.refuse_head(denial).await;
                        self.downstream.linger(LINGER, LINGER_BYTES_MAX).await;
                    })
                    .await;
                }
            };
            self.downstream.begin_request();
            // The wait may have been long: the request uses the newest snapshot.
            let snapshot = published.load();
            timeout = snapshot.timeouts.keepalive_idle;
            // Boxed, so that an idle connection does not hold the memory of a call, and built in place, because a move would
            // cost more than the first fields do.
            let serving = Box::write(Box::new_uninit(), self.serve_request(snapshot, length));
            match Box::into_pin(serving).await {
                AfterRequest::Keep { consumed } => {
                    self.downstream.guard().idle(self.idle_since.into());
                    self.advance(length + consumed);
                }
                AfterRequest::Close => return self.downstream.end().await,
                AfterRequest::Linger => {
                    return Box::pin(self.downstream.linger(LINGER, LINGER_BYTES_MAX)).await;
                }
            }
        }
    }

    /// Drops the served bytes and appends those that arrived meanwhile.
    fn advance(&mut self, served: usize) {
        let pipelined = self.downstream.take_pipelined();
        if served >= self.buffer.len() {
            self.buffer = pipelined;
        } else {
            self.buffer.drain(..served);
            self.buffer.extend_from_slice(&pipelined);
        }
    }

    /// Waits for the next complete head and returns its length.
    async fn next_head(&mut self, snapshot: &Snapshot, timeout: Duration) -> Result<usize, HeadError> {
        let Connection { downstream, buffer, idle_since, .. } = self;
        let limits = &snapshot.policy.limits().head;
        if buffer.is_empty() {
            downstream.set_deadline(*idle_since + timeout);
            match downstream.wait_for_bytes(buffer, || self.state.drain.idle_grace()).await {
                Ok(0) | Err(_) => return Err(HeadError::Closed),
                Ok(_) => {}
            }
        }
        let (mut scanned, mut arriving) = (0, Arriving::default());
        loop {
            let refused = |error| HeadError::Rejected(Denial::Framing(error));
            if let Some(length) = head_end(buffer, scanned, limits).map_err(refused)? {
                return Ok(length);
            }
            arriving.judge(buffer, limits).map_err(refused)?;
            if scanned == 0 {
                // One deadline for the whole head, from its first byte, however often it dribbles.
                downstream.set_timeout(snapshot.timeouts.header);
                downstream.guard().reading();
            }
            scanned = buffer.len();
            match downstream.read(buffer).await {
                Err(Interrupt::Draining) if downstream.guard().is_evicted() => {
                    return Err(HeadError::Rejected(Denial::Overloaded));
                }
                Ok(0) | Err(Interrupt::ClientGone | Interrupt::Draining) => return Err(HeadError::Closed),
                Ok(_) => {}
                // Stray line ends after a body are not the beginning of a request.
                Err(Interrupt::Deadline) if buffer.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => {
                    return Err(HeadError::Closed);
                }
                Err(Interrupt::Deadline) => return Err(HeadError::Rejected(Denial::HeaderTimeout)),
            }
        }
    }

    /// Replies to a malformed head, or to none in time.
    async fn refuse_head(&mut self, denial: Denial) {
        let started = Instant::now();
        let id = self.state.ids.next();
        let time = self.state.clock.time();
        let (request_id, clock, keep_alive) = (id.as_str(), &self.state.clock, KeepAlive::Close);
        let head = ReplyHead { request_id, clock, now: seconds(time), keep_alive };
        let reply = reply::head_reply(denial);
        let bytes = head.reply(&reply, BodyMode::Full, None);
        self.downstream.set_timeout(LINGER);
        let trace = self.state.tracing.begin_without_head(&self.state.snapshot.load(), started);
        let mut record = Record::new(id.as_str(), self.peer.as_ref().map(|peer| peer.text.as_str()));
        record.trace = trace.as_deref();
        record.deny(Some(denial));
        record.status = Some(reply.status);
        if self.downstream.write(Parts::new([bytes.as_slice()])).await.is_ok() {
            record.bytes_out = reply.body.len() as u64;
        }
        self.idle_since = self.state.finish(record, started, time);
    }

    /// Ends a connection that a handshake would refuse now: its client must not go on with a certificate that counts no more, and
    /// a new connection may show another one.
    async fn refuse_connection(&mut self) -> AfterRequest {
        self.refuse_head(Denial::AuthorizationMissing).await;
        AfterRequest::Linger
    }

    /// Serves the request whose head is the first `length` bytes.
    async fn serve_request(&mut self, snapshot: &Snapshot, length: usize) -> AfterRequest {
        let state = self.state;
        let limits: &HeadLimits = &snapshot.policy.limits().head;
        let (block, arrived) = self.buffer.split_at(length);
        // Not kept with the connection: an idle one would have their memory.
        let mut spans = FieldSpans::default();
        let head = match request::parse(block, &mut spans, limits) {
            Ok(head) => head,
            Err(error) => {
                self.refuse_head(Denial::Framing(error)).await;
                return AfterRequest::Linger;
            }
        };
        let found = snapshot.open_routes.find(&head);
        if head.host.is_empty() && !snapshot.policy.is_probe(&head) {
            self.refuse_head(Denial::Framing(FramingError::Host)).await;
            return AfterRequest::Linger;
        }
        let peer = self.peer.as_ref();
        let trust = snapshot.trust(peer);
        let started = Instant::now();
        let time = state.clock.time();
        let wall = seconds(time);
        let Standing::Good(certificate) = standing(self.shown.as_deref_mut(), snapshot.tls.as_ref(), wall)
        else {
            return self.refuse_connection().await;
        };
        let presented = Presented { certificate };
        let verdict = match found {
            Match::None => HeadVerdict::Endpoint(snapshot.policy.decide(&head, presented, wall)),
            Match::Route(_) | Match::OtherMethods => {
                HeadVerdict::Route(route::judge(snapshot, found, &head, presented, wall))
            }
        };
        let given = match head.fields.occurs(KnownField::XRequestId) {
            // A reply to a client that is not known never repeats the client's text.
            Occurs::Once(value) if trust == PeerTrust::Trusted && verdict.is_permitted() => {
                RequestId::parse(value)
            }
            Occurs::Once(_) | Occurs::Never | Occurs::Repeated => None,
        };
        let own = state.ids.next();
        let own_id = own.as_str();
        let id = given.as_ref().map_or(own_id, RequestId::as_str);
        let page = snapshot.policy.allowed_origin(&head);
        let trace = verdict.trace(state, snapshot, &head, started);
        let trace = trace.as_deref();
        let request =
            Request { state, snapshot, head, arrived, id, own_id, started, time, peer, trust, page, trace };
        let mut record = Record { trace, ..Record::new(id, peer.map(|peer| peer.text.as_str())) };
        let downstream = &mut self.downstream;
        let after = match verdict {
            HeadVerdict::Route(judged) => route::serve(&request, downstream, judged, &mut record).await,
            HeadVerdict::Endpoint(Verdict::Forward(permit)) => {
                call::serve(&request, downstream, permit, &mut record).await
            }
            HeadVerdict::Endpoint(Verdict::Session(asked, permit)) => {
                call::serve_session(&request, downstream, (asked, permit), &mut record).await
            }
            HeadVerdict::Endpoint(Verdict::Deny(denial)) => {
                record.detail = snapshot.policy.detail(denial, &request.head);
                let reply = snapshot.policy.challenged(denial, reply::head_reply(denial));
                request.reply_discarding_body(downstream, &reply, Some(denial), &mut record).await
            }
            HeadVerdict::Endpoint(Verdict::Answer(local)) => {
                answer(&request, downstream, local, &mut record).await
            }
        };
        self.idle_since = state.finish(record, started, time);
        after
    }
}

/// Sends a local reply that refuses nothing.
async fn answer(
    request: &Request<'_>,
    downstream: &mut Downstream,
    local: Local,
    record: &mut Record<'_>,
) -> AfterRequest {
    let reply = match local {
        Local::Preflight => {
            let sendable = request.snapshot.policy.credentials().sendable();
            return request.reply_preflight(downstream, "POST".into(), sendable, record).await;
        }
        Local::MetadataPreflight => {
            return request.reply_preflight(downstream, "GET".into(), Sendable::Parameters, record).await;
        }
        Local::ResourceMetadata => request.snapshot.policy.metadata_reply(),
        Local::Health => health::health(),
        Local::Ready => health::ready(request.state, request.snapshot).await,
    };
    request.reply_discarding_body(downstream, &reply, None, record).await
}

/// The decision of the policy on a head.
enum HeadVerdict<'r> {
    Endpoint(Verdict),
    Route(route::Judged<'r>),
}

impl HeadVerdict<'_> {
    fn is_permitted(&self) -> bool {
        match self {
            HeadVerdict::Endpoint(verdict) => matches!(verdict, Verdict::Forward(_) | Verdict::Session(..)),
            HeadVerdict::Route(judged) => judged.is_permitted(),
        }
    }

    /// The trace of the request; none where traces are off, nor for one that has no part in a trace, such as a probe.
    fn trace(
        &self,
        state: &ProxyState,
        snapshot: &Snapshot,
        head: &RequestHead<'_>,
        started: Instant,
    ) -> Option<Box<RequestTrace>> {
        let settings = snapshot.tracing.as_ref()?;
        let origin = match self {
            HeadVerdict::Endpoint(Verdict::Answer(_)) | HeadVerdict::Route(route::Judged::Preflight) => {
                return None;
            }
            HeadVerdict::Route(judged) if judged.is_open() => Origin::Stranger,
            HeadVerdict::Endpoint(_) | HeadVerdict::Route(_) if self.is_permitted() => Origin::Caller,
            HeadVerdict::Endpoint(_) | HeadVerdict::Route(_) => Origin::Stranger,
        };
        Some(state.tracing.begin(settings, head, origin, started))
    }
}
