//! A WebSocket: the backend's consent passed on, then bytes in both directions until one side ends or falls silent.
//!
//! Not a byte of the client reaches the backend before it has agreed: what comes early waits.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncWrite, DuplexStream};
use tokio::time::Instant;

use super::super::io::{Parts, poll_read_more};
use super::Passage;
use crate::http1::hop_by_hop::passes_to_client;
use crate::http1::{self, FieldSpans};
use crate::proxy::backend::response_head::HEAD_LIMITS;
use crate::proxy::downstream::local_reply::{KeepAlive, append_field};
use crate::proxy::downstream::record::RecordBuilder;
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::route::pingora::bridge::Handed;
use crate::proxy::route::response;
use crate::proxy::route::websocket::{Frames, GOING_AWAY};
use crate::telemetry::Outcome;

/// How long a client that has been told to go has to do so.
const GOODBYE: Duration = Duration::from_secs(1);

/// Waits for the backend's consent. Without it the answer is one as any other.
pub(crate) async fn serve(
    passage: &Passage<'_>,
    client: &mut Downstream,
    mut handed: Handed,
    record: &mut RecordBuilder,
) -> KeepAlive {
    let since = Instant::now();
    let (block, rest) = match response::wait(client, &mut handed).await {
        Ok(arrived) => arrived,
        Err(why) => return passage.give_up(client, why, record).await,
    };
    let keep_alive = match consent(&block, passage.request.id) {
        Some(head) => {
            passage.route.reached();
            record.status = Some(101);
            record.streamed = true;
            let _stream = passage.visit.stream();
            let mut early = passage.request.arrived.to_vec();
            early.extend_from_slice(&client.take_carried());
            let mut tunnel = Tunnel::new(rest, early);
            record.outcome = tunnel.run(client, &head, &mut handed.pipe, passage).await;
            record.bytes_in = tunnel.upwards.bytes;
            record.bytes_out = tunnel.downwards.bytes;
            KeepAlive::Close
        }
        None => {
            // The client's next bytes might be a frame or a request: it said that it would speak another protocol.
            response::pass_on(passage, client, &mut handed, &block, rest, record).await;
            KeepAlive::Close
        }
    };
    record.upstream = Some(since.elapsed());
    keep_alive
}

