//! The client's side of a connection: reading, writing and waiting, each with one deadline and an eye on the client.
//!
//! Knows bytes, addresses and time. Must not know HTTP, policy or backends.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use pingora::protocols::Stream;
use pingora::protocols::l4::socket::SocketAddr;
use tokio::time::{Instant, Sleep};

use crate::http1::digits::AddressText;
use crate::proxy::drain::{Phase, Ticket};
use crate::proxy::io::{Parts, poll_read_more};
use crate::telemetry::Outcome;

/// A timer that would fire this much too early is moved when a connection begins to idle: then it need not fire at all.
const TOO_EARLY: Duration = Duration::from_secs(30);

/// Bytes of further requests that are taken while one is being answered.
const CARRY_BYTES_MAX: usize = 64 * 1024;

/// A connected client.
pub(crate) struct Downstream {
    stream: Stream,
    peer: Option<Peer>,
    ticket: Ticket,
    timer: Timer,
    reading: Reading,
    on_disconnect: OnDisconnect,
    /// What arrived behind the request that is being served.
    carry: Vec<u8>,
}

/// Where a client connects from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    text: AddressText,
}

impl Peer {
    /// The address as it is usually written.
    pub(crate) fn text(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// What the read side is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The client will send nothing more; it may still read.
    Ended,
    Broken,
}

/// What a client's leaving means to the call that is being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDisconnect {
    /// Nothing: the call goes on to its end.
    Ignore,
    /// The call ends when the connection is broken; a client that has only finished sending may still read.
    AbortOnReset,
    /// The call ends when the client stops sending (2026-07-28: disconnection is cancellation).
    Abort,
}

/// Why waiting ended before what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Deadline,
    /// The drain's time is up.
    Draining,
    ClientGone,
}

impl Interrupt {
    /// How a request ends that was interrupted like this.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Interrupt::Deadline => Outcome::Timeout,
            Interrupt::Draining => Outcome::Denied,
            Interrupt::ClientGone => Outcome::ClientGone,
        }
    }
}

impl Downstream {
    pub(crate) fn new(stream: Stream, ticket: Ticket) -> Downstream {
        let peer = address_of(&stream).map(|address| Peer { address, text: AddressText::new(address) });
        let timer = Timer::new();
        let (reading, on_disconnect) = (Reading::Open, OnDisconnect::Ignore);
        Downstream { stream, peer, ticket, timer, reading, on_disconnect, carry: Vec::new() }
    }

    /// The peer; `None` on a Unix socket.
    pub(crate) fn peer(&self) -> Option<Peer> {
        self.peer
    }

