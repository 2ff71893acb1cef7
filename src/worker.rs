//! The threads that serve connections, each for itself: which of them this code runs on, and a part of a value for each.
//!
//! A part keeps its own lock or atomics, so a wrong index would cost time and never correctness. Must not know what is served.

use std::cell::Cell;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
}

/// From here on, this thread is the worker of that index. Other threads count as the first one.
pub(crate) fn begin(index: usize) {
    INDEX.set(index);
}

/// The index of the worker that runs this code.
pub(crate) fn index() -> usize {
    INDEX.get()
}

/// A value in parts, one for each worker: what one thread writes often is not in a cache line of another.
pub(crate) struct PerWorker<T>(Box<[Padded<T>]>);

/// Two cache lines, because processors fetch them in pairs.
#[repr(align(128))]
struct Padded<T>(T);

impl<T> PerWorker<T> {
    /// At least one part.
    pub(crate) fn new(workers: usize, mut part: impl FnMut(usize) -> T) -> PerWorker<T> {
        PerWorker((0..workers.max(1)).map(|index| Padded(part(index))).collect())
    }

    /// The part of this thread.
    pub(crate) fn own(&self) -> &T {
        let parts = &self.0;
        &parts[index() % parts.len()].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|part| &part.0)
    }

    /// Every part, the one of this worker first. A worker beyond the last part shares one.
    pub(crate) fn iter_from(&self, index: usize) -> impl Iterator<Item = &T> {
        let (before, from) = self.0.split_at(index % self.0.len());
        from.iter().chain(before).map(|part| &part.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_a_part_of_its_own_and_other_threads_use_the_first() {
        let parts = PerWorker::new(3, |index| index);
        assert_eq!(parts.iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(parts.iter_from(1).copied().collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(parts.iter_from(4).next(), Some(&1));
        let own = std::thread::spawn(|| {
            let outside = index();
            begin(2);
            (outside, index())
        });
        assert_eq!(own.join().unwrap(), (0, 2));
    }

    #[test]
    fn parts_of_different_workers_share_no_cache_line() {
        let parts = PerWorker::new(2, |_| 0_u8);
        let places: Vec<usize> = parts.iter().map(|part| std::ptr::from_ref(part).addr()).collect();
        assert!(places[1] - places[0] >= 128);
    }
}
