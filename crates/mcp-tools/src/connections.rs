//! Bounds the number of connections, and drains them without losing a call.
//!
//! Must not know the requests of a connection, nor why the server stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::call_log;
use crate::entrance::Entrance;
use crate::http;
use crate::listener::{Listener, Stream};
use crate::service::{Carrier, Shared};

/// Connections beyond this wait in the listen queue of the kernel.
const CONNECTIONS_MAX: u32 = 512;
/// Time for a complete request head.
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// The largest read buffer of a connection. A head must fit in it.
const BUFFER_BYTES_MAX: usize = 32 * 1024;
/// How long to wait when the process has no file descriptor left for the next connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long idle connections stay open when the server stops: see [`Connections::drain`].
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// The open connections and their limit.
pub(crate) struct Connections {
    limit: Arc<Semaphore>,
    open: GracefulShutdown,
    /// Whether every response announces that its connection ends.
    draining: Arc<AtomicBool>,
    entrance: Arc<Entrance>,
}

impl Connections {
    pub(crate) fn new(entrance: Entrance) -> Connections {
        Connections {
            limit: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
            open: GracefulShutdown::new(),
            draining: Arc::default(),
            entrance: Arc::new(entrance),
        }
    }

    /// Accepts the next connection when the limit permits it.
    pub(crate) async fn accept(&self, listener: &Listener, shared: &Arc<Shared>) {
        let Ok(permit) = Arc::clone(&self.limit).acquire_owned().await else { return };
        match listener.accept().await {
            Ok(stream) => self.serve(stream, shared, Some(permit)),
            Err(error) => {
                call_log::event("accept_failed", &error.to_string());
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    /// Finishes the open connections after the socket's path was removed.
    ///
    /// Closing at once would lose two kinds of call: those in the listen queue, whose clients are already connected, and
    /// those that arrive on a connection that is idle now. So the queue is served, and idle connections stay open for
    /// [`IDLE_GRACE`]: a call on one gets its response, with `Connection: close`.
    pub(crate) async fn drain(self, listener: Listener, shared: &Arc<Shared>) {
        self.draining.store(true, Ordering::Release);
        for stream in listener.queue() {
            // The kernel bounds the queue, so these connections need no permit.
            self.serve(stream, shared, None);
        }
        let all_closed = self.limit.acquire_many(CONNECTIONS_MAX);
        let _ = tokio::time::timeout(IDLE_GRACE, all_closed).await;
        self.open.shutdown().await;
    }

    fn serve(&self, stream: Stream, shared: &Arc<Shared>, permit: Option<OwnedSemaphorePermit>) {
        match stream {
            Stream::Unix(stream) => self.serve_stream(stream, shared, permit),
            Stream::Tcp(stream) => self.serve_stream(stream, shared, permit),
        }
    }

    fn serve_stream(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        shared: &Arc<Shared>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let entrance = Arc::clone(&self.entrance);
        let shared = Arc::clone(shared);
        let draining = Arc::clone(&self.draining);
        let service = hyper::service::service_fn(move |request| {
            let view = shared.view(Carrier::Http);
            let (draining, entrance) = (Arc::clone(&draining), Arc::clone(&entrance));
            async move {
                let mut response = http::respond(view, &entrance, request).await;
                if draining.load(Ordering::Acquire) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.open.watch(connection);
        tokio::spawn(async move {
            // An error here means a disconnect or invalid HTTP; hyper has sent a response where possible.
            let _ = connection.await;
            drop(permit);
        });
    }
}
