//! The counters of both slots' calls in a text of the guard's metrics, and what lies between two such texts.
//!
//! Pure. Must not know when or why they are read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::histogram;
use crate::upstream::Slot;

const REQUESTS: &str = "mcp_guard_requests_total{";
const BUCKETS: &str = "mcp_client_operation_duration_seconds_bucket{";
const STARTED: &str = "process_start_time_seconds ";

/// What a guard has counted since its start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Scraped {
    /// When the guard started: another one counts from zero.
    pub(super) started_millis: u64,
    slots: BTreeMap<Slot, Counters>,
}

/// The calls of one slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) requests: u64,
    pub(super) tool_errors: u64,
    /// With a result, or given up by the client.
    fine: u64,
    /// Up to how many microseconds, and how many exchanges took at most that long; the bucket without a bound is the last.
    buckets: BTreeMap<u64, u64>,
}

impl Scraped {
    pub(super) fn of(text: &str) -> Scraped {
        let mut scraped = Scraped::default();
        for line in text.lines() {
            if let Some(seconds) = line.strip_prefix(STARTED).and_then(|value| value.parse::<f64>().ok()) {
                scraped.started_millis = (seconds * 1_000.0) as u64;
            }
            scraped.add(line);
        }
        scraped
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (labels, is_bucket) = match (line.strip_prefix(REQUESTS), line.strip_prefix(BUCKETS)) {
            (Some(rest), _) => (rest, false),
            (None, rest) => (rest?, true),
        };
        let (labels, value) = labels.rsplit_once("} ")?;
        let value = value.parse::<f64>().ok()? as u64;
        let name = label(labels, "slot")?;
        let slot = Slot::ALL.into_iter().find(|slot| slot.as_str() == name)?;
        let counters = self.slots.entry(slot).or_default();
        if is_bucket {
            // `+Inf` becomes the largest number.
            let bound = label(labels, "le")?.parse::<f64>().ok()? * 1_000_000.0;
            *counters.buckets.entry(bound.round() as u64).or_default() += value;
            return Some(());
        }
        counters.requests += value;
        match label(labels, "outcome")? {
            "ok" | "client_gone" => counters.fine += value,
            "tool_error" => counters.tool_errors += value,
            _ => {}
        }
        Some(())
    }

    /// All calls since the guard's start.
    pub(super) fn requests(&self) -> u64 {
        self.slots.values().map(|counters| counters.requests).sum()
    }

    /// What a slot has counted since an earlier text of the same guard; since its start where that was another one.
    pub(super) fn since(&self, earlier: Option<&Scraped>, slot: Slot) -> Counters {
        let now = self.slots.get(&slot).cloned().unwrap_or_default();
        // The start has hundredths of a second.
        let same = |earlier: &&Scraped| earlier.started_millis.abs_diff(self.started_millis) < 10;
        match earlier.filter(same).and_then(|earlier| earlier.slots.get(&slot)) {
            Some(earlier) => now.less(earlier),
            None => now,
        }
    }
}

impl Counters {
    fn less(self, earlier: &Counters) -> Counters {
        let of = |bound: u64| earlier.buckets.get(&bound).copied().unwrap_or_default();
        let buckets = self.buckets.iter().map(|(bound, count)| (*bound, count.saturating_sub(of(*bound))));
        Counters {
            requests: self.requests.saturating_sub(earlier.requests),
            tool_errors: self.tool_errors.saturating_sub(earlier.tool_errors),
            fine: self.fine.saturating_sub(earlier.fine),
            buckets: buckets.collect(),
        }
    }

    /// Calls with neither a result nor a tool's own error.
    pub(super) fn failures(&self) -> u64 {
        self.requests.saturating_sub(self.fine + self.tool_errors)
    }

    /// A quantile of the times, in milliseconds.
    pub(super) fn quantile_ms(&self, part: f64) -> Option<f64> {
        let bound = |micros: u64| if micros == u64::MAX { f64::INFINITY } else { micros as f64 };
        let buckets: Vec<(f64, u64)> =
            self.buckets.iter().map(|(micros, count)| (bound(*micros), *count)).collect();
        histogram::quantile(&buckets, part).map(|micros| micros / 1_000.0)
    }
}

/// The value of a label. Inside of another label's value a quote has a backslash before it, so this finds none there.
fn label<'t>(labels: &'t str, name: &str) -> Option<&'t str> {
    let named = format!("{name}=\"");
    let begins = |at: &usize| *at == 0 || labels.as_bytes()[at - 1] == b',';
    let at = labels.match_indices(&named).map(|(at, _)| at).find(begins)?;
    labels[at + named.len()..].split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text of real metrics: `calls` are the outcome of each call of the slot and its microseconds.
    fn text(started: f64, slot: &str, calls: &[(&str, u64)]) -> String {
        let mut text = format!("# HELP x y\nprocess_start_time_seconds {started}\n");
        for (outcome, _) in calls {
            // A tool's name may hold anything.
            text += &format!(
                "mcp_guard_requests_total{{client=\"c\",method=\"m\",outcome=\"{outcome}\",slot=\"{slot}\",tool=\"a\\\",slot=\\\"red\"}} 1\n"
            );
        }
        for (le, bound) in [("0.001", 1_000), ("0.01", 10_000), ("0.1", 100_000), ("+Inf", u64::MAX)] {
            let count = calls.iter().filter(|(_, micros)| *micros <= bound).count();
            text += &format!(
                "mcp_client_operation_duration_seconds_bucket{{slot=\"{slot}\",le=\"{le}\"}} {count}\n"
            );
        }
        text
    }

    fn scraped(started: f64, slot: &str, calls: &[(&str, u64)]) -> Scraped {
        Scraped::of(&text(started, slot, calls))
    }

    #[test]
    fn calls_are_counted_by_slot_and_outcome() {
        let calls =
            [("ok", 500), ("tool_error", 500), ("timeout", 500), ("rpc_error", 500), ("client_gone", 1)];
        let scraped = scraped(7.25, "green", &calls);
        let green = scraped.since(None, Slot::Green);
        assert_eq!((green.requests, green.failures(), green.tool_errors), (5, 2, 1));
        assert_eq!(scraped.since(None, Slot::Blue), Counters::default());
        assert_eq!((scraped.started_millis, scraped.requests()), (7_250, 5));
    }

    #[test]
    fn what_was_counted_before_does_not_count_unless_another_guard_did() {
        let before = scraped(7.0, "blue", &[("timeout", 90_000); 3]);
        let later = |started| {
            scraped(started, "blue", &[("timeout", 90_000), ("ok", 90_000), ("ok", 5_000), ("ok", 5_000)])
        };
        let same = later(7.0).since(Some(&before), Slot::Blue);
        assert_eq!(same.requests, 1);
        let other = later(8.0).since(Some(&before), Slot::Blue);
        assert_eq!((other.requests, other.failures()), (4, 1));
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_bucket() {
        let mut calls = vec![("ok", 5_000); 90];
        calls.extend([("ok", 50_000); 10]);
        let blue = scraped(7.0, "blue", &calls).since(None, Slot::Blue);
        assert_eq!(blue.quantile_ms(0.5), Some(1.0 + 9.0 * 50.0 / 90.0));
        assert_eq!(blue.quantile_ms(0.95), Some(10.0 + 90.0 * 0.5));
        assert_eq!(Counters::default().quantile_ms(0.5), None);
        let slow = scraped(7.0, "blue", &[("ok", 9_000_000)]).since(None, Slot::Blue);
        assert_eq!(slow.quantile_ms(0.5), Some(100.0), "the last bound that is known");
    }
}
