//! A semaphore with a bounded queue that is fair between clients: the limit of calls in flight.
//!
//! Calls that wait for a permit wait in the queue of their client, and clients take turns: one that sends many waits behind
//! itself. Where clients share the permits, none holds all of them: a part stays free for the others.
//! Must not know what a call is, nor which client a key stands for.

use std::collections::{HashMap, VecDeque};
use std::mem::ManuallyDrop;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::proxy::fairness::per_client::{ClientKey, PerClient};
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};

/// The permits of all clients and of each, and the length of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Permits of all clients.
    pub(crate) max: usize,
    /// Permits of one client.
    pub(crate) own_max: usize,
    /// Calls that wait.
    pub(crate) waiting_max: usize,
}

impl Bounds {
    /// Permits of which one client may hold all.
    pub(crate) fn of_one(max: usize, waiting_max: usize) -> Bounds {
        Bounds { max, own_max: max, waiting_max }
    }

    /// Permits that several clients share.
    pub(crate) fn shared(max: usize, waiting_max: usize) -> Bounds {
        Bounds { max, own_max: most_of_one(max), waiting_max }
    }
}

/// What one client may hold of what several share: three quarters. Fewer than four are not divided: a limit of two calls
/// at a time means two.
pub(crate) fn most_of_one(max: usize) -> usize {
    max - max / 4
}

/// The fewest permits of a reserve: of four, one client leaves one to the others.
const RESERVE_MIN: usize = 4;

/// The reserve beside this many permits, for messages that must not wait for them: a quarter as many.
pub(crate) fn reserve_of(max: usize) -> usize {
    (max / 4).max(RESERVE_MIN)
}

/// A permit for one call in flight; dropping it grants it to the next.
#[derive(Debug)]
pub(crate) struct SemaphorePermit<'p> {
    semaphore: &'p FairSemaphore,
    who: ClientKey,
    since: Instant,
}

/// What is taken of a semaphore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) bounds: Bounds,
    /// Permits of all clients.
    pub(crate) taken: usize,
    /// Permits of the client that is looked at.
    pub(crate) own: usize,
    pub(crate) waiting: usize,
    /// Whether one more call of the client may wait, be it in the place of a client with more.
    pub(crate) has_room_to_wait: bool,
    /// How long one more call can expect to wait.
    pub(crate) expected_wait: Option<Duration>,
}

impl Standing {
    /// Whether a call would get a permit at once.
    pub(crate) fn has_permit(&self) -> bool {
        self.taken < self.bounds.max && self.own < self.bounds.own_max
    }
}

/// Why a permit was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcquireError {
    QueueFull,
    Timeout,
}

/// Whether the bound of the queue holds for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    Normal,
    /// It has waited before, or must not be denied. It does not count against the bound.
    High,
}

/// The permits, and the queues of those that wait for one.
#[derive(Debug)]
pub(crate) struct FairSemaphore {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    taken: PerClient,
    waiting: usize,
    /// Those of them that count against the bound.
    new: usize,
    /// Every client that waits, once, in the order of their turns.
    round_robin: VecDeque<ClientKey>,
    queues: HashMap<ClientKey, Queue>,
    next_number: u64,
    /// How long a permit is held, on a sliding average; zero before the first.
    held_ns: u64,
}

/// Whether one more call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Free,
    /// The latest call of this client is evicted for it.
    InPlaceOf(ClientKey),
    None,
}

/// The calls of one client that wait.
#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    /// Those of them that count against the bound.
    new: usize,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    priority: Priority,
    grant: oneshot::Sender<()>,
}

impl FairSemaphore {
    pub(crate) fn new(bounds: Bounds) -> FairSemaphore {
        let inner = Inner {
            bounds,
            taken: PerClient::default(),
            waiting: 0,
            new: 0,
            round_robin: VecDeque::new(),
            queues: HashMap::new(),
            next_number: 0,
            held_ns: 0,
        };
        FairSemaphore { inner: Mutex::new(inner) }
    }

