//! Scripted backends: a test decides each byte that they send.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::in_time;
use crate::message::{self, Message, ReadError};
use crate::program::SPAWNING;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A listening backend. Its connections are accepted by the test, or served by [`Backend::serve`].
pub struct Backend {
    listener: Listener,
    address: String,
    _directory: Option<TempDir>,
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A backend on a socket of its own.
pub async fn backend() -> Backend {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut backend = backend_at(&directory.path().join("b.sock"));
    backend._directory = Some(directory);
    backend
}

/// A backend on a socket at `path`, which must be free.
pub fn backend_at(path: &Path) -> Backend {
    let listener = UnixListener::bind(path).expect("a free path");
    let address = format!("unix:{}", path.display());
    Backend { listener: Listener::Unix(listener), address, _directory: None }
}

/// A backend on a TCP port of the system's choice.
pub async fn backend_on_tcp() -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    Backend { listener: Listener::Tcp(listener), address, _directory: None }
}

impl Backend {
    /// As the configuration writes it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next connection.
    pub async fn accept(&self) -> Peer {
        in_time("a connection to the backend", self.accept_any()).await
    }

    /// Whether a connection arrives within `time`.
    pub async fn is_connected_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.accept_any()).await.is_ok()
    }

    /// The next connection that carries a request of a client, without a deadline. Connections of the guard's own probes are
    /// closed, because no test scripts them.
    pub async fn accept_any(&self) -> Peer {
        loop {
            let mut peer = self.accept_next().await;
            while !peer.buffer.windows(4).any(|window| window == b"\r\n\r\n") {
                if !matches!(peer.stream.read_buf(&mut peer.buffer).await, Ok(1..)) {
                    break;
                }
            }
            // The guard also connects to learn the peer process from the kernel, and sends nothing.
            if !peer.buffer.is_empty() && !is_probe(&peer.buffer) {
                return peer;
            }
        }
    }

    /// The very next connection, also a silent one and one of the guard's own.
    pub async fn accept_next(&self) -> Peer {
        let stream: Box<dyn Stream> = match &self.listener {
            Listener::Unix(listener) => Box::new(listener.accept().await.expect("accept").0),
            Listener::Tcp(listener) => Box::new(listener.accept().await.expect("accept").0),
        };
        Peer { stream, buffer: Vec::new() }
    }

    /// Responds to every request with the result of `answer`, on persistent connections, until dropped.
    pub fn serve<F>(self, answer: F) -> ServingBackend
    where
        F: Fn(&Message) -> String + Send + Sync + 'static,
    {
        let address = self.address.clone();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let mut peer = self.accept_next().await;
                let (answer, counted) = (answer.clone(), counted.clone());
                connections.spawn(async move {
                    while let Ok(request) = peer.try_request().await {
                        if is_probe(request.head.as_bytes()) {
                            break;
                        }
                        counted.fetch_add(1, Ordering::SeqCst);
                        if peer.stream.write_all(answer(&request).as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        ServingBackend { address, requests, task }
    }
}

/// Whether the request is one of the guard's own.
pub fn is_probe(head: &[u8]) -> bool {
    let mark = b"user-agent: mcp-guard/";
    head.windows(mark.len()).any(|window| window == mark)
}

/// A backend whose connections are served by a task.
pub struct ServingBackend {
    address: String,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl ServingBackend {
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Requests received so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Closes the listener and every connection, and returns when that has happened.
    pub async fn stop(mut self) {
        let _no_spawn = SPAWNING.lock().await;
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for ServingBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The backend's end of a connection.
pub struct Peer {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Peer {
    /// The next request.
    pub async fn request(&mut self) -> Message {
        in_time("a request at the backend", self.try_request()).await.expect("a whole request")
    }

    /// The next request, or how the connection ended.
    pub async fn try_request(&mut self) -> Result<Message, ReadError> {
        message::read_message(&mut self.stream, &mut self.buffer).await
    }

    /// Reads until this many bytes of the next request have arrived.
    pub async fn takes(&mut self, bytes: usize) {
        let reading = async {
            while self.buffer.len() < bytes {
                let read = self.stream.read_buf(&mut self.buffer).await.expect("an open connection");
                assert!(read > 0, "the connection ended before {bytes} bytes");
            }
        };
        in_time("the beginning of a request", reading).await;
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        in_time("a write by the backend", self.stream.write_all(bytes.as_ref()))
            .await
            .expect("an open connection");
    }

    /// Sends bytes on a connection that may be closed; returns whether they were taken.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        in_time("a write by the backend", self.stream.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Reads until `wanted` has arrived, and returns everything up to it.
    pub async fn until(&mut self, wanted: &str) -> String {
        let reading = async {
            while !self.buffer.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
                let read = self.stream.read_buf(&mut self.buffer).await.expect("an open connection");
                assert!(read > 0, "the connection ended before {wanted:?}");
            }
        };
        in_time(wanted, reading).await;
        let at = self.buffer.windows(wanted.len()).position(|window| window == wanted.as_bytes());
        let found: Vec<u8> = self.buffer.drain(..at.unwrap_or_default() + wanted.len()).collect();
        String::from_utf8(found).expect("text")
    }

    /// Waits until the guard closes the connection.
    pub async fn closed(&mut self) {
        let end = in_time("the end of the connection", self.try_request()).await;
        assert_eq!(end.expect_err("no request"), ReadError::Closed);
    }
}
