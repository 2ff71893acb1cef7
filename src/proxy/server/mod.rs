//! From a configuration to a running Pingora server: bound listeners, services, and the drain.
//!
//! The listeners are bound here, and the one of metrics is passed to Pingora as if inherited: an address that is in use is an error at once
//! (Pingora would retry for half a minute and then panic in a task), and from then on the kernel queues connections.

mod accept;
pub(crate) mod handle;
pub(crate) mod in_process;
pub(crate) mod metrics;

use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::configuration::ServerConf;
use pingora::server::{
    ListenFds, RunArgs, Server as PingoraServer, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora::services::listening::Service;
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::accept::{BACKLOG, ClientListener, Workers, accept_until_drain};
use super::Error;
use super::drain::{Drain, ListenerGuard, Phase};
use crate::config::Config;
use crate::proxy::downstream::connection::ConnectionHandler;
use crate::proxy::server::handle::Handle;
use crate::proxy::server::metrics::MetricsService;
use crate::proxy::state::ProxyState;
use crate::telemetry::Log;
use crate::upstream::Address;
use crate::worker;
use mcp_host::socket::{SocketFile, bind_unix};
use mcp_host::socket_activation::{Inherited, InheritedListener, ListenAddr, SocketOwner};

/// Calls that are cut have this long to write their denial.
const REPLY_GRACE: Duration = Duration::from_secs(1);
/// From the end of accepting until the scrape accepted last has begun.
const ACCEPT_SETTLE: Duration = Duration::from_millis(100);
/// How often expired idle connections to backends are closed.
const EVICT_INTERVAL: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// No connection was open any more.
    Idle,
    /// This many connections were cut, by the end of the drain time or by a second signal.
    Cut(usize),
}

/// A server whose listeners are bound: the kernel queues connections from here on.
pub(crate) struct Server {
    state: Arc<ProxyState>,
    clients: BoundListener,
    metrics: Option<BoundListener>,
    threads: usize,
    handle: Handle,
    socket_file: Option<SocketFile>,
    /// Of the socket file.
    mode: u32,
}

/// A bound listener and its address as text.
struct BoundListener {
    name: String,
    place: ListenAddr,
    owner: SocketOwner,
    listener: OwnedFd,
}

impl Server {
    /// Binds every listener that is not inherited. Readiness is reported after it: when it returns, the addresses are bound.
    pub(crate) fn bind(config: Config, log: Log, inherited: &mut Inherited) -> Result<Server, Error> {
        let mode = config.listen.mode;
        let (clients, socket_file) = bind(&config.listen.address, mode, inherited)?;
        let metrics = match config.listen.metrics {
            Some(address) => Some(bind(&Address::Tcp(address), mode, inherited)?.0),
            None => None,
        };
        let metrics_address = metrics.as_ref().and_then(|bound| bound.name.parse::<SocketAddr>().ok());
        let threads = config.listen.threads.max(1);
        let listen = clients.name.clone();
        let state = Arc::new(ProxyState::new(config, log)?);
        let handle = Handle::new(state.clone(), listen, metrics_address);
        Ok(Server { state, clients, metrics, threads, handle, socket_file, mode })
    }

    /// A handle for admin commands and signals.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// A copy of every listener, for the process that replaces this one.
    pub(crate) fn listening(&self) -> std::io::Result<Vec<InheritedListener>> {
        let copy = |bound: &BoundListener| {
            let socket = bound.listener.try_clone()?;
            Ok(InheritedListener { address: bound.place.clone(), owner: bound.owner, socket })
        };
        std::iter::once(&self.clients).chain(&self.metrics).map(copy).collect()
    }

