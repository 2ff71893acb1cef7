//! One request while it is served, and the local replies to it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::body::{self, Body, BodyBounds, BodyError, Excess};
use crate::http1::{BodyLength, RequestHead};
use crate::policy::cors::{AllowedOrigin, Sendable};
use crate::policy::reply::Reply;
use crate::policy::{Denial, Subject};
use crate::proxy::backend::request_head::{ForwardedFrom, PeerTrust, Scheme, TraceFields};
use crate::proxy::date::seconds;
use crate::proxy::downstream::local_reply::{BodyMode, KeepAlive, ReplyHead};
use crate::proxy::downstream::response::DownstreamFraming;
use crate::proxy::downstream::stream::{Downstream, Peer, Written};
use crate::proxy::fairness::per_client::ClientKey;
use crate::proxy::head_writer::{append_length, append_line};
use crate::proxy::io::Parts;
use crate::proxy::state::ProxyState;
use crate::proxy::state::snapshot::Snapshot;
use crate::proxy::state::tracing::fields_of;
use crate::telemetry::{Record, RequestTrace};

/// How long a closed connection lingers so that the client can read the last response.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// Twice the default cap of a body: Apache reads our 413 only after it has sent the body that is too large.
pub(super) const LINGER_BYTES_MAX: usize = 8 << 20;

/// What happens to the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterRequest {
    /// It serves the next request; this much of what arrived behind the head belonged to this one.
    Keep { consumed: usize },
    /// It closes at once: its client is gone.
    Close,
    /// It closes after discarding what the client is still sending (RFC 9112, 9.6).
    Linger,
}

impl AfterRequest {
    /// After a response to a request with so many bytes behind its head.
    pub(crate) fn of(keep_alive: KeepAlive, consumed: usize) -> AfterRequest {
        match keep_alive {
            KeepAlive::Implicit | KeepAlive::Explicit => AfterRequest::Keep { consumed },
            KeepAlive::Close => AfterRequest::Linger,
        }
    }
}

/// One request while it is served.
pub(crate) struct Request<'r> {
    pub(crate) state: &'r ProxyState,
    pub(crate) snapshot: &'r Snapshot,
    pub(crate) head: RequestHead<'r>,
    /// What arrived behind the head.
    pub(crate) arrived: &'r [u8],
    /// In the response, in the log and in what the backend receives; a trusted proxy may have chosen it.
    pub(crate) id: &'r str,
    /// The key of `routing.key = "request"`: never chosen by a client.
    pub(crate) own_id: &'r str,
    pub(crate) started: Instant,
    /// The time of day then.
    pub(crate) time: SystemTime,
    /// None on a Unix socket.
    pub(crate) peer: Option<&'r Peer>,
    pub(crate) trust: PeerTrust,
    /// The allowed origin of the web page that sent it, if one did.
    pub(crate) page: Option<AllowedOrigin<'r>>,
    /// None where traces are off.
    pub(crate) trace: Option<&'r RequestTrace>,
}

