//! Reading and writing on any stream: no buffer is held while nothing arrives, and several parts go out in one write.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes taken by one read. Larger than a head may be, so that head and small body come in one system call.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// A body up to this is copied behind its head: one slice costs less to write than two, and the copy hardly anything.
pub(crate) const TOGETHER_BYTES_MAX: usize = 1024;

/// The least that is allocated for arriving bytes; the allocator is fast for small powers of two.
const SMALL_BYTES: usize = 512;

/// Appends the available bytes to `buffer`; zero is the end of the stream.
///
/// The bytes are read to the stack first, so a connection that waits holds no buffer. A read that does not fill the stack
/// buffer also tells Tokio that the socket is empty, which saves a read that would return nothing.
pub(crate) fn poll_read_more<R: AsyncRead + Unpin + ?Sized>(
    cx: &mut Context<'_>,
    reader: &mut R,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let mut scratch = [const { MaybeUninit::<u8>::uninit() }; READ_BYTES];
    let mut read = ReadBuf::uninit(&mut scratch);
    ready!(Pin::new(reader).poll_read(cx, &mut read))?;
    let filled = read.filled();
    if buffer.capacity() == 0 && !filled.is_empty() {
        buffer.reserve_exact(filled.len().next_power_of_two().max(SMALL_BYTES));
    }
    buffer.extend_from_slice(filled);
    Poll::Ready(Ok(filled.len()))
}

/// [`poll_read_more`] as a future.
pub(crate) async fn read_more<R: AsyncRead + Unpin + ?Sized>(
    reader: &mut R,
    buffer: &mut Vec<u8>,
) -> io::Result<usize> {
    poll_fn(|cx| poll_read_more(cx, reader, buffer)).await
}

/// Appends at most `limit` bytes directly to `buffer`: for bodies, where a copy would cost.
pub(crate) async fn read_into<R: AsyncRead + Unpin + ?Sized>(
    reader: &mut R,
    buffer: &mut Vec<u8>,
    limit: usize,
) -> io::Result<usize> {
    use bytes::BufMut;
    use tokio::io::AsyncReadExt;
    reader.read_buf(&mut buffer.limit(limit)).await
}

/// Up to four slices that are written as one.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    parts: [&'a [u8]; 4],
    written: usize,
}

impl<'a> Parts<'a> {
    pub(crate) fn new<const N: usize>(parts: [&'a [u8]; N]) -> Parts<'a> {
        let mut all: [&[u8]; 4] = [&[]; 4];
        for (place, part) in all.iter_mut().zip(parts) {
            *place = part;
        }
        Parts { parts: all, written: 0 }
    }

    /// Bytes that the stream has taken.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.is_empty())
    }

    fn advance(&mut self, mut count: usize) {
        self.written += count;
        for part in &mut self.parts {
            let taken = count.min(part.len());
            *part = &part[taken..];
            count -= taken;
        }
    }

    /// Writes until everything is taken.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut left = self.parts.iter().filter(|part| !part.is_empty());
            let written = match (left.next(), left.next()) {
                (Some(only), None) => ready!(Pin::new(&mut *writer).poll_write(cx, only))?,
                _ => {
                    let slices = self.parts.map(IoSlice::new);
                    ready!(Pin::new(&mut *writer).poll_write_vectored(cx, &slices))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// A stream of bytes in both directions.
pub(crate) trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ReadWrite for T {}

/// Makes a type a stream of bytes: whatever its method `stream` says is the stream inside.
macro_rules! reads_and_writes {
    ($outer:ty) => {
        impl tokio::io::AsyncRead for $outer {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buffer: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.stream().poll_read(cx, buffer)
            }
        }

        impl tokio::io::AsyncWrite for $outer {
            fn poll_write(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bytes: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.stream().poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                slices: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.stream().poll_write_vectored(cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.stream().poll_flush(cx)
            }

            fn poll_shutdown(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.stream().poll_shutdown(cx)
            }
        }
    };
}

pub(crate) use reads_and_writes;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn parts_arrive_in_order_through_a_narrow_pipe() {
        let (mut near, mut far) = duplex(3);
        let write = async move {
            let mut parts = Parts::new([b"one".as_slice(), b"", b"three", b"four"]);
            poll_fn(|cx| parts.poll_write(cx, &mut near)).await.unwrap();
            parts.written()
        };
        let mut read = Vec::new();
        let (written, _) = tokio::join!(write, far.read_to_end(&mut read));
        assert_eq!((written, read.as_slice()), (12, b"onethreefour".as_slice()));
    }

    #[tokio::test]
    async fn reads_no_further_than_the_limit() {
        let (mut near, mut far) = duplex(64);
        near.write_all(b"0123456789").await.unwrap();
        let mut buffer = Vec::with_capacity(64);
        assert_eq!(read_into(&mut far, &mut buffer, 4).await.unwrap(), 4);
        assert_eq!(read_more(&mut far, &mut buffer).await.unwrap(), 6);
        assert_eq!(buffer, b"0123456789");
    }
}
