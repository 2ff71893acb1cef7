//! Replaces this process by another one without losing a call: the old process's side of an upgrade.
//!
//! The old process accepts until the new one has reported that it can. If anything fails before the new one has taken over, the
//! old one carries on, and the new one ends. What the new process refuses, the old one refuses as well before the upgrade has
//! ended. Must not know what is served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::old_process::Change;
use super::parts::Parts;
use super::process::sd_notify;
use super::reload::{Paused, Reloader};
use crate::admin::{self, Upgraded};
use mcp_host::diagnostics::chain;
use mcp_host::handoff::{ChangeReceiver, GiveUp, HandoffError, Successor, is_stop_pending};
use mcp_host::process;
use mcp_host::sd_notify::{self as service_manager, State};
use mcp_host::socket_activation::InheritedListener;

/// For the new process to read its configuration and be ready to accept.
const READY_TIME_MAX: Duration = Duration::from_secs(30);
/// For this process to read what the new one has read.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(5);
/// Problems in one line of the log: the new process has logged all that are its own.
const PROBLEMS_SHOWN: usize = 5;
/// For the listeners of this process to stop accepting.
const ACCEPT_TIME_MAX: Duration = Duration::from_secs(5);
/// For the service manager to read which process is the main one.
const MANAGER_TIME_MAX: Duration = Duration::from_secs(3);
/// For a signal that was sent already to be received by a thread, on a busy machine.
const PENDING_TIME_MAX: Duration = Duration::from_secs(1);
/// Between two looks at whether one is pending.
const PENDING_POLL: Duration = Duration::from_millis(5);
/// From there to the task that handles signals.
const SIGNAL_TIME: Duration = Duration::from_millis(50);
/// For an upgrade to end that was given up.
const GIVE_UP_TIME_MAX: Duration = Duration::from_secs(10);
/// Why an upgrade ends when this process does.
const STOPPING: &str = "this process was told to stop";

/// Replaces this process by a new one.
pub(super) struct Upgrader {
    /// Copies of every listener; none once this process stops accepting.
    sockets: Mutex<Option<Vec<InheritedListener>>>,
    busy: tokio::sync::Mutex<()>,
    parts: Parts,
    reloader: Arc<Reloader>,
    admin: Mutex<Option<AdminTask>>,
    /// A signal has told this process to stop.
    is_stopping: AtomicBool,
    under_way: Mutex<Option<GiveUp>>,
    /// A new process that does not take over, but may be the main process: it ends when this one has ended.
    held: Mutex<Option<Successor>>,
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
        let (parts, reloader, is_stopping) =
            (reloader.parts.clone(), reloader.clone(), AtomicBool::new(false));
        let (under_way, held) = (Mutex::new(None), Mutex::new(None));
        Arc::new(Upgrader { sockets, busy, parts, reloader, admin, is_stopping, under_way, held })
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

    /// A signal tells this process to stop. The first one lets every call end, a second one does not.
    pub(super) fn stop(&self) {
        let is_first = !self.is_stopping.swap(true, Ordering::Relaxed);
        let handle = &self.parts.handle;
        if is_first && handle.is_handed_over() {
            // A service manager that signals all processes of the service must not cut this one's calls.
            log::info!("this process finishes its calls already, and then ends; another signal cuts them");
            return;
        }
        if !handle.is_handed_over() {
            sd_notify(State::Stopping);
        }
        self.close();
        if let Some(upgrade) = lock(&self.under_way).take() {
            upgrade.now();
        }
        if !is_first {
            self.parts.old.give_up();
        }
        handle.begin_shutdown();
        // After it: with the response to this, `Startup::serving` reads whether this process drains.
        self.parts.old.ask_to_carry_on();
    }

