//! Replaces one process by another without losing a call: the new process's side (`Startup`) and the old one's
//! (`Upgrader`).
//!
//! The old process accepts until the new one has reported that it accepts too. If anything fails before that, the old one
//! continues as before. What the new process refuses, the old one refuses as well before the upgrade has ended. Must not know
//! what is served.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::old_process::OldProcess;
use super::parts::Parts;
use super::process::sd_notify;
use super::reload::{Paused, Reloader};
use crate::admin::{self, Upgraded};
use mcp_host::diagnostics::chain;
use mcp_host::handoff::{Changes, HandoffError, Predecessor, Successor};
use mcp_host::process;
use mcp_host::sd_notify::State;
use mcp_host::socket_activation::{InheritError, Inherited, InheritedListener};

/// For the new process to read its configuration and be ready to accept.
const READY_TIME_MAX: Duration = Duration::from_secs(30);
/// For this process to read what the new one has read.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(5);
/// Problems in one line of the log: the new process has logged all that are its own.
const PROBLEMS_SHOWN: usize = 5;
/// For the listeners of this process to stop accepting.
const ACCEPT_TIME_MAX: Duration = Duration::from_secs(5);

/// How this process was started: with which sockets, and which process it replaces.
pub(super) struct Startup {
    predecessor: Option<Predecessor>,
    pub(super) inherited: Inherited,
    /// What it has replaced, once it has.
    pub(super) old: OldProcess,
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
        let old = OldProcess::default();
        if let Some((predecessor, sockets)) = Predecessor::accept()? {
            old.is_expected();
            return Ok(Startup { predecessor: Some(predecessor), inherited: Inherited::new(sockets), old });
        }
        Ok(Startup { predecessor: None, inherited: Inherited::from_service_manager()?, old })
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
        let finishing = predecessor.serving();
        if let Err(error) = &finishing {
            // It has allowed this process to begin, so this process serves, whatever happened to the other one.
            log::warn!("the guard that was to be replaced did not say farewell: {error}");
        }
        self.old.finishes(finishing.ok());
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
    reloader: Arc<Reloader>,
    admin: Mutex<Option<AdminTask>>,
}

/// Whether this process has read what the new one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Followed {
    Done,
    /// It may admit what the new one refuses.
    Not,
}

/// The admin socket and the task that serves on it.
struct AdminTask {
    server: admin::Server,
    handler: admin::Handler,
    task: AbortHandle,
}

impl Upgrader {
    pub(super) fn new(sockets: Vec<InheritedListener>, reloader: &Arc<Reloader>) -> Arc<Upgrader> {
        let (sockets, admin, busy) =
            (Mutex::new(Some(sockets)), Mutex::new(None), tokio::sync::Mutex::new(()));
        let (parts, reloader) = (reloader.parts.clone(), reloader.clone());
        Arc::new(Upgrader { sockets, busy, parts, reloader, admin })
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
    pub(super) async fn upgrade(self: &Arc<Self>) -> Result<Upgraded, String> {
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

    async fn replace(self: &Arc<Self>) -> Result<Upgraded, String> {
        let sockets = self.copies()?;
        let paused = self.reloader.pause().await.ok_or("a reload is under way and does not end")?;
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
        let begun = begun.await;
        let followed = if begun.is_ok() { self.follow(&paused).await } else { Followed::Done };
        match begun {
            Ok(mut successor) if self.is_serving() => {
                successor.orphan();
                // In this order: the service manager listens to the main process only.
                sd_notify(State::MainPid(pid));
                let changes = successor.complete();
                self.refuse_unless(followed);
                self.parts.handle.hand_over();
                self.close();
                // What changes in the new process is followed from now on, and needs the turn.
                drop(paused);
                self.follow_changes(changes);
                self.wait_accepted().await;
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

    /// Reads what the new process has read: clients with open connections send their next requests to this process, and a token
    /// that was revoked must not be good for one more.
    async fn follow(&self, paused: &Paused<'_>) -> Followed {
        let following = tokio::time::timeout(FOLLOW_TIME_MAX, self.reloader.follow_successor(paused)).await;
        let problems = match following {
            Ok(Ok(())) => return Followed::Done,
            Ok(Err(problems)) => problems.into_iter().take(PROBLEMS_SHOWN).collect::<Vec<_>>().join("; "),
            Err(_late) => format!("not read within {} s", FOLLOW_TIME_MAX.as_secs()),
        };
        log::warn!(
            "upgrade: this process refuses requests from now on, as it cannot use the new configuration: {problems}"
        );
        Followed::Not
    }

    fn refuse_unless(&self, followed: Followed) {
        match followed {
            Followed::Done => {}
            Followed::Not => self.parts.handle.refuse_requests(),
        }
    }

    /// From now on, what changes in the new process changes here before its command returns.
    fn follow_changes(self: &Arc<Self>, changes: Result<Changes, HandoffError>) {
        let (this, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let thread = std::thread::Builder::new().name("changes".to_owned());
        let started = changes.map_err(|error| chain(&error)).and_then(|mut changes| {
            let follow = move || {
                while changes.wait() {
                    let followed = runtime.block_on(async {
                        let Some(paused) = this.reloader.pause().await else { return Followed::Not };
                        this.follow(&paused).await
                    });
                    this.refuse_unless(followed);
                    changes.done();
                }
            };
            thread.spawn(follow).map_err(|error| error.to_string())
        });
        if let Err(why) = started {
            log::warn!("upgrade: this process does not see what changes while it finishes its calls: {why}");
        }
    }

    /// Waits until this process accepts no connection any more, but not for ever.
    async fn wait_accepted(&self) {
        let (handle, deadline) = (self.parts.handle.clone(), Instant::now() + ACCEPT_TIME_MAX);
        let accepted = tokio::task::spawn_blocking(move || handle.wait_accepted(deadline));
        #[cfg(feature = "console")]
        let is_late =
            tokio::time::timeout(ACCEPT_TIME_MAX, self.parts.console.accepts_no_more()).await.is_err();
        #[cfg(not(feature = "console"))]
        let is_late = false;
        if is_late || !matches!(accepted.await, Ok(Ok(()))) {
            log::warn!("upgrade: a listener still accepts, after {} s", ACCEPT_TIME_MAX.as_secs());
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
