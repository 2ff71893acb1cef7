//! What several guards have counted, as one: counts add, latency histograms merge.
//!
//! A tally is what one guard's windows hold at one time, as plain data that another guard can take. Must not decide anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::window::{Counts, Latencies};
use crate::upstream::Slot;

/// Copies of calls, compared: since the step began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShadowTally {
    /// Copies to which the candidate responded or failed.
    pub requests: u64,
    /// Copies that the candidate failed.
    pub failures: u64,
    /// Copies whose responses differ from stable's.
    pub mismatched: u64,
}

impl ShadowTally {
    /// Adds other copies.
    pub(super) fn merge(&mut self, other: &ShadowTally) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failures = self.failures.saturating_add(other.failures);
        self.mismatched = self.mismatched.saturating_add(other.mismatched);
    }
}

/// Which of the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The step so far, as far back as the analysis looks.
    Step,
    /// The window of the trigger on a high error rate.
    ErrorRate,
    /// The window of the trigger on a sustained error rate.
    Sustained,
    /// The window of the trigger on latency.
    Latency,
}

/// What guards have counted over every window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardTally {
    /// Of the blue slot.
    pub blue: SlotTally,
    /// Of the green slot.
    pub green: SlotTally,
    /// Compared copies since the step began.
    pub shadow: ShadowTally,
}

/// What guards have counted of one slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotTally {
    /// Since the step began.
    pub step: Counts,
    /// In the window of the trigger on a high error rate.
    pub error_rate: Counts,
    /// In the window of the trigger on a sustained error rate.
    pub sustained: Counts,
    /// In the window of the trigger on latency.
    pub latency: Counts,
    /// In the last hour.
    pub usual: Counts,
    /// For how long the sustained error rate has been watched, in milliseconds.
    pub watched_ms: u64,
    /// Latencies since the step began.
    pub step_latencies: Latencies,
    /// Latencies in the window of the trigger on latency.
    pub trigger_latencies: Latencies,
}

impl GuardTally {
    /// Adds what another guard has counted.
    pub fn merge(&mut self, other: &GuardTally) {
        self.blue.merge(&other.blue);
        self.green.merge(&other.green);
        self.shadow.merge(&other.shadow);
    }

    /// What was counted of a slot.
    pub fn slot(&self, slot: Slot) -> &SlotTally {
        match slot {
            Slot::Blue => &self.blue,
            Slot::Green => &self.green,
        }
    }

    /// Forgets what was counted since the step began: another one begins.
    pub(super) fn begin_step(&mut self) {
        for slot in [&mut self.blue, &mut self.green] {
            slot.step = Counts::default();
            slot.step_latencies = Latencies::default();
        }
        self.shadow = ShadowTally::default();
    }
}

impl SlotTally {
    fn merge(&mut self, other: &SlotTally) {
        self.step.merge(&other.step);
        self.error_rate.merge(&other.error_rate);
        self.sustained.merge(&other.sustained);
        self.latency.merge(&other.latency);
        self.usual.merge(&other.usual);
        self.watched_ms = self.watched_ms.max(other.watched_ms);
        self.step_latencies.merge(&other.step_latencies);
        self.trigger_latencies.merge(&other.trigger_latencies);
    }

    pub(super) fn counts(&self, span: Span) -> &Counts {
        match span {
            Span::Step => &self.step,
            Span::ErrorRate => &self.error_rate,
            Span::Sustained => &self.sustained,
            Span::Latency => &self.latency,
        }
    }

    pub(super) fn latencies(&self, span: Span) -> &Latencies {
        match span {
            Span::Step => &self.step_latencies,
            Span::ErrorRate | Span::Sustained | Span::Latency => &self.trigger_latencies,
        }
    }

    pub(super) fn watched(&self) -> Duration {
        Duration::from_millis(self.watched_ms)
    }
}
