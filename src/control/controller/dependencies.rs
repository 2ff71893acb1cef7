//! What is known of the dependencies: counted states, published whole at each result. A critical one is an event of the rollout.

use super::Controller;
use crate::control::notification::{DependencyChange, DependencyTurn, Notification};
use crate::control::persistence::Persistence;
use crate::control::probe_tasks::DependencyResult;
use crate::control::settings::Settings;
use crate::rollout::{Event, Health};
use crate::telemetry::metrics::{DependencyState, DependencyStatus};

impl Controller {
    /// Applies a configuration: what is unchanged keeps its state. `old` is the settings before it.
    pub(super) fn configure_dependencies(&mut self, old: Option<&Settings>, new: &Settings) {
        let (before, known) =
            (old.map(Settings::subjects).unwrap_or_default(), std::mem::take(&mut self.dependencies));
        let now = self.clock.now().millis() / 1_000;
        for subject in new.subjects() {
            let (name, slot) = (subject.dependency.name.clone(), subject.slot());
            let is_same = |status: &&DependencyStatus| status.name == name && status.slot == slot;
            let kept =
                known.iter().find(is_same).filter(|_| before.iter().any(|old| old.is_same_check(&subject)));
            let required = subject.dependency.required;
            let kept = kept.map(|status| DependencyStatus { required, ..status.clone() });
            self.dependencies.push(kept.unwrap_or(DependencyStatus {
                name,
                slot,
                required,
                state: DependencyState::Unknown,
                since: now,
                checked: None,
                took_ms: None,
                reason: None,
            }));
        }
        for gone in known.iter().filter(|status| !self.dependencies.contains(status)) {
            self.dependency_metrics.remove(gone);
        }
        self.dependency_tasks.configure(new);
        (self.publish_dependencies)(self.dependencies.clone());
    }

    pub(super) fn on_dependency(&mut self, found: DependencyResult) {
        let DependencyResult { name, slot, health, failure, took } = found;
        let place = self.dependencies.iter_mut().find(|status| status.name == name && status.slot == slot);
        // The result of a task that a reload has just ended.
        let Some(status) = place else { return };
        let state = match &health {
            Health::Healthy => DependencyState::Up,
            Health::Unhealthy(_) => DependencyState::Down,
            Health::Unknown => DependencyState::Unknown,
        };
        let now = self.clock.now().millis() / 1_000;
        let mut change = None;
        if status.state != state {
            log_change(&health, status, now);
            change = turn(&health, status, now).map(|to| DependencyChange {
                name: name.clone(),
                slot,
                required: status.required,
                to,
                at: self.clock.now(),
            });
            (status.state, status.since) = (state, now);
        }
        (status.checked, status.reason) = (Some(now), failure.clone());
        status.took_ms = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.dependency_metrics.set(status, took);
        (self.publish_dependencies)(self.dependencies.clone());
        // Of two guards with one state, the owner notifies.
        if let Some(change) = change.filter(|_| !matches!(self.persistence, Persistence::ForeignOwner)) {
            self.notifier.notify(Notification::Dependency(change));
        }
        let is_of_candidate = slot.is_none_or(|slot| slot == self.rollout.state().candidate());
        let is_critical = self.settings.rollout.critical.contains(&name);
        if is_critical && is_of_candidate && self.rollout.state().run.is_some() {
            self.handle(Event::Check { name, failure });
        }
    }
}

/// What receivers are notified of: that it is there at the first look is no news.
fn turn(health: &Health, was: &DependencyStatus, now: u64) -> Option<DependencyTurn> {
    match health {
        Health::Healthy if was.state == DependencyState::Down => {
            Some(DependencyTurn::Up { down_seconds: now.saturating_sub(was.since) })
        }
        Health::Unhealthy(reason) => Some(DependencyTurn::Down { reason: reason.clone() }),
        Health::Healthy | Health::Unknown => None,
    }
}

fn log_change(health: &Health, was: &DependencyStatus, now: u64) {
    let DependencyStatus { name, slot, required, state, since, .. } = was;
    let at = slot.map(|slot| format!(" (slot {})", slot.as_str())).unwrap_or_default();
    match health {
        Health::Healthy if *state == DependencyState::Unknown => log::info!("dependency {name}{at}: up"),
        Health::Healthy => {
            log::info!("dependency {name}{at}: up again after {} s", now.saturating_sub(*since));
        }
        Health::Unhealthy(why) if *required => log::error!("dependency {name}{at}: down (required): {why}"),
        Health::Unhealthy(why) => log::warn!("dependency {name}{at}: down: {why}"),
        Health::Unknown => {}
    }
}
