//! The queue of calls that the candidate gets a second time in a shadow stage.
//!
//! Queueing never waits: with the queue full a call is dropped and counted. Must not know how a call is replayed.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::config::shadow::QUEUE_MAX;
use crate::parity::shadow::mismatch_log::ShadowOutcome;
use crate::proxy::state::queue::Queue;
use crate::telemetry::metrics::ShadowMetrics;
use crate::upstream::Slot;
use crate::wire::Method;

const MILLION: u64 = 1_000_000;

/// A call of a client and the response of stable to it.
#[derive(Debug)]
pub(crate) struct ShadowedCall {
    pub(crate) method: Method,
    pub(crate) stable: Slot,
    pub(crate) request_id: String,
    pub(crate) client: String,
    /// Which of those that the client stands for.
    pub(crate) subject: Option<String>,
    /// The request's `Mcp-*` fields.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) response: Bytes,
    pub(crate) streamed: bool,
}

/// The queue of calls to be replayed on the candidate.
pub(crate) struct ShadowQueue {
    pub(crate) calls: Queue<ShadowedCall>,
    seen: AtomicU64,
    /// Since the start of the process.
    dropped: AtomicU64,
    skipped: AtomicU64,
}

impl ShadowQueue {
    pub(crate) fn new() -> ShadowQueue {
        let [seen, dropped, skipped] = [const { AtomicU64::new(0) }; 3];
        ShadowQueue { calls: Queue::new(QUEUE_MAX), seen, dropped, skipped }
    }

    /// How many calls were not queued since the start: dropped, and skipped.
    pub(crate) fn not_sent(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.skipped.load(Ordering::Relaxed))
    }

    /// Counts a call that finds the queue full or stable busy.
    pub(crate) fn drop_one(&self, method: Method, metrics: &ShadowMetrics) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        metrics.copied(method, ShadowOutcome::Dropped);
    }

    /// Counts a call that cannot be compared.
    pub(crate) fn skip_one(&self, method: Method, metrics: &ShadowMetrics) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
        metrics.copied(method, ShadowOutcome::Skipped);
    }

    /// Whether this call is one of the sample.
    pub(crate) fn is_sampled(&self, per_million: u32) -> bool {
        let (number, part) = (self.seen.fetch_add(1, Ordering::Relaxed) % MILLION, u64::from(per_million));
        (number + 1) * part / MILLION > number * part / MILLION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shadow_sample_is_even() {
        for (per_million, taken) in [(1_000_000, 1_000), (100_000, 100), (1_000, 1), (25_000, 25)] {
            let queue = ShadowQueue::new();
            assert_eq!((0..1_000).filter(|_| queue.is_sampled(per_million)).count(), taken, "{per_million}");
        }
    }
}
