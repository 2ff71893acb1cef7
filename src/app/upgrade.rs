//! Replaces one process by another without losing a call: the new process's side (`Startup`) and the old one's
//! (`Upgrader`).
//!
//! The old process accepts until the new one has reported that it accepts too. If anything fails before that, the old one
//! continues as before. Must not know what is served.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::parts::Parts;
use super::process::sd_notify;
use crate::admin::{self, Upgraded};
use mcp_host::diagnostics::chain;
use mcp_host::handoff::{HandoffError, Predecessor, Successor};
use mcp_host::process;
use mcp_host::sd_notify::State;
use mcp_host::socket_activation::{InheritError, Inherited, InheritedListener};

/// For the new process to read its configuration and be ready to accept.
const READY_TIME_MAX: Duration = Duration::from_secs(30);

/// How this process was started: with which sockets, and which process it replaces.
pub(super) struct Startup {
    predecessor: Option<Predecessor>,
    pub(super) inherited: Inherited,
}

/// Why a process cannot take its place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartupError {
    #[error("cannot take the sockets of the service manager over")]
    Inherit(#[from] InheritError),
    #[error("cannot take over from the running guard")]
    Handoff(#[from] HandoffError),
    #[error(
        "the service manager passed a socket for {0}, which is not an address of this configuration (hint: \
         ListenStream= of the .socket unit and the [listen] table must name the same addresses)"
    )]
    Unwanted(String),
}

impl Startup {
    /// Takes the sockets that this process was started with. Call it once.
    pub(super) fn inherit() -> Result<Startup, StartupError> {
        if let Some((predecessor, sockets)) = Predecessor::accept()? {
            return Ok(Startup { predecessor: Some(predecessor), inherited: Inherited::new(sockets) });
        }
        Ok(Startup { predecessor: None, inherited: Inherited::from_service_manager()? })
    }

    /// Everything is bound and nothing has begun. Returns when this process may begin.
    pub(super) fn prepared(&mut self) -> Result<(), StartupError> {
        let left: Vec<String> = self.inherited.unclaimed().map(ToString::to_string).collect();
        self.inherited = Inherited::default();
        match &mut self.predecessor {
            None if !left.is_empty() => Err(StartupError::Unwanted(left.join(", "))),
            None => Ok(()),
            Some(predecessor) => {
                for place in left {
                    log::info!("no longer listening on {place}");
                }
                Ok(predecessor.prepared(env!("CARGO_PKG_VERSION"))?)
            }
        }
    }

    /// This process serves. Returns true if it took over from another one, which accepts no more.
    pub(super) fn serving(&mut self) -> bool {
        let Some(predecessor) = self.predecessor.take() else { return false };
        if let Err(error) = predecessor.serving() {
            // It has allowed this process to begin, so this process serves, whatever happened to the other one.
            log::warn!("the guard that was to be replaced did not say farewell: {error}");
        }
        true
    }

    /// Sends the reason to the process that was to be replaced.
    pub(super) fn failed(self, why: &str) {
        if let Some(predecessor) = self.predecessor {
            predecessor.failed(why);
        }
    }
}

/// Replaces this process by a new one.
pub(super) struct Upgrader {
    /// Copies of every listener; none once this process stops accepting.
    sockets: Mutex<Option<Vec<InheritedListener>>>,
    busy: tokio::sync::Mutex<()>,
    parts: Parts,
    admin: Mutex<Option<AdminTask>>,
}

/// The admin socket and the task that serves on it.
struct AdminTask {
    server: admin::Server,
    handler: admin::Handler,
    task: AbortHandle,
}

impl Upgrader {
    pub(super) fn new(sockets: Vec<InheritedListener>, parts: Parts) -> Arc<Upgrader> {
        let (sockets, admin) = (Mutex::new(Some(sockets)), Mutex::new(None));
        Arc::new(Upgrader { sockets, busy: tokio::sync::Mutex::new(()), parts, admin })
    }

    /// Serves admin commands, until another process does.
    pub(super) fn serve_admin(&self, server: admin::Server, handler: admin::Handler) {
        match server.try_clone() {
            Ok(copy) => {
                let task = tokio::spawn(copy.serve(handler.clone())).abort_handle();
                *lock(&self.admin) = Some(AdminTask { server, handler, task });
            }
            Err(error) => log::error!("admin: cannot serve on the socket: {error}"),
        }
    }

    /// This process stops accepting: its copies of the listeners must not keep the addresses taken.
    pub(super) fn close(&self) {
        drop(lock(&self.sockets).take());
    }

    /// Starts the program anew and lets it take over; `Err` says why this process carries on.
    pub(super) async fn upgrade(&self) -> Result<Upgraded, String> {
        if let Err(why) = process::may_be_replaced() {
            log::error!("upgrade: {why}");
            return Err(why.to_string());
        }
        let Ok(_busy) = self.busy.try_lock() else {
            return Err("an upgrade is under way already".to_owned());
        };
        sd_notify(State::Reloading);
        sd_notify(State::Status("a new process is starting"));
        log::info!("upgrade: starting a new process");
        match self.replace().await {
            Ok(upgraded) => {
                log::info!("upgrade: process {} serves now, version {}", upgraded.pid, upgraded.version);
                Ok(upgraded)
            }
            Err(why) => {
                log::error!("upgrade: {why}; this process carries on");
                sd_notify(State::Ready);
                sd_notify(State::Status(&format!("carrying on after an upgrade that failed: {why}")));
                Err(why)
            }
        }
    }

    async fn replace(&self) -> Result<Upgraded, String> {
        let sockets = self.copies()?;
        let (mut successor, version) = blocking(move || {
            let mut successor = Successor::start(&sockets, READY_TIME_MAX)?;
            let version = successor.wait_prepared()?;
            Ok((successor, version))
        })
        .await?;
        if let Err(why) = self.parts.control.release_state().await {
            self.parts.control.reclaim_state().await;
            return Err(why);
        }
        // Only one process serves commands: the one that owns the rollout.
        self.pause_admin();
        let pid = successor.pid();
        let begun = blocking(move || {
            successor.start_serving()?;
            Ok(successor)
        });
        match begun.await {
            Ok(mut successor) if self.is_serving() => {
                successor.orphan();
                // In this order: the service manager listens to the main process only.
                sd_notify(State::MainPid(pid));
                successor.complete();
                self.parts.handle.hand_over();
                self.close();
                Ok(Upgraded { pid, version })
            }
            unfinished => {
                let why = unfinished.err().unwrap_or_else(|| "this process was told to stop".to_owned());
                self.parts.control.reclaim_state().await;
                self.resume_admin();
                Err(why)
            }
        }
    }

    fn is_serving(&self) -> bool {
        lock(&self.sockets).is_some()
    }

    fn copies(&self) -> Result<Vec<InheritedListener>, String> {
        let sockets = lock(&self.sockets);
        let sockets = sockets.as_ref().ok_or("this process is stopping")?;
        let copy = |listening: &InheritedListener| listening.try_clone().map_err(|error| error.to_string());
        sockets.iter().map(copy).collect()
    }

    fn pause_admin(&self) {
        if let Some(admin) = &*lock(&self.admin) {
            admin.task.abort();
        }
    }

    fn resume_admin(&self) {
        let admin = lock(&self.admin).take();
        if let Some(AdminTask { server, handler, .. }) = admin {
            self.serve_admin(server, handler);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for another process without delaying signals and the watchdog.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HandoffError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| chain(&error)),
        Err(error) => Err(error.to_string()),
    }
}
