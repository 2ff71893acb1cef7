//! The state of each dependency, and its families. Cheap to clone; written by the control plane only.

use std::time::Duration;

use prometheus::{GaugeVec, IntGaugeVec};
use serde::{Deserialize, Serialize};

use super::registration::{Registration, seconds};
use crate::upstream::Slot;

/// The label `slot` where no slot is asked.
const NO_SLOT: &str = "none";

/// What the checks of a dependency say, after rise and fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DependencyState {
    /// No check has ended yet.
    Unknown,
    Up,
    Down,
}

/// The state of one dependency, at one slot where it is asked of slots: for `/ready`, `status` and a scrape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DependencyStatus {
    pub(crate) name: String,
    pub(crate) slot: Option<Slot>,
    pub(crate) required: bool,
    pub(crate) state: DependencyState,
    /// Since when, in seconds since the epoch.
    pub(crate) since: u64,
    /// When the latest check ended, in seconds since the epoch.
    pub(crate) checked: Option<u64>,
    /// How long the latest check took.
    pub(crate) took_ms: Option<u64>,
    /// Why the latest check failed.
    pub(crate) reason: Option<String>,
}

/// The families of dependencies.
#[derive(Clone)]
pub(crate) struct DependencyMetrics {
    up: IntGaugeVec,
    took: GaugeVec,
}

impl DependencyMetrics {
    pub(super) fn new(add: &Registration<'_>) -> Result<DependencyMetrics, prometheus::Error> {
        Ok(DependencyMetrics {
            up: add.gauges(
                "mcp_guard_dependency_up",
                "Whether a dependency's checks succeed (1) or not (0), by dependency and slot (none: not asked of a slot).",
                &["dependency", "slot", "required"],
            )?,
            took: add.shares(
                "mcp_guard_dependency_check_seconds",
                "Time of the latest check of a dependency, by dependency and slot.",
                &["dependency", "slot"],
            )?,
        })
    }

    /// Sets what the latest check says.
    pub(crate) fn set(&self, now: &DependencyStatus, took: Duration) {
        let [name, slot] = labels(now);
        let up = i64::from(now.state == DependencyState::Up);
        self.up.with_label_values(&[name, slot, flag(now.required)]).set(up);
        self.took.with_label_values(&[name, slot]).set(seconds(took));
    }

    /// It is no longer configured.
    pub(crate) fn remove(&self, was: &DependencyStatus) {
        let [name, slot] = labels(was);
        // One that was never checked is not there, which is as good.
        let _ = self.up.remove_label_values(&[name, slot, flag(was.required)]);
        let _ = self.took.remove_label_values(&[name, slot]);
    }
}

fn labels(status: &DependencyStatus) -> [&str; 2] {
    [&status.name, status.slot.map_or(NO_SLOT, Slot::as_str)]
}

fn flag(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}
