//! Lets Pingora send a route's request over a connection that the guard's own dialer has opened. Must not know HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::{BridgeExchange, UpstreamError};
use crate::proxy::backend::socket::Socket;

/// Opens the connection of one exchange.
#[derive(Debug)]
pub(super) struct Dialing(pub(super) Arc<BridgeExchange>);

#[async_trait]
impl L4Connect for Dialing {
    async fn connect(&self, _unused: &SocketAddr) -> pingora::Result<Stream> {
        let Dialing(exchange) = self;
        match exchange.backend.connect(exchange.connect_timeout).await {
            Ok(opened) => Ok(VirtualSocketStream::new(Box::new(Dialed(opened.socket))).into()),
            Err(error) => {
                exchange.fail(UpstreamError::Unreachable(error.to_string().into()));
                Err(Error::new_up(ErrorType::ConnectError))
            }
        }
    }
}

/// A connection of the dialer's, as Pingora takes it.
#[derive(Debug)]
struct Dialed(Socket);

impl VirtualSocket for Dialed {
    /// The dialer has set what there is to set.
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Dialed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Dialed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
