//! Where spans go: the data plane's view of the part that makes and exports them.
//!
//! Must not know what a span looks like.

use std::time::SystemTime;

use super::record::Record;
use super::trace::RequestTrace;

/// Takes what is known of a request when it is over.
pub(crate) trait SpanSink: Send + Sync {
    /// The request of this record began at that time of day. Never waits.
    fn end(&self, record: &Record<'_>, trace: &RequestTrace, begun: SystemTime);

    fn counts(&self) -> SpanCounts;
}

/// What became of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SpanCounts {
    pub(crate) exported: u64,
    pub(crate) dropped: u64,
    pub(crate) failed: u64,
    /// Requests that were not sampled although their callers asked for it.
    pub(crate) limited: u64,
}
