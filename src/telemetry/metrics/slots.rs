//! The families of slots: calls, connections and share of the traffic, at the moment of a scrape.

use prometheus::{GaugeVec, IntGaugeVec};
use serde::{Deserialize, Serialize};

use super::registration::{Registration, count};
use crate::upstream::Slot;

/// The state of one slot, for `status` and for a scrape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotStatus {
    pub(crate) slot: Slot,
    pub(crate) address: String,
    /// Whether the last connection (a call or a readiness check) reached the backend; `None` before the first.
    pub(crate) reachable: Option<bool>,
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) held: usize,
    pub(crate) idle_connections: usize,
}

/// What is measured of a slot at the moment of a scrape.
pub(super) struct SlotFamilies {
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    held: IntGaugeVec,
    idle_connections: IntGaugeVec,
    reachable: IntGaugeVec,
    weight: GaugeVec,
}

impl SlotFamilies {
    pub(super) fn new(add: &Registration<'_>) -> Result<SlotFamilies, prometheus::Error> {
        Ok(SlotFamilies {
            in_flight: add.gauges("mcp_guard_in_flight", "Calls that hold a place, by slot.", &["slot"])?,
            waiting: add.gauges("mcp_guard_waiting", "Calls that wait for a place, by slot.", &["slot"])?,
            held: add.gauges(
                "mcp_guard_held",
                "Calls held because the backend cannot be reached, by slot.",
                &["slot"],
            )?,
            idle_connections: add.gauges(
                "mcp_guard_upstream_idle_connections",
                "Idle pooled connections to a backend, by slot.",
                &["slot"],
            )?,
            reachable: add.gauges(
                "mcp_guard_slot_reachable",
                "Whether the last attempt to reach the backend succeeded (1) or not (0), by slot.",
                &["slot"],
            )?,
            weight: add.shares(
                "mcp_guard_split_weight",
                "Share of the traffic that the split gives to a slot, 0 to 1.",
                &["slot"],
            )?,
        })
    }

    pub(super) fn remove(&self, slot: Slot) {
        let families = [&self.in_flight, &self.waiting, &self.held, &self.idle_connections, &self.reachable];
        // One that was never set is not there, which is as good.
        for family in families {
            let _ = family.remove_label_values(&[slot.as_str()]);
        }
        let _ = self.weight.remove_label_values(&[slot.as_str()]);
    }

    pub(super) fn set(&self, now: &SlotStatus, weight: f64) {
        let label = [now.slot.as_str()];
        self.in_flight.with_label_values(&label).set(count(now.in_flight));
        self.waiting.with_label_values(&label).set(count(now.waiting));
        self.held.with_label_values(&label).set(count(now.held));
        self.idle_connections.with_label_values(&label).set(count(now.idle_connections));
        self.weight.with_label_values(&label).set(weight);
        if let Some(reachable) = now.reachable {
            self.reachable.with_label_values(&label).set(i64::from(reachable));
        }
    }
}
