//! The handshake of a client's connection: bounded like the head that follows it, and counted by how it ended.
//!
//! The connection holds its guard meanwhile, so handshakes are bounded in number with all connections, and one that dribbles is
//! evicted first. Must not know HTTP, nor what a certificate permits.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::rustls::Error;

use super::client_stream::{Accepted, ClientStream};
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
    pub(super) stream: ClientStream,
    pub(super) shown: Option<Box<ShownCertificate>>,
}

/// Performs the handshake until `deadline`, or until the connection is evicted or the drain is over.
pub(super) async fn accept(
    stream: Accepted,
    tls: &ServerTls,
    guard: &mut ConnectionGuard,
    deadline: Instant,
) -> Result<Opened, Handshake> {
    guard.reading();
    let mut accepting = pin!(tls.acceptor().accept(stream).into_fallible());
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
            let stream = ClientStream::Encrypted(Box::new(TlsStream(opened)));
            Ok(Opened { stream, shown })
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
async fn let_read(mut stream: Accepted) {
    let _ = stream.shutdown().await;
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
