//! Connections to one backend: opened, checked, and kept idle for the next call. Last in, first out; bounded; no task.
//!
//! Must not know HTTP: the caller says whether a connection is clean enough to return.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::http1::FieldSpans;
use crate::proxy::backend::dial::{Dialed, Dialer};
use crate::proxy::backend::idle_connections::IdleConnections;
use crate::proxy::backend::socket::{Registered, Socket};
use crate::tls::ClientTls;
use crate::upstream::Address;
use crate::worker;

/// The connections of one backend.
pub(crate) struct Pool {
    pub(crate) settings: PoolSettings,
    pub(crate) dialer: Arc<Dialer>,
    /// A generation is one process that listens at the address: a connection of an earlier one is not used again.
    pub(crate) idle: IdleConnections<Box<Connection>>,
    made: Instant,
    /// Milliseconds since `made` at which the socket's file was last checked, plus one; 0 is never.
    last_checked: AtomicU64,
    /// The identity of the socket's file then.
    file: AtomicU64,
}

/// Where connections lead, how many idle ones are kept for how long, and how long opening one may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PoolSettings {
    pub(crate) address: Address,
    pub(crate) tls: Option<ClientTls>,
    /// Threads that take and put connections, each of which prefers its own.
    pub(crate) workers: usize,
    pub(crate) idle_max: usize,
    pub(crate) idle_time: Duration,
    pub(crate) connect_time: Duration,
}

/// The socket's file is checked no more often than this: another process may have taken the path over.
const SOCKET_CHECK_INTERVAL_MILLIS: u64 = 1;

/// A connection to a backend, out of the pool. Boxed wherever it goes, because it is moved often.
pub(crate) struct Connection {
    socket: Socket,
    of_name: Option<SocketAddr>,
    /// The generation under which it was opened.
    pub(crate) generation: u64,
    /// The worker with whose runtime its socket is registered.
    worker: usize,
    pub(crate) reused: Reused,
    /// The spans of a response's fields: allocated once for a connection.
    pub(crate) spans: FieldSpans,
}

/// Whether a connection has carried an exchange before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reused {
    Fresh,
    Pooled,
}

impl Pool {
    /// `previous` leads to the same address, under an older configuration.
    pub(crate) fn new(settings: PoolSettings, previous: Option<&Pool>) -> Pool {
        let idle = IdleConnections::new(settings.workers, settings.idle_max, settings.idle_time);
        let tls = settings.tls.clone();
        let dialer = Arc::new(match previous {
            Some(previous) => previous.dialer.renewed(tls),
            None => Dialer::new(settings.address.clone(), tls),
        });
        let (last_checked, file) = (AtomicU64::new(0), AtomicU64::new(0));
        Pool { settings, dialer, idle, made: Instant::now(), last_checked, file }
    }

    /// An idle connection that is still good, the one used last first. The caller passes the time: the clock is read once
    /// for a call.
    pub(crate) fn take(&self, now: Instant) -> Option<Box<Connection>> {
        self.check_socket_replaced(now);
        let worker = worker::index();
        loop {
            let mut connection =
                self.idle.take(worker, now.into(), |connection| self.is_usable(connection))?;
            connection.reused = Reused::Pooled;
            if connection.worker == worker {
                return Some(connection);
            }
            if let Some(taken_over) = connection.taken_over(worker) {
                return Some(taken_over);
            }
        }
    }

    /// Opens a connection, within the connect timeout.
    pub(crate) async fn connect(&self) -> io::Result<Box<Connection>> {
        self.check_socket_replaced(Instant::now());
        let generation = self.idle.generation();
        let opening = self.dialer.connect(self.settings.connect_time);
        let Dialed { socket, of_name } = Box::pin(opening).await?;
        let (worker, reused, spans) = (worker::index(), Reused::Fresh, FieldSpans::default());
        Ok(Box::new(Connection { socket, of_name, generation, worker, reused, spans }))
    }

    /// Keeps a clean connection for the next call.
    pub(crate) fn put(&self, connection: Box<Connection>, now: Instant) {
        let (worker, generation) = (connection.worker, connection.generation);
        self.idle.put(worker, connection, generation, now.into());
    }