    /// The previous process released the listeners: the socket file gets the mode of this one, which removes it at its end.
    pub(crate) fn adopt_socket_file(&mut self) {
        if let (SocketOwner::Server, ListenAddr::Unix(path)) = (self.clients.owner, &self.clients.place) {
            if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(self.mode)) {
                log::error!("{}: cannot set the mode {:o}: {error}", path.display(), self.mode);
            }
            self.socket_file = self.socket_file.take().or_else(|| SocketFile::adopt(path));
        }
    }

    /// Serves until [`Handle::begin_shutdown`] or [`Handle::hand_over`], then drains: returns as soon as nothing is in flight, and
    /// when `timeouts.drain` has passed in any case. Must not be called from inside a Tokio runtime.
    pub(crate) fn run(self) -> Result<Drained, Error> {
        let Server { state, clients, metrics, threads, handle, socket_file, mode: _ } = self;
        let drain = state.drain.clone();
        let drain_time = state.snapshot.load().timeouts.drain;
        let conf = ServerConf {
            // Every service has one thread: what is served by several is several services.
            threads: 1,
            work_stealing: false,
            grace_period_seconds: Some(grace_seconds(drain_time)),
            graceful_shutdown_timeout_seconds: Some(0),
            // Tokio's timers for waits of a second and more: Pingora's need a thread that wakes up a hundred times a second.
            fast_timeout_to_tokio_threshold_seconds: Some(0),
            ..ServerConf::default()
        };
        let mut server = PingoraServer::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let mut workers = Vec::new();
        for index in 1..threads {
            let (started, runtime) = oneshot::channel();
            workers.push(runtime);
            let name = format!("worker {index}");
            server.add_boxed_service(Box::new(WorkerService { name, index, started: Some(started) }));
        }
        let front = Front {
            handler: Arc::new(ConnectionHandler::new(state.clone())),
            owner: clients.owner,
            listener: clients.into_client_listener(),
            workers,
            guard: drain.track_listener(),
        };
        server.add_boxed_service(Box::new(FrontService { state: state.clone(), front: Some(front) }));
        if let Some(bound) = metrics {
            let app = MetricsService::new(state.clone());
            server.add_boxed_service(Box::new(ListeningService::new("metrics", app, bound, &drain)));
        }

        let stop = DrainSignal { drain: drain.clone() };
        let ended = DrainOnDrop(drain.clone());
        let serving = std::thread::Builder::new().name("server".to_owned());
        serving
            .spawn(move || {
                // If Pingora ever ends by itself, the process must not wait for it.
                let _ended = ended;
                server.run(RunArgs { shutdown_signal: Box::new(stop) });
            })
            .map_err(Error::Thread)?;

        let metrics = handle.metrics.map_or_else(|| "off".to_owned(), |address| address.to_string());
        log::info!("serving on {}, metrics on {metrics}", handle.listen);
        drain.wait_begun();
        if let Some(file) = socket_file {
            // Without a listener behind it, the socket file must not stay.
            if drain.is_handed_over() { file.leave() } else { file.remove() }
        }
        log::info!("stopping: finishing {} connections, at most {} s", drain.open(), drain_time.as_secs());
        let drained = match drain.wait_idle(Instant::now() + drain_time) {
            Ok(()) => Drained::Idle,
            Err(open) => {
                drain.cut(Instant::now() + REPLY_GRACE);
                Drained::Cut(open)
            }
        };
        Ok(drained)
    }
}

/// Pingora sleeps this long after the signal, on a thread that ends with the process, and then ends the runtimes. It must never be the
/// first, however late the thread is that waits for the last reply.
fn grace_seconds(drain_time: Duration) -> u64 {
    const LATE: Duration = Duration::from_secs(60);
    (drain_time + REPLY_GRACE + LATE).as_secs()
}

/// The listener for an address: inherited, or bound now. What is inherited is still served by another process, and stays as it is.
fn bind(
    address: &Address,
    mode: u32,
    inherited: &mut Inherited,
) -> Result<(BoundListener, Option<SocketFile>), Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Bind {
        address: address.to_string(),
        source,
    };
    let failed_io = |source: std::io::Error| failed(source.into());
    let (bound, file) = match address {
        Address::Tcp(wanted) => {
            let (listener, owner) = match inherited.take_tcp(*wanted) {
                Some((listener, owner)) => (listener, owner),
                None => (TcpListener::bind(wanted).map_err(failed_io)?, SocketOwner::Server),
            };
            listener.set_nonblocking(true).map_err(failed_io)?;
            let bound = listener.local_addr().map_err(failed_io)?;
            let (name, place) = (bound.to_string(), ListenAddr::Tcp(bound));
            (BoundListener { name, place, owner, listener: listener.into() }, None)
        }
        // The configuration refuses it.
        Address::Name { .. } => return Err(failed("a listener has no name".into())),
        Address::Unix(path) => {
            let (listener, owner, file) = match inherited.take_unix(path) {
                Some((listener, owner)) => (listener, owner, None),
                None => {
                    let bound = bind_unix(path, mode).map_err(|source| failed(source.into()))?;
                    (bound.listener, SocketOwner::Server, Some(bound.file))
                }
            };
            listener.set_nonblocking(true).map_err(failed_io)?;
            let place = ListenAddr::Unix(path.clone());
            (BoundListener { name: address.to_string(), place, owner, listener: listener.into() }, file)
        }
    };
    // Once more, because the standard library asks for far fewer.
    rustix::net::listen(&bound.listener, BACKLOG).map_err(|errno| failed_io(errno.into()))?;
    Ok((bound, file))
}

impl BoundListener {
    fn into_client_listener(self) -> ClientListener {
        match self.place {
            ListenAddr::Tcp(_) => ClientListener::Tcp(self.listener),
            ListenAddr::Unix(_) => ClientListener::Unix(self.listener),
        }
    }
}

/// What the service for clients takes when it starts.
struct Front {
    handler: Arc<ConnectionHandler>,
    listener: ClientListener,
    owner: SocketOwner,
    /// The runtimes of the other workers, once they have started.
    workers: Vec<oneshot::Receiver<runtime::Handle>>,
    guard: ListenerGuard,
}