/// The head that tells the client that the backend agreed; `None` if it did not.
fn consent(block: &[u8], request_id: &str) -> Option<Vec<u8>> {
    let mut spans = FieldSpans::default();
    let head =
        http1::response::parse(block, &mut spans, &HEAD_LIMITS).ok().filter(|head| head.status == 101)?;
    let mut out =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n".to_vec();
    for field in head.fields.iter().filter(passes_to_client) {
        append_field(&mut out, field.name, field.value);
    }
    append_field(&mut out, b"X-Request-Id", request_id.as_bytes());
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// Bytes on their way in one direction.
struct Lane {
    waiting: Vec<u8>,
    written: usize,
    bytes: u64,
    ended: bool,
}

impl Lane {
    fn new(waiting: Vec<u8>) -> Lane {
        let bytes = waiting.len() as u64;
        Lane { waiting, written: 0, bytes, ended: false }
    }

    fn is_empty(&self) -> bool {
        self.written == self.waiting.len()
    }

    /// Writes what waits. Ready when nothing does any more.
    fn poll_write<W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<std::io::Result<()>> {
        while !self.is_empty() {
            match std::task::ready!(Pin::new(&mut *writer).poll_write(cx, &self.waiting[self.written..]))? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl Lane {
    /// [`Lane::poll_write`] to a client.
    fn poll_to(&mut self, cx: &mut Context<'_>, client: &mut Downstream) -> Poll<Result<(), Interrupt>> {
        let mut parts = Parts::new([&self.waiting[self.written..]]);
        let result = client.poll_write(cx, &mut parts);
        self.written += parts.written();
        if matches!(result, Poll::Ready(Ok(()))) {
            self.waiting.clear();
            self.written = 0;
        }
        result
    }
}

struct Tunnel {
    upwards: Lane,
    downwards: Lane,
    frames: Frames,
    /// The client has been told to go.
    leaving: bool,
}

/// What became of an attempt to move bytes.
enum Moved {
    Some,
    /// The guard is about to stop, and nothing is under way to the client.
    Stopping,
    End,
}

impl Tunnel {
    fn new(from_backend: Vec<u8>, from_client: Vec<u8>) -> Tunnel {
        let mut frames = Frames::default();
        frames.see(&from_backend);
        let (upwards, downwards) = (Lane::new(from_client), Lane::new(from_backend));
        Tunnel { upwards, downwards, frames, leaving: false }
    }

    /// Tells the client, then carries bytes to the end.
    async fn run(
        &mut self,
        client: &mut Downstream,
        head: &[u8],
        pipe: &mut DuplexStream,
        passage: &Passage<'_>,
    ) -> Outcome {
        let idle = passage.route.config.idle;
        client.set_timeout(idle);
        if client.write(Parts::new([head])).await.is_err() {
            return Outcome::ClientGone;
        }
        loop {
            if !self.leaving {
                client.set_timeout(idle);
            }
            match poll_fn(|cx| self.poll_move(cx, client, pipe)).await {
                Ok(Moved::Some) => {}
                Ok(Moved::Stopping) => {
                    self.leaving = true;
                    client.set_timeout(GOODBYE);
                    if client.write(Parts::new([GOING_AWAY.as_slice()])).await.is_err() {
                        return Outcome::Ok;
                    }
                }
                Ok(Moved::End) => return Outcome::Ok,
                Err(_) if self.leaving => return Outcome::Ok,
                Err(Interrupt::Deadline) => return Outcome::Timeout,
                Err(Interrupt::Draining) => return Outcome::Denied,
                Err(Interrupt::ClientGone) => return Outcome::ClientGone,
            }
        }
    }

    /// Moves what can be moved. Ready when something was, or when there is nothing left to wait for.
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream,
        pipe: &mut DuplexStream,
    ) -> Poll<Result<Moved, Interrupt>> {
        let up = self.poll_upwards(cx, client, pipe)?;
        let down = self.poll_downwards(cx, client, pipe)?;
        let drained = self.upwards.is_empty() && self.downwards.is_empty();
        if drained && (self.upwards.ended || self.downwards.ended) {
            return Poll::Ready(Ok(Moved::End));
        }
        if up || down {
            return Poll::Ready(Ok(Moved::Some));
        }
        let quiet = !self.leaving && self.downwards.is_empty() && self.frames.is_between();
        if quiet && client.poll_draining(cx).is_ready() {
            return Poll::Ready(Ok(Moved::Stopping));
        }
        client.poll_time(cx).map(Err)
    }

    /// From the client to the backend. True if something moved.
    fn poll_upwards(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream,
        pipe: &mut DuplexStream,
    ) -> Result<bool, Interrupt> {
        let lane = &mut self.upwards;
        let mut moved = false;
        if lane.is_empty()
            && !lane.ended
            && let Poll::Ready(read) = client.poll_read(cx, &mut lane.waiting)
        {
            let read = read?;
            lane.ended = read == 0;
            lane.bytes += read as u64;
            moved = true;
        }
        if !lane.is_empty()
            && let Poll::Ready(written) = lane.poll_write(cx, pipe)
        {
            if written.is_err() {
                // The backend takes nothing more; what it has said is still passed on.
                *lane = Lane { ended: true, bytes: lane.bytes, ..Lane::new(Vec::new()) };
            }
            moved = true;
        }
        Ok(moved)
    }

    /// From the backend to the client, unless that has been told to go. True if something moved.
    fn poll_downwards(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream,
        pipe: &mut DuplexStream,
    ) -> Result<bool, Interrupt> {
        let lane = &mut self.downwards;
        let mut moved = false;
        if lane.is_empty()
            && !lane.ended
            && let Poll::Ready(read) = poll_read_more(cx, pipe, &mut lane.waiting)
        {
            let read = read.unwrap_or_default();
            lane.ended = read == 0;
            if self.leaving {
                lane.waiting.clear();
            } else {
                self.frames.see(&lane.waiting);
                lane.bytes += read as u64;
            }
            moved = true;
        }
        if !lane.is_empty()
            && let Poll::Ready(written) = lane.poll_to(cx, client)
        {
            written?;
            moved = true;
        }
        Ok(moved)
    }
}
