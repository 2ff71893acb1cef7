//! The families of the control plane: health, stage, transitions, notifications, state.
//!
//! Cheap to clone; written by the control plane only.

use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec};
#[cfg(feature = "console")]
use prometheus::{core::Collector, proto::MetricFamily};

use super::registration::Registration;
use crate::rollout::transition::{Cause, TransitionKind};
use crate::rollout::{Stage, Transition};
use crate::upstream::Slot;

/// The result of sending one notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notified {
    Sent,
    /// It will be tried again.
    Failed,
    GivenUp,
    /// Too many were waiting.
    Dropped,
}

impl Notified {
    fn as_str(self) -> &'static str {
        match self {
            Notified::Sent => "sent",
            Notified::Failed => "failed",
            Notified::GivenUp => "given_up",
            Notified::Dropped => "dropped",
        }
    }
}

/// The families of the control plane.
#[derive(Clone)]
pub(crate) struct RolloutMetrics {
    healthy: IntGaugeVec,
    memory: GaugeVec,
    stage: IntGaugeVec,
    paused: IntGauge,
    fence: IntGauge,
    transitions: IntCounterVec,
    notifications: IntCounterVec,
    state_saved: IntGauge,
    error_rate: GaugeVec,
    p95: GaugeVec,
    step_seconds: Gauge,
}

impl RolloutMetrics {
    /// The memory of each backend, as the family has it.
    #[cfg(feature = "console")]
    pub(super) fn memory(&self) -> Vec<MetricFamily> {
        self.memory.collect()
    }

    pub(super) fn new(add: &Registration<'_>) -> Result<RolloutMetrics, prometheus::Error> {
        let metrics = RolloutMetrics {
            healthy: add.gauges(
                "mcp_guard_slot_healthy",
                "Whether the slot's MCP health check says healthy (1) or not (0), by slot.",
                &["slot"],
            )?,
            memory: add.shares(
                "mcp_guard_backend_memory_ratio",
                "Memory of a slot's backend as a part of its control group's limit, by slot.",
                &["slot"],
            )?,
            stage: add.gauges(
                "mcp_guard_rollout_stage",
                "1 for the stage that the rollout is at, 0 for the others, by stage.",
                &["stage"],
            )?,
            paused: add.gauge("mcp_guard_rollout_paused", "1 while the rollout waits for an operator.")?,
            fence: add.gauge(
                "mcp_guard_era_fence",
                "1 while newer protocol versions are fenced off because the way back does not speak them.",
            )?,
            transitions: add.counters(
                "mcp_guard_rollout_transitions_total",
                "Transitions of rollouts by kind and cause.",
                &["kind", "cause"],
            )?,
            notifications: add.counters(
                "mcp_guard_notifications_total",
                "Tries to notify a receiver by its name and result: sent, failed, given_up or dropped.",
                &["receiver", "result"],
            )?,
            state_saved: add.gauge(
                "mcp_guard_rollout_state_saved",
                "1 while the state of the rollout is on the disk, 0 while it cannot be written.",
            )?,
            error_rate: add.shares(
                "mcp_guard_rollout_error_ratio",
                "Failed calls since the step began as a part of all, as the analysis sees them, by slot.",
                &["slot"],
            )?,
            p95: add.shares(
                "mcp_guard_rollout_p95_seconds",
                "95th percentile of the calls since the step began, by slot.",
                &["slot"],
            )?,
            step_seconds: add.share(
                "mcp_guard_rollout_step_overdue_seconds",
                "Time since the hold of the present step was over; 0 before that and outside a rollout.",
            )?,
        };
        metrics.state_saved.set(1);
        metrics.set_stage(Stage::Stable, false);
        // Present from the first scrape, so that an alert on their increase sees the first one.
        for cause in Cause::codes() {
            for kind in [TransitionKind::RolledBack, TransitionKind::Paused, TransitionKind::Noted] {
                metrics.transitions.with_label_values(&[kind.as_str(), cause]);
            }
        }
        Ok(metrics)
    }

    pub(crate) fn set_healthy(&self, slot: Slot, healthy: bool) {
        self.healthy.with_label_values(&[slot.as_str()]).set(i64::from(healthy));
    }

    pub(crate) fn set_memory(&self, slot: Slot, part: f64) {
        self.memory.with_label_values(&[slot.as_str()]).set(part);
    }

    /// The slot has no backend any more: neither has it a health.
    pub(crate) fn remove(&self, slot: Slot) {
        let label = [slot.as_str()];
        // One that was never set is not there, which is as good.
        let _ = self.healthy.remove_label_values(&label);
        for family in [&self.memory, &self.error_rate, &self.p95] {
            let _ = family.remove_label_values(&label);
        }
    }

    pub(crate) fn set_stage(&self, now: Stage, paused: bool) {
        for stage in Stage::ALL {
            self.stage.with_label_values(&[stage.as_str()]).set(i64::from(stage == now));
        }
        self.paused.set(i64::from(paused));
    }

    pub(crate) fn set_fence(&self, closed: bool) {
        self.fence.set(i64::from(closed));
    }

    pub(crate) fn transition(&self, transition: &Transition) {
        self.transitions.with_label_values(&[transition.kind.as_str(), transition.cause.code()]).inc();
    }

    /// A receiver is there: its series are present before its first notification, sent or failed.
    pub(crate) fn receiver(&self, name: &str) {
        for what in [Notified::Sent, Notified::Failed, Notified::GivenUp, Notified::Dropped] {
            self.notifications.with_label_values(&[name, what.as_str()]);
        }
    }

    pub(crate) fn notified(&self, receiver: &str, what: Notified) {
        self.notifications.with_label_values(&[receiver, what.as_str()]).inc();
    }

    #[cfg(test)]
    pub(crate) fn notifications(&self, receiver: &str, what: Notified) -> u64 {
        self.notifications.with_label_values(&[receiver, what.as_str()]).get()
    }

    pub(crate) fn set_state_saved(&self, saved: bool) {
        self.state_saved.set(i64::from(saved));
    }

    /// What the analysis sees of a slot in the present step.
    pub(crate) fn set_summary(&self, slot: Slot, error_rate: f64, p95_seconds: Option<f64>) {
        self.error_rate.with_label_values(&[slot.as_str()]).set(error_rate);
        self.p95.with_label_values(&[slot.as_str()]).set(p95_seconds.unwrap_or(0.0));
    }

    pub(crate) fn set_overdue(&self, seconds: f64) {
        self.step_seconds.set(seconds);
    }
}
