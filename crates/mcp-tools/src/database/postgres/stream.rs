//! The stream of one connection, which the driver and the pipeline use in turn.
//!
//! The driver opens it and reads it while it is idle, to see that the server closes it. The pipeline takes it for one exchange;
//! meanwhile the driver sees a stream without data. Must not know what is sent.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 16 * 1024;

/// A socket, encrypted or not.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The pipeline's handle of a stream.
#[derive(Clone)]
pub(super) struct SharedStream(Arc<Mutex<State>>);

struct State {
    /// `None` once an exchange was left in its middle: nothing on the stream has a known place any more.
    stream: Option<Box<dyn Duplex>>,
    turn: Turn,
    /// Wakes the driver.
    driver: Option<Waker>,
}

enum Turn {
    Driver,
    Pipeline,
    /// The driver gets these bytes as the response to its next request, which is not sent.
    Replay {
        bytes: Vec<u8>,
        read: usize,
        requested: bool,
    },
}

impl SharedStream {
    /// Shares a stream; the driver gets the second part.
    pub(super) fn new(stream: Box<dyn Duplex>, binding: ChannelBinding) -> (SharedStream, DriverStream) {
        let state = State { stream: Some(stream), turn: Turn::Driver, driver: None };
        let shared = SharedStream(Arc::new(Mutex::new(state)));
        let driver = DriverStream { shared: shared.clone(), binding: Mutex::new(Some(binding)) };
        (shared, driver)
    }

    /// Takes the stream for one exchange. The driver must have no request under way.
    pub(super) fn take(&self) -> Exchange<'_> {
        self.state().turn = Turn::Pipeline;
        Exchange { shared: self, ended: false }
    }

    /// Gives the driver `bytes` as the response to its next request.
    pub(super) fn replay(&self, bytes: Vec<u8>) {
        self.state().turn = Turn::Replay { bytes, read: 0, requested: false };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One exchange. Dropped before it has ended, it closes the stream.
pub(super) struct Exchange<'a> {
    shared: &'a SharedStream,
    ended: bool,
}

impl Exchange<'_> {
    /// Sends what is left of `out` and reads some bytes into `into`. It reads while it sends: a server whose responses are not
    /// read stops reading.
    pub(super) async fn step(&mut self, out: &mut &[u8], into: &mut Vec<u8>) -> io::Result<()> {
        std::future::poll_fn(|context| {
            let mut state = self.shared.state();
            let Some(stream) = &mut state.stream else { return Poll::Ready(Err(broken())) };
            while !out.is_empty() {
                match Pin::new(&mut *stream).poll_write(context, out)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(count) => *out = &out[count..],
                    Poll::Pending => break,
                }
            }
            // Encryption buffers what is written.
            let _ = Pin::new(&mut *stream).poll_flush(context)?;
            into.reserve(READ_BYTES);
            let count = ready!(pin!(stream.read_buf(into)).poll(context))?;
            Poll::Ready(if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
        })
        .await
    }

    /// Every response was read: the driver has the stream again.
    pub(super) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.turn = Turn::Driver;
        if !self.ended {
            state.stream = None;
        }
        let driver = state.driver.take();
        drop(state);
        // It waits for data again, or sees that the stream is closed.
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// The driver's part of a stream.
pub(super) struct DriverStream {
    shared: SharedStream,
    binding: Mutex<Option<ChannelBinding>>,
}

impl TlsStream for DriverStream {
    /// The driver asks once.
    fn channel_binding(&self) -> ChannelBinding {
        let kept = self.binding.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(ChannelBinding::none)
    }
}

impl State {
    fn remember(&mut self, context: &Context<'_>) {
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            self.driver = Some(context.waker().clone());
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Box<dyn Duplex>>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(broken)
    }
}

impl AsyncRead for DriverStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        state.remember(context);
        match &mut state.turn {
            Turn::Driver => state.stream()?.poll_read(context, buffer),
            Turn::Pipeline | Turn::Replay { requested: false, .. } => Poll::Pending,
            Turn::Replay { bytes, read, requested: true } => {
                let count = buffer.remaining().min(bytes.len() - *read);
                buffer.put_slice(&bytes[*read..*read + count]);
                *read += count;
                if *read == bytes.len() {
                    state.turn = Turn::Driver;
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for DriverStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.state();
        match &mut state.turn {
            Turn::Driver => state.stream()?.poll_write(context, bytes),
            Turn::Pipeline => {
                state.remember(context);
                Poll::Pending
            }
            Turn::Replay { requested, .. } => {
                *requested = true;
                context.waker().wake_by_ref();
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        match &state.turn {
            Turn::Driver => state.stream()?.poll_flush(context),
            Turn::Pipeline | Turn::Replay { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.state().stream()?.poll_shutdown(context)
    }
}
