//! A client's connection over TLS, as Pingora's `Stream`: everything behind the handshake is the same as in clear.

use std::any::Any;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::AsyncWrite;
use tokio_rustls::server;

use crate::proxy::tls_stream::TlsStream;

/// TLS over what the listener has accepted.
pub(super) type Encrypted = TlsStream<server::TlsStream<Stream>>;

/// Whether the bytes of this connection are encrypted.
pub(super) fn is_encrypted(stream: &Stream) -> bool {
    let stream: &dyn Any = stream.as_any();
    stream.is::<Encrypted>()
}

impl Encrypted {
    fn below(&self) -> &Stream {
        self.0.get_ref().0
    }
}

#[async_trait]
impl Shutdown for Encrypted {
    /// Sends `close_notify` without waiting: whatever was written before has been flushed, so there is room for it. A client that
    /// takes nothing must not hold the connection.
    async fn shutdown(&mut self) {
        poll_fn(|cx| {
            let _taken_or_not = Pin::new(&mut *self).poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
    }
}

impl UniqueID for Encrypted {
    fn id(&self) -> UniqueIDType {
        self.below().id()
    }
}

impl Ssl for Encrypted {}

impl Peek for Encrypted {}

impl GetTimingDigest for Encrypted {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.below().get_timing_digest()
    }
}

impl GetProxyDigest for Encrypted {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Encrypted {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.below().get_socket_digest()
    }
}
