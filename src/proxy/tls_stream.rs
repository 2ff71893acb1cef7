//! A TLS connection of either side, whose bytes never stay behind in memory.
//!
//! rustls takes a write before the socket has taken its encrypted bytes. Those leave with the next flush, write or read: the code that
//! writes in clear needs no flush, so a read does it here. Must not know who the peer is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

/// An open TLS connection: `T` is tokio-rustls's, of a client or of a server.
#[derive(Debug)]
pub(crate) struct TlsStream<T>(pub(crate) T);

/// A connection of tokio-rustls.
pub(crate) trait Rustls: AsyncRead + AsyncWrite + Unpin {
    /// Whether bytes wait that the socket below has not taken.
    fn wants_write(&self) -> bool;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Rustls for client::TlsStream<S> {
    fn wants_write(&self) -> bool {
        self.get_ref().1.wants_write()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Rustls for server::TlsStream<S> {
    fn wants_write(&self) -> bool {
        self.get_ref().1.wants_write()
    }
}

impl<T: Rustls> AsyncRead for TlsStream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut self.get_mut().0;
        if inner.wants_write() {
            // Its task is woken when the socket takes more. An error shows in the read, too.
            let _ = Pin::new(&mut *inner).poll_flush(cx);
        }
        Pin::new(inner).poll_read(cx, buffer)
    }
}

impl<T: Rustls> AsyncWrite for TlsStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    /// Sends `close_notify` and ends the write side below.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
