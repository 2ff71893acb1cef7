//! From a configuration to a running Pingora server: listeners that are really bound, services, and the end.
//!
//! The listeners are bound here and handed to Pingora as if inherited: an address that is taken is an error at once
//! (Pingora would retry for half a minute and then panic in a task), and when binding returns, the kernel queues clients.

pub(crate) mod handle;
pub(crate) mod in_process;
pub(crate) mod metrics;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::configuration::ServerConf;
use pingora::server::{ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::listening::Service;
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};

use super::drain::{Door, Drain};
use super::{Drained, Error};
use crate::config::Config;
use crate::proxy::call::shadow::Copies;
use crate::proxy::date::Clock;
use crate::proxy::downstream::connection::Front;
use crate::proxy::downstream::request_id::RequestIds;
use crate::proxy::server::handle::Handle;
use crate::proxy::server::metrics::MetricsService;
use crate::proxy::state::snapshot::{ProxyState, Snapshot};
use crate::proxy::state::traffic_split::{Fence, Route, Routes, Samples};
use crate::telemetry::{Log, Metrics};
use crate::upstream::{Address, Split};
use mcp_host::socket::{SocketFile, bind_unix};
use mcp_host::socket_activation::{Inherited, InheritedListener, ListenAddr, SocketOwner};

/// After the drain's time is up, calls have this long to be told so.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// From the end of accepting until the last accepted connection is counted.
const LAST_ACCEPTED: Duration = Duration::from_millis(100);
/// How often idle backend connections are looked through.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// A guard whose listeners are bound: the kernel queues connections from here on.
pub(crate) struct Guard {
    state: Arc<ProxyState>,
    front: Bound,
    metrics: Option<Bound>,
    threads: usize,
    handle: Handle,
    socket_file: Option<SocketFile>,
}

/// A bound listener and the name under which Pingora finds it.
struct Bound {
    name: String,
    place: ListenAddr,
    owner: SocketOwner,
    listener: OwnedFd,
    config: ListenerConfig,
}

impl Guard {
    /// Binds every listener that is not inherited. Call it before anything claims readiness: when it returns, the
    /// addresses are really ours.
    pub(crate) fn bind(config: Config, log: Log, inherited: &mut Inherited) -> Result<Guard, Error> {
        let (front, socket_file) = bind(&config.listen.address, config.listen.mode, inherited)?;
        let metrics = match config.listen.metrics {
            Some(address) => Some(bind(&Address::Tcp(address), config.listen.mode, inherited)?.0),
            None => None,
        };
        let metrics_address = metrics.as_ref().and_then(|bound| bound.name.parse::<SocketAddr>().ok());
        let threads = config.listen.threads.max(1);
        let listen = match &config.listen.address {
            Address::Unix(_) => config.listen.address.to_string(),
            Address::Tcp(_) => front.name.clone(),
        };
        let state = Arc::new(share(config, log)?);
        let handle = Handle::new(state.clone(), listen, metrics_address);
        Ok(Guard { state, front, metrics, threads, handle, socket_file })
    }

    /// A handle for admin commands and signals.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// A copy of every listener, for the process that replaces this one.
    pub(crate) fn listening(&self) -> std::io::Result<Vec<InheritedListener>> {
        let copy = |bound: &Bound| {
            let socket = bound.listener.try_clone()?;
            Ok(InheritedListener { address: bound.place.clone(), owner: bound.owner, socket })
        };
        std::iter::once(&self.front).chain(&self.metrics).map(copy).collect()
    }

    /// The process that had the listeners has let go of them: what is left to clear up is ours.
    pub(crate) fn take_over(&mut self) {
        if let (SocketOwner::Server, ListenAddr::Unix(path)) = (self.front.owner, &self.front.place) {
            self.socket_file = self.socket_file.take().or_else(|| SocketFile::adopt(path));
        }
    }

    /// Serves until [`Handle::begin_shutdown`] or [`Handle::hand_over`], then drains: returns as soon as nothing is in flight, and
    /// when `timeouts.drain` has passed in any case. Must not be called from inside a Tokio runtime.
    pub(crate) fn run(self) -> Result<Drained, Error> {
        let Guard { state, front, metrics, threads, handle, socket_file } = self;
        let drain = state.drain.clone();
        let drain_time = state.snapshot.load().timeouts.drain;
        let conf = ServerConf {
            threads,
            // Pingora sleeps this long after the signal. It does so on a thread of its own, which ends with the process.
            grace_period_seconds: Some(drain_time.as_secs() + 1),
            graceful_shutdown_timeout_seconds: Some(0),
            // Tokio's own timers for whatever is not over in a second: Pingora's come with a thread that wakes up a hundred
            // times a second for good.
            fast_timeout_to_tokio_threshold_seconds: Some(0),
            ..ServerConf::default()
        };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let app = Front::new(state.clone());
        server.add_boxed_service(Box::new(Listener::new("front", app, front, &drain, Some(state.clone()))));
        if let Some(bound) = metrics {
            let app = MetricsService::new(state.clone());
            let mut service = Listener::new("metrics", app, bound, &drain, None);
            service.inner.threads = Some(1);
            server.add_boxed_service(Box::new(service));
        }

        let stop = Stop { drain: drain.clone() };
        let ended = BeginOnDrop(drain.clone());
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
            // Nobody shall find the socket's file once nobody accepts.
            if drain.is_handed_over() { file.leave() } else { file.remove() }
        }
        log::info!("stopping: finishing {} connections, at most {} s", drain.open(), drain_time.as_secs());
        let drained = match drain.wait_idle(Instant::now() + drain_time) {
            Ok(()) => Drained::Idle,
            Err(open) => {
                drain.expire();
                let _ = drain.wait_idle(Instant::now() + LAST_WORDS);
                Drained::Cut(open)
            }
        };
        Ok(drained)
    }
}

