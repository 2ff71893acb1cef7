//! When the statements of a batch ran, for whom it may concern. Of a batch that is repeated, the last attempt counts.
//!
//! Must not know what a statement says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The times of one batch. Copies share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatementTimes(Arc<Mutex<Times>>);

#[derive(Debug, Default)]
struct Times {
    ended: Vec<StatementTime>,
    /// When the statement began that runs now; none before the first.
    running_since: Option<Instant>,
}

/// When one statement ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatementTime {
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
}

impl StatementTimes {
    /// The first statement begins.
    pub(crate) fn start(&self) {
        *self.lock() = Times { ended: Vec::new(), running_since: Some(Instant::now()) };
    }

    /// A statement has ended, and the next one begins.
    pub(crate) fn next(&self) {
        let mut times = self.lock();
        let now = Instant::now();
        if let Some(begun) = times.running_since.replace(now) {
            times.ended.push(StatementTime { begun, took: now.saturating_duration_since(begun) });
        }
    }

    /// The times of those that ended, in their order, and of the one that was running when the batch ended.
    pub(crate) fn taken(&self) -> (Vec<StatementTime>, Option<StatementTime>) {
        let times = self.lock();
        let running = times.running_since.map(|begun| StatementTime { begun, took: begun.elapsed() });
        (times.ended.clone(), running)
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_times_follow_each_other_and_only_those_of_the_last_attempt_count() {
        let times = StatementTimes::default();
        assert_eq!(times.taken(), (Vec::new(), None));
        for statements in [3, 1] {
            times.start();
            (0..statements).for_each(|_| times.next());
            let (ended, running) = times.taken();
            assert_eq!(ended.len(), statements);
            let ends: Vec<Instant> = ended.iter().map(|one| one.begun + one.took).collect();
            let begins: Vec<Instant> = ended.iter().chain(&running).skip(1).map(|one| one.begun).collect();
            assert_eq!(ends, begins);
        }
    }
}
