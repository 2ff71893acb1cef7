//! The families of routes. The label is the name that the configuration gives a route.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::registration::{Registration, count, seconds};
use crate::telemetry::record::{Outcome, Record};

/// The state of one route at the moment of a scrape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RouteGauges<'r> {
    pub(crate) name: &'r str,
    pub(crate) in_flight: usize,
    pub(crate) streams: usize,
}

pub(super) struct RouteFamilies {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGaugeVec,
    streams: IntGaugeVec,
}

impl RouteFamilies {
    pub(super) fn new(add: &Registration<'_>) -> Result<RouteFamilies, prometheus::Error> {
        Ok(RouteFamilies {
            requests: add.counters(
                "mcp_guard_route_requests_total",
                "Finished requests of routes by route, client or holder of a key, and outcome.",
                &["route", "client", "outcome"],
            )?,
            duration: add.histogram(
                "mcp_guard_route_duration_seconds",
                "Time from a request's head to the end of its answer, by route and error type; without streams.",
                &["route", "error_type"],
            )?,
            in_flight: add.gauges(
                "mcp_guard_route_in_flight",
                "Requests that a route is serving, streams among them.",
                &["route"],
            )?,
            streams: add.gauges(
                "mcp_guard_route_streams",
                "Open event streams and WebSockets, by route.",
                &["route"],
            )?,
        })
    }

    pub(super) fn record(&self, route: &str, record: &Record<'_>) {
        let outcome = record.outcome.as_str();
        self.requests.with_label_values(&[route, record.client_label, outcome]).inc();
        if !record.streamed {
            let error = if record.outcome == Outcome::Ok { "" } else { outcome };
            self.duration
                .with_label_values(&[route, error])
                .observe(seconds(record.total.unwrap_or_default()));
        }
    }

    /// Routes that a reload took away do not linger.
    pub(super) fn set<'r>(&self, routes: impl Iterator<Item = RouteGauges<'r>>) {
        self.in_flight.reset();
        self.streams.reset();
        for route in routes {
            self.in_flight.with_label_values(&[route.name]).set(count(route.in_flight));
            self.streams.with_label_values(&[route.name]).set(count(route.streams));
        }
    }
}
