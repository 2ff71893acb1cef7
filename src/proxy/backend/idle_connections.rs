//! Idle connections: last in, first out, bounded, and none of an earlier generation.
//!
//! They are kept in parts, one for each worker, so that workers do not share what they use for every call. Must not know what a
//! connection is.

use std::time::{Duration, Instant};

use crate::proxy::sync::{AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};
use crate::worker::PerWorker;

/// The idle connections of one backend.
pub(crate) struct IdleConnections<T> {
    parts: PerWorker<Part<T>>,
    idle_time: Duration,
    /// A connection that was opened under an earlier one is not taken again.
    generation: AtomicU64,
}

struct Part<T> {
    idle: Mutex<Vec<Idle<T>>>,
    idle_max: usize,
}

struct Idle<T> {
    connection: T,
    generation: u64,
    since: Instant,
}

impl<T> IdleConnections<T> {
    pub(crate) fn new(workers: usize, idle_max: usize, idle_time: Duration) -> IdleConnections<T> {
        let workers = workers.max(1);
        let part = |index| {
            let more = usize::from(index < idle_max % workers);
            Part { idle: Mutex::new(Vec::new()), idle_max: idle_max / workers + more }
        };
        let parts = PerWorker::new(workers, part);
        IdleConnections { parts, idle_time, generation: AtomicU64::new(0) }
    }

    /// The one that this worker put last of those that are still good; without any, one of another worker, which is cheaper than a
    /// new one.
    pub(crate) fn take(
        &self,
        worker: usize,
        now: Instant,
        mut is_good: impl FnMut(&mut T) -> bool,
    ) -> Option<T> {
        let current = self.generation();
        for part in self.parts.iter_from(worker) {
            let mut idle = part.lock();
            while let Some(Idle { mut connection, generation, since }) = idle.pop() {
                if now.saturating_duration_since(since) >= self.idle_time {
                    // Those below are older still.
                    idle.clear();
                    break;
                }
                if generation == current && is_good(&mut connection) {
                    return Some(connection);
                }
            }
        }
        None
    }

    /// Keeps a connection of this generation, if it is the present one and there is room.
    pub(crate) fn put(&self, worker: usize, connection: T, generation: u64, now: Instant) {
        if generation != self.generation() {
            return;
        }
        for part in self.parts.iter_from(worker) {
            let mut idle = part.lock();
            if idle.len() < part.idle_max {
                return idle.push(Idle { connection, generation, since: now });
            }
        }
    }

    /// The generation of connections that are opened now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Begins a new generation: no connection that was opened before is taken again.
    pub(crate) fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for part in self.parts.iter() {
            let invalid = std::mem::take(&mut *part.lock());
            drop(invalid);
        }
    }

    /// Drops connections that have been idle for too long, or are not good any more.
    pub(crate) fn evict_expired(&self, mut is_good: impl FnMut(&mut T) -> bool) {
        let mut is_kept =
            |idle: &mut Idle<T>| idle.since.elapsed() < self.idle_time && is_good(&mut idle.connection);
        for part in self.parts.iter() {
            part.lock().retain_mut(&mut is_kept);
        }
    }

    pub(crate) fn idle(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }
}

impl<T> Part<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<Idle<T>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn taken(idle: &IdleConnections<u32>, worker: usize) -> Option<u32> {
        idle.take(worker, Instant::now(), |_| true)
    }

    #[test]
    fn a_worker_takes_its_own_idle_connections_before_those_of_others() {
        let idle = IdleConnections::new(2, 8, LONG);
        for (worker, connection) in [(0, 1), (1, 2), (0, 3)] {
            idle.put(worker, connection, 0, Instant::now());
        }
        assert_eq!([taken(&idle, 1), taken(&idle, 1), taken(&idle, 1)], [Some(2), Some(3), Some(1)]);
        assert_eq!(taken(&idle, 1), None);
    }

    #[test]
    fn the_bound_of_idle_connections_is_that_of_all_workers_together() {
        for (workers, idle_max) in [(1, 3), (2, 1), (2, 3), (3, 8), (8, 3)] {
            let idle = IdleConnections::new(workers, idle_max, LONG);
            for connection in 0..20 {
                // One worker may keep as many as all of them, if the others have none.
                idle.put(workers - 1, connection, 0, Instant::now());
            }
            assert_eq!(idle.idle(), idle_max, "{workers} workers");
            assert_eq!((0..20).filter(|_| taken(&idle, 0).is_some()).count(), idle_max);
        }
    }

    #[test]
    fn a_new_generation_ends_the_idle_connections_of_every_worker() {
        let idle = IdleConnections::new(2, 8, LONG);
        idle.put(0, 1, 0, Instant::now());
        idle.put(1, 2, 0, Instant::now());
        idle.invalidate();
        assert_eq!(idle.idle(), 0);
        idle.put(1, 3, 0, Instant::now());
        assert_eq!(taken(&idle, 1), None);
    }

    #[test]
    fn expired_idle_connections_of_every_worker_are_evicted() {
        let idle = IdleConnections::new(3, 9, LONG);
        (0..9).for_each(|connection| idle.put(connection % 3, connection, 0, Instant::now()));
        idle.evict_expired(|connection| *connection >= 6);
        assert_eq!(idle.idle(), 3);
    }
}
