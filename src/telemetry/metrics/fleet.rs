//! The families of a fleet: the store, the members and the lead, as this guard sees them. They are there only in a fleet.

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::registration::Registration;

/// What the gauges show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FleetGauges {
    /// The store responds.
    pub(crate) is_store_up: bool,
    pub(crate) generation: u64,
    pub(crate) live: u64,
    pub(crate) known: u64,
    /// This guard leads.
    pub(crate) leads: bool,
    /// Some guard leads, as the store has it.
    pub(crate) has_leader: bool,
    /// The candidate gets calls from this guard.
    pub(crate) is_candidate_open: bool,
    /// Reasons why nothing moves forward; 0 on a guard that does not lead.
    pub(crate) holds: usize,
}

/// What is measured of a fleet. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FleetMetrics {
    store_up: IntGauge,
    store_errors: IntCounter,
    generation: IntGauge,
    members: IntGaugeVec,
    leads: IntGauge,
    has_leader: IntGauge,
    candidate_open: IntGauge,
    holds: IntGauge,
}

impl FleetMetrics {
    pub(super) fn new(add: &Registration<'_>) -> Result<FleetMetrics, prometheus::Error> {
        let metrics = FleetMetrics {
            store_up: add.gauge("mcp_guard_fleet_store_up", "Whether the fleet's store responds (1) or is away (0).")?,
            store_errors: add.counter(
                "mcp_guard_fleet_store_errors_total",
                "Exchanges with the fleet's store that failed or had no response in time.",
            )?,
            generation: add
                .gauge("mcp_guard_fleet_generation", "Generation of the fleet's state that this guard follows.")?,
            members: add.gauges(
                "mcp_guard_fleet_members",
                "Guards of the fleet by state: live, or known (not silent for so long that they are forgotten).",
                &["state"],
            )?,
            leads: add.gauge("mcp_guard_fleet_leads", "1 on the guard that leads the fleet.")?,
            has_leader: add
                .gauge("mcp_guard_fleet_has_leader", "Whether the store has a leader of the fleet (1) or none (0).")?,
            candidate_open: add.gauge(
                "mcp_guard_fleet_candidate_open",
                "Whether the candidate gets calls from this guard (1), or not: ejected, or catching up (0).",
            )?,
            holds: add.gauge(
                "mcp_guard_fleet_holds",
                "Reasons why the leader moves nothing forward; 0 on the other guards.",
            )?,
        };
        metrics.set(FleetGauges::default());
        Ok(metrics)
    }

    /// Sets the gauges.
    pub(crate) fn set(&self, now: FleetGauges) {
        let FleetGauges { is_store_up, generation, live, known, leads, has_leader, is_candidate_open, holds } =
            now;
        let flags = [
            (&self.store_up, is_store_up),
            (&self.leads, leads),
            (&self.has_leader, has_leader),
            (&self.candidate_open, is_candidate_open),
        ];
        for (gauge, flag) in flags {
            gauge.set(i64::from(flag));
        }
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.generation.set(number(generation));
        self.holds.set(number(holds as u64));
        for (state, count) in [("live", live), ("known", known)] {
            self.members.with_label_values(&[state]).set(number(count));
        }
    }

    /// Counts an exchange with the store that failed.
    pub(crate) fn store_failed(&self) {
        self.store_errors.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn the_families_of_a_fleet_are_there_only_in_one_and_once() {
        let metrics = Metrics::new(1).unwrap();
        let text = || String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(!text().contains("_fleet_"));
        let fleet = metrics.fleet().unwrap();
        assert!(metrics.fleet().is_err());
        fleet.set(FleetGauges {
            live: 4,
            known: 5,
            generation: 7,
            has_leader: true,
            ..FleetGauges::default()
        });
        (0..3).for_each(|_| fleet.store_failed());
        for line in [
            "mcp_guard_fleet_members{state=\"live\"} 4",
            "mcp_guard_fleet_members{state=\"known\"} 5",
            "mcp_guard_fleet_generation 7",
            "mcp_guard_fleet_has_leader 1",
            "mcp_guard_fleet_leads 0",
            "mcp_guard_fleet_store_up 0",
            "mcp_guard_fleet_candidate_open 0",
            "mcp_guard_fleet_holds 0",
            "mcp_guard_fleet_store_errors_total 3",
        ] {
            assert!(text().contains(line), "{line}\n{}", text());
        }
    }
}