impl<'r> Request<'r> {
    /// Reads the body, of at most `bytes_max`, on the account of a client.
    pub(crate) async fn read_body(
        &self,
        downstream: &mut Downstream,
        who: ClientKey,
        bytes_max: u64,
        excess: Excess,
    ) -> Result<Body<'r>, BodyError> {
        let Request { state, snapshot, arrived, .. } = *self;
        downstream.set_deadline(self.started + snapshot.timeouts.body);
        let (budget_max, timeout) = (snapshot.policy.limits().bodies_bytes_max, snapshot.timeouts.waiting);
        let reservation = state.bodies.reservation(who, budget_max, timeout);
        let bounds = BodyBounds { bytes_max, reservation, excess };
        let read = body::read(downstream, &self.head, arrived, bounds).await;
        // An evicted connection ends like one that is drained, with a denial of its own.
        if matches!(read, Err(BodyError::Rejected(Denial::Draining))) && downstream.guard().is_evicted() {
            return Err(BodyError::Rejected(Denial::Overloaded));
        }
        read
    }

    /// Where it comes from, as a backend receives it.
    pub(crate) fn forwarded_from<'a>(
        &'a self,
        client: Option<&'a str>,
        subject: Option<&'a Subject>,
    ) -> ForwardedFrom<'a> {
        let peer = self.peer.map(|peer| peer.text.as_bytes());
        let credentials = self.snapshot.policy.credentials();
        let scheme = self.peer.map_or(Scheme::Http, |peer| peer.scheme);
        let trace = self.trace.map_or(TraceFields::Pass, fields_of);
        let (trust, request_id) = (self.trust, self.id);
        ForwardedFrom { peer, trust, scheme, request_id, client, subject, credentials, trace }
    }

    /// What the response says about the connection.
    pub(crate) fn keep_alive(&self, downstream: &Downstream) -> KeepAlive {
        if downstream.is_draining() { KeepAlive::Close } else { KeepAlive::requested(&self.head) }
    }

    /// The head of a relayed response: the backend's status line and fields, and what the guard adds. And whether the
    /// connection to the client lives on. Without a framing no body is sent at all, as with 204 and 304.
    pub(crate) fn relay_head(
        &self,
        downstream: &Downstream,
        mut rendered: Vec<u8>,
        framing: Option<DownstreamFraming>,
    ) -> (Vec<u8>, KeepAlive) {
        append_line(&mut rendered, b"X-Request-Id: ", self.id.as_bytes());
        if let Some(page) = self.page {
            page.append_fields(&mut rendered);
        }
        let mut keep_alive = self.keep_alive(downstream);
        match framing {
            None => {}
            Some(DownstreamFraming::Length(length)) => append_length(&mut rendered, length),
            Some(DownstreamFraming::Chunked) => rendered.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Some(DownstreamFraming::UntilClose) => keep_alive = KeepAlive::Close,
        }
        rendered.extend_from_slice(keep_alive.header());
        rendered.extend_from_slice(b"\r\n");
        (rendered, keep_alive)
    }

    /// Sends a local reply to a request whose body has been read.
    pub(crate) async fn reply(
        &self,
        downstream: &mut Downstream,
        reply: &Reply,
        denial: Option<Denial>,
        record: &mut Record<'_>,
    ) -> KeepAlive {
        record.deny(denial);
        self.write_reply(downstream, reply, self.keep_alive(downstream), record).await
    }

    /// Sends a local reply and closes: where the next request begins is not known.
    pub(crate) async fn reply_and_close(
        &self,
        downstream: &mut Downstream,
        reply: &Reply,
        denial: Option<Denial>,
        record: &mut Record<'_>,
    ) -> AfterRequest {
        record.deny(denial);
        self.write_reply(downstream, reply, KeepAlive::Close, record).await;
        AfterRequest::Linger
    }

    /// Sends a local reply to a request whose body is not needed, and discards the body.
    pub(crate) async fn reply_discarding_body(
        &self,
        downstream: &mut Downstream,
        reply: &Reply,
        denial: Option<Denial>,
        record: &mut Record<'_>,
    ) -> AfterRequest {
        let requested = self.keep_alive(downstream);
        if requested == KeepAlive::Close || !body::can_discard(&self.head) {
            return self.reply_and_close(downstream, reply, denial, record).await;
        }
        record.deny(denial);
        if self.write_reply(downstream, reply, requested, record).await == KeepAlive::Close {
            return AfterRequest::Close;
        }
        if let Some(consumed) = body::arrived_length(&self.head, self.arrived) {
            return AfterRequest::Keep { consumed };
        }
        record.total = None;
        downstream.set_deadline(self.started + self.snapshot.timeouts.body);
        downstream.guard().reading();
        match body::discard(downstream, &self.head, self.arrived).await {
            Some(consumed) => AfterRequest::Keep { consumed },
            None => AfterRequest::Linger,
        }
    }

    /// Replies to the preflight of an allowed page with the methods that are accepted here.
    pub(crate) async fn reply_preflight(
        &self,
        downstream: &mut Downstream,
        methods: Cow<'static, str>,
        sendable: Sendable,
        record: &mut Record<'_>,
    ) -> AfterRequest {
        let Some(page) = self.page else { return AfterRequest::Close };
        // A browser sends no body with it.
        let bare = matches!(self.head.body, BodyLength::None | BodyLength::Bytes(0));
        let keep_alive = if bare { self.keep_alive(downstream) } else { KeepAlive::Close };
        let passed = self.started.elapsed();
        let bytes =
            self.reply_head(passed, keep_alive).preflight(&page.preflight(&self.head, methods, sendable));
        if !self.write(downstream, &bytes, (204, passed), record).await {
            return AfterRequest::Close;
        }
        AfterRequest::of(keep_alive, 0)
    }

    async fn write_reply(
        &self,
        downstream: &mut Downstream,
        reply: &Reply,
        keep_alive: KeepAlive,
        record: &mut Record<'_>,
    ) -> KeepAlive {
        let passed = self.started.elapsed();
        let bytes = self.reply_head(passed, keep_alive).reply(reply, BodyMode::of(&self.head), self.page);
        if !self.write(downstream, &bytes, (reply.status, passed), record).await {
            return KeepAlive::Close;
        }
        record.bytes_out = reply.body.len() as u64;
        keep_alive
    }

    /// The fields of a local reply that is made when so much time has passed since the request began.
    fn reply_head(&self, passed: Duration, keep_alive: KeepAlive) -> ReplyHead<'_> {
        let now = seconds(self.time.checked_add(passed).unwrap_or(self.time));
        ReplyHead { request_id: self.id, clock: &self.state.clock, now, keep_alive }
    }

    /// Writes a local reply that was made when so much time had passed; false if the client is gone.
    async fn write(
        &self,
        downstream: &mut Downstream,
        bytes: &[u8],
        (status, passed): (u16, Duration),
        record: &mut Record<'_>,
    ) -> bool {
        // The deadline of the call may be the cause of the reply, so the reply has a deadline of its own.
        downstream.set_deadline(self.started + passed + LINGER);
        match downstream.write(Parts::new([bytes])).await {
            // The clock is not read again for a write that did not wait.
            Ok(Written::AtOnce) => record.total = Some(passed),
            Ok(Written::Later) => {}
            Err(_interrupt) => {
                record.set_client_gone();
                return false;
            }
        }
        record.status = Some(status);
        true
    }
}
