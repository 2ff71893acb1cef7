//! The client's side of a connection: reading, writing and waiting, each with one deadline and a watch for a disconnect.
//!
//! Knows bytes, addresses and time. Must not know HTTP, policy or backends.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::client_stream::ClientStream;
use super::timer::Timer;
use crate::proxy::backend::request_head::Scheme;
use crate::proxy::drain::{ConnectionGuard, Phase};
use crate::proxy::io::{Parts, poll_read_more};
use crate::telemetry::Outcome;

/// Bytes of further requests that are read while one is served.
const PIPELINED_BYTES_MAX: usize = 64 * 1024;

/// A connected client.
pub(crate) struct Downstream {
    stream: ClientStream,
    guard: ConnectionGuard,
    timer: Timer,
    reading: Reading,
    ending: Ending,
    on_disconnect: OnDisconnect,
    /// The request that is served began when no request may begin any more.
    is_late: bool,
    /// What arrived behind the request that is served.
    pipelined: Vec<u8>,
}

/// Where a client connects from.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The address as it is usually written: once per connection, used for each of its requests.
    pub(crate) text: String,
    pub(crate) scheme: Scheme,
}

impl Peer {
    pub(crate) fn at(address: IpAddr) -> Peer {
        Peer { address, text: address.to_string(), scheme: Scheme::Http }
    }
}

/// Whether an encrypted connection ends with the word that it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Nothing is said in clear.
    Clear,
    Said,
    /// A response was cut: its end must not look like one.
    Unsaid,
}

/// The state of the read side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The client has finished sending; it may still read.
    Ended,
    Broken,
}

/// What a disconnect of the client does to the call that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDisconnect {
    /// Nothing: the call continues to its end.
    Ignore,
    /// A reset ends the call; a client that has only finished sending may still read.
    AbortOnReset,
    /// The end of what the client sends ends the call (2026-07-28: disconnection is cancellation).
    Abort,
}

/// Whether the client had to take earlier bytes before a write was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    AtOnce,
    Later,
}

/// What ended a wait early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Deadline,
    /// The drain time is over.
    Draining,
    ClientGone,
}

impl Interrupt {
    /// The outcome of a request that is interrupted like this.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Interrupt::Deadline => Outcome::Timeout,
            Interrupt::Draining => Outcome::Denied,
            Interrupt::ClientGone => Outcome::ClientGone,
        }
    }
}

impl Downstream {
    pub(crate) fn new(stream: ClientStream, guard: ConnectionGuard) -> Downstream {
        let timer = Timer::new();
        let (reading, on_disconnect) = (Reading::Open, OnDisconnect::Ignore);
        let ending = match stream {
            ClientStream::Clear(_) => Ending::Clear,
            ClientStream::Encrypted(_) => Ending::Said,
        };
        let (is_late, pipelined) = (false, Vec::new());
        Downstream { stream, guard, timer, reading, ending, on_disconnect, is_late, pipelined }
    }

    /// The guard that counts this connection.
    pub(crate) fn guard(&self) -> &ConnectionGuard {
        &self.guard
    }

    /// A request begins: its head has arrived.
    pub(crate) fn begin_request(&mut self) {
        self.guard.served();
        self.is_late = self.guard.refuses_requests();
    }

    /// Whether the request that is served must be refused: another process has taken over, and this one may admit what that one refuses.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.guard.phase() != Phase::Serving
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

    /// Sets what a disconnect does from now on.
    pub(crate) fn set_on_disconnect(&mut self, on_disconnect: OnDisconnect) {
        self.on_disconnect = on_disconnect;
    }

    /// Keeps bytes that belong to the next request.
    pub(crate) fn push_back(&mut self, bytes: &[u8]) {
        self.pipelined.extend_from_slice(bytes);
    }

