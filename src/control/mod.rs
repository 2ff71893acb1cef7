//! The control plane: the one task that owns the rollout. It hears samples, probes and commands, lets `rollout` decide,
//! publishes the route, and tells everybody who should know.
//!
//! It has a thread of its own, so that the load on the data plane cannot delay a rollback. Must not know Pingora, nor how
//! commands arrive.

mod clock;
mod commands;
mod controller;
mod critical_checks;
mod notify;
mod parity_check;
mod persistence;
mod probe;
mod probe_tasks;
pub(crate) mod state_file;
mod state_writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub(crate) use commands::{CommandResult, RolloutCommand, RolloutReport};
pub(crate) use persistence::contradiction;

use crate::config::{self, Config, SplitKey};
use crate::rollout::sample::FinishedCall;
use crate::rollout::{Member, SplitContext, Transition};
use crate::telemetry::metrics::RolloutMetrics;
use crate::upstream::{Backend, Secrets, Slot, Split};

/// Requests that may wait; they come from an operator's hands.
const REQUESTS_MAX: usize = 64;

/// Threads that read long lists and compare: one for each slot and one for a comparison.
const READERS_MAX: usize = 3;

/// What of the configuration concerns the control plane.
#[derive(Clone)]
pub(crate) struct Settings {
    backends: [Option<Backend>; 2],
    stable: Slot,
    says_stable: bool,
    split_context: SplitContext,
    health: config::Health,
    rollout: config::plan::Rollout,
    /// Must not be quoted from a backend's answer.
    secrets: Secrets,
}

impl Settings {
    pub(crate) fn of(config: &Config) -> Settings {
        Settings {
            backends: Slot::ALL.map(|slot| config.backend(slot).cloned()),
            stable: config.stable,
            says_stable: config.says_stable,
            split_context: SplitContext { standby: config.standby, clients: members(config) },
            health: config.health,
            rollout: config.rollout.clone(),
            secrets: config.secrets.clone(),
        }
    }

    fn backend(&self, slot: Slot) -> Option<&Backend> {
        let [blue, green] = &self.backends;
        match slot {
            Slot::Blue => blue.as_ref(),
            Slot::Green => green.as_ref(),
        }
    }

    fn configured(&self) -> Vec<Slot> {
        Slot::ALL.into_iter().filter(|slot| self.backend(*slot).is_some()).collect()
    }
}

/// With more clients than this, no share is empty, and they need not be known by name.
const MEMBERS_MAX: usize = 1_000;

/// The clients that a share is made of; none where each request is split for itself.
fn members(config: &Config) -> Arc<[Member]> {
    match config.split_key {
        SplitKey::Client if config.clients.len() <= MEMBERS_MAX => {
            let members = config.clients.iter().map(|client| Member {
                name: client.name.clone(),
                key: client.cohort.as_ref().unwrap_or(&client.name).clone(),
            });
            members.collect()
        }
        SplitKey::Client | SplitKey::Request => Arc::default(),
    }
}

/// What the control plane is given.
pub(crate) struct Setup {
    /// Where the state is kept; without it, it dies with the process.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) settings: Settings,
    /// Every finished call.
    pub(crate) samples: mpsc::Receiver<FinishedCall>,
    pub(crate) metrics: RolloutMetrics,
    /// Publishes the route: who gets what, and whether newer protocol versions are fenced off. Must return at once.
    pub(crate) publish: Box<dyn Fn(Split, bool) + Send>,
    /// Hands on the names of a slot's tools. Must return at once.
    pub(crate) learn: Box<dyn Fn(Slot, Vec<String>) + Send>,
}

/// A handle on the control plane. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    requests: mpsc::Sender<Request>,
}

enum Request {
    RolloutCommand {
        order: RolloutCommand,
        who: String,
        reply: oneshot::Sender<Result<CommandResult, String>>,
    },
    RolloutReport(oneshot::Sender<RolloutReport>),
    History(oneshot::Sender<Vec<Transition>>),
    Configure(Box<Settings>, oneshot::Sender<Result<Vec<String>, String>>),
    ReleaseState(oneshot::Sender<Result<(), String>>),
    ReclaimState,
}

impl Control {
    /// Publishes the route that the saved state asks for, and starts. When this returns, calls may be served.
    pub(crate) fn start(setup: Setup) -> io::Result<Control> {
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let task = controller::Controller::prepare(setup);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // What backends send is read apart from the decisions: no answer, however it is made, delays a rollback.
        let reader = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(READERS_MAX)
            .thread_name("probes")
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new().name("rollout".to_owned());
        thread.spawn(move || {
            runtime.block_on(task.run(queue, reader.handle().clone()));
            reader.shutdown_background();
        })?;
        Ok(Control { requests })
    }

    /// Carries out an order; `Err` says why not.
    pub(crate) async fn order(&self, order: RolloutCommand, who: String) -> Result<CommandResult, String> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::RolloutCommand { order, who, reply }, answer).await.and_then(|result| result)
    }

    pub(crate) async fn overview(&self) -> Result<RolloutReport, String> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::RolloutReport(reply), answer).await
    }

    /// The oldest transition first.
    pub(crate) async fn history(&self) -> Result<Vec<Transition>, String> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::History(reply), answer).await
    }

    /// A new configuration is to hold: what an operator should know of it, or why it must not. Waits, so not for a thread
    /// that serves.
    pub(crate) fn configure(&self, settings: Settings) -> Result<Vec<String>, String> {
        let (reply, answer) = oneshot::channel();
        let busy = |_| {
            let reason = "the control plane is busy and did not take [slots], [health] and [rollout] over";
            format!("{reason} (hint: reload once more)")
        };
        self.requests.try_send(Request::Configure(Box::new(settings), reply)).map_err(busy)?;
        answer
            .blocking_recv()
            .unwrap_or_else(|_| Err("the control plane has stopped; see the log".to_owned()))
    }

    /// Another process is about to own the rollout: saves what is left to save, lets go of the state, and from then on
    /// does as the state says. `Err` says why that process would not know what it must.
    pub(crate) async fn release_state(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::ReleaseState(reply), answer).await.and_then(|result| result)
    }

    /// The other process did not come about: takes the state back as soon as nobody else has it.
    pub(crate) async fn reclaim_state(&self) {
        // If the control plane has stopped there is nothing to take back.
        let _ = self.requests.send(Request::ReclaimState).await;
    }

    async fn ask<T>(&self, request: Request, answer: oneshot::Receiver<T>) -> Result<T, String> {
        let stopped = || "the control plane has stopped; see the log".to_owned();
        self.requests.send(request).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }
}
