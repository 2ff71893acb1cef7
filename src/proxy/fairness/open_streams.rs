//! Open streams of the endpoint, counted apart from calls in flight: of all clients, and of each.
//!
//! A subscription lives as long as its client stays connected. Counted among the calls in flight, a few dozen of them
//! would end the service for every client. Must not know what a stream carries.

use crate::proxy::fairness::per_client::{ClientKey, PerClient};
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};

/// How many streams may be open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamBounds {
    pub(crate) all_max: usize,
    pub(crate) per_client_max: usize,
}

/// Every open stream.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams {
    open: Mutex<PerClient>,
}

/// Counts one open stream until it is dropped.
#[derive(Debug)]
pub(crate) struct StreamGuard<'s> {
    streams: &'s OpenStreams,
    who: ClientKey,
}

impl OpenStreams {
    /// Opens a stream, within the bounds of its client and of all.
    pub(crate) fn open(&self, who: ClientKey, bounds: StreamBounds) -> Option<StreamGuard<'_>> {
        self.lock().add(who, bounds.all_max, bounds.per_client_max).ok()?;
        Some(StreamGuard { streams: self, who })
    }

    /// Streams of one client that are open now.
    pub(crate) fn count_of(&self, who: ClientKey) -> usize {
        self.lock().own(who)
    }

    /// Streams that are open now.
    pub(crate) fn count(&self) -> usize {
        self.lock().all()
    }

    fn lock(&self) -> MutexGuard<'_, PerClient> {
        // Nothing under this lock can panic half-way through a change.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamGuard<'_> {
    fn drop(&mut self) {
        self.streams.lock().remove(self.who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_streams_are_bounded_in_all_and_for_each_client() {
        let streams = OpenStreams::default();
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
    }
}
