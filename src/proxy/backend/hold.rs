//! The queue of calls held while a slot's backend cannot be reached. The first one tries the backend; the others wait.
//!
//! The queue is bounded, and fair when it is full: the client with the most calls in it gives up its latest one to a client
//! that has fewer. Must not know what a call is, nor how a backend is reached.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::proxy::fairness::per_client::{ClientKey, Exceeded};
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};

/// The held calls of one slot.
pub(crate) struct HoldQueue {
    queue: Mutex<Queue>,
    lead: tokio::sync::Mutex<()>,
}

struct Queue {
    held_max: usize,
    held: usize,
    next_number: u64,
    /// The latest one last.
    by_client: HashMap<ClientKey, Vec<Entry>>,
}

struct Entry {
    number: u64,
    /// Dropping it evicts the call.
    _stay: oneshot::Sender<()>,
}

/// A call in the queue. Dropping this leaves the queue.
pub(crate) struct HoldGuard<'l> {
    hold: &'l HoldQueue,
    who: ClientKey,
    number: u64,
    stay: oneshot::Receiver<()>,
}

impl HoldQueue {
    pub(crate) fn new(held_max: usize) -> HoldQueue {
        let queue = Queue { held_max, held: 0, next_number: 0, by_client: HashMap::new() };
        HoldQueue { queue: Mutex::new(queue), lead: tokio::sync::Mutex::new(()) }
    }

    pub(crate) fn set_bound(&self, held_max: usize) {
        self.lock().held_max = held_max;
    }

    /// Joins the queue, unless it is full and no other client has more calls in it. The bound is the client's own where other
    /// clients wait, too, and none of them has more.
    pub(crate) fn join(&self, who: ClientKey) -> Result<HoldGuard<'_>, Exceeded> {
        let mut queue = self.lock();
        if queue.held >= queue.held_max {
            queue.evict_for(who)?;
        }
        let (stay, staying) = oneshot::channel();
        let number = queue.next_number;
        queue.next_number += 1;
        queue.held += 1;
        queue.by_client.entry(who).or_default().push(Entry { number, _stay: stay });
        Ok(HoldGuard { hold: self, who, number, stay: staying })
    }

    /// Waits until the caller is the first of the queue; dropping the guard lets the next one lead.
    pub(crate) async fn lead(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.lead.lock().await
    }

    pub(crate) fn held(&self) -> usize {
        self.lock().held
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing under this lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn evict_for(&mut self, who: ClientKey) -> Result<(), Exceeded> {
        let own = self.by_client.get(&who).map_or(0, Vec::len);
        let clients = self.by_client.len();
        let most = self.by_client.iter_mut().max_by_key(|(_, calls)| calls.len());
        match most {
            Some((_, calls)) if calls.len() > own + 1 => {
                calls.pop();
                self.held -= 1;
                Ok(())
            }
            Some(_) if own > 0 && clients > 1 => Err(Exceeded::Own),
            Some(_) | None => Err(Exceeded::All),
        }
    }
}

impl HoldGuard<'_> {
    /// Ends when the call is evicted for one of another client.
    pub(crate) async fn evicted(&mut self) {
        // Nothing is ever sent: the sender is kept or dropped.
        let _ = (&mut self.stay).await;
    }
}

impl Drop for HoldGuard<'_> {
    fn drop(&mut self) {
        let mut queue = self.hold.lock();
        let Some(calls) = queue.by_client.get_mut(&self.who) else { return };
        // An evicted call is no longer in the queue.
        let Some(at) = calls.iter().position(|entry| entry.number == self.number) else { return };
        calls.remove(at);
        if calls.is_empty() {
            queue.by_client.remove(&self.who);
        }
        queue.held -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, ready};

    use super::*;

    async fn at_once<F: Future>(future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = ready(()) => None,
        }
    }

    #[tokio::test]
    async fn the_hold_queue_is_bounded_and_has_one_leader() {
        let queue = HoldQueue::new(2);
        let (first, second) = (queue.join(1).unwrap(), queue.join(1).unwrap());
        assert_eq!(queue.join(1).err(), Some(Exceeded::All), "there is no other client");
        let lead = queue.lead().await;
        assert!(at_once(queue.lead()).await.is_none(), "the first one still leads");
        drop(lead);
        let _lead = queue.lead().await;
        drop((first, second));
        assert!(queue.join(1).is_ok());
    }

    #[tokio::test]
    async fn in_a_full_hold_queue_a_call_of_the_client_with_the_most_is_evicted() {
        let queue = HoldQueue::new(4);
        let mut flood: Vec<_> = (0..4).map(|_| queue.join(1).unwrap()).collect();
        let mut other = queue.join(2).unwrap();
        let mut latest = flood.pop().unwrap();
        assert!(at_once(latest.evicted()).await.is_some(), "its latest");
        assert_eq!(queue.held(), 4);
        drop(latest);
        assert_eq!(queue.held(), 4, "it is counted once");
        assert_eq!(queue.join(1).err(), Some(Exceeded::Own));
        let _second = queue.join(2).unwrap();
        assert_eq!(queue.join(2).err(), Some(Exceeded::Own), "two each");
        assert!(at_once(other.evicted()).await.is_none());
        drop((flood, other));
        assert_eq!(queue.held(), 1);
    }
}
