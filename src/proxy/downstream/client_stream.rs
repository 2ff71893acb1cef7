//! A client's open connection, in clear or over TLS: everything behind the handshake is the same.
//!
//! Must not know HTTP, nor how the connection was accepted.

use std::future::poll_fn;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::Poll;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server;

use crate::proxy::io::{ReadWrite, reads_and_writes};
use crate::proxy::tls_stream::TlsStream;

/// A connection as it was accepted.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Without a listener, for fuzzing.
    InProcess(Box<DuplexStream>),
}

/// TLS over it.
pub(super) type Encrypted = TlsStream<server::TlsStream<Accepted>>;

/// A connection on which requests arrive.
#[derive(Debug)]
pub(crate) enum ClientStream {
    Clear(Accepted),
    Encrypted(Box<Encrypted>),
}

impl Accepted {
    fn stream(&mut self) -> Pin<&mut dyn ReadWrite> {
        match self {
            Accepted::Tcp(stream) => Pin::new(stream),
            Accepted::Unix(stream) => Pin::new(stream),
            Accepted::InProcess(stream) => Pin::new(&mut **stream),
        }
    }
}

impl ClientStream {
    fn stream(&mut self) -> Pin<&mut dyn ReadWrite> {
        match self {
            ClientStream::Clear(accepted) => accepted.stream(),
            ClientStream::Encrypted(stream) => Pin::new(&mut **stream),
        }
    }

    /// Appends what the kernel has received, past Tokio, which may not know of it yet. Nothing of an encrypted connection.
    pub(super) fn receive_now(&self, buffer: &mut Vec<u8>) -> usize {
        let ClientStream::Clear(accepted) = self else { return 0 };
        let socket = match accepted {
            Accepted::Tcp(stream) => stream.as_fd(),
            Accepted::Unix(stream) => stream.as_fd(),
            Accepted::InProcess(_) => return 0,
        };
        let mut received = [0; 4096];
        let read = recv(socket, &mut received, RecvFlags::DONTWAIT).map_or(0, |(read, _)| read);
        buffer.extend_from_slice(&received[..read]);
        read
    }

    /// Ends the write side. On an encrypted connection that is `close_notify`, without waiting: whatever was written before has been flushed, so
    /// there is room for it. A client that takes nothing must not hold the connection.
    pub(super) async fn end_writing(&mut self) {
        match self {
            ClientStream::Clear(accepted) => {
                // An error means that it has ended.
                let _ = accepted.shutdown().await;
            }
            ClientStream::Encrypted(stream) => {
                poll_fn(|cx| {
                    let _taken_or_not = Pin::new(&mut **stream).poll_shutdown(cx);
                    Poll::Ready(())
                })
                .await;
            }
        }
    }
}

reads_and_writes!(Accepted);
reads_and_writes!(ClientStream);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mcp_testkit::Certificates;
    use tokio::io::{AsyncReadExt, duplex};
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
        let near = Accepted::InProcess(Box::new(near));
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
        let mut downstream = Downstream::new(ClientStream::Encrypted(Box::new(near)), guard);
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
}