    /// Sets new bounds. Held permits stay valid, and waiting calls stay in the queue.
    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        let mut inner = self.lock();
        inner.bounds = bounds;
        inner.grant();
    }

    /// Takes a permit, or waits in the queue of `who` for one, at most `timeout`.
    pub(crate) async fn acquire(
        &self,
        who: ClientKey,
        priority: Priority,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, AcquireError> {
        match self.join(who, priority)? {
            Joined::In(permit) => Ok(permit),
            Joined::Waiting(waiting) => {
                // Boxed: a timer fills cache lines of its own, which a call that waits for nothing would carry, too.
                let granted = Box::pin(tokio::time::timeout(timeout, waiting.granted()));
                granted.await.unwrap_or(Err(AcquireError::Timeout))
            }
        }
    }

    /// Whether a call of this client would get a permit at once.
    pub(crate) fn has_permit(&self, who: ClientKey) -> bool {
        let inner = self.lock();
        inner.taken.all() < inner.bounds.max && inner.taken.own(who) < inner.bounds.own_max
    }

    /// What is taken of it, as a call of this client would find it.
    pub(crate) fn standing(&self, who: ClientKey) -> Standing {
        let inner = self.lock();
        inner.standing(who, inner.bounds)
    }

    /// The same, with the bounds that it is to have by then.
    pub(crate) fn standing_within(&self, who: ClientKey, bounds: Bounds) -> Standing {
        self.lock().standing(who, bounds)
    }

    /// Takes a permit if this client may have one now.
    pub(crate) fn try_acquire(&self, who: ClientKey) -> Option<SemaphorePermit<'_>> {
        let taken = self.lock().take(who);
        taken.then(|| self.permit(who))
    }

    /// Takes a permit or joins the queue.
    pub(crate) fn join(&self, who: ClientKey, priority: Priority) -> Result<Joined<'_>, AcquireError> {
        let mut inner = self.lock();
        if inner.take(who) {
            drop(inner);
            return Ok(Joined::In(self.permit(who)));
        }
        let (number, granted) = inner.join(who, priority).ok_or(AcquireError::QueueFull)?;
        Ok(Joined::Waiting(Waiting { semaphore: self, who, number, granted, served: false }))
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lock().taken.all()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// How long one more call can expect to wait, from the average time a permit is held. `None` before the first.
    pub(crate) fn expected_wait(&self) -> Option<Duration> {
        let inner = self.lock();
        inner.expected_wait(inner.bounds)
    }

    fn permit(&self, who: ClientKey) -> SemaphorePermit<'_> {
        SemaphorePermit { semaphore: self, who, since: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SemaphorePermit<'_> {
    /// When it was taken.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Releases it at a known time.
    pub(crate) fn release_at(self, now: Instant) {
        ManuallyDrop::new(self).release(now);
    }

    fn release(&self, now: Instant) {
        let held = now.saturating_duration_since(self.since);
        let held = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut inner = self.semaphore.lock();
        inner.held_ns = if inner.held_ns == 0 { held } else { inner.held_ns - inner.held_ns / 8 + held / 8 };
        inner.release(self.who);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        self.release(Instant::now());
    }
}

impl Inner {
    /// Takes a permit for a client that may have one now.
    fn take(&mut self, who: ClientKey) -> bool {
        self.taken.add(who, self.bounds.max, self.bounds.own_max).is_ok()
    }

    /// Queues a call behind those of the same client; `None` if the queue is full.
    fn join(&mut self, who: ClientKey, priority: Priority) -> Option<(u64, oneshot::Receiver<()>)> {
        let is_new = priority == Priority::Normal;
        if is_new {
            match self.room(who, self.bounds.waiting_max) {
                Room::Free => {}
                Room::InPlaceOf(longest) => self.evict_latest(longest)?,
                Room::None => return None,
            }
        }
        let (grant, granted) = oneshot::channel();
        let number = self.next_number;
        self.next_number += 1;
        let queue = self.queues.entry(who).or_default();
        if queue.waiters.is_empty() {
            self.round_robin.push_back(who);
        }
        queue.waiters.push_back(Waiter { number, priority, grant });
        queue.new += usize::from(is_new);
        self.new += usize::from(is_new);
        self.waiting += 1;
        Some((number, granted))
    }

