//! The handshake of a client's connection: bounded like the head that follows it, and counted by how it ended.
//!
//! The connection holds its guard meanwhile, so handshakes are bounded in number with all connections, and one that dribbles is
//! evicted first. Must not know HTTP, nor what a certificate permits.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::rustls::Error;

use super::encrypted::Encrypted;
use super::shown_certificate::ShownCertificate;
use crate::proxy::drain::{ConnectionGuard, Phase};
use crate::proxy::io::read_more;
use crate::proxy::tls_stream::TlsStream;
use crate::telemetry::metrics::Handshake;
use crate::tls::ServerTls;

/// How long a client has to read the alert that refuses it, and how much of what it still sends is discarded.
const ALERT_TIME: Duration = Duration::from_secs(1);
const ALERT_DISCARD_BYTES_MAX: usize = 64 * 1024;

/// An encrypted connection, and what certificate the client has shown.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) shown: Option<Box<ShownCertificate>>,
}

/// The threads that may compute for handshakes at a time: signatures take milliseconds, and requests need threads meanwhile. One that waits
/// for its client takes no turn.
pub(super) struct Turns(Semaphore);

impl Turns {
    /// For a server with this many threads: half of them, and at least one.
    pub(super) fn new(threads: usize) -> Turns {
        Turns(Semaphore::new((threads / 2).max(1)))
    }

    /// Lets a future run only while it has a turn.
    async fn pace<F: Future>(&self, future: F) -> F::Output {
        let (mut future, mut waiting) = (pin!(future), None);
        poll_fn(|cx| {
            let turn = waiting.get_or_insert_with(|| Box::pin(self.0.acquire()));
            // Without a bound, if it were ever closed.
            let _turn = ready!(turn.as_mut().poll(cx));
            waiting = None;
            future.as_mut().poll(cx)
        })
        .await
    }
}

/// Performs the handshake until `deadline`, or until the connection is evicted or the drain is over.
pub(super) async fn accept(
    stream: Stream,
    tls: &ServerTls,
    guard: &mut ConnectionGuard,
    (turns, deadline): (&Turns, Instant),
) -> Result<Opened, Handshake> {
    guard.reading();
    let mut accepting = pin!(turns.pace(tls.acceptor().accept(stream).into_fallible()));
    let mut time = pin!(sleep_until(deadline));
    let accepted = poll_fn(|cx| {
        if let Poll::Ready(accepted) = accepting.as_mut().poll(cx) {
            return Poll::Ready(Ok(accepted));
        }
        if guard.poll_phase(cx, Phase::Expired).is_ready() || guard.is_evicted() {
            return Poll::Ready(Err(Handshake::Evicted));
        }
        time.as_mut().poll(cx).map(|()| Err(Handshake::Timeout))
    })
    .await?;
    match accepted {
        Ok(opened) => {
            let chain = opened.get_ref().1.peer_certificates();
            let shown = chain.and_then(|chain| ShownCertificate::new(chain, tls)).map(Box::new);
            let stream: Encrypted = TlsStream(opened);
            Ok(Opened { stream: Box::new(stream), shown })
        }
        Err((error, stream)) => {
            let outcome = outcome_of(&error);
            log::debug!("a TLS handshake failed: {error}");
            if outcome != Handshake::Closed {
                let _ = timeout(ALERT_TIME, let_read(stream)).await;
            }
            Err(outcome)
        }
    }
}

/// The alert is on its way. Closing at once could reset the connection and take it back.
async fn let_read(mut stream: Stream) {
    let _ = AsyncWriteExt::shutdown(&mut stream).await;
    let (mut discarded, mut total) = (Vec::new(), 0);
    while total < ALERT_DISCARD_BYTES_MAX {
        discarded.clear();
        match read_more(&mut stream, &mut discarded).await {
            Ok(0) | Err(_) => return,
            Ok(read) => total += read,
        }
    }
}

/// Why a handshake failed, as the metric names it.
fn outcome_of(error: &io::Error) -> Handshake {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
        return Handshake::Closed;
    };
    if matches!(error, Error::NoCertificatesPresented | Error::InvalidCertificate(_)) {
        Handshake::Certificate
    } else if matches!(error, Error::PeerIncompatible(_) | Error::NoApplicationProtocol) {
        Handshake::Incompatible
    } else if matches!(error, Error::AlertReceived(_)) {
        Handshake::Alert
    } else {
        Handshake::Malformed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn handshakes_compute_on_half_of_the_threads_and_wait_for_clients_without_a_turn() {
        for (threads, expected) in [(1, 1), (2, 1), (3, 1), (4, 2)] {
            let turns = Arc::new(Turns::new(threads));
            let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let handshakes: Vec<_> = (0..32)
                .map(|_| {
                    let (turns, running, most) = (turns.clone(), running.clone(), most.clone());
                    let mut flights = 0;
                    let handshake = poll_fn(move |cx| {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::hint::black_box((0..10_000_u64).fold(0, |sum, next| sum ^ next));
                        running.fetch_sub(1, Ordering::SeqCst);
                        flights += 1;
                        if flights == 3 {
                            return Poll::Ready(());
                        }
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    });
                    tokio::spawn(async move { turns.pace(handshake).await })
                })
                .collect();
            for handshake in handshakes {
                handshake.await.unwrap();
            }
            assert!(most.load(Ordering::SeqCst) <= expected, "{threads} threads");
            let _silent = tokio::spawn({
                let turns = turns.clone();
                async move { turns.pace(std::future::pending::<()>()).await }
            });
            turns.pace(std::future::ready(())).await;
        }
    }
}