    /// Waits for the end of an upgrade that was given up, so that no process of this service is left behind. Returns whether there
    /// was one.
    pub(super) fn wait_given_up(&self) -> bool {
        if self.parts.handle.is_handed_over() || self.busy.try_lock().is_ok() {
            return false;
        }
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
            return false;
        };
        let ended = async { tokio::time::timeout(GIVE_UP_TIME_MAX, self.busy.lock()).await.is_ok() };
        if !runtime.block_on(ended) {
            log::warn!("upgrade: the new process has not ended yet");
        }
        true
    }

    /// This process has finished its calls. A new one that was held ends after it.
    pub(super) fn release_held(&self) {
        if let Some(successor) = lock(&self.held).take() {
            successor.stopped();
        }
    }

    /// This process stops accepting: its copies of the listeners must not keep the addresses taken.
    fn close(&self) {
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
        let replaced = self.replace().await;
        // It keeps the channel open, and a new process that does not take over ends when that is closed.
        lock(&self.under_way).take();
        match replaced {
            Ok(upgraded) => {
                log::info!("upgrade: process {} serves now, version {}", upgraded.pid, upgraded.version);
                Ok(upgraded)
            }
            Err(why) if !self.is_serving() => {
                log::warn!("upgrade: given up, because {STOPPING}: {why}");
                Err(STOPPING.to_owned())
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
        // First: what the new process takes away must reach this one, or there is no upgrade.
        let follow = self.follow_changes()?;
        let paused = self.reloader.pause().await.ok_or("a reload is under way and does not end")?;
        let mut successor = blocking(move || Successor::start(&sockets, READY_TIME_MAX)).await?;
        let give_up = successor.give_up().map_err(|error| chain(&error))?;
        *lock(&self.under_way) = Some(give_up);
        if !self.is_serving() {
            return Err(STOPPING.to_owned());
        }
        let (successor, version) = blocking(move || {
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
        match self.hand_over(successor, paused, follow).await {
            Ok(()) => {
                self.wait_accepted().await;
                Ok(Upgraded { pid, version })
            }
            Err(why) => {
                self.parts.control.reclaim_state().await;
                self.resume_admin();
                Err(why)
            }
        }
    }

    /// Lets the new process serve in the place of this one.
    async fn hand_over(
        &self,
        mut successor: Successor,
        paused: Paused<'_>,
        follow: mpsc::Sender<ChangeReceiver>,
    ) -> Result<(), String> {
        let mut successor = blocking(move || {
            successor.start_serving()?;
            Ok(successor)
        })
        .await?;
        // Before this process stops accepting: clients with open connections send their next requests to it, and a token that was
        // revoked must not be good for one more.
        let followed = self.carry_out(Change::Reload, &paused).await;
        if !self.is_serving() {
            return Err(STOPPING.to_owned());
        }
        // From here on a stop of the new process is a stop of the service.
        let mut successor = blocking(move || successor.can_take_over().map(|()| successor)).await?;
        self.name_main_process(&mut successor).await;
        if !self.is_serving() {
            // Which of the two is the main process depends on what the service manager has read first: neither ends before this
            // one's calls.
            *lock(&self.held) = Some(successor);
            return Err(STOPPING.to_owned());
        }
        let changes = successor.complete().map_err(|gone| {
            // The service manager obeys it where its `NotifyAccess=` admits more than the main process.
            sd_notify(State::MainPid(std::process::id()));
            chain(&gone)
        })?;
        // The thread ends only when this sender does.
        let _ = follow.send(changes);
        if let Err(why) = followed {
            self.refuse_requests(&why);
        }
        self.parts.handle.hand_over();
        self.close();
        Ok(())
    }

    /// Returns once the service manager sends its signals to the new process, and those that it has sent to this one are here.
    async fn name_main_process(&self, successor: &mut Successor) {
        // From here on the new process may be the main one: see `held`.
        lock(&self.under_way).take();
        successor.orphan();
        // In this order: the service manager listens to the main process only.
        sd_notify(State::MainPid(successor.pid()));
        if !service_manager::is_there() {
            return;
        }
        let read = tokio::task::spawn_blocking(|| service_manager::wait_read(MANAGER_TIME_MAX)).await;
        if let Ok(Err(error)) = read {
            log::warn!("upgrade: the service manager has not read the new main process yet: {error}");
        }
        let deadline = Instant::now() + PENDING_TIME_MAX;
        while is_stop_pending() && Instant::now() < deadline {
            tokio::time::sleep(PENDING_POLL).await;
        }
        tokio::time::sleep(SIGNAL_TIME).await;
    }

    /// Makes a change that the new process has made; `Err` says why this one cannot.
    async fn carry_out(&self, change: Change, paused: &Paused<'_>) -> Result<(), String> {
        let following = self.reloader.follow_successor(change, paused);
        match tokio::time::timeout(FOLLOW_TIME_MAX, following).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(problems)) => {
                let shown: Vec<String> = problems.into_iter().take(PROBLEMS_SHOWN).collect();
                Err(format!("it cannot use the new configuration: {}", shown.join("; ")))
            }
            Err(_late) => {
                Err(format!("it has not followed the new process within {} s", FOLLOW_TIME_MAX.as_secs()))
            }
        }
    }

    /// This process may admit what the new one refuses.
    fn refuse_requests(&self, why: &str) {
        log::warn!("upgrade: this process refuses requests from now on: {why}");
        self.parts.handle.refuse_requests();
    }

    /// Starts what makes each change here that the new process makes, before its command returns. It begins with the hand-over.
    fn follow_changes(self: &Arc<Self>) -> Result<mpsc::Sender<ChangeReceiver>, String> {
        let (this, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let (sender, receiver) = mpsc::channel::<ChangeReceiver>();
        let follow = move || {
            let Ok(mut changes) = receiver.recv() else { return };
            while let Some(change) = changes.wait() {
                if let Err(why) = runtime.block_on(this.follow_change(&change)) {
                    this.refuse_requests(&why);
                }
                changes.done();
            }
            this.refuse_requests("no change of the process that serves now can reach it");
            changes.keep_open();
        };
        let thread = std::thread::Builder::new().name("changes".to_owned()).spawn(follow);
        thread.map(|_| sender).map_err(|error| format!("cannot follow the new process: {error}"))
    }

    async fn follow_change(&self, change: &str) -> Result<(), String> {
        let change = Change::parse(change).ok_or("it does not know what has changed")?;
        let paused = self.reloader.pause().await.ok_or("a reload does not end")?;
        self.carry_out(change, &paused).await
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
