//! The family of copied calls. Cheap to clone; written where calls are copied and where copies are judged.

use prometheus::{IntCounterVec, IntGauge};

use super::registration::Registration;
use crate::parity::shadow::mismatch_log::ShadowOutcome;
use crate::wire::Method;

/// What became of copies.
#[derive(Clone)]
pub(crate) struct ShadowMetrics {
    copies: IntCounterVec,
    waiting: IntGauge,
}

impl ShadowMetrics {
    pub(super) fn new(add: &Registration<'_>) -> Result<ShadowMetrics, prometheus::Error> {
        let copies = add.counters(
            "mcp_guard_shadow_copies_total",
            "Copies of calls to the candidate by method and result: matched, mismatched, failed, dropped or skipped.",
            &["method", "result"],
        )?;
        // Present from the first scrape, so that an alert on their increase sees the first one.
        for copied in ShadowOutcome::ALL {
            copies.with_label_values(&[Method::ToolsList.as_str(), copied.as_str()]);
        }
        let waiting = add.gauge("mcp_guard_shadow_waiting", "Copies of calls that wait to be made.")?;
        Ok(ShadowMetrics { copies, waiting })
    }

    pub(crate) fn copied(&self, method: Method, what: ShadowOutcome) {
        self.copies.with_label_values(&[method.as_str(), what.as_str()]).inc();
    }

    pub(crate) fn set_waiting(&self, copies: usize) {
        self.waiting.set(i64::try_from(copies).unwrap_or(i64::MAX));
    }
}