    /// Whether one more call of `who` may wait. In a full queue it takes the place of the client with the most, if `who` has
    /// fewer even then.
    fn room(&self, who: ClientKey, waiting_max: usize) -> Room {
        if self.new < waiting_max {
            return Room::Free;
        }
        let own = self.queues.get(&who).map_or(0, |queue| queue.new);
        match self.queues.iter().max_by_key(|(_, queue)| queue.new) {
            Some((&longest, queue)) if queue.new > own + 1 => Room::InPlaceOf(longest),
            Some(_) | None => Room::None,
        }
    }

    /// Evicts the latest call of a client that counts against the bound.
    fn evict_latest(&mut self, longest: ClientKey) -> Option<()> {
        let waiters = &self.queues.get(&longest)?.waiters;
        let latest = waiters.iter().rposition(|waiter| waiter.priority == Priority::Normal)?;
        // The drop of its sender ends its wait.
        self.remove(longest, latest).map(drop)
    }

    fn standing(&self, who: ClientKey, bounds: Bounds) -> Standing {
        Standing {
            bounds,
            taken: self.taken.all(),
            own: self.taken.own(who),
            waiting: self.waiting,
            has_room_to_wait: self.room(who, bounds.waiting_max) != Room::None,
            expected_wait: self.expected_wait(bounds),
        }
    }

    fn expected_wait(&self, bounds: Bounds) -> Option<Duration> {
        let ahead = u64::try_from(self.waiting + 1).unwrap_or(u64::MAX);
        let max = u64::try_from(bounds.max.max(1)).unwrap_or(u64::MAX);
        (self.held_ns > 0).then(|| Duration::from_nanos(self.held_ns.saturating_mul(ahead) / max))
    }

    /// Takes a waiter out of its queue.
    fn remove(&mut self, who: ClientKey, at: usize) -> Option<Waiter> {
        let queue = self.queues.get_mut(&who)?;
        let waiter = queue.waiters.remove(at)?;
        let new = usize::from(waiter.priority == Priority::Normal);
        queue.new -= new;
        self.new -= new;
        self.waiting -= 1;
        if queue.waiters.is_empty() {
            self.queues.remove(&who);
            self.round_robin.retain(|other| *other != who);
        }
        Some(waiter)
    }

    fn release(&mut self, who: ClientKey) {
        self.taken.remove(who);
        self.grant();
    }

    /// Grants free permits by turns, to clients that may have one.
    fn grant(&mut self) {
        let mut passed_over = 0;
        while self.taken.all() < self.bounds.max && passed_over < self.round_robin.len() {
            let Some(who) = self.round_robin.pop_front() else { return };
            // The client goes to the end of the turns, or leaves them with its last call.
            self.round_robin.push_back(who);
            if !self.take(who) {
                passed_over += 1;
                continue;
            }
            let is_gone = self.remove(who, 0).is_none_or(|waiter| waiter.grant.send(()).is_err());
            if is_gone {
                self.taken.remove(who);
            }
            passed_over = 0;
        }
    }
}

/// The result of joining.
pub(crate) enum Joined<'p> {
    In(SemaphorePermit<'p>),
    Waiting(Waiting<'p>),
}

/// A call in the queue; dropping this leaves it.
pub(crate) struct Waiting<'p> {
    semaphore: &'p FairSemaphore,
    who: ClientKey,
    number: u64,
    granted: oneshot::Receiver<()>,
    served: bool,
}

impl<'p> Waiting<'p> {
    /// Completes with the permit, or with `QueueFull` when the call is evicted for a client that has fewer in the queue.
    pub(crate) async fn granted(mut self) -> Result<SemaphorePermit<'p>, AcquireError> {
        match (&mut self.granted).await {
            Ok(()) => {
                self.served = true;
                Ok(self.semaphore.permit(self.who))
            }
            Err(_) => Err(AcquireError::QueueFull),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let mut inner = self.semaphore.lock();
        // Grants are made under this lock, so it is known now whether one was.
        if self.granted.try_recv().is_ok() {
            return inner.release(self.who);
        }
        let queue = inner.queues.get(&self.who);
        let at = queue.and_then(|queue| queue.waiters.iter().position(|waiter| waiter.number == self.number));
        if let Some(at) = at {
            inner.remove(self.who, at);
        }
    }
}

#[cfg(test)]
#[path = "semaphore/tests.rs"]
mod tests;
