//! From a configuration to a running Pingora server: bound listeners, services, and the drain.
//!
//! The listeners are bound here and passed to Pingora as if inherited: an address that is in use is an error at once
//! (Pingora would retry for half a minute and then panic in a task), and from then on the kernel queues connections.

pub(crate) mod handle;
pub(crate) mod in_process;
pub(crate) mod metrics;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;
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
use tokio::task::JoinSet;

use super::Error;
use super::drain::{Drain, ListenerGuard, Phase};
use crate::config::Config;
use crate::proxy::downstream::connection::ConnectionHandler;
use crate::proxy::server::handle::Handle;
use crate::proxy::server::metrics::MetricsService;
use crate::proxy::state::ProxyState;
use crate::telemetry::Log;
use crate::upstream::Address;
use mcp_host::socket::{SocketFile, bind_unix};
use mcp_host::socket_activation::{Inherited, InheritedListener, ListenAddr, SocketOwner};

/// After the drain time, calls have this long to write their denial.
const REPLY_GRACE: Duration = Duration::from_millis(500);
/// From the end of accepting until the last accepted connection is counted.
const ACCEPT_SETTLE: Duration = Duration::from_millis(100);
/// How often expired idle connections to backends are closed.
const EVICT_INTERVAL: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// No connection was open any more.
    Idle,
    /// The end of the drain time cut this many connections.
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
}

/// A bound listener and the name under which Pingora finds it.
struct BoundListener {
    name: String,
    place: ListenAddr,
    owner: SocketOwner,
    listener: OwnedFd,
    config: ListenerConfig,
}

impl Server {
    /// Binds every listener that is not inherited. Readiness is reported after it: when it returns, the addresses are bound.
    pub(crate) fn bind(config: Config, log: Log, inherited: &mut Inherited) -> Result<Server, Error> {
        let (clients, socket_file) = bind(&config.listen.address, config.listen.mode, inherited)?;
        let metrics = match config.listen.metrics {
            Some(address) => Some(bind(&Address::Tcp(address), config.listen.mode, inherited)?.0),
            None => None,
        };
        let metrics_address = metrics.as_ref().and_then(|bound| bound.name.parse::<SocketAddr>().ok());
        let threads = config.listen.threads.max(1);
        let listen = match &config.listen.address {
            Address::Unix(_) => config.listen.address.to_string(),
            Address::Tcp(_) | Address::Name { .. } => clients.name.clone(),
        };
        let state = Arc::new(ProxyState::new(config, log)?);
        let handle = Handle::new(state.clone(), listen, metrics_address);
        Ok(Server { state, clients, metrics, threads, handle, socket_file })
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

    /// The previous process released the listeners: this one removes the socket file at its end.
    pub(crate) fn adopt_socket_file(&mut self) {
        if let (SocketOwner::Server, ListenAddr::Unix(path)) = (self.clients.owner, &self.clients.place) {
            self.socket_file = self.socket_file.take().or_else(|| SocketFile::adopt(path));
        }
    }

    /// Serves until [`Handle::begin_shutdown`] or [`Handle::hand_over`], then drains: returns as soon as nothing is in flight, and
    /// when `timeouts.drain` has passed in any case. Must not be called from inside a Tokio runtime.
    pub(crate) fn run(self) -> Result<Drained, Error> {
        let Server { state, clients, metrics, threads, handle, socket_file } = self;
        let drain = state.drain.clone();
        let drain_time = state.snapshot.load().timeouts.drain;
        let conf = ServerConf {
            threads,
            // Pingora sleeps this long after the signal, on a thread that ends with the process.
            grace_period_seconds: Some(drain_time.as_secs() + 1),
            graceful_shutdown_timeout_seconds: Some(0),
            // Tokio's timers for waits of a second and more: Pingora's need a thread that wakes up a hundred times a second.
            fast_timeout_to_tokio_threshold_seconds: Some(0),
            ..ServerConf::default()
        };
        let mut server = PingoraServer::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let app = ConnectionHandler::new(state.clone(), threads);
        let mut clients = ListeningService::new("front", app, clients, &drain);
        clients.evicts_idle = Some(state.clone());
        server.add_boxed_service(Box::new(clients));
        if let Some(bound) = metrics {
            let app = MetricsService::new(state.clone());
            let mut service = ListeningService::new("metrics", app, bound, &drain);
            service.inner.threads = Some(1);
            server.add_boxed_service(Box::new(service));
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
                drain.expire();
                let _ = drain.wait_idle(Instant::now() + REPLY_GRACE);
                Drained::Cut(open)
            }
        };
        Ok(drained)
    }
}

