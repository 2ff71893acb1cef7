//! Connects the driver through a [`SharedStream`], so that the pipeline can use the same connection.
//!
//! The driver lets a caller in where it makes a stream encrypted. A stream without TLS takes the same way, and stays as it is.
//! Must not know which of the two the database's address asks for.

use std::error::Error;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UnixStream;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, NoTls, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::stream::{DriverStream, SharedStream};

type BoxError = Box<dyn Error + Send + Sync>;

/// What the driver encrypts a connection with.
#[derive(Clone)]
pub(super) struct Tap {
    /// `None`: nothing is encrypted.
    tls: Option<MakeRustlsConnect>,
    made: Arc<Mutex<Option<SharedStream>>>,
}

impl Tap {
    pub(super) fn new(tls: Option<MakeRustlsConnect>) -> Tap {
        Tap { tls, made: Arc::default() }
    }

    /// Sets up `config` for a connection that is not encrypted, whose host has a name.
    pub(super) fn without_tls(config: &mut Config) -> Tap {
        // The driver then hands over the stream at once, without a question to the server.
        config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        Tap::new(None)
    }

    /// The stream of the last connection that was made; `None` when it is not encrypted although it could be.
    pub(super) fn stream(&self) -> Option<SharedStream> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl MakeTlsConnect<Socket> for Tap {
    type Stream = DriverStream;
    type TlsConnect = TapOnce;
    type Error = BoxError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<TapOnce, BoxError> {
        let tls = match &mut self.tls {
            Some(tls) => Some(MakeTlsConnect::<Socket>::make_tls_connect(tls, domain)?),
            None => None,
        };
        Ok(TapOnce { tls, made: Arc::clone(&self.made) })
    }
}

/// The same for one stream.
pub(super) struct TapOnce {
    tls: Option<<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect>,
    made: Arc<Mutex<Option<SharedStream>>>,
}

impl TlsConnect<Socket> for TapOnce {
    type Stream = DriverStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<DriverStream, BoxError>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let (shared, driver) = match self.tls {
                Some(tls) => {
                    let stream = tls.connect(socket).await?;
                    let binding = stream.channel_binding();
                    SharedStream::new(Box::new(stream), binding)
                }
                None => SharedStream::new(Box::new(socket), ChannelBinding::none()),
            };
            *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
            Ok(driver)
        })
    }
}

/// How a query of a connection is cancelled: over a further connection of the same kind.
pub(super) enum Canceller {
    Network(Tap),
    Local(PathBuf),
}

impl Canceller {
    pub(super) async fn cancel(&self, token: CancelToken) -> Result<(), BoxError> {
        match self {
            Canceller::Network(tap) => token.cancel_query(tap.clone()).await?,
            Canceller::Local(path) => token.cancel_query_raw(local(path).await?, NoTls).await?,
        }
        Ok(())
    }
}

async fn local(path: &Path) -> std::io::Result<UnixStream> {
    UnixStream::connect(path).await
}
