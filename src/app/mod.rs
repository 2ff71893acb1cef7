//! The composition root: builds the guard from its configuration, starts its threads and runs it to its end.
//!
//! The order matters: readiness is reported after every listener is bound, and signals are registered before anything can
//! send one. Returns values and prints nothing. Must not know how calls are served.

mod admin;
#[cfg(feature = "console")]
mod console;
pub(crate) mod explain;
mod features;
mod fleet;
mod identity;
mod limits;
mod old_process;
mod parts;
mod process;
pub(crate) mod reload;
mod signals;
mod startup;
mod traces;
mod upgrade;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::admin::AdminContext;
use self::features::FeatureSwitches;
use self::identity::Identity;
use self::limits::FleetLimits;
use self::parts::Parts;
use self::process::{raise_fd_limit, sd_notify};
use self::reload::Reloader;
use self::signals::SignalThread;
use self::startup::{Startup, StartupError};
use self::traces::Traces;
use self::upgrade::Upgrader;
use self::watch::Changes;
use crate::admin::Server;
use crate::config::{self, Environment, LoadError, Loaded, Override};
use crate::control::{self, Settings, Setup};
use crate::proxy::{self, Drained, Handle, TrafficSplit, VersionCap};
use crate::shadow::{self, Shadow};
use crate::telemetry::{Log, Reader};
use crate::upstream::Split;
use mcp_host::diagnostics::{Diagnostic, chain, count};
use mcp_host::journal;
use mcp_host::process::keep_memory_private;
use mcp_host::sd_notify::State;
use mcp_host::socket::SocketFile;

/// Problems that the message to the process to be replaced lists; the log has all of them.
const REPORTED_MAX: usize = 5;

