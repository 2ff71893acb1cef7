//! What lies idle until the next call takes it: last in, first out, bounded, and nothing of an earlier generation.
//!
//! The pool keeps its connections here. Must not know what it keeps.

use std::time::{Duration, Instant};

use crate::proxy::sync::{AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};

/// A bounded number of idle things.
pub(crate) struct Shelf<T> {
    idle: Mutex<Vec<Idle<T>>>,
    idle_max: usize,
    idle_time: Duration,
    /// What was made under an earlier one is not taken again.
    generation: AtomicU64,
}

struct Idle<T> {
    kept: T,
    generation: u64,
    since: Instant,
}

impl<T> Shelf<T> {
    pub(crate) fn new(idle_max: usize, idle_time: Duration) -> Shelf<T> {
        Shelf { idle: Mutex::new(Vec::new()), idle_max, idle_time, generation: AtomicU64::new(0) }
    }

    /// The one put last of those that are still good.
    pub(crate) fn take(&self, now: Instant, mut is_good: impl FnMut(&mut T) -> bool) -> Option<T> {
        let current = self.generation();
        let mut idle = self.lock();
        while let Some(Idle { mut kept, generation, since }) = idle.pop() {
            if now.saturating_duration_since(since) >= self.idle_time {
                // Those below are older still.
                idle.clear();
                break;
            }
            if generation == current && is_good(&mut kept) {
                return Some(kept);
            }
        }
        None
    }

    /// Keeps what was made under this generation, if it is the present one and there is room.
    pub(crate) fn put(&self, kept: T, generation: u64, now: Instant) {
        if generation != self.generation() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < self.idle_max {
            idle.push(Idle { kept, generation, since: now });
        }
    }

    /// The generation of what is made now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Begins a new generation: nothing made before is taken again.
    pub(crate) fn retire(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let retired = std::mem::take(&mut *self.lock());
        drop(retired);
    }

    /// Drops what has been idle for too long, or is not good any more.
    pub(crate) fn reap(&self, mut is_good: impl FnMut(&mut T) -> bool) {
        self.lock().retain_mut(|idle| idle.since.elapsed() < self.idle_time && is_good(&mut idle.kept));
    }

    pub(crate) fn idle(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle<T>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
