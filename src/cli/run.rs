//! `mcp-guard run`: the composition root. Configuration, log, guard, admin socket, signals, service manager.
//!
//! The order is the point: nothing claims readiness before every listener is bound, and nothing is told to stop that is
//! not ready to hear it. Must not know how calls are served.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Exit;
use super::handover::{Arrival, ArrivalError, Upgrader};
use super::live::Live;
use super::output::{chain, complain, complain_of};
use crate::admin::{self, AdminCommand, AdminResponse, HandlerFuture, TokenUse};
use crate::config::{self, Config, Environment, LoadError, Loaded};
use crate::control::{self, RolloutReport, Settings, Setup};
use crate::parity::shadow::mismatch_log::Arguments;
use crate::proxy::{Drained, Fence, Guard, Handle, Route};
use crate::shadow::{self, Shadow};
use crate::telemetry::{Log, Reader};
use crate::upstream::{Slot, Split};
use mcp_host::sd_notify::{State, notify, watchdog_interval};
use mcp_host::{journal, process};

/// Problems that the process to be replaced is told; its log has the others.
const TOLD_MAX: usize = 5;
/// Files open besides connections: listeners, log, runtime.
const OTHER_FILES: usize = 64;

/// Run the guard until SIGTERM. SIGHUP reads the configuration and the tokens again; SIGUSR2 starts the program anew and
/// hands the listeners over.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  MCP_BEARER_TOKEN=\"$(cat token)\" mcp-guard run --config /etc/mcp-guard/guard.toml

The log goes to standard error, one JSON object a line.")]
pub(super) struct Run {}

