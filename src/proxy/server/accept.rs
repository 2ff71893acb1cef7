//! The listener for clients: one task accepts, and each connection is served to its end by one worker, a thread with a runtime of its own.
//!
//! Tokio registers a socket with the runtime that accepts it. It is taken off that and registered with the one that serves it, so workers share
//! neither its events nor its tasks. There is one listener for all of them and not one for each: what waits in the queue of a listener is reset
//! when it is closed, at every upgrade.
//! Must not know HTTP.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;

use crate::proxy::downstream::client_stream::Accepted;
use crate::proxy::downstream::connection::ConnectionHandler;
use crate::proxy::drain::Drain;
use mcp_host::socket_activation::SocketOwner;

/// Connections that the kernel queues at each listener, unless the system's own bound is lower.
pub(super) const BACKLOG: i32 = 65_535;
/// How long nothing is accepted after an error that would come again at once.
const PAUSE: Duration = Duration::from_secs(1);
/// Errors of one connection each, in a row, that look like one that comes again at once.
const FAILED_IN_A_ROW_MAX: u32 = 100;

/// A bound listener for clients, which does not block.
pub(super) enum ClientListener {
    Tcp(OwnedFd),
    Unix(OwnedFd),
}

/// The same, registered with the runtime that accepts.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection, registered with no runtime.
enum Unregistered {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// The workers and how many connections each of them has.
pub(super) struct Workers {
    all: Vec<Worker>,
    /// The one that is asked first, so that equals take turns.
    next: usize,
}

struct Worker {
    runtime: Handle,
    open: Arc<AtomicUsize>,
}

/// A connection of a worker, until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Workers {
    pub(super) fn new(runtimes: impl IntoIterator<Item = Handle>) -> Workers {
        let worker = |runtime| Worker { runtime, open: Arc::default() };
        Workers { all: runtimes.into_iter().map(worker).collect(), next: 0 }
    }

    /// Serves a connection on the worker that has the fewest. It is one of that worker's for as long as it keeps what it is given.
    fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, connection: impl FnOnce(Open) -> F) {
        let (before, from) = self.all.split_at(self.next);
        let in_turn = from.iter().chain(before).enumerate();
        let Some((step, worker)) = in_turn.min_by_key(|(_, worker)| worker.open.load(Ordering::Relaxed))
        else {
            return;
        };
        worker.open.fetch_add(1, Ordering::Relaxed);
        let open = Open(worker.open.clone());
        worker.runtime.spawn(connection(open));
        self.next = (self.next + step + 1) % self.all.len();
    }

    /// Counts a connection and serves it, or refuses it.
    fn serve(&mut self, (accepted, peer): (Unregistered, Option<IpAddr>), handler: &Arc<ConnectionHandler>) {
        let admitted = handler.admit(peer);
        let handler = handler.clone();
        self.spawn(|open| async move {
            let _open = open;
            match accepted.registered_here() {
                Ok(accepted) => handler.serve(accepted, peer, admitted).await,
                Err(error) => log::warn!("a connection is closed: {error}"),
            }
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts connections until the drain begins, and then those that the kernel has queued, if no other process has the listener. A connection
/// counts from the moment it is accepted, also while it is on its way to its worker.
pub(super) async fn accept_until_drain(
    (listener, owner): (ClientListener, SocketOwner),
    handler: Arc<ConnectionHandler>,
    mut workers: Workers,
    drain: &Drain,
) -> io::Result<()> {
    let listener = Listener::new(listener)?;
    let (mut begun, mut failures) = (pin!(drain.begun()), Failures::default());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut begun => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                failures = Failures::default();
                workers.serve(accepted, &handler);
            }
            Err(error) => {
                let Some(pause) = failures.pause_after(&error) else { continue };
                tokio::select! {
                    () = &mut begun => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
    match owner {
        SocketOwner::Server if !drain.is_handed_over() => accept_queued(&listener, &handler, &mut workers),
        // They stay queued for the process that has the listener, or for the next one that the service manager starts.
        SocketOwner::Server | SocketOwner::ServiceManager => {}
    }
    Ok(())
}

/// Accepts what the kernel has queued, which would be reset when the listener is closed.
fn accept_queued(listener: &Listener, handler: &Arc<ConnectionHandler>, workers: &mut Workers) {
    for _ in 0..BACKLOG {
        match listener.accept_now() {
            Ok(accepted) => workers.serve(accepted, handler),
            Err(error) if concerns_one_connection(&error) => {
                log::debug!("a connection was not accepted: {error}");
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                log::error!("cannot accept the connections that wait: {error}");
                return;
            }
        }
    }
}

/// The errors of accepting since the last connection.
#[derive(Default)]
struct Failures {
    of_one_connection: u32,
}

impl Failures {
    /// How long nothing is to be accepted after this error.
    fn pause_after(&mut self, error: &io::Error) -> Option<Duration> {
        if concerns_one_connection(error) && self.of_one_connection < FAILED_IN_A_ROW_MAX {
            self.of_one_connection += 1;
            log::debug!("a connection was not accepted: {error}");
            return None;
        }
        log::error!("cannot accept connections: {error}");
        Some(PAUSE)
    }
}

impl Listener {
    fn new(listener: ClientListener) -> io::Result<Listener> {
        Ok(match listener {
            ClientListener::Tcp(socket) => Listener::Tcp(TcpListener::from_std(socket.into())?),
            ClientListener::Unix(socket) => Listener::Unix(UnixListener::from_std(socket.into())?),
        })
    }

    /// The next connection, and the address of its client if that has one.
    async fn accept(&self) -> io::Result<(Unregistered, Option<IpAddr>)> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                (Unregistered::Tcp(socket.into_std()?), Some(peer.ip().to_canonical()))
            }
            Listener::Unix(listener) => (Unregistered::Unix(listener.accept().await?.0.into_std()?), None),
        })
    }

    /// The same without waiting, past Tokio, which may not know yet that there is one.
    fn accept_now(&self) -> io::Result<(Unregistered, Option<IpAddr>)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(match self {
            Listener::Tcp(listener) => {
                let socket = std::net::TcpStream::from(accept_with(listener, flags)?);
                let peer = socket.peer_addr()?.ip().to_canonical();
                (Unregistered::Tcp(socket), Some(peer))
            }
            Listener::Unix(listener) => (Unregistered::Unix(accept_with(listener, flags)?.into()), None),
        })
    }
}

