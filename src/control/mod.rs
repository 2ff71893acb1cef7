//! The control plane: one controller owns the rollout. It receives samples, probes and commands, lets `rollout` decide,
//! publishes the route, and reports each transition.
//!
//! It has a thread of its own, so that load on the data plane cannot delay a rollback. Must not know Pingora, nor how
//! commands arrive.

mod clock;
mod commands;
mod controller;
mod dependency_tasks;
pub(crate) mod feature_file;
pub(crate) mod fleet;
pub(crate) mod fleet_report;
mod notification;
mod notify;
pub(crate) mod parity_check;
mod persistence;
mod probe;
mod probe_tasks;
pub(crate) mod rollout_record;
mod settings;
pub(crate) mod state_file;
mod state_writer;
mod task;

use std::io;
use std::path::Path;

use tokio::sync::{mpsc, oneshot};

#[cfg(feature = "fleet")]
pub(crate) use commands::OrderId;
pub(crate) use commands::{CommandResult, RolloutCommand, RolloutReport};
pub(crate) use controller::Setup;
pub(crate) use notification::OperationEnd;
#[cfg(feature = "release")]
pub(crate) use notification::OperationResult;
pub(crate) use persistence::contradiction;
pub(crate) use rollout_record::Pictures;
pub(crate) use settings::Settings;

use crate::rollout::{Rollout, Transition};
use clock::Clock;
use commands::{ControllerRequest, PendingCommand};
use controller::Controller;
use fleet_report::FleetReport;
use mcp_host::diagnostics::chain;
use state_file::StateError;

/// Requests that may wait; operators send them.
const REQUESTS_MAX: usize = 64;

/// Threads that parse long lists and compare: one for each slot and one for a comparison.
const READERS_MAX: usize = 3;

/// The rollout as a guard of these settings would take it up from what is saved there, and what is wrong with that; `Err` if it cannot
/// be read. Nothing is started, locked or written.
pub(crate) fn saved_rollout(
    folder: Option<&Path>,
    settings: &Settings,
) -> Result<(Rollout, Option<String>), String> {
    let (saved, problem) = match folder.map(state_file::load).transpose() {
        Ok(saved) => (saved.flatten(), None),
        Err(error @ StateError::Io { .. }) => return Err(chain(&error)),
        // A guard does not use such a state either.
        Err(error) => (None, Some(chain(&error))),
    };
    let state = persistence::resume_from(saved, settings).state;
    Ok((controller::rollout_from(state, settings, &Clock::start()), problem))
}

/// A handle on the control plane. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    requests: mpsc::Sender<ControllerRequest>,
}

impl Control {
    /// Publishes the route of the saved state, and starts. When this returns, calls may be served.
    pub(crate) fn start(setup: Setup) -> io::Result<Control> {
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Responses of backends are parsed apart from the decisions, so that no response can delay a rollback.
        let reader = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(READERS_MAX)
            .thread_name("probes")
            .enable_all()
            .build()?;
        let controller = {
            let _entered = runtime.enter();
            Controller::new(setup, reader.handle().clone())
        };
        let thread = std::thread::Builder::new().name("rollout".to_owned());
        thread.spawn(move || {
            runtime.block_on(controller.run(queue));
            reader.shutdown_background();
        })?;
        Ok(Control { requests })
    }

    /// Carries out a command; `Err` is the reason for a refusal.
    pub(crate) async fn run(&self, command: RolloutCommand, who: String) -> Result<CommandResult, String> {
        self.request(|reply| {
            ControllerRequest::Command(PendingCommand { command, who, reply, notes: Vec::new(), order: None })
        })
        .await?
    }

    pub(crate) async fn report(&self) -> Result<RolloutReport, String> {
        self.request(ControllerRequest::Report).await
    }

    /// Notifies of the end of a release's operation: the names of the receivers.
    pub(crate) async fn operation_ended(&self, operation: OperationEnd) -> Result<Vec<String>, String> {
        self.request(|reply| ControllerRequest::OperationEnded(Box::new(operation), reply)).await
    }

    /// The oldest transition first.
    pub(crate) async fn history(&self) -> Result<Vec<Transition>, String> {
        self.request(ControllerRequest::History).await
    }

    /// The fleet as this guard sees it; none where it is in no fleet.
    pub(crate) async fn fleet_report(&self) -> Result<Option<FleetReport>, String> {
        self.request(ControllerRequest::FleetReport).await
    }

    /// Leaves the fleet until the next start; `Err` is the reason for a refusal.
    pub(crate) async fn leave_fleet(&self) -> Result<(), String> {
        self.request(ControllerRequest::LeaveFleet).await?
    }

    /// Applies a new configuration: the warnings for the operator, or the reason for a refusal. Blocks, so it must not be
    /// called on a thread that serves.
    pub(crate) fn configure(&self, settings: Settings) -> Result<Vec<String>, String> {
        let (reply, response) = oneshot::channel();
        let busy = |_| {
            let reason = "the control plane is busy and did not take [slots], [health] and [rollout] over";
            format!("{reason} (hint: reload once more)")
        };
        self.requests.try_send(ControllerRequest::Configure(Box::new(settings), reply)).map_err(busy)?;
        response.blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    /// Saves the state and releases it, because another process is about to own the rollout; from then on this process
    /// follows the saved state. `Err` is the reason why the other process would miss something.
    pub(crate) async fn release_state(&self) -> Result<(), String> {
        self.request(ControllerRequest::ReleaseState).await?
    }

    /// Takes the state back as soon as no other process owns it: the other process did not start.
    pub(crate) async fn reclaim_state(&self) {
        // If the control plane has stopped, it owns no state.
        let _ = self.requests.send(ControllerRequest::ReclaimState).await;
    }

    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> ControllerRequest,
    ) -> Result<T, String> {
        let (reply, response) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| stopped())?;
        response.await.map_err(|_| stopped())
    }
}

fn stopped() -> String {
    "the control plane has stopped; see the log".to_owned()
}
