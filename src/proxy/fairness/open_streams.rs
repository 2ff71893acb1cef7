//! Open streams of the endpoint, counted apart from places in flight: in all, and for each client.
//!
//! A subscription lives as long as its client does. Counted among the calls in flight, a few dozen of them would end the
//! service for everybody. Must not know what a stream carries.

use std::collections::HashMap;

use crate::proxy::fairness::semaphore::Key;
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};

/// How many streams may be open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamBounds {
    pub(crate) all_max: usize,
    pub(crate) per_client_max: usize,
}

/// Every open stream.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<Key, usize>,
}

/// One open stream; it is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream<'s> {
    streams: &'s Streams,
    who: Key,
}

impl Streams {
    /// Opens a stream, unless its client or all together have as many as they may.
    pub(crate) fn open(&self, who: Key, bounds: StreamBounds) -> Option<OpenStream<'_>> {
        let mut open = self.lock();
        let own = open.by_client.get(&who).copied().unwrap_or_default();
        if open.all >= bounds.all_max || own >= bounds.per_client_max {
            return None;
        }
        open.all += 1;
        open.by_client.insert(who, own + 1);
        Some(OpenStream { streams: self, who })
    }

    /// Streams that are open now.
    pub(crate) fn count(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing under this lock can panic half-way through a change.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        open.all -= 1;
        if let Some(own) = open.by_client.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                open.by_client.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_bounded_in_all_and_for_each_client() {
        let streams = Streams::default();
        let bounds = StreamBounds { all_max: 3, per_client_max: 2 };
        let mut first: Vec<_> = (0..2).map(|_| streams.open(1, bounds).unwrap()).collect();
        assert!(streams.open(1, bounds).is_none(), "its own bound");
        let second = streams.open(2, bounds).unwrap();
        assert!(streams.open(3, bounds).is_none(), "the bound of all");
        first.pop();
        let _third = streams.open(3, bounds).unwrap();
        assert_eq!(streams.count(), 3);
        drop((first, second));
        assert_eq!(streams.count(), 1);
        assert!(streams.lock().by_client.len() == 1, "clients without streams are forgotten");
    }
}
