//! What a slot responded to `server/discover` lately, and the discovers of each client that are on their way to it.
//!
//! Must not know what a response depends on, nor when one is sent from here.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::proxy::fairness::per_client::ClientKey;
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};
use crate::telemetry::Outcome;
use crate::upstream::Slot;

/// How old a cached response may be.
const FRESH: Duration = Duration::from_secs(5);
/// Discovers of one client that are sent to a slot at a time.
const IN_FLIGHT_MAX: usize = 2;
/// Responses cached for a slot: one for each protocol version that clients speak, and some more.
const CACHED_MAX: usize = 16;

/// The cached responses of a slot.
#[derive(Default)]
pub(crate) struct DiscoverCache {
    cached: Mutex<Vec<Arc<CachedResponse>>>,
    in_flight: Mutex<HashMap<ClientKey, Weak<Semaphore>>>,
}

/// What a response may depend on besides the slot, hashed.
pub(crate) type Variant = u64;

/// A response to `server/discover`.
pub(crate) struct CachedResponse {
    pub(crate) slot: Slot,
    pub(crate) variant: Variant,
    /// The generation of the backend's connections.
    pub(crate) generation: u64,
    pub(crate) since: Instant,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    /// Status line and fields.
    pub(crate) rendered: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// Where the request's id stands in the body.
    pub(crate) id: Range<usize>,
}

impl DiscoverCache {
    pub(crate) fn get(&self, variant: Variant, generation: u64) -> Option<Arc<CachedResponse>> {
        let cached = lock(&self.cached);
        let found = cached.iter().find(|cached| cached.variant == variant)?;
        (found.generation == generation && found.since.elapsed() < FRESH).then(|| found.clone())
    }

    pub(crate) fn put(&self, response: CachedResponse) {
        let mut cached = lock(&self.cached);
        cached.retain(|other| other.variant != response.variant);
        if cached.len() >= CACHED_MAX {
            // A client may name any version and gets an error for it: an error must not evict a good response.
            let of_error = cached.iter().position(|other| other.outcome != Outcome::Ok);
            if of_error.is_none() && response.outcome != Outcome::Ok {
                return;
            }
            cached.remove(of_error.unwrap_or(0));
        }
        cached.push(Arc::new(response));
    }

    /// The semaphore behind which the discovers of a client wait for each other.
    pub(crate) fn in_flight(&self, client: ClientKey) -> Arc<Semaphore> {
        let mut in_flight = lock(&self.in_flight);
        if let Some(semaphore) = in_flight.get(&client).and_then(Weak::upgrade) {
            return semaphore;
        }
        in_flight.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        in_flight.insert(client, Arc::downgrade(&semaphore));
        semaphore
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn discovers_in_flight_are_bounded_for_each_client() {
        let cache = DiscoverCache::default();
        let _all: Vec<_> =
            (0..IN_FLIGHT_MAX).map(|_| cache.in_flight(1).try_acquire_owned().unwrap()).collect();
        assert!(cache.in_flight(1).try_acquire_owned().is_err());
        assert!(cache.in_flight(2).try_acquire_owned().is_ok());
        cache.in_flight(3);
        assert_eq!(lock(&cache.in_flight).len(), 2, "unused semaphores are dropped");
    }
}
