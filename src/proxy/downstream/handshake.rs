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
use crate::worker::{self, PerWorker};

/// How long a client has to read the alert that refuses it, and how much of what it still sends is discarded.
const ALERT_TIME: Duration = Duration::from_secs(1);
const ALERT_DISCARD_BYTES_MAX: usize = 64 * 1024;

/// An encrypted connection, and what certificate the client has shown.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) shown: Option<Box<ShownCertificate>>,
}

/// One handshake computes at a time for each worker. A handshake that waits for its client takes no turn.
///
/// Workers share no turn: it could be granted to a connection whose worker is busy with something else, and no handshake would compute meanwhile.
pub(super) struct Turns(PerWorker<Semaphore>);

impl Turns {
    /// For a server with this many threads.
    pub(super) fn new(threads: usize) -> Turns {
        Turns(PerWorker::new(threads, |_| Semaphore::new(1)))
    }

    /// Lets a future run only while it has a turn.
    async fn pace<F: Future>(&self, future: F) -> F::Output {
        let Some(turns) = self.0.iter_from(worker::index()).next() else { return future.await };
        let (mut future, mut waiting) = (pin!(future), None);
        poll_fn(|cx| {
            let turn = waiting.get_or_insert_with(|| Box::pin(turns.acquire()));
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
    use std::sync::mpsc::channel;
    use std::task::Context;
    use std::thread::{JoinHandle, spawn};

    use tokio::runtime::Builder;

    use super::*;

    /// Paces a handshake on a worker with a thread of its own.
    fn pace_on(
        worker: usize,
        turns: &Arc<Turns>,
        handshake: impl FnMut(&mut Context<'_>) -> Poll<()> + Send + 'static,
    ) -> JoinHandle<()> {
        let turns = turns.clone();
        spawn(move || {
            worker::begin(worker);
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(turns.pace(poll_fn(handshake)));
        })
    }

    #[test]
    fn a_handshake_that_computes_on_one_worker_delays_none_on_another() {
        let turns = Arc::new(Turns::new(2));
        let (computing, begun) = channel();
        let (end, ended) = channel::<()>();
        let slow = pace_on(0, &turns, move |_| {
            computing.send(()).unwrap();
            let _ = ended.recv();
            Poll::Ready(())
        });
        begun.recv().unwrap();
        let (done, result) = channel();
        let other = pace_on(1, &turns, move |_| {
            done.send(()).unwrap();
            Poll::Ready(())
        });
        let result = result.recv_timeout(Duration::from_secs(60));
        drop(end);
        slow.join().unwrap();
        other.join().unwrap();
        assert_eq!(result, Ok(()));
    }

    #[tokio::test]
    async fn a_handshake_that_waits_for_its_client_takes_no_turn() {
        let turns = Arc::new(Turns::new(1));
        let mut silent = pin!(turns.pace(std::future::pending::<()>()));
        assert!(poll_fn(|cx| Poll::Ready(silent.as_mut().poll(cx))).await.is_pending());
        turns.pace(std::future::ready(())).await;
    }
}