    /// The connection's part in the count of all.
    pub(crate) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.ticket.phase() != Phase::Serving
    }

    /// From now on, waiting ends at `due`.
    pub(crate) fn set_deadline(&mut self, due: Instant) {
        self.timer.due = due;
    }

    /// From now on, waiting ends when this much time has passed.
    pub(crate) fn set_timeout(&mut self, time: Duration) {
        self.timer.due = Instant::now() + time;
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.timer.due
    }

    /// From now on, the client's leaving means this.
    pub(crate) fn set_on_disconnect(&mut self, on_disconnect: OnDisconnect) {
        self.on_disconnect = on_disconnect;
    }

    /// Keeps bytes that turned out to belong to the next request.
    pub(crate) fn carry(&mut self, bytes: &[u8]) {
        self.carry.extend_from_slice(bytes);
    }

    /// The bytes of the next requests, in order.
    pub(crate) fn take_carried(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.carry)
    }

    /// Waits for `future`, which must not concern the client: it is the client that is watched meanwhile.
    pub(crate) async fn until<F: Future>(&mut self, future: F) -> Result<F::Output, Interrupt> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_interrupt(cx).map(Err),
        })
        .await
    }

    /// The same, but `None` as soon as a drain begins.
    pub(crate) async fn until_drain<F: Future>(&mut self, future: F) -> Result<Option<F::Output>, Interrupt> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(Some(output))),
            Poll::Pending if self.ticket.poll_phase(cx, Phase::Draining).is_ready() => Poll::Ready(Ok(None)),
            Poll::Pending => self.poll_interrupt(cx).map(Err),
        })
        .await
    }

    /// Appends what the client sends to `buffer`; zero when it will send nothing more.
    pub(crate) async fn read(&mut self, buffer: &mut Vec<u8>) -> Result<usize, Interrupt> {
        poll_fn(|cx| match self.poll_read(cx, buffer) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => poll_reading_time(&mut self.ticket, &mut self.timer, cx).map(Err),
        })
        .await
    }

    /// Appends at most `limit` bytes, straight into `buffer`.
    pub(crate) async fn read_into(&mut self, buffer: &mut Vec<u8>, limit: usize) -> Result<usize, Interrupt> {
        let Downstream { stream, ticket, timer, .. } = self;
        let mut read = pin!(crate::proxy::io::read_into(stream, buffer, limit));
        let result = poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|_broken| Interrupt::ClientGone)),
            Poll::Pending => poll_reading_time(ticket, timer, cx).map(Err),
        })
        .await;
        if result == Ok(0) {
            self.reading = Reading::Ended;
        }
        result
    }

    /// Waits for a request's first bytes. When a drain begins, a client that is about to send gets a moment to do so,
    /// so that its request is answered with `Connection: close` and not cut off.
    pub(crate) async fn wait_for_bytes(
        &mut self,
        buffer: &mut Vec<u8>,
        moment: impl Fn() -> Duration,
    ) -> Result<usize, Interrupt> {
        let mut hurried = false;
        poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_read(cx, buffer) {
                return Poll::Ready(result);
            }
            self.timer.move_if_too_early();
            if !hurried && self.ticket.poll_phase(cx, Phase::Draining).is_ready() {
                hurried = true;
                self.timer.due = self.timer.due.min(Instant::now() + moment());
            }
            poll_reading_time(&mut self.ticket, &mut self.timer, cx).map(Err)
        })
        .await
    }

    /// Writes all the parts.
    pub(crate) async fn write(&mut self, mut parts: Parts<'_>) -> Result<(), Interrupt> {
        let result = poll_fn(|cx| match parts.poll_write(cx, &mut self.stream) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|_broken| Interrupt::ClientGone)),
            Poll::Pending => self.poll_time(cx).map(Err),
        })
        .await;
        if result == Err(Interrupt::ClientGone) {
            self.reading = Reading::Broken;
        }
        result
    }

    /// Writes parts without the deadline. Ready when all of them are taken.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &mut Parts<'_>,
    ) -> Poll<Result<(), Interrupt>> {
        parts.poll_write(cx, &mut self.stream).map(|result| {
            result.map_err(|_broken| {
                self.reading = Reading::Broken;
                Interrupt::ClientGone
            })
        })
    }

    /// Says that nothing more will be sent, then reads and forgets what the client still sends: closing at once would
    /// reset the connection and could take the answer back before the client has read it.
    pub(crate) async fn linger(&mut self, time: Duration, bytes_max: usize) {
        self.set_timeout(time);
        self.ticket.reading();
        self.stream.shutdown().await;
        let mut forgotten = Vec::new();
        let mut total = 0;
        while total < bytes_max {
            forgotten.clear();
            match self.read(&mut forgotten).await {
                Ok(0) | Err(_) => return,
                Ok(read) => total += read,
            }
        }
    }

    /// [`Downstream::read`] without its deadline.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<Result<usize, Interrupt>> {
        match self.reading {
            Reading::Open => {}
            Reading::Ended => return Poll::Ready(Ok(0)),
            Reading::Broken => return Poll::Ready(Err(Interrupt::ClientGone)),
        }
        poll_read_more(cx, &mut self.stream, buffer).map(|result| match result {
            Ok(0) => {
                self.reading = Reading::Ended;
                Ok(0)
            }
            Ok(read) => Ok(read),
            Err(_broken) => {
                self.reading = Reading::Broken;
                Err(Interrupt::ClientGone)
            }
        })
    }

    fn poll_interrupt(&mut self, cx: &mut Context<'_>) -> Poll<Interrupt> {
        if let Poll::Ready(interrupt) = self.poll_time(cx) {
            return Poll::Ready(interrupt);
        }
        if self.on_disconnect == OnDisconnect::Ignore {
            return Poll::Pending;
        }
        let mut carry = std::mem::take(&mut self.carry);
        while self.reading == Reading::Open && carry.len() < CARRY_BYTES_MAX {
            if self.poll_read(cx, &mut carry).is_pending() {
                break;
            }
        }
        self.carry = carry;
        let gone = match self.reading {
            Reading::Open => false,
            Reading::Ended => self.on_disconnect == OnDisconnect::Abort,
            Reading::Broken => true,
        };
        if gone { Poll::Ready(Interrupt::ClientGone) } else { Poll::Pending }
    }

    /// Ready once a drain has begun.
    pub(crate) fn poll_draining(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ticket.poll_phase(cx, Phase::Draining)
    }

    /// Ready when the deadline or the end of a drain has come.
    pub(crate) fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Interrupt> {
        poll_time(&mut self.ticket, &mut self.timer, cx)
    }
}

/// The peer's address; none on a Unix socket.
pub(crate) fn address_of(stream: &Stream) -> Option<IpAddr> {
    match stream.get_socket_digest()?.peer_addr() {
        Some(SocketAddr::Inet(address)) => Some(address.ip().to_canonical()),
        Some(SocketAddr::Unix(_)) | None => None,
    }
}

/// The same, for a connection that waits for its client: then it can make room for another one, too.
fn poll_reading_time(ticket: &mut Ticket, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<Interrupt> {
    let time = poll_time(ticket, timer, cx);
    // Asked after the task is known to be woken up.
    if time.is_pending() && ticket.is_evicted() { Poll::Ready(Interrupt::Draining) } else { time }
}

fn poll_time(ticket: &mut Ticket, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<Interrupt> {
    if ticket.poll_phase(cx, Phase::Expired).is_ready() {
        return Poll::Ready(Interrupt::Draining);
    }
    timer.poll(cx).map(|()| Interrupt::Deadline)
}

/// One timer for the life of the connection. It is moved only when it would fire too late; when it fires too early it is
/// set again. On a busy connection, whose deadlines only move forward, that is once in a while and not per request.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    due: Instant,
}

impl Timer {
    fn new() -> Timer {
        let now = Instant::now();
        Timer { sleep: Box::pin(tokio::time::sleep_until(now)), due: now }
    }

    fn move_if_too_early(&mut self) {
        if self.due > self.sleep.deadline() + TOO_EARLY {
            self.sleep.as_mut().reset(self.due);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.due < self.sleep.deadline() {
            self.sleep.as_mut().reset(self.due);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.due);
        }
        Poll::Pending
    }
}
