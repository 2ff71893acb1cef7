//! The time bounds of an event stream: silence, total time, and the drain.
//!
//! Must not know what a stream carries, nor where it is counted.

use std::time::Duration;

use crate::proxy::downstream::stream::Downstream;

/// How long a stream may be silent, and when it ends in any case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamTime {
    pub(crate) idle: Duration,
    pub(crate) end: Option<tokio::time::Instant>,
    /// After this much silence, a comment is sent.
    pub(crate) ping: Option<Duration>,
    pub(crate) at_drain: AtDrain,
}

/// What a drain does to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtDrain {
    /// It may end by itself within the drain time.
    Finishes,
    /// It ends behind a whole event as soon as the drain begins, because it has no end of its own.
    Ends,
}

impl StreamTime {
    /// From now on, waiting ends when the stream is silent for too long or has lasted long enough.
    pub(crate) fn begin_silence(self, downstream: &mut Downstream) {
        downstream.set_timeout(self.idle);
        if let Some(end) = self.end {
            downstream.set_deadline(downstream.deadline().min(end));
        }
    }
}
