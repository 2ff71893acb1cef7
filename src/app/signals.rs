//! The thread of everything that is not traffic: signals, admin commands, and the service manager's watchdog.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::admin::AdminContext;
use super::process::sd_notify;
use super::reload::without_command;
use super::watch::{Changes, watch};
use crate::admin::{self, HandlerFuture};
use crate::proxy::Handle;
use mcp_host::sd_notify::{State, watchdog_interval};

/// The thread before it starts, with its signals already registered.
pub(super) struct SignalThread {
    runtime: Runtime,
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
    context: AdminContext,
}

impl SignalThread {
    /// Registers the signals. From here on no SIGTERM is lost, however early it comes.
    pub(super) fn prepare(context: AdminContext) -> io::Result<SignalThread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let reload = signal(SignalKind::hangup())?;
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let upgrade = signal(SignalKind::user_defined2())?;
        drop(entered);
        Ok(SignalThread { runtime, reload, terminate, interrupt, upgrade, context })
    }

    /// Starts the thread, which serves admin commands where there is an admin socket.
    pub(super) fn start(self, admin: Option<admin::Server>, changes: Changes) -> io::Result<()> {
        let thread = std::thread::Builder::new().name("control".to_owned());
        thread.spawn(move || self.run(admin, changes)).map(drop)
    }

    fn run(self, admin: Option<admin::Server>, changes: Changes) {
        let SignalThread { runtime, mut reload, mut terminate, mut interrupt, mut upgrade, context } = self;
        let (reloader, upgrader) = (context.reloader.clone(), context.upgrader.clone());
        let handle = context.parts.handle.clone();
        runtime.block_on(async {
            if let Some(server) = admin {
                let run =
                    move |command, who| -> HandlerFuture { Box::pin(context.clone().run(command, who)) };
                upgrader.serve_admin(server, Arc::new(run));
            }
            if let Some(interval) = watchdog_interval() {
                tokio::spawn(ping_watchdog(interval, handle.clone()));
            }
            tokio::spawn(watch(reloader.clone(), handle.clone(), changes));
            loop {
                tokio::select! {
                    _ = reload.recv() => {
                        tokio::spawn(without_command(reloader.clone()));
                    }
                    _ = terminate.recv() => upgrader.stop(),
                    _ = interrupt.recv() => upgrader.stop(),
                    _ = upgrade.recv() => {
                        let upgrader = upgrader.clone();
                        tokio::spawn(async move { upgrader.upgrade().await });
                    }
                }
            }
        });
    }
}

/// Pings the watchdog after reading the status: if the guard's state is locked up for good, the pings end.
async fn ping_watchdog(interval: Duration, handle: Handle) {
    let mut ticks = tokio::time::interval(interval);
    while !handle.is_handed_over() {
        ticks.tick().await;
        let _ = handle.status();
        sd_notify(State::Alive);
    }
}
