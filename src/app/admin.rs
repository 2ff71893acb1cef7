//! Carries out the commands of the admin socket on the parts of a running guard.
//!
//! Must not know how a command arrives.

use std::sync::Arc;

use super::explain::Asked;
use super::features::FeatureSwitches;
use super::old_process::Change;
use super::parts::Parts;
use super::reload::Reloader;
use super::upgrade::Upgrader;
#[cfg(feature = "console")]
use crate::admin::Overview;
use crate::admin::{AdminCommand, AdminResponse, GuardStatus};
#[cfg(feature = "console")]
use crate::config::feature::FeatureStatus;
#[cfg(feature = "console")]
use crate::control::Control;
use crate::control::RolloutReport;
use crate::parity::shadow::mismatch_log::Arguments;
#[cfg(feature = "console")]
use crate::proxy::Handle;
#[cfg(feature = "console")]
use crate::shadow::Shadow;

/// Transitions that a view shows.
#[cfg(feature = "console")]
const TRANSITIONS_SHOWN: usize = 20;

/// The parts that commands act on.
#[derive(Clone)]
pub(super) struct AdminContext {
    pub(super) reloader: Arc<Reloader>,
    pub(super) upgrader: Arc<Upgrader>,
    pub(super) features: FeatureSwitches,
    pub(super) parts: Parts,
}

impl AdminContext {
    /// Carries out one command of this person.
    pub(super) async fn run(self, command: AdminCommand, who: String) -> AdminResponse {
        let AdminContext { reloader, upgrader, features, parts } = self;
        let Parts { handle, control, shadow, old, .. } = parts;
        let response = match command {
            AdminCommand::Reload => {
                let reloaded = reloader.reload().await;
                Ok(reloaded.map_or_else(AdminResponse::NotReloaded, AdminResponse::Reloaded))
            }
            AdminCommand::Tokens => Ok(AdminResponse::Tokens(handle.tokens_known())),
            AdminCommand::Status => {
                let status = GuardStatus { features: features.status(), ..handle.status() };
                Ok(AdminResponse::Status(Box::new(status)))
            }
            AdminCommand::Features => Ok(AdminResponse::Features(Box::new(features.report(Vec::new())))),
            // Not beside an upgrade: the process that takes over must find the switch on the disk.
            AdminCommand::Feature { feature, to, reason } => match reloader.turn().await {
                Err(why) => Err(why),
                Ok(_turn) => {
                    let (this, change) = (features.clone(), Change::Switch(feature.clone(), to));
                    let switch = move || {
                        let switched = this.switch((feature, to, reason), who, &handle);
                        switched.inspect(|_| old.follow(&change))
                    };
                    let switched = tokio::task::spawn_blocking(switch).await;
                    let notes = switched.unwrap_or_else(|error| Err(error.to_string()));
                    notes.map(|notes| AdminResponse::Features(Box::new(features.report(notes))))
                }
            },
            AdminCommand::Explain(question) => {
                let report = control.report().await;
                let asked = Asked { handle: &handle, features: &features, rollout: report.ok() };
                asked.explain(&question).map(|found| AdminResponse::Explained(Box::new(found)))
            }
            #[cfg(feature = "console")]
            AdminCommand::Overview { .. } => overview(&handle, features.status(), &control, &shadow).await,
            AdminCommand::Rollout => control.report().await.map(|report| {
                AdminResponse::Rollout(Box::new(RolloutReport { shadow: shadow.summary(), ..report }))
            }),
            AdminCommand::Shadow { show_arguments } => {
                let arguments = if show_arguments { Arguments::Shown } else { Arguments::Redacted };
                Ok(AdminResponse::Shadow(Box::new(shadow.diff(arguments))))
            }
            AdminCommand::OperationEnded(operation) => {
                control.operation_ended(*operation).await.map(AdminResponse::Notified)
            }
            AdminCommand::Fleet => {
                control.fleet_report().await.map(|report| AdminResponse::Fleet(report.map(Box::new)))
            }
            AdminCommand::LeaveFleet => control.leave_fleet().await.map(|()| AdminResponse::LeftFleet),
            AdminCommand::History => control.history().await.map(AdminResponse::History),
            AdminCommand::Upgrade => upgrader.upgrade().await.map(AdminResponse::Upgraded),
            AdminCommand::Control(command) => {
                let result = control.run(command, who).await;
                result.map(|result| AdminResponse::Done(Box::new(result)))
            }
        };
        response.unwrap_or_else(AdminResponse::Rejected)
    }
}

/// Everything that a view shows.
#[cfg(feature = "console")]
async fn overview(
    handle: &Handle,
    features: FeatureStatus,
    control: &Control,
    shadow: &Shadow,
) -> Result<AdminResponse, String> {
    let rollout = RolloutReport { shadow: shadow.summary(), ..control.report().await? };
    let mut transitions = control.history().await?;
    transitions.drain(..transitions.len().saturating_sub(TRANSITIONS_SHOWN));
    let status = GuardStatus { features, ..handle.status() };
    let (totals, fleet) = (handle.totals(), control.fleet_report().await?);
    Ok(AdminResponse::Overview(Box::new(Overview { status, rollout, totals, transitions, fleet })))
}
