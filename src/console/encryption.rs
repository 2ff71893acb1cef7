//! TLS of the console's connections: the settings of the latest reload, and the handshake.
//!
//! A handshake takes a place among the connections and a bounded time. Must not know HTTP.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;

use crate::tls::ServerTls;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What connections are shown; nothing where they are in clear.
pub(super) struct Encryption(RwLock<Option<ServerTls>>);

impl Encryption {
    pub(super) fn new(tls: Option<ServerTls>) -> Encryption {
        Encryption(RwLock::new(tls))
    }

    /// What a connection that is accepted now is shown.
    pub(super) fn current(&self) -> Option<ServerTls> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Equal settings are kept, with what they remember of sessions.
    pub(super) fn replace(&self, tls: Option<&ServerTls>) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref() != tls {
            *current = tls.cloned();
        }
    }
}

/// Performs the handshake.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: &ServerTls,
) -> Option<TlsStream<S>> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            log::debug!("console: a TLS handshake failed: {error}");
            None
        }
        Err(_late) => {
            log::debug!("console: a TLS handshake took longer than {HANDSHAKE_TIMEOUT:?}");
            None
        }
    }
}