    /// Invalidates everything if the path leads to another socket than before: the old process may live on for a while, and
    /// would respond on the connections that it still has.
    fn check_socket_replaced(&self, now: Instant) {
        let Address::Unix(path) = &self.settings.address else { return };
        let age = now.saturating_duration_since(self.made).as_millis();
        let now = u64::try_from(age).unwrap_or(u64::MAX).saturating_add(1);
        let last = self.last_checked.load(Ordering::Relaxed);
        let due = last == 0 || now >= last + SOCKET_CHECK_INTERVAL_MILLIS;
        if !due || self.last_checked.compare_exchange(last, now, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return;
        }
        // A new file may get the inode number of the old one, but not its change time.
        let file = rustix::fs::stat(path).map_or(1, |stat| {
            stat.st_ino.rotate_left(32) ^ stat.st_ctime.cast_unsigned().rotate_left(40) ^ stat.st_ctime_nsec
        });
        let before = self.file.swap(file, Ordering::AcqRel);
        if before != file && before != 0 {
            self.idle.invalidate();
        }
    }

    /// Closes connections that have been idle for too long, that the backend has closed, or that lead to an address which its name has lost.
    pub(crate) fn evict_expired(&self) {
        self.idle.evict_expired(|connection| self.is_usable(connection));
    }

    fn is_usable(&self, connection: &mut Connection) -> bool {
        connection.is_idle_clean() && self.dialer.leads_to(connection.of_name)
    }
}

impl Connection {
    /// Registers its socket with the runtime of this worker. Without it, every response would wake the other worker first.
    fn taken_over(self: Box<Connection>, worker: usize) -> Option<Box<Connection>> {
        let Connection { socket, of_name, generation, worker: before, reused, spans } = *self;
        let (socket, worker) = match socket.registered_here().ok()? {
            Registered::Here(socket) => (socket, worker),
            // It works here too, and goes back to its own worker.
            Registered::There(socket) => (socket, before),
        };
        Some(Box::new(Connection { socket, of_name, generation, worker, reused, spans }))
    }

    /// Whether the backend has neither closed it nor sent anything on it.
    pub(crate) fn is_idle_clean(&mut self) -> bool {
        self.socket.is_idle_clean()
    }