    /// The bytes of the next requests, in order.
    pub(crate) fn take_pipelined(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pipelined)
    }

    /// Waits for `future` or an interrupt. The future must not use the client, which is watched meanwhile.
    pub(crate) async fn race<F: Future>(&mut self, future: F) -> Result<F::Output, Interrupt> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_interrupt(cx).map(Err),
        })
        .await
    }

    /// The same, but `None` as soon as a drain begins.
    pub(crate) async fn race_drain<F: Future>(&mut self, future: F) -> Result<Option<F::Output>, Interrupt> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(Some(output))),
            Poll::Pending if self.guard.poll_phase(cx, Phase::Draining).is_ready() => Poll::Ready(Ok(None)),
            Poll::Pending => self.poll_interrupt(cx).map(Err),
        })
        .await
    }

    /// Appends what the client sends to `buffer`; zero when it will send nothing more.
    pub(crate) async fn read(&mut self, buffer: &mut Vec<u8>) -> Result<usize, Interrupt> {
        poll_fn(|cx| match self.poll_read(cx, buffer) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => poll_reading_time(&mut self.guard, &mut self.timer, cx).map(Err),
        })
        .await
    }

    /// Appends at most `limit` bytes, straight into `buffer`.
    pub(crate) async fn read_into(&mut self, buffer: &mut Vec<u8>, limit: usize) -> Result<usize, Interrupt> {
        let Downstream { stream, guard, timer, .. } = self;
        let mut read = pin!(crate::proxy::io::read_into(stream, buffer, limit));
        let result = poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|_broken| Interrupt::ClientGone)),
            Poll::Pending => poll_reading_time(guard, timer, cx).map(Err),
        })
        .await;
        if result == Ok(0) {
            self.reading = Reading::Ended;
        }
        result
    }

    /// Waits for a request's first bytes. When a drain begins, the client has `grace` to send a request, whose response
    /// carries `Connection: close`, rather than to lose it.
    pub(crate) async fn wait_for_bytes(
        &mut self,
        buffer: &mut Vec<u8>,
        grace: impl Fn() -> Duration,
    ) -> Result<usize, Interrupt> {
        let mut drain_seen = false;
        poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_read(cx, buffer) {
                return Poll::Ready(result);
            }
            self.timer.push_back_if_early();
            if !drain_seen && self.guard.poll_phase(cx, Phase::Draining).is_ready() {
                drain_seen = true;
                self.timer.due = self.timer.due.min(Instant::now() + grace());
            }
            let ended = ready!(poll_reading_time(&mut self.guard, &mut self.timer, cx));
            // A request that has arrived is not lost: neither for another connection, nor because its time was over a moment ago.
            let read = match self.guard.phase() {
                Phase::Serving | Phase::Draining => self.stream.receive_now(buffer),
                Phase::Expired => 0,
            };
            Poll::Ready(if read > 0 { Ok(read) } else { Err(ended) })
        })
        .await
    }

    /// Writes all the parts.
    pub(crate) async fn write(&mut self, mut parts: Parts<'_>) -> Result<Written, Interrupt> {
        let mut how = Written::AtOnce;
        let written = poll_fn(|cx| match self.poll_write(cx, &mut parts) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| how)),
            Poll::Pending => {
                how = Written::Later;
                self.poll_time(cx).map(Err)
            }
        })
        .await;
        if written.is_err() {
            self.cut();
        }
        written
    }

    /// Writes parts without the deadline. Ready when all of them are taken.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &mut Parts<'_>,
    ) -> Poll<Result<(), Interrupt>> {
        let mut written = parts.poll_write(cx, &mut self.stream);
        // TLS takes bytes before the socket does. In clear there is nothing to flush.
        if self.ending != Ending::Clear && matches!(written, Poll::Ready(Ok(()))) {
            written = Pin::new(&mut self.stream).poll_flush(cx);
        }
        written.map(|result| {
            result.map_err(|_broken| {
                self.reading = Reading::Broken;
                Interrupt::ClientGone
            })
        })
    }

    /// A response was cut: the connection must not end like one whose responses are whole.
    pub(crate) fn cut(&mut self) {
        if self.ending == Ending::Said {
            self.ending = Ending::Unsaid;
        }
    }

    /// Tells the client of an encrypted connection that it ends here, if everything it was sent is whole.
    pub(crate) async fn end(&mut self) {
        if self.ending == Ending::Said && self.reading != Reading::Broken {
            self.stream.end_writing().await;
        }
    }

    /// Shuts down the write side, then reads and discards what the client still sends: an immediate close would reset the
    /// connection, and the client could lose the response before it has read it.
    pub(crate) async fn linger(&mut self, time: Duration, bytes_max: usize) {
        self.set_timeout(time);
        self.guard.reading();
        if self.ending != Ending::Unsaid {
            self.stream.end_writing().await;
        }
        let mut discarded = Vec::new();
        let mut total = 0;
        while total < bytes_max {
            discarded.clear();
            match self.read(&mut discarded).await {
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
        let mut pipelined = std::mem::take(&mut self.pipelined);
        while self.reading == Reading::Open && pipelined.len() < PIPELINED_BYTES_MAX {
            if self.poll_read(cx, &mut pipelined).is_pending() {
                break;
            }
        }
        self.pipelined = pipelined;
        let gone = match self.reading {
            Reading::Open => false,
            Reading::Ended => self.on_disconnect == OnDisconnect::Abort,
            Reading::Broken => true,
        };
        if gone { Poll::Ready(Interrupt::ClientGone) } else { Poll::Pending }
    }

    /// Ready once a drain has begun.
    pub(crate) fn poll_draining(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.guard.poll_phase(cx, Phase::Draining)
    }

    /// Ready when the deadline or the end of a drain has come.
    pub(crate) fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Interrupt> {
        poll_time(&mut self.guard, &mut self.timer, cx)
    }
}

/// [`poll_time`] for a connection that waits for its client, which can also be evicted.
fn poll_reading_time(
    guard: &mut ConnectionGuard,
    timer: &mut Timer,
    cx: &mut Context<'_>,
) -> Poll<Interrupt> {
    let time = poll_time(guard, timer, cx);
    // Checked after the waker is registered.
    if time.is_pending() && guard.is_evicted() { Poll::Ready(Interrupt::Draining) } else { time }
}

fn poll_time(guard: &mut ConnectionGuard, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<Interrupt> {
    if guard.poll_phase(cx, Phase::Expired).is_ready() {
        return Poll::Ready(Interrupt::Draining);
    }
    timer.poll(cx).map(|()| Interrupt::Deadline)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tokio::net::TcpStream;

    use super::*;
    use crate::proxy::downstream::client_stream::Accepted;
    use crate::proxy::drain::{Admission, Drain};

    /// A client and its connection, on which a request has arrived. Tokio has not been told of it: this task has not waited once.
    fn arrived(drain: &Arc<Drain>) -> (std::net::TcpStream, Downstream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        client.write_all(b"POST").unwrap();
        accepted.peek(&mut [0]).unwrap();
        accepted.set_nonblocking(true).unwrap();
        let accepted = Accepted::Tcp(TcpStream::from_std(accepted).unwrap());
        let (guard, _) = drain.enter(1, None).unwrap();
        let mut downstream = Downstream::new(ClientStream::Clear(accepted), guard);
        downstream.set_timeout(Duration::from_secs(60));
        downstream.guard().idle(std::time::Instant::now());
        (client, downstream)
    }

    #[tokio::test]
    async fn a_request_that_has_arrived_is_read_although_the_time_of_its_connection_is_over() {
        let (_client, mut downstream) = arrived(&Arc::new(Drain::new()));
        downstream.set_deadline(Instant::now());
        let mut buffer = Vec::new();
        let read = downstream.wait_for_bytes(&mut buffer, || Duration::ZERO).await;
        assert_eq!((read, buffer.as_slice()), (Ok(4), b"POST".as_slice()));
        downstream.set_deadline(Instant::now());
        let read = downstream.wait_for_bytes(&mut buffer, || Duration::ZERO).await;
        assert_eq!(read, Err(Interrupt::Deadline));
    }

    #[tokio::test]
    async fn a_request_that_has_arrived_is_read_although_its_connection_is_evicted() {
        let drain = Arc::new(Drain::new());
        let (_client, mut downstream) = arrived(&drain);
        let (_newer, admission) = drain.enter(1, None).unwrap();
        assert_eq!(admission, Admission::Evicting);

        let mut buffer = Vec::new();
        let read = downstream.wait_for_bytes(&mut buffer, || Duration::ZERO).await;
        assert_eq!((read, buffer.as_slice()), (Ok(4), b"POST".as_slice()));
        let read = downstream.wait_for_bytes(&mut buffer, || Duration::ZERO).await;
        assert_eq!(read, Err(Interrupt::Draining));
    }
}
