//! One process replaces another without a client noticing: both sides of it, as `run` needs them.
//!
//! The old process keeps accepting until the new one has said that it accepts too; if anything goes wrong before that, it
//! carries on as if nothing had been asked. Must not know what is served.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::output::chain;
use super::run::tell;
use crate::admin::{self, Upgraded};
use crate::control;
use crate::proxy::Handle;
use mcp_host::handoff::{HandoffError, Predecessor, Successor};
use mcp_host::process;
use mcp_host::sd_notify::State;
use mcp_host::socket_activation::{InheritError, Inherited, InheritedListener};

/// For the new process to read its configuration and be ready to accept.
const READY_TIME_MAX: Duration = Duration::from_secs(30);

/// How this process came into the world: with which sockets, and whom it replaces.
pub(super) struct Arrival {
    predecessor: Option<Predecessor>,
    pub(super) inherited: Inherited,
}

/// Why a process cannot take its place.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArrivalError {
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

impl Arrival {
    /// Takes over what this process was started with. Call it once.
    pub(super) fn greet() -> Result<Arrival, ArrivalError> {
        if let Some((predecessor, sockets)) = Predecessor::accept()? {
            return Ok(Arrival { predecessor: Some(predecessor), inherited: Inherited::new(sockets) });
        }
        Ok(Arrival { predecessor: None, inherited: Inherited::from_service_manager()? })
    }

    /// Everything is bound and nothing has begun. Returns when this process may begin.
    pub(super) fn prepared(&mut self) -> Result<(), ArrivalError> {
        let left: Vec<String> = self.inherited.unclaimed().map(ToString::to_string).collect();
        self.inherited = Inherited::default();
        match &mut self.predecessor {
            None if !left.is_empty() => Err(ArrivalError::Unwanted(left.join(", "))),
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
            // It let us begin. Whatever became of it, somebody has to serve.
            log::warn!("the guard that was to be replaced did not say farewell: {error}");
        }
        true
    }

    /// Tells the process that was to be replaced why it is not.
    pub(super) fn failed(self, why: &str) {
        if let Some(predecessor) = self.predecessor {
            predecessor.failed(why);
        }
    }
}

/// Replaces this process by a new one, when asked to.
pub(super) struct Upgrader {
    /// Copies of every listener; none once this process stops accepting.
    sockets: Mutex<Option<Vec<InheritedListener>>>,
    busy: tokio::sync::Mutex<()>,
    handle: Handle,
    rollout: control::Control,
    admin: Mutex<Option<Desk>>,
}

/// The admin socket and the task that serves on it.
struct Desk {
    server: admin::Server,
    carry: admin::Handler,
    task: AbortHandle,
}

impl Upgrader {
    pub(super) fn new(
        sockets: Vec<InheritedListener>,
        handle: Handle,
        rollout: control::Control,
    ) -> Arc<Upgrader> {
        let (sockets, admin) = (Mutex::new(Some(sockets)), Mutex::new(None));
        Arc::new(Upgrader { sockets, busy: tokio::sync::Mutex::new(()), handle, rollout, admin })
    }

    /// Serves admin commands, until another process does.
    pub(super) fn open_desk(&self, server: admin::Server, carry: admin::Handler) {
        match server.again() {
            Ok(copy) => {
                let task = tokio::spawn(copy.serve(carry.clone())).abort_handle();
                *lock(&self.admin) = Some(Desk { server, carry, task });
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
        tell(State::Reloading);
        tell(State::Status("a new process is starting"));
        log::info!("upgrade: starting a new process");
        match self.replace().await {
            Ok(upgraded) => {
                log::info!("upgrade: process {} serves now, version {}", upgraded.pid, upgraded.version);
                Ok(upgraded)
            }
            Err(why) => {
                log::error!("upgrade: {why}; this process carries on");
                tell(State::Ready);
                tell(State::Status(&format!("carrying on after an upgrade that failed: {why}")));
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
        if let Err(why) = self.rollout.release_state().await {
            self.rollout.reclaim_state().await;
            return Err(why);
        }
        // A command goes to the one process that can obey it.
        self.pause_desk();
        let pid = successor.pid();
        let begun = blocking(move || {
            successor.start_serving()?;
            Ok(successor)
        });
        match begun.await {
            Ok(mut successor) if self.is_serving() => {
                successor.orphan();
                // In this order: the service manager listens to the main process only.
                tell(State::MainPid(pid));
                successor.complete();
                self.handle.hand_over();
                self.close();
                Ok(Upgraded { pid, version })
            }
            unfinished => {
                let why = unfinished.err().unwrap_or_else(|| "this process was told to stop".to_owned());
                self.rollout.reclaim_state().await;
                self.resume_desk();
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

    fn pause_desk(&self) {
        if let Some(desk) = &*lock(&self.admin) {
            desk.task.abort();
        }
    }

    fn resume_desk(&self) {
        let desk = lock(&self.admin).take();
        if let Some(Desk { server, carry, .. }) = desk {
            self.open_desk(server, carry);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for another process without holding up signals and the watchdog.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HandoffError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| chain(&error)),
        Err(error) => Err(error.to_string()),
    }
}