/// The listener for clients and the first worker.
struct FrontService {
    state: Arc<ProxyState>,
    front: Option<Front>,
}

#[async_trait]
impl ServiceWithDependents for FrontService {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        _ready: ServiceReadyNotifier,
    ) {
        // A process that accepts nothing must end, also after a panic.
        let _ended = DrainOnDrop(self.state.drain.clone());
        let Some(Front { handler, listener, owner, workers, guard }) = self.front.take() else { return };
        tokio::spawn(evict_idle(self.state.clone()));
        tokio::spawn(resolve_names(self.state.clone()));
        let mut runtimes = vec![runtime::Handle::current()];
        for worker in workers {
            // One that did not start is missed only as a thread.
            runtimes.extend(worker.await);
        }
        let workers = Workers::new(runtimes);
        if let Err(error) = accept_until_drain((listener, owner), handler, workers, &self.state.drain).await {
            log::error!("cannot accept connections: {error}");
        }
        drop(guard);
    }

    fn name(&self) -> &str {
        "worker 0"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// A thread and a runtime for connections that [`FrontService`] accepts.
struct WorkerService {
    name: String,
    index: usize,
    started: Option<oneshot::Sender<runtime::Handle>>,
}

#[async_trait]
impl ServiceWithDependents for WorkerService {
    /// Returns at once: Pingora keeps the runtime until the server ends.
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        _ready: ServiceReadyNotifier,
    ) {
        worker::begin(self.index);
        if let Some(started) = self.started.take() {
            let _ = started.send(runtime::Handle::current());
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// Pingora's listening service, given a listener that is bound already.
struct ListeningService<A> {
    inner: Service<A>,
    name: String,
    listener: Option<OwnedFd>,
    /// Held while connections may be accepted that are not counted yet.
    guard: Option<ListenerGuard>,
}

impl<A> ListeningService<A> {
    fn new(title: &str, app: A, bound: BoundListener, drain: &Arc<Drain>) -> ListeningService<A> {
        let mut inner = Service::new(title.to_owned(), app);
        inner.threads = Some(1);
        inner
            .add_listener(ListenerConfig::tcp(bound.name.as_str()).l4_buffer(L4BufferSettings::unbuffered()));
        let (listener, guard) = (Some(bound.listener), Some(drain.track_listener()));
        ListeningService { inner, name: bound.name, listener, guard }
    }
}

#[async_trait]
impl<A> ServiceWithDependents for ListeningService<A>
where
    A: pingora::apps::ServerApp + Send + Sync + 'static,
{
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        if let (Some(fds), Some(listener)) = (&fds, self.listener.take()) {
            fds.lock().add(self.name.clone(), listener.into_raw_fd());
        }
        ServiceWithDependents::start_service(&mut self.inner, fds, shutdown, listeners_per_fd, ready).await;
        // Nothing is accepted any more. The connection accepted last is a task in the queue of this runtime.
        tokio::time::sleep(ACCEPT_SETTLE).await;
        drop(self.guard.take());
    }

    fn name(&self) -> &str {
        ServiceWithDependents::name(&self.inner)
    }

    fn threads(&self) -> Option<usize> {
        self.inner.threads
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![self.name.clone()])
    }
}

/// Closes backend connections that have been idle for too long, also when no call takes one.
async fn evict_idle(state: Arc<ProxyState>) {
    while state.drain.phase() == Phase::Serving {
        tokio::time::sleep(EVICT_INTERVAL).await;
        for slot in state.snapshot.load().slots() {
            slot.pool.evict_expired();
        }
    }
}

/// Resolves the names of backends again, so that no request waits for it.
async fn resolve_names(state: Arc<ProxyState>) {
    while state.drain.phase() == Phase::Serving {
        tokio::time::sleep(EVICT_INTERVAL).await;
        let snapshot = state.snapshot.load_full();
        let of_slots = snapshot.slots().map(|slot| &slot.pool.dialer);
        let mut refreshing = JoinSet::new();
        for dialer in of_slots.chain(snapshot.open_routes.dialers()) {
            let dialer = Arc::clone(dialer);
            // At the same time: a name server that does not answer for one name must not delay the others.
            refreshing.spawn(async move { dialer.refresh().await });
        }
        while refreshing.join_next().await.is_some() {}
    }
}

/// Stops Pingora's listeners when the drain begins. The command line maps signals to it.
struct DrainSignal {
    drain: Arc<Drain>,
}

#[async_trait]
impl ShutdownSignalWatch for DrainSignal {
    async fn recv(&self) -> ShutdownSignal {
        self.drain.begun().await;
        ShutdownSignal::GracefulTerminate
    }
}

/// Begins the drain when the serving thread ends or nothing is accepted any more, for any reason.
struct DrainOnDrop(Arc<Drain>);

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        self.0.begin();
    }
}
