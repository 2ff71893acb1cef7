//! Where the labels of recent requests lead: the same few series are counted again and again, and finding one of them in
//! its family costs more than counting it.
//!
//! A place holds one set of labels and gives way to the next; what is not remembered is looked up. Must not know what is
//! counted, nor invent a label.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use prometheus::{Histogram, IntCounter};

use crate::telemetry::record::{Outcome, Record};
use crate::upstream::Slot;
use crate::wire::Method;

/// Sets of labels that are remembered at most.
const PLACES: usize = 64;

/// The series of one set of labels.
pub(super) struct Series {
    pub(super) requests: IntCounter,
    pub(super) server_duration: Option<Histogram>,
    pub(super) client_duration: Option<Histogram>,
}

pub(super) struct Resolved {
    /// Connections to a backend, of each slot and result, once there was one.
    pub(super) connections: [[OnceLock<IntCounter>; 3]; 2],
    places: [ArcSwapOption<(Labels, Series)>; PLACES],
}

/// What decides which series a request counts in.
#[derive(PartialEq, Eq)]
struct Labels {
    slot: Option<Slot>,
    method: Option<Method>,
    outcome: Outcome,
    has_upstream: bool,
    tool: Option<String>,
    client: String,
}

impl Labels {
    fn of(record: &Record<'_>) -> Labels {
        Labels {
            slot: record.slot,
            method: record.method,
            outcome: record.outcome,
            has_upstream: record.upstream.is_some(),
            tool: record.tool.map(str::to_owned),
            client: record.client_label.to_owned(),
        }
    }

    fn are_of(&self, record: &Record<'_>) -> bool {
        self.tool.as_deref() == record.tool
            && self.client == record.client_label
            && self.slot == record.slot
            && self.method == record.method
            && self.outcome == record.outcome
            && self.has_upstream == record.upstream.is_some()
    }
}

impl Resolved {
    pub(super) fn new() -> Resolved {
        Resolved { connections: Default::default(), places: std::array::from_fn(|_| ArcSwapOption::empty()) }
    }

    /// Counts in the series of this request, which are looked up if they are not remembered.
    pub(super) fn count(
        &self,
        record: &Record<'_>,
        resolve: impl FnOnce() -> Series,
        count: impl FnOnce(&Series),
    ) {
        let place = &self.places[place(record)];
        match place.load().as_deref() {
            Some((labels, series)) if labels.are_of(record) => count(series),
            Some(_) | None => {
                let series = resolve();
                count(&series);
                place.store(Some(Arc::new((Labels::of(record), series))));
            }
        }
    }
}

/// Tools of one server often begin alike: the ends of names tell them apart.
fn place(record: &Record<'_>) -> usize {
    let ends = [record.tool.unwrap_or_default(), record.client_label].map(|text| {
        let from = text.len().saturating_sub(8);
        text.as_bytes()[from..].iter().fold(text.len(), |sum, byte| sum.wrapping_mul(31) + usize::from(*byte))
    });
    (ends[0] ^ ends[1].wrapping_mul(7) ^ ((record.outcome as usize) << 3)) % PLACES
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Metrics;
    use super::*;

    fn record<'r>(tool: &'r str, client_label: &'r str, upstream: Option<Duration>) -> Record<'r> {
        Record {
            request_id: "i",
            peer: None,
            client: Some(client_label),
            client_label,
            method: Some(Method::ToolsCall),
            tool: Some(tool),
            route: None,
            streamed: false,
            slot: Some(Slot::Blue),
            status: Some(200),
            outcome: Outcome::Ok,
            denial: None,
            bytes_in: 0,
            bytes_out: 0,
            total: Duration::from_millis(1),
            upstream,
        }
    }

    #[test]
    fn every_request_counts_in_its_own_series_however_many_there_are() {
        let metrics = Metrics::new().unwrap();
        let upstream = Some(Duration::from_millis(1));
        let tools: Vec<String> = (0..3 * PLACES).map(|number| format!("tool_{number}")).collect();
        for round in 0..3 {
            for tool in &tools {
                metrics.record(&record(tool, "a", upstream));
                // Never asked: no time at a backend.
                metrics.record(&record(tool, "a", None));
                if round == 0 {
                    metrics.record(&record(tool, "b", upstream));
                }
            }
        }
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        let value = |series: String| {
            text.lines().find_map(|line| line.strip_prefix(series.as_str())?.trim().parse().ok())
        };
        for tool in &tools {
            let requests = |client: &str| {
                value(format!(
                    "mcp_guard_requests_total{{client=\"{client}\",method=\"tools/call\",outcome=\"ok\",slot=\"blue\",tool=\"{tool}\"}}"
                ))
            };
            let durations = value(format!(
                "mcp_client_operation_duration_seconds_count{{error_type=\"\",gen_ai_tool_name=\"{tool}\",mcp_method_name=\"tools/call\",slot=\"blue\"}}"
            ));
            assert_eq!((requests("a"), requests("b"), durations), (Some(6), Some(1), Some(4)), "{tool}");
        }
    }
}