/// What every connection shares, for a configuration.
pub(crate) fn share(config: Config, log: Log) -> Result<ProxyState, Error> {
    let route = Route { split: Split::all(config.stable), fence: Fence::Open };
    let metrics = Metrics::new().map_err(|source| Error::Metrics(Box::new(source)))?;
    Ok(ProxyState {
        snapshot: ArcSwap::from_pointee(Snapshot::new(config, None)),
        routes: Routes::new(route),
        samples: Samples::new(),
        copies: Copies::new(),
        shadow: metrics.shadow(),
        metrics,
        log,
        drain: Arc::new(Drain::new()),
        ids: RequestIds::new().map_err(Error::Random)?,
        clock: Clock::new(),
        readiness: crate::proxy::downstream::health::Readiness::default(),
        gateway: crate::proxy::route::PingoraBridge::new(),
        room: crate::proxy::downstream::body_budget::Room::default(),
        streams: crate::proxy::fairness::open_streams::Streams::default(),
        started: Instant::now(),
    })
}

/// The listener for an address: inherited, or bound now.
fn bind(
    address: &Address,
    mode: u32,
    inherited: &mut Inherited,
) -> Result<(Bound, Option<SocketFile>), Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Bind {
        address: address.to_string(),
        source,
    };
    // The guard reads into buffers of its own, which it gives back while a connection idles; Pingora's would only be
    // a second copy, kept for every connection.
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
            Ok((Bound { name, place, owner, listener: listener.into(), config }, None))
        }
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
            Ok((Bound { name, place, owner, listener: listener.into(), config }, file))
        }
    }
}

fn path_name(path: &Path) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    path.to_str().map(str::to_owned).ok_or_else(|| "the path is not valid UTF-8".into())
}

/// Pingora's listening service, given a listener that is bound already.
struct Listener<A> {
    inner: Service<A>,
    name: String,
    listener: Option<OwnedFd>,
    /// Open for as long as connections may be accepted that are not counted yet.
    door: Option<Door>,
    /// The service that also keeps house among idle backend connections.
    housekeeping: Option<Arc<ProxyState>>,
}

impl<A> Listener<A> {
    fn new(
        title: &str,
        app: A,
        bound: Bound,
        drain: &Arc<Drain>,
        housekeeping: Option<Arc<ProxyState>>,
    ) -> Listener<A> {
        let mut inner = Service::new(title.to_owned(), app);
        inner.add_listener(bound.config);
        let (listener, door) = (Some(bound.listener), Some(drain.open_door()));
        Listener { inner, name: bound.name, listener, door, housekeeping }
    }
}

#[async_trait]
impl<A> ServiceWithDependents for Listener<A>
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
        if let Some(state) = self.housekeeping.take() {
            tokio::spawn(keep_house(state));
        }
        ServiceWithDependents::start_service(&mut self.inner, fds, shutdown, listeners_per_fd, ready).await;
        // Nothing is accepted any more. What was accepted last is a task in the queue of this runtime: it has this long
        // to be counted among the open connections.
        tokio::time::sleep(LAST_ACCEPTED).await;
        drop(self.door.take());
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

/// Closes backend connections that have been idle for too long even when no call comes by to notice.
async fn keep_house(state: Arc<ProxyState>) {
    while state.drain.phase() == super::drain::Phase::Serving {
        tokio::time::sleep(HOUSEKEEPING).await;
        for slot in state.snapshot.load().slots() {
            slot.pool.evict_expired();
        }
    }
}

/// Tells Pingora when to stop listening. Which signals mean that is for the command line to say.
struct Stop {
    drain: Arc<Drain>,
}

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        self.drain.begun().await;
        ShutdownSignal::GracefulTerminate
    }
}

/// Begins the drain when the thread that serves ends, for whatever reason.
struct BeginOnDrop(Arc<Drain>);

impl Drop for BeginOnDrop {
    fn drop(&mut self) {
        self.0.begin();
    }
}
