//! A WebSocket: the backend's `101` passed on, then bytes in both directions until one side ends or stays silent.
//!
//! No byte of the client reaches the backend before it has switched protocols: early bytes wait.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::DuplexStream;

use super::super::io::{Parts, poll_read_more};
use super::response::RouteRelay;
use super::websocket::{Frames, GOING_AWAY};
use crate::http1::hop_by_hop::passes_to_client;
use crate::http1::{self, FieldSpans};
use crate::proxy::backend::pingora::bridge::BridgedRequest;
use crate::proxy::backend::response_head::HEAD_LIMITS;
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::head_writer::append_field;
use crate::telemetry::Outcome;

/// How long a client has to close the connection after it was sent a close frame.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Waits for the backend to switch protocols. A response that does not is passed on as any other.
pub(super) async fn serve(mut relay: RouteRelay<'_, '_>, mut bridged: BridgedRequest) -> KeepAlive {
    // Whatever else is the answer, the client's next bytes may be a frame or a request: it announced another protocol.
    let block = match relay.response_head(&mut bridged).await {
        Ok(block) => block,
        Err(error) => {
            relay.deny(error).await;
            return KeepAlive::Close;
        }
    };
    let Some(head) = switching_response(&block, relay.routed.request.id) else {
        relay.pass_on(&block, &mut bridged).await;
        return KeepAlive::Close;
    };
    let RouteRelay { routed, downstream, record, .. } = relay;
    routed.route.mark_reachable();
    record.status = Some(101);
    record.streamed = true;
    let _stream = routed.guard.stream();
    let mut early = routed.request.arrived.to_vec();
    early.extend_from_slice(&downstream.take_pipelined());
    let mut tunnel = Tunnel::new(early, routed.route.config.idle);
    record.outcome = tunnel.run(downstream, &mut bridged.pipe, &head).await;
    record.bytes_in = tunnel.upwards.bytes;
    record.bytes_out = tunnel.downwards.bytes;
    KeepAlive::Close
}

/// The `101` for the client; `None` if the backend did not switch protocols.
fn switching_response(block: &[u8], request_id: &str) -> Option<Vec<u8>> {
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
struct CopyBuffer {
    waiting: Vec<u8>,
    written: usize,
    bytes: u64,
    ended: bool,
}

impl CopyBuffer {
    fn new(waiting: Vec<u8>) -> CopyBuffer {
        let bytes = waiting.len() as u64;
        CopyBuffer { waiting, written: 0, bytes, ended: false }
    }

    fn is_empty(&self) -> bool {
        self.written == self.waiting.len()
    }

    /// Writes the waiting bytes. Ready when all are written.
    fn poll_write<R>(&mut self, write: impl FnOnce(&mut Parts<'_>) -> Poll<R>) -> Poll<R> {
        let mut parts = Parts::new([&self.waiting[self.written..]]);
        let result = write(&mut parts);
        self.written += parts.written();
        if self.is_empty() {
            self.waiting.clear();
            self.written = 0;
        }
        result
    }
}

struct Tunnel {
    /// How long both sides may be silent.
    idle: Duration,
    upwards: CopyBuffer,
    downwards: CopyBuffer,
    frames: Frames,
    /// The close frame is sent.
    closing: bool,
}

enum Progress {
    Moved,
    /// The guard stops, and the client has only whole frames.
    Stopping,
    End,
}

impl Tunnel {
    fn new(from_client: Vec<u8>, idle: Duration) -> Tunnel {
        let (upwards, downwards) = (CopyBuffer::new(from_client), CopyBuffer::new(Vec::new()));
        Tunnel { idle, upwards, downwards, frames: Frames::default(), closing: false }
    }

    /// Sends the `101`, then copies bytes to the end.
    async fn run(&mut self, downstream: &mut Downstream, pipe: &mut DuplexStream, head: &[u8]) -> Outcome {
        downstream.set_timeout(self.idle);
        if downstream.write(Parts::new([head])).await.is_err() {
            return Outcome::ClientGone;
        }
        loop {
            if !self.closing {
                downstream.set_timeout(self.idle);
            }
            match poll_fn(|cx| self.poll_move(cx, downstream, pipe)).await {
                Ok(Progress::Moved) => {}
                Ok(Progress::Stopping) => {
                    self.closing = true;
                    downstream.set_timeout(CLOSE_GRACE);
                    if downstream.write(Parts::new([GOING_AWAY.as_slice()])).await.is_err() {
                        return Outcome::Ok;
                    }
                }
                Ok(Progress::End) => return Outcome::Ok,
                Err(_) if self.closing => return Outcome::Ok,
                Err(Interrupt::Deadline) => return Outcome::Timeout,
                Err(Interrupt::Draining) => return Outcome::Denied,
                Err(Interrupt::ClientGone) => return Outcome::ClientGone,
            }
        }
    }

    /// Copies in both directions. Ready when bytes moved, or when there is nothing left to wait for.
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut Downstream,
        pipe: &mut DuplexStream,
    ) -> Poll<Result<Progress, Interrupt>> {
        let up = self.poll_upwards(cx, downstream, pipe)?;
        let down = self.poll_downwards(cx, downstream, pipe)?;
        let drained = self.upwards.is_empty() && self.downwards.is_empty();
        if drained && (self.upwards.ended || self.downwards.ended) {
            return Poll::Ready(Ok(Progress::End));
        }
        if up || down {
            return Poll::Ready(Ok(Progress::Moved));
        }
        let quiet = !self.closing && self.downwards.is_empty() && self.frames.is_between();
        if quiet && downstream.poll_draining(cx).is_ready() {
            return Poll::Ready(Ok(Progress::Stopping));
        }
        downstream.poll_time(cx).map(Err)
    }

    /// From the client to the backend. Returns whether bytes moved.
    fn poll_upwards(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut Downstream,
        pipe: &mut DuplexStream,
    ) -> Result<bool, Interrupt> {
        let buffer = &mut self.upwards;
        let mut moved = false;
        if buffer.is_empty()
            && !buffer.ended
            && let Poll::Ready(read) = downstream.poll_read(cx, &mut buffer.waiting)
        {
            let read = read?;
            buffer.ended = read == 0;
            buffer.bytes += read as u64;
            moved = true;
        }
        if !buffer.is_empty()
            && let Poll::Ready(written) = buffer.poll_write(|parts| parts.poll_write(cx, pipe))
        {
            if written.is_err() {
                // The backend reads no more; bytes that it has sent are still passed on.
                *buffer = CopyBuffer { ended: true, bytes: buffer.bytes, ..CopyBuffer::new(Vec::new()) };
            }
            moved = true;
        }
        Ok(moved)
    }

    /// From the backend to the client; bytes behind the close frame are dropped. Returns whether bytes moved.
    fn poll_downwards(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut Downstream,
        pipe: &mut DuplexStream,
    ) -> Result<bool, Interrupt> {
        let buffer = &mut self.downwards;
        let mut moved = false;
        if buffer.is_empty()
            && !buffer.ended
            && let Poll::Ready(read) = poll_read_more(cx, pipe, &mut buffer.waiting)
        {
            let read = read.unwrap_or_default();
            buffer.ended = read == 0;
            if self.closing {
                buffer.waiting.clear();
            } else {
                self.frames.push(&buffer.waiting);
                buffer.bytes += read as u64;
            }
            moved = true;
        }
        if !buffer.is_empty()
            && let Poll::Ready(written) = buffer.poll_write(|parts| downstream.poll_write(cx, parts))
        {
            written?;
            moved = true;
        }
        Ok(moved)
    }
}
