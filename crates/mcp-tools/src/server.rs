//! The process: readiness, reload on SIGHUP, drain on SIGTERM.
//!
//! Must not know the requests of a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::call_log;
use crate::catalogue::listed;
use crate::connections::Connections;
use crate::listener::{ListenError, Opened, Place};
use crate::registry::{Registry, Tool};
use crate::service::Shared;
use mcp_host::diagnostics::Diagnostics;
use mcp_host::process::keep_memory_private;
use mcp_host::sd_notify::{State, notify, watchdog_interval};

/// After SIGTERM, calls have this long to finish.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(15);

/// Names of tools in one line of the log.
const NAMES_SHOWN_MAX: usize = 10;

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot {action}")]
    Io { action: &'static str, source: io::Error },
}

/// Serves at `place` until SIGTERM or SIGINT; `reload` builds the registry anew on SIGHUP.
pub(crate) async fn serve(
    place: Place,
    shared: Arc<Shared>,
    reload: impl Fn() -> Result<Registry, Diagnostics>,
) -> Result<(), ServeError> {
    // The environment may hold the passwords of databases.
    keep_memory_private().map_err(|source| ServeError::Io { action: "keep memory private", source })?;
    let listen = |kind, action| signal(kind).map_err(|source| ServeError::Io { action, source });
    let mut terminate = listen(SignalKind::terminate(), "listen for SIGTERM")?;
    let mut interrupt = listen(SignalKind::interrupt(), "listen for SIGINT")?;
    let mut hangup = listen(SignalKind::hangup(), "listen for SIGHUP")?;
    let Opened { listener, entrance, name, file } = place.open()?;
    let connections = Connections::new(entrance);
    call_log::event("ready", &format!("{} tools on {}", shared.registry().tools().len(), name));

    notify_manager(State::Ready);
    let mut alive = watchdog_interval().map(tokio::time::interval);

    loop {
        tokio::select! {
            () = connections.accept(&listener, &shared) => {}
            _ = hangup.recv() => {
                notify_manager(State::Reloading);
                apply(&shared, reload());
                notify_manager(State::Ready);
            }
            () = watchdog_tick(&mut alive) => notify_manager(State::Alive),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    // Remove the path first: no new client can connect, and a successor can bind it while calls here finish.
    if let Some(file) = file {
        file.remove();
    }
    notify_manager(State::Stopping);
    call_log::event("stopping", "finishing the calls under way");
    let drained = async {
        connections.drain(listener, &shared).await;
        shared.writes_ended().await;
    };
    if tokio::time::timeout(DRAIN_TIME_MAX, drained).await.is_err() {
        call_log::event("stopping", "some calls did not finish in time");
    }
    Ok(())
}

/// Notifies the service manager; a failure is logged and does not stop the server.
fn notify_manager(state: State<'_>) {
    if let Err(error) = notify(state) {
        call_log::event("notify_failed", &error.to_string());
    }
}

/// Waits until the next sign of life for the service manager is due; forever without a watchdog.
async fn watchdog_tick(alive: &mut Option<tokio::time::Interval>) {
    match alive {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn apply(shared: &Shared, rebuilt: Result<Registry, Diagnostics>) {
    match rebuilt {
        Ok(registry) => {
            let changed = changed(&shared.registry(), &registry);
            let tools = registry.tools().len();
            let same = shared.registry().databases() == registry.databases();
            let kept = if same { "" } else { "; the databases stay as they were until a restart" };
            shared.replace(registry);
            call_log::event("reloaded", &format!("{tools} tools{changed}{kept}"));
        }
        Err(problems) => {
            call_log::event(
                "reload_refused",
                &format!("the running catalogue stays; {problems}:\n{}", listed(&problems)),
            );
        }
    }
}

/// The tools that a reload removed and added: it shows a file that was read half.
fn changed(old: &Registry, new: &Registry) -> String {
    let only_in = |one: &Registry, other: &Registry, word: &str| {
        let names: Vec<&str> = one.tools().iter().map(Tool::name).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| other.tool(name).is_none()).collect();
        match names.len() {
            0 => String::new(),
            1..=NAMES_SHOWN_MAX => format!("; {word}: {}", names.join(", ")),
            count => format!(
                "; {word}: {}, and {} more",
                names[..NAMES_SHOWN_MAX].join(", "),
                count - NAMES_SHOWN_MAX
            ),
        }
    };
    only_in(old, new, "gone") + &only_in(new, old, "new")
}
