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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mcp_testkit::Certificates;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::client;

    use super::*;
    use crate::proxy::downstream::stream::Downstream;
    use crate::proxy::drain::Drain;
    use crate::proxy::io::Parts;
    use crate::tls::{ClientTls, Expired, Pair, ServerTls};

    const BYTES: usize = 20_000;

    /// Both ends of an encrypted connection through a pipe that holds little.
    async fn connected() -> (Encrypted, client::TlsStream<DuplexStream>) {
        let certificates = Certificates::new();
        certificates.issue("a", "DNS:localhost", "ca");
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let pair = Pair::new(&certificates.text("a.pem"), &certificates.text("a.key"), now, Expired::Refused)
            .unwrap();
        let server = ServerTls::new(&pair, &[], None).unwrap();
        let client = ClientTls::new("localhost", Some(&certificates.text("ca.pem")), None).unwrap();
        let (near, far) = duplex(4096);
        let near: Stream = Box::new(near);
        let (near, far) =
            tokio::join!(server.acceptor().accept(near), client.connector().connect(client.name(), far));
        (TlsStream(near.unwrap()), far.unwrap())
    }

    async fn arrives(mut far: client::TlsStream<DuplexStream>) {
        let mut read = vec![0; BYTES];
        let reading = far.read_exact(&mut read);
        tokio::time::timeout(Duration::from_secs(10), reading).await.expect("every byte arrives").unwrap();
        assert!(read.iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn an_encrypted_write_is_done_when_the_socket_has_taken_it() {
        let (near, far) = connected().await;
        let (guard, _) = Arc::new(Drain::new()).enter(1, None).unwrap();
        let mut downstream = Downstream::new(Box::new(near), guard);
        downstream.set_timeout(Duration::from_secs(10));
        let reading = tokio::spawn(arrives(far));
        downstream.write(Parts::new([[7; BYTES].as_slice()])).await.unwrap();
        // No poll follows that could flush it.
        reading.await.unwrap();
    }

    #[tokio::test]
    async fn a_read_takes_along_what_an_encrypted_write_has_left() {
        let (mut near, far) = connected().await;
        let reading = tokio::spawn(arrives(far));
        near.write_all(&[7; BYTES]).await.unwrap();
        let waiting = tokio::spawn(async move { near.read_u8().await });
        reading.await.unwrap();
        waiting.abort();
    }

    #[tokio::test]
    async fn an_encrypted_connection_is_told_from_one_in_clear() {
        let (near, _far) = connected().await;
        let (clear, _other) = duplex(1);
        assert!(is_encrypted(&(Box::new(near) as Stream)) && !is_encrypted(&(Box::new(clear) as Stream)));
    }
}
