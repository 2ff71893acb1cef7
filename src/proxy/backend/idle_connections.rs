//! Idle connections: last in, first out, bounded, and none of an earlier generation.
//!
//! Must not know what a connection is.

use std::time::{Duration, Instant};

use crate::proxy::sync::{AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};

/// The idle connections of one backend.
pub(crate) struct IdleConnections<T> {
    idle: Mutex<Vec<Idle<T>>>,
    idle_max: usize,
    idle_time: Duration,
    /// A connection that was opened under an earlier one is not taken again.
    generation: AtomicU64,
}

struct Idle<T> {
    connection: T,
    generation: u64,
    since: Instant,
}

impl<T> IdleConnections<T> {
    pub(crate) fn new(idle_max: usize, idle_time: Duration) -> IdleConnections<T> {
        IdleConnections { idle: Mutex::new(Vec::new()), idle_max, idle_time, generation: AtomicU64::new(0) }
    }

    /// The one that was put last of those that are still good.
    pub(crate) fn take(&self, now: Instant, mut is_good: impl FnMut(&mut T) -> bool) -> Option<T> {
        let current = self.generation();
        let mut idle = self.lock();
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
        None
    }

    /// Keeps a connection of this generation, if it is the present one and there is room.
    pub(crate) fn put(&self, connection: T, generation: u64, now: Instant) {
        if generation != self.generation() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < self.idle_max {
            idle.push(Idle { connection, generation, since: now });
        }
    }

    /// The generation of connections that are opened now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Begins a new generation: no connection that was opened before is taken again.
    pub(crate) fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let invalid = std::mem::take(&mut *self.lock());
        drop(invalid);
    }

    /// Drops connections that have been idle for too long, or are not good any more.
    pub(crate) fn evict_expired(&self, mut is_good: impl FnMut(&mut T) -> bool) {
        self.lock().retain_mut(|idle| idle.since.elapsed() < self.idle_time && is_good(&mut idle.connection));
    }

    pub(crate) fn idle(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle<T>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