/// Why the guard could not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Inherit(StartupError),
    #[error(transparent)]
    Configuration(#[from] LoadError),
    #[error("cannot start the log")]
    Log(#[source] io::Error),
    #[error("cannot start the guard")]
    Guard(#[from] proxy::Error),
    #[error("cannot open the admin socket (listen.admin)")]
    Admin(#[from] mcp_host::socket::BindError),
    #[cfg(feature = "console")]
    #[error("cannot listen on {address} (console.address)")]
    Console { address: std::net::SocketAddr, source: io::Error },
    #[error("cannot join the fleet: {0}")]
    Fleet(String),
    #[error("cannot start the thread for signals and admin commands")]
    Control(#[source] io::Error),
    #[error("cannot take the listeners over")]
    Startup(#[from] StartupError),
}

/// A guard that could not run, and the process that it was to replace.
pub(crate) struct RunError {
    pub(crate) error: Error,
    startup: Option<Startup>,
}

impl RunError {
    /// Sends the reason to the process that was to be replaced. That process then ends this one: print first.
    pub(crate) fn report_to_predecessor(self) {
        let reason = if let Error::Configuration(LoadError::Invalid(found)) = &self.error {
            let first: Vec<String> =
                found.problems.iter().take(REPORTED_MAX).map(ToString::to_string).collect();
            let more = if found.problems.len() > REPORTED_MAX { "; the log has all of them" } else { "" };
            format!("{}: {}{more}", count(found.problems.len(), "problem"), first.join("; "))
        } else {
            chain(&self.error)
        };
        if let Some(startup) = self.startup {
            startup.failed(&reason);
        }
    }
}

/// Runs the guard of this configuration file until it is stopped or replaced.
pub(crate) fn run(file: &Path) -> Result<Drained, RunError> {
    let inherited = Startup::inherit();
    let mut startup = inherited.map_err(|error| RunError { error: Error::Inherit(error), startup: None })?;
    let read_since = SystemTime::now();
    let loaded = config::load(file, &Environment::of_process()).map_err(Error::from);
    let drained = loaded.and_then(|loaded| serve(file, (loaded, read_since), &mut startup));
    match drained {
        Err(Error::Startup(why @ StartupError::Stopping(_))) => {
            // Nothing has failed, and nothing was served.
            log::info!("{}", chain(&why));
            log::logger().flush();
            Ok(Drained::Idle)
        }
        drained => drained.map_err(|error| RunError { error, startup: Some(startup) }),
    }
}

/// The configuration was read after that time.
fn serve(
    file: &Path,
    (loaded, read_since): (Loaded, SystemTime),
    startup: &mut Startup,
) -> Result<Drained, Error> {
    let Loaded { mut config, warnings, overrides } = loaded;
    let (watched, changes) = (config.reload.clone(), Changes::since(read_since, &config.reload));
    let log = Log::start(config.log, config.listen.threads, reader()).map_err(Error::Log)?;
    log_configuration(&warnings, &overrides);
    set_limits(&config);

    let (listen, fleet) = (config.listen.clone(), config.fleet.clone());
    let drain_time = config.timeouts.drain;
    let (settings, shadow_settings) = (Settings::of(&config), shadow::Settings::of(&config));
    // First, so that a guard that serves calls also takes commands.
    let (admin, mut admin_file) = open_admin(listen.admin.as_deref(), startup)?;
    let (identity, limits) = complete(&mut config);
    let config_traces = config.traces.clone();
    #[cfg(feature = "console")]
    let (console, console_listener) = open_console(&config, startup)?;
    let (features, config) = FeatureSwitches::open(config);
    let mut guard = proxy::Server::bind(config, log.clone(), &mut startup.inherited)?;
    let handle = guard.handle();
    let traces = Traces::default();
    traces.configure(config_traces.as_ref(), &handle);
    let mut sockets = guard.listening().map_err(Error::Control)?;
    sockets.extend(admin.as_ref().map(Server::listening).transpose().map_err(Error::Control)?);
    #[cfg(feature = "console")]
    if let Some(listener) = &console_listener {
        sockets.push(listener.listening().map_err(Error::Control)?);
    }
    // Nothing before this line changes what another process can observe.
    startup.prepared()?;
    features.refresh(&handle);

    let shadow = Shadow::start(shadow_settings, &handle).map_err(Error::Control)?;
    #[cfg(feature = "console")]
    let pictures = console.pictures();
    #[cfg(not(feature = "console"))]
    let pictures = control::Pictures::none();
    let join = fleet::join(fleet.as_deref(), &limits).map_err(Error::Fleet)?;
    let parts_of_control = (listen.state.clone(), settings, pictures, join);
    let control = start_control(parts_of_control, &handle, &shadow).map_err(Error::Control)?;
    let leaving = control.clone();
    let parts = Parts {
        handle: handle.clone(),
        control,
        shadow,
        identity,
        limits,
        traces: traces.clone(),
        old: startup.old.clone(),
        #[cfg(feature = "console")]
        console: console.clone(),
    };
    let started = (listen, fleet, watched);
    let reloader = Reloader::new(file.to_owned(), started, log.clone(), parts.clone(), features.clone());
    let upgrader = Upgrader::new(sockets, &reloader);
    let context = AdminContext { features, upgrader: upgrader.clone(), reloader, parts };
    #[cfg(feature = "console")]
    console::start(console_listener, &console, context.clone(), file).map_err(Error::Control)?;
    let signals = SignalThread::prepare(context).map_err(Error::Control)?;
    let admin_copy = admin.as_ref().map(Server::try_clone).transpose().map_err(Error::Control)?;
    signals.start(admin_copy, changes).map_err(Error::Control)?;
    if startup.serving(&handle)? {
        guard.adopt_socket_file();
        admin_file = admin_file.or_else(|| admin.as_ref().and_then(Server::take_over));
    }

    report_ready(&handle);
    let drained = guard.run()?;
    end_upgrade(&upgrader, admin.as_ref(), &handle);
    fleet::leave(&leaving, &handle);
    traces.close();
    if let Some(file) = admin_file {
        if handle.is_handed_over() { file.leave() } else { file.remove() }
    }
    startup.old.wait_ended(drain_time);
    end(drained, &log, &upgrader);
    Ok(drained)
}

/// An upgrade that was given up has ended, and the operator has the response of each, before this process ends.
fn end_upgrade(upgrader: &Upgrader, admin: Option<&Server>, handle: &Handle) {
    let was_given_up = upgrader.wait_given_up();
    if let Some(admin) = admin.filter(|_| was_given_up || handle.is_handed_over()) {
        admin.wait_responded();
    }
}

fn end(drained: Drained, log: &Log, upgrader: &Upgrader) {
    match drained {
        Drained::Idle => log::info!("stopped; nothing was in flight"),
        Drained::Cut(connections) => log::warn!("stopped; {connections} connections were cut"),
    }
    log.flush();
    upgrader.release_held();
}

fn report_ready(handle: &Handle) {
    let status = handle.status();
    log::info!("mcp-guard {} serves on {} for {} clients", status.version, status.listen, status.clients);
    sd_notify(State::Status(&format!("serving on {}", status.listen)));
    sd_notify(State::Ready);
}

fn set_limits(config: &config::Config) {
    if let Err(error) = keep_memory_private() {
        log::warn!("memory is not kept out of core dumps: {error}");
    }
    raise_fd_limit(config);
}

fn log_configuration(warnings: &[Diagnostic], overrides: &[Override]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
    for one in overrides {
        log::info!("{}: set by {} in the environment, not by the file", one.key, one.variable);
    }
}

/// Adds to a configuration what optional parts keep for as long as the process runs.
fn complete(config: &mut config::Config) -> (Identity, FleetLimits) {
    let (identity, limits) = (Identity::default(), FleetLimits::new());
    config.verifier = identity.start(config);
    limits.configure(config);
    (identity, limits)
}

/// The admin socket, and its file where this process has made it.
fn open_admin(
    path: Option<&Path>,
    startup: &mut Startup,
) -> Result<(Option<Server>, Option<SocketFile>), Error> {
    let bind = |path: &Path| Server::bind(path, &mut startup.inherited);
    Ok(match path.map(bind).transpose()? {
        Some((server, file)) => (Some(server), file),
        None => (None, None),
    })
}

/// The console, and its listener where it has an address.
#[cfg(feature = "console")]
fn open_console(
    config: &config::Config,
    startup: &mut Startup,
) -> Result<(crate::console::Console, Option<console::ConsoleListener>), Error> {
    let address = config.console.address;
    let bind = |address| {
        console::ConsoleListener::bind(address, &mut startup.inherited)
            .map_err(|source| Error::Console { address, source })
    };
    let listener = address.map(bind).transpose()?;
    Ok((crate::console::Console::new(config.console.clone()), listener))
}

fn reader() -> Reader {
    if journal::reads(io::stderr()) { Reader::Journal } else { Reader::Other }
}

/// Starts the control plane, which publishes the route before the first call is served.
fn start_control(
    (folder, settings, pictures, join): (
        Option<PathBuf>,
        Settings,
        control::Pictures,
        Option<control::fleet::JoinFleet>,
    ),
    handle: &Handle,
    shadow: &Shadow,
) -> io::Result<control::Control> {
    let (route_handle, tools_handle, shadow) = (handle.clone(), handle.clone(), shadow.clone());
    let states_handle = handle.clone();
    let publish = move |split: Split, fenced, stage| {
        shadow.turn(split.is_shadowing());
        let version_cap = if fenced { VersionCap::Legacy } else { VersionCap::None };
        route_handle.publish_split(TrafficSplit { split, version_cap, stage });
    };
    // The receiver is there: a process has one guard.
    let samples = handle.samples().ok_or_else(|| io::Error::other("the samples are taken"))?;
    control::Control::start(Setup {
        folder,
        settings,
        samples,
        metrics: handle.rollout_metrics(),
        dependency_metrics: handle.dependency_metrics(),
        publish: Box::new(publish),
        learn: Box::new(move |slot, names| tools_handle.learn_tools(slot, names)),
        publish_dependencies: Box::new(move |statuses| states_handle.publish_dependencies(statuses)),
        pictures,
        fleet: join.and_then(|join| Some((join, handle.fleet_metrics()?))),
    })
}