/// The listener for an address: inherited, or bound now.
fn bind(
    address: &Address,
    mode: u32,
    inherited: &mut Inherited,
) -> Result<(BoundListener, Option<SocketFile>), Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Bind {
        address: address.to_string(),
        source,
    };
    // A connection reads into its own buffer, which it frees while it idles. Pingora's would be a second copy, kept for
    // every connection.
    let unbuffered = L4BufferSettings::unbuffered();
    match address {
        Address::Tcp(wanted) => {
            let (listener, owner) = match inherited.take_tcp(*wanted) {
                Some((listener, owner)) => (listener, owner),
                None => {
                    (TcpListener::bind(wanted).map_err(|source| failed(source.into()))?, SocketOwner::Server)
                }
            };
            listener.set_nonblocking(true).map_err(|source| failed(source.into()))?;
            let bound = listener.local_addr().map_err(|source| failed(source.into()))?;
            let (name, place) = (bound.to_string(), ListenAddr::Tcp(bound));
            let config = ListenerConfig::tcp(name.as_str()).l4_buffer(unbuffered);
            Ok((BoundListener { name, place, owner, listener: listener.into(), config }, None))
        }
        // The configuration refuses it.
        Address::Name { .. } => Err(failed("a listener has no name".into())),
        Address::Unix(path) => {
            let (listener, owner, file) = match inherited.take_unix(path) {
                Some((listener, owner)) => (listener, owner, None),
                None => {
                    let bound = bind_unix(path, mode).map_err(|source| failed(source.into()))?;
                    (bound.listener, SocketOwner::Server, Some(bound.file))
                }
            };
            let name = path_name(path).map_err(failed)?;
            let mut config = ListenerConfig::uds(name.as_str()).l4_buffer(unbuffered);
            if owner == SocketOwner::Server {
                config = config.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
            }
            let place = ListenAddr::Unix(path.clone());
            Ok((BoundListener { name, place, owner, listener: listener.into(), config }, file))
        }
    }
}

fn path_name(path: &Path) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    path.to_str().map(str::to_owned).ok_or_else(|| "the path is not valid UTF-8".into())
}

/// Pingora's listening service, given a listener that is bound already.
struct ListeningService<A> {
    inner: Service<A>,
    name: String,
    listener: Option<OwnedFd>,
    /// Held while connections may be accepted that are not counted yet.
    guard: Option<ListenerGuard>,
    /// The state whose expired idle connections this service closes, if it is the one that does.
    evicts_idle: Option<Arc<ProxyState>>,
}

impl<A> ListeningService<A> {
    fn new(title: &str, app: A, bound: BoundListener, drain: &Arc<Drain>) -> ListeningService<A> {
        let mut inner = Service::new(title.to_owned(), app);
        inner.add_listener(bound.config);
        let (listener, guard) = (Some(bound.listener), Some(drain.track_listener()));
        ListeningService { inner, name: bound.name, listener, guard, evicts_idle: None }
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
        if let Some(state) = self.evicts_idle.take() {
            tokio::spawn(evict_idle(state.clone()));
            tokio::spawn(resolve_names(state));
        }
        ServiceWithDependents::start_service(&mut self.inner, fds, shutdown, listeners_per_fd, ready).await;
        // Nothing is accepted any more. The connection accepted last is a task in the queue of this runtime, and has this
        // long to be counted.
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

/// Begins the drain when the serving thread ends, for any reason.
struct DrainOnDrop(Arc<Drain>);

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        self.0.begin();
    }
}