/// Why the guard could not run.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot start the log")]
    Log(#[source] io::Error),
    #[error("cannot start the guard")]
    Guard(#[from] crate::proxy::Error),
    #[error("cannot open the admin socket (listen.admin)")]
    Admin(#[from] mcp_host::socket::BindError),
    #[error("cannot start the thread for signals and admin commands")]
    Control(#[source] io::Error),
    #[error("cannot take the listeners over")]
    Arrival(#[from] ArrivalError),
}

pub(super) fn run(file: &Path) -> Exit {
    let mut arrival = match Arrival::greet() {
        Ok(arrival) => arrival,
        Err(error) => {
            complain_of(&error);
            return Exit::CouldNotRun;
        }
    };
    let loaded = match load(file) {
        Ok(loaded) => loaded,
        Err(why) => {
            arrival.failed(&why);
            return Exit::CouldNotRun;
        }
    };
    match serve(file, loaded, &mut arrival) {
        Ok(Drained::Idle | Drained::Cut(_)) => Exit::Done,
        Err(error) => {
            complain_of(&error);
            arrival.failed(&chain(&error));
            Exit::CouldNotRun
        }
    }
}

/// The configuration; its problems are shown, and told in short to whoever waits for this process.
fn load(file: &Path) -> Result<Loaded, String> {
    match config::load(file, &Environment::of_process()) {
        Ok(loaded) => Ok(loaded),
        Err(LoadError::Invalid(diagnostics)) => {
            for problem in &diagnostics.problems {
                complain(problem);
            }
            complain(format_args!("{diagnostics}; nothing was started"));
            let count = diagnostics.problems.len();
            let first: Vec<String> =
                diagnostics.problems.iter().take(TOLD_MAX).map(ToString::to_string).collect();
            let more = if count > TOLD_MAX { "; the log has all of them" } else { "" };
            Err(format!("{}: {}{more}", super::live::count(count), first.join("; ")))
        }
        Err(unreadable @ LoadError::Unreadable(_)) => {
            complain_of(&unreadable);
            Err(unreadable.to_string())
        }
    }
}

fn serve(file: &Path, loaded: Loaded, arrival: &mut Arrival) -> Result<Drained, Error> {
    let Loaded { config, warnings } = loaded;
    let log = Log::start(config.log, reader()).map_err(Error::Log)?;
    for warning in &warnings {
        log::warn!("{warning}");
    }
    if let Err(error) = process::keep_memory_private() {
        log::warn!("memory is not kept out of core dumps: {error}");
    }
    provide_files(&config);

    let started = config.listen.clone();
    let (settings, copied) = (Settings::of(&config), shadow::Settings::of(&config));
    // First: who can reach the guard can ask it.
    let bind = |path: &Path| admin::Server::bind(path, &mut arrival.inherited);
    let (admin, mut admin_file) = match started.admin.as_deref().map(bind).transpose()? {
        Some((server, file)) => (Some(server), file),
        None => (None, None),
    };
    let mut guard = Guard::bind(config, log.clone(), &mut arrival.inherited)?;
    let handle = guard.handle();
    let mut sockets = guard.listening().map_err(Error::Control)?;
    if let Some(admin) = &admin {
        sockets.push(admin.listening().map_err(Error::Control)?);
    }
    // Up to here nothing was changed that another process could notice.
    arrival.prepared()?;

    let shadow = Shadow::start(copied, &handle).map_err(Error::Control)?;
    let rollout = start_rollout(started.state.clone(), settings, &handle, &shadow);
    let rollout = rollout.map_err(Error::Control)?;
    let upgrader = Upgrader::new(sockets, handle.clone(), rollout.clone());
    let live =
        Live::new(file.to_owned(), started, handle.clone(), rollout.clone(), log.clone(), shadow.clone());
    let control =
        Control::prepare(live, upgrader, handle.clone(), rollout, shadow).map_err(Error::Control)?;
    let admin_again = admin.as_ref().map(admin::Server::again).transpose().map_err(Error::Control)?;
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || control.run(admin_again))
        .map_err(Error::Control)?;
    if arrival.serving() {
        guard.take_over();
        admin_file = admin_file.or_else(|| admin.as_ref().and_then(admin::Server::take_over));
    }

    let status = handle.status();
    let clients = status.clients;
    log::info!("mcp-guard {} serves on {} for {clients} clients", status.version, status.listen);
    tell(State::Status(&format!("serving on {}", status.listen)));
    tell(State::Ready);
    let drained = guard.run()?;
    if let Some(file) = admin_file {
        if handle.is_handed_over() { file.leave() } else { file.remove() }
    }
    match drained {
        Drained::Idle => log::info!("stopped; nothing was in flight"),
        Drained::Cut(calls) => log::warn!("stopped; the drain's deadline cut {calls} calls"),
    }
    log.flush();
    Ok(drained)
}

fn reader() -> Reader {
    if journal::reads(io::stderr()) { Reader::Journal } else { Reader::Other }
}

/// Starts the control plane: it publishes the route before the first call is served.
fn start_rollout(
    folder: Option<PathBuf>,
    settings: Settings,
    handle: &Handle,
    shadow: &Shadow,
) -> io::Result<control::Control> {
    let (publishing, shadow) = (handle.clone(), shadow.clone());
    let publish = move |split: Split, fenced| {
        shadow.turn(split.is_shadowing());
        let fence = if fenced { Fence::Closed } else { Fence::Open };
        publishing.publish_route(Route { split, fence });
    };
    // Nobody has taken the samples yet: there is one guard in a process.
    let samples = handle.samples().ok_or_else(|| io::Error::other("the samples are taken"))?;
    let metrics = handle.rollout_metrics();
    let learning = handle.clone();
    let learn = move |slot, names| learning.learn_tools(slot, names);
    let (publish, learn) = (Box::new(publish), Box::new(learn));
    control::Control::start(Setup { folder, settings, samples, metrics, publish, learn })
}

/// Makes sure that connections, not files, are what runs out.
pub(super) fn provide_files(config: &Config) {
    let slots = Slot::ALL.into_iter().filter_map(|slot| config.backend(slot));
    let backend: usize = slots.map(|backend| backend.pool + config.limits.in_flight_max).sum();
    let needed = config.limits.connections_max + backend + OTHER_FILES;
    match process::raise_open_files() {
        Ok(allowed) if allowed < needed as u64 => log::warn!(
            "limits.connections: {needed} open files may be needed and {allowed} are allowed (hint: LimitNOFILE=)"
        ),
        Ok(_) => {}
        Err(error) => log::warn!("cannot raise the number of open files: {error}"),
    }
}

/// Signals, admin commands and the service manager's watchdog: everything that is not traffic, on one thread.
struct Control {
    runtime: Runtime,
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
    live: Arc<Live>,
    upgrader: Arc<Upgrader>,
    handle: Handle,
    rollout: control::Control,
    shadow: Shadow,
}

impl Control {
    /// Takes over the signals. From here on a SIGTERM is heard, however early it comes.
    fn prepare(
        live: Arc<Live>,
        upgrader: Arc<Upgrader>,
        handle: Handle,
        rollout: control::Control,
        shadow: Shadow,
    ) -> io::Result<Control> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let _entered = runtime.enter();
        let reload = signal(SignalKind::hangup())?;
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let upgrade = signal(SignalKind::user_defined2())?;
        drop(_entered);
        Ok(Control {
            runtime,
            reload,
            terminate,
            interrupt,
            upgrade,
            live,
            upgrader,
            handle,
            rollout,
            shadow,
        })
    }

    fn run(self, admin: Option<admin::Server>) {
        let Control { runtime, mut reload, mut terminate, mut interrupt, mut upgrade, .. } = self;
        let Control { live, upgrader, handle, rollout, shadow, .. } = self;
        runtime.block_on(async {
            if let Some(server) = admin {
                let desk = upgrader.clone();
                let at = Desk {
                    live: live.clone(),
                    upgrader: upgrader.clone(),
                    handle: handle.clone(),
                    rollout,
                    shadow,
                };
                let carry =
                    move |command, uid| -> HandlerFuture { Box::pin(carry_out(at.clone(), command, uid)) };
                desk.open_desk(server, Arc::new(carry));
            }
            if let Some(interval) = watchdog_interval() {
                tokio::spawn(keep_watchdog_fed(interval, handle.clone()));
            }
            loop {
                tokio::select! {
                    _ = reload.recv() => {
                        tokio::spawn(reload_on_signal(live.clone()));
                    }
                    _ = terminate.recv() => stop(&upgrader, &handle),
                    _ = interrupt.recv() => stop(&upgrader, &handle),
                    _ = upgrade.recv() => {
                        let upgrader = upgrader.clone();
                        tokio::spawn(async move { upgrader.upgrade().await });
                    }
                }
            }
        });
    }
}

/// What an operator's commands act on.
#[derive(Clone)]
struct Desk {
    live: Arc<Live>,
    upgrader: Arc<Upgrader>,
    handle: Handle,
    rollout: control::Control,
    shadow: Shadow,
}

async fn carry_out(at: Desk, command: AdminCommand, uid: u32) -> AdminResponse {
    let Desk { live, upgrader, handle, rollout, shadow } = at;
    let response = match command {
        AdminCommand::Reload => {
            Ok(live.reload().await.map_or_else(AdminResponse::NotReloaded, AdminResponse::Reloaded))
        }
        AdminCommand::Tokens => {
            Ok(AdminResponse::Tokens(handle.tokens_known().into_iter().map(TokenUse::from).collect()))
        }
        AdminCommand::Status => Ok(AdminResponse::Status(handle.status().into())),
        AdminCommand::Rollout => rollout.overview().await.map(|overview| {
            AdminResponse::Rollout(Box::new(RolloutReport { shadow: shadow.summary(), ..overview }))
        }),
        AdminCommand::Shadow { show_arguments } => {
            let arguments = if show_arguments { Arguments::Shown } else { Arguments::Redacted };
            Ok(AdminResponse::Shadow(Box::new(shadow.diff(arguments))))
        }
        AdminCommand::History => rollout.history().await.map(AdminResponse::History),
        AdminCommand::Upgrade => upgrader.upgrade().await.map(AdminResponse::Upgraded),
        AdminCommand::Control(order) => {
            rollout.order(order, format!("uid {uid}")).await.map(|done| AdminResponse::Done(Box::new(done)))
        }
    };
    response.unwrap_or_else(AdminResponse::Rejected)
}

fn stop(upgrader: &Upgrader, handle: &Handle) {
    if !handle.is_handed_over() {
        tell(State::Stopping);
    }
    upgrader.close();
    handle.begin_shutdown();
}

/// A status is read each time: were the guard's state locked up for good, the service manager would hear no more.
async fn keep_watchdog_fed(interval: std::time::Duration, handle: Handle) {
    let mut ticks = tokio::time::interval(interval);
    while !handle.is_handed_over() {
        ticks.tick().await;
        let _ = handle.status();
        tell(State::Alive);
    }
}

/// The service manager waits for the end of a reload, however it ends.
async fn reload_on_signal(live: Arc<Live>) {
    tell(State::Reloading);
    // Its problems are in the log.
    let _ = live.reload().await;
    tell(State::Ready);
}

pub(super) fn tell(state: State<'_>) {
    if let Err(error) = notify(state) {
        log::warn!("cannot tell the service manager: {error}");
    }
}