impl Unregistered {
    /// Registers the connection with the runtime that calls this.
    fn registered_here(self) -> io::Result<Accepted> {
        Ok(match self {
            Unregistered::Tcp(socket) => {
                socket.set_nodelay(true)?;
                Accepted::Tcp(TcpStream::from_std(socket)?)
            }
            Unregistered::Unix(socket) => Accepted::Unix(UnixStream::from_std(socket)?),
        })
    }
}

/// Whether the next connection may be accepted nevertheless: accept(2) passes on what has happened to one.
fn concerns_one_connection(error: &io::Error) -> bool {
    let of_one = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PERM,
        Errno::PROTO,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    Errno::from_io_error(error).is_some_and(|errno| of_one.contains(&errno))
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::Instant;

    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::config::{self, Environment};
    use crate::proxy::state::ProxyState;
    use crate::telemetry::Log;

    fn runtimes(count: usize) -> Vec<Runtime> {
        (0..count).map(|_| Builder::new_current_thread().build().unwrap()).collect()
    }

    /// A connection without end.
    async fn holding(_open: Open) {
        pending().await
    }

    fn open(workers: &Workers) -> Vec<usize> {
        workers.all.iter().map(|worker| worker.open.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn connections_are_spread_evenly_over_the_workers() {
        let runtimes = runtimes(3);
        let mut workers = Workers::new(runtimes.iter().map(|runtime| runtime.handle().clone()));
        for _ in 0..31 {
            workers.spawn(holding);
        }
        assert_eq!(open(&workers), [11, 10, 10]);
    }

    #[test]
    fn the_next_connections_go_to_the_worker_whose_own_have_ended() {
        let runtimes = runtimes(2);
        let mut workers = Workers::new(runtimes.iter().map(|runtime| runtime.handle().clone()));
        let ended = Arc::new(Mutex::new(Vec::new()));
        for number in 0..8 {
            // Every second one ends at once, which are all of the second worker's.
            let ended = ended.clone();
            workers.spawn(|open| async move {
                let _open = open;
                if number % 2 == 0 {
                    pending::<()>().await;
                }
                ended.lock().unwrap().push(number);
            });
        }
        for runtime in &runtimes {
            runtime.block_on(async {
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
            });
        }
        assert_eq!(*ended.lock().unwrap(), [1, 3, 5, 7]);
        assert_eq!(open(&workers), [4, 0]);
        for _ in 0..3 {
            workers.spawn(holding);
        }
        assert_eq!(open(&workers), [4, 3]);
    }

    fn state() -> Arc<ProxyState> {
        let token =
            |name: &str| (name == "MCP_BEARER_TOKEN").then(|| "swf_0123456789abcdef0123456789abcdef".into());
        let environment = Environment { variable: &token, now: 1_800_000_000, shown_pairs: None };
        let text = "[slots.blue]\naddress = \"127.0.0.1:9\"\n";
        let loaded = config::build(Path::new("/etc/guard/guard.toml"), text, &environment);
        let config = loaded.map_err(|found| found.problems).unwrap().config;
        let log = Log::to(config.log.format, 1, io::sink()).unwrap();
        Arc::new(ProxyState::new(config, log).unwrap())
    }

    #[tokio::test]
    async fn drain_waits_for_a_connection_that_its_worker_has_not_begun_to_serve() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = state();
        let drain = state.drain.clone();
        // Its thread is busy with something else for as long as this test runs.
        let busy = Builder::new_current_thread().enable_all().build().unwrap();
        let workers = Workers::new([busy.handle().clone()]);
        let accepting = tokio::spawn({
            let (drain, handler) = (drain.clone(), Arc::new(ConnectionHandler::new(state)));
            let listener = (ClientListener::Tcp(listener.into()), SocketOwner::Server);
            async move { accept_until_drain(listener, handler, workers, &drain).await }
        });
        let _client = TcpStream::connect(address).await.unwrap();
        let accepted = async {
            while drain.open() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), accepted).await.unwrap();
        drain.begin();
        accepting.await.unwrap().unwrap();
        assert_eq!(drain.wait_idle(Instant::now()), Err(1));
        busy.shutdown_background();
        assert_eq!(drain.wait_idle(Instant::now()), Ok(()));
    }

    /// How many connections are accepted of three that the kernel has queued when the drain has begun.
    async fn accepted_after_begun(owner: SocketOwner, begin: fn(&Drain)) -> usize {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let _clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let state = state();
        let drain = state.drain.clone();
        begin(&drain);
        let busy = Builder::new_current_thread().enable_all().build().unwrap();
        let (workers, handler) =
            (Workers::new([busy.handle().clone()]), Arc::new(ConnectionHandler::new(state)));
        let listener = (ClientListener::Tcp(listener.into()), owner);
        accept_until_drain(listener, handler, workers, &drain).await.unwrap();
        let open = drain.open();
        busy.shutdown_background();
        open
    }

    #[tokio::test]
    async fn connections_that_the_kernel_has_queued_are_accepted_when_the_drain_begins() {
        assert_eq!(accepted_after_begun(SocketOwner::Server, Drain::begin).await, 3);
        // They stay queued for another process.
        assert_eq!(accepted_after_begun(SocketOwner::Server, Drain::hand_over).await, 0);
        assert_eq!(accepted_after_begun(SocketOwner::ServiceManager, Drain::begin).await, 0);
    }

    #[test]
    fn an_error_of_one_connection_that_comes_again_and_again_pauses_accepting() {
        let mut failures = Failures::default();
        for _ in 0..FAILED_IN_A_ROW_MAX {
            assert_eq!(failures.pause_after(&Errno::PERM.into()), None);
        }
        assert_eq!(failures.pause_after(&Errno::PERM.into()), Some(PAUSE));
        assert_eq!(Failures::default().pause_after(&Errno::MFILE.into()), Some(PAUSE));
    }

    #[test]
    fn only_an_error_of_one_connection_lets_the_next_be_accepted_at_once() {
        for (errno, expected) in [
            (Errno::CONNABORTED, true),
            (Errno::PERM, true),
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::NOBUFS, false),
            (Errno::NOMEM, false),
            (Errno::INVAL, false),
        ] {
            assert_eq!(concerns_one_connection(&errno.into()), expected, "{errno:?}");
        }
    }
}