    /// Whether a write that fails may have sent something nevertheless.
    pub(crate) fn hides_what_was_sent(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &mut self.get_mut().socket;
        let written = ready!(Pin::new(&mut *socket).poll_write_vectored(cx, slices))?;
        if written < slices.iter().map(|slice| slice.len()).sum() {
            socket.set_full();
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    struct Backend {
        _directory: tempfile::TempDir,
        listener: UnixListener,
        pool: Pool,
    }

    fn backend(idle_max: usize, idle_time: Duration) -> Backend {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let address = Address::Unix(path);
        let pool = Pool::new(
            PoolSettings {
                address,
                tls: None,
                workers: 2,
                idle_max,
                idle_time,
                connect_time: Duration::from_secs(1),
            },
            None,
        );
        Backend { _directory: directory, listener, pool }
    }

    impl Backend {
        async fn open(&self) -> (Box<Connection>, UnixStream) {
            let (ours, theirs) = tokio::join!(self.pool.connect(), self.listener.accept());
            (ours.unwrap(), theirs.unwrap().0)
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_pool_gives_back_the_connection_used_last() {
        let backend = backend(8, LONG);
        let (first, _peer_of_first) = backend.open().await;
        let (second, mut peer_of_second) = backend.open().await;
        backend.pool.put(first, Instant::now());
        backend.pool.put(second, Instant::now());
        let mut taken = backend.pool.take(Instant::now()).unwrap();
        assert_eq!(taken.reused, Reused::Pooled);
        peer_of_second.write_all(b"x").await.unwrap();
        let mut read = Vec::new();
        crate::proxy::io::read_more(&mut *taken, &mut read).await.unwrap();
        assert_eq!(read, b"x");
    }

    #[test]
    fn a_pooled_connection_of_another_worker_is_registered_with_the_one_that_takes_it() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (first, second) = (runtime(), runtime());
        let (backend, mut theirs) = first.block_on(async {
            let backend = backend(8, LONG);
            let (ours, theirs) = backend.open().await;
            backend.pool.put(ours, Instant::now());
            (backend, theirs)
        });
        let (taking, is_taken) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || {
            worker::begin(1);
            second.block_on(async move {
                let mut taken = backend.pool.take(Instant::now()).unwrap();
                taking.send(()).unwrap();
                assert_eq!((taken.worker, taken.reused), (1, Reused::Pooled));
                let mut read = Vec::new();
                let waiting = crate::proxy::io::read_more(&mut *taken, &mut read);
                // The thread of the first one does nothing from here on.
                tokio::time::timeout(LONG, waiting).await.unwrap().unwrap();
                backend.pool.put(taken, Instant::now());
                assert_eq!((read, backend.pool.idle.idle()), (b"x".to_vec(), 1));
            });
        });
        is_taken.recv().unwrap();
        first.block_on(async { theirs.write_all(b"x").await.unwrap() });
        worker.join().unwrap();
    }

    #[test]
    fn a_pooled_connection_that_the_backend_wrote_to_unnoticed_by_its_worker_is_not_taken_over() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (first, second) = (runtime(), runtime());
        let (backend, mut unasked, mut clean) = first.block_on(async {
            let backend = backend(8, LONG);
            let ((older, clean), (newer, unasked)) = (backend.open().await, backend.open().await);
            for mut connection in [older, newer] {
                assert!(connection.is_idle_clean());
                backend.pool.put(connection, Instant::now());
            }
            (backend, unasked.into_std().unwrap(), clean.into_std().unwrap())
        });
        // The first runtime is not driven from here on.
        io::Write::write_all(&mut unasked, b"HTTP/1.1 200 OK\r\n").unwrap();
        let worker = std::thread::spawn(move || {
            worker::begin(1);
            second.block_on(async move {
                let mut taken = backend.pool.take(Instant::now()).expect("the older one is clean");
                io::Write::write_all(&mut clean, b"x").unwrap();
                let mut read = Vec::new();
                crate::proxy::io::read_more(&mut *taken, &mut read).await.unwrap();
                assert_eq!(read, b"x");
                assert!(backend.pool.take(Instant::now()).is_none());
            });
        });
        worker.join().unwrap();
    }

    #[tokio::test]
    async fn the_pool_keeps_no_more_connections_than_its_bound() {
        let backend = backend(1, LONG);
        let (first, _peer) = backend.open().await;
        let (second, _other) = backend.open().await;
        backend.pool.put(first, Instant::now());
        backend.pool.put(second, Instant::now());
        assert_eq!(backend.pool.idle.idle(), 1);
    }

    #[tokio::test]
    async fn a_pooled_connection_that_the_backend_closed_or_wrote_to_is_not_used_again() {
        for unasked in [&b""[..], b"HTTP/1.1 200 OK\r\n"] {
            let backend = backend(8, LONG);
            let (ours, mut theirs) = backend.open().await;
            theirs.write_all(unasked).await.unwrap();
            if unasked.is_empty() {
                drop(theirs);
            }
            match &ours.socket {
                Socket::Unix(stream) => stream.readable().await.unwrap(),
                Socket::Tcp(_) | Socket::Tls(_) => unreachable!("it is a Unix socket"),
            }
            backend.pool.put(ours, Instant::now());
            assert!(backend.pool.take(Instant::now()).is_none());
        }
    }

    #[tokio::test]
    async fn idle_time_and_a_new_generation_end_a_pooled_connection() {
        let aged = backend(8, Duration::ZERO);
        let (ours, _theirs) = aged.open().await;
        aged.pool.put(ours, Instant::now());
        assert!(aged.pool.take(Instant::now()).is_none());

        let moved = backend(8, LONG);
        let (idle, _peer) = moved.open().await;
        let (busy, _other) = moved.open().await;
        moved.pool.put(idle, Instant::now());
        moved.pool.idle.invalidate();
        moved.pool.put(busy, Instant::now());
        assert_eq!(moved.pool.idle.idle(), 0);
    }

    #[tokio::test]
    async fn a_socket_replaced_by_another_process_ends_the_pooled_connections_to_the_old_one() {
        let old = backend(8, LONG);
        let (idle, _peer) = old.open().await;
        let (busy, _other) = old.open().await;
        old.pool.put(idle, Instant::now());
        let Address::Unix(path) = &old.pool.settings.address else { unreachable!("it is a path") };
        // As a new process does: bound beside, renamed over. The old listener and its connections live on.
        let beside = path.with_extension("new");
        let _new = UnixListener::bind(&beside).unwrap();
        std::fs::rename(&beside, path).unwrap();
        tokio::time::timeout(LONG, async {
            while old.pool.idle.idle() > 0 {
                tokio::task::yield_now().await;
                old.pool.check_socket_replaced(Instant::now());
            }
        })
        .await
        .unwrap();
        assert!(old.pool.take(Instant::now()).is_none());
        old.pool.put(busy, Instant::now());
        assert_eq!(old.pool.idle.idle(), 0, "a call in flight does not bring its connection back");
    }

    #[tokio::test]
    async fn the_pool_evicts_what_the_backend_closed() {
        let backend = backend(8, LONG);
        let (ours, theirs) = backend.open().await;
        backend.pool.put(ours, Instant::now());
        backend.pool.evict_expired();
        assert_eq!(backend.pool.idle.idle(), 1);
        drop(theirs);
        tokio::time::timeout(LONG, async {
            while backend.pool.idle.idle() > 0 {
                tokio::task::yield_now().await;
                backend.pool.evict_expired();
            }
        })
        .await
        .unwrap();
    }
}
