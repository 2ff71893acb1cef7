//! A point in time, as the caller's monotonic clock shows it.
//!
//! The core never reads a clock: every function that depends on time takes a moment.

use std::time::Duration;

/// Nanoseconds since a start that the caller chooses; the same start for a whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

impl Moment {
    /// Later than any other.
    pub const FAR: Moment = Moment(u64::MAX);

    /// So long after the start.
    pub fn after_start(elapsed: Duration) -> Moment {
        Moment(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since the start.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// So much later.
    pub fn plus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to here; none if that is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
