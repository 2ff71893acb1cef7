//! Places in flight, and the waiting line before them.
//!
//! Both are bounded. Calls that wait for a place wait in the line of their client, and clients take turns: one that floods
//! waits behind itself. No client holds all the places where there are others: a part of them is left free for those.
//! Must not know what a call is, nor who a client is.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};

/// Who waits: calls of the same key wait behind each other.
pub(crate) type Key = u32;

/// Places, and a client's part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Places of all clients.
    pub(crate) max: usize,
    /// Places of one client.
    pub(crate) own_max: usize,
    /// Calls that wait.
    pub(crate) waiting_max: usize,
}

impl Bounds {
    /// Places that one holder may take whole.
    pub(crate) fn of_one(max: usize, waiting_max: usize) -> Bounds {
        Bounds { max, own_max: max, waiting_max }
    }

    /// Places that several clients share.
    pub(crate) fn shared(max: usize, waiting_max: usize) -> Bounds {
        Bounds { max, own_max: most_of_one(max), waiting_max }
    }
}

/// What one client may hold of what several share: three quarters. Fewer than four are too few to be divided: an operator
/// who allows two calls at a time means two.
pub(crate) fn most_of_one(max: usize) -> usize {
    max - max / 4
}

/// The fewest places of a reserve: of four, one client leaves one to the others.
const RESERVE_MIN: usize = 4;

/// Places beside this many that are kept for what must not wait for them: a quarter as many.
pub(crate) fn reserve_of(max: usize) -> usize {
    (max / 4).max(RESERVE_MIN)
}

/// A place in flight; leaving it lets the next one in.
#[derive(Debug)]
pub(crate) struct Place<'p> {
    places: &'p Places,
    who: Key,
    since: Instant,
    until: Option<Instant>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    LineFull,
    WaitedTooLong,
}

/// Whether the line's bound holds for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    New,
    /// It has waited its turn before, or must not be refused. It takes no room in the line from others.
    Privileged,
}

/// A number of places, and those who wait for one.
#[derive(Debug)]
pub(crate) struct Places {
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    bounds: Bounds,
    taken: usize,
    taken_by: HashMap<Key, usize, BuildHasherDefault<KeyHasher>>,
    waiting: usize,
    /// Those of them for whom the line's bound holds.
    new: usize,
    /// Every client that waits, once, in the order of their turns.
    turns: VecDeque<Key>,
    queues: HashMap<Key, Queue>,
    next_number: u64,
    /// How long a place is held, on a sliding average; zero before the first.
    held_ns: u64,
}

/// The calls of one client that wait.
#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    /// Those of them for whom the line's bound holds.
    new: usize,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    standing: Standing,
    grant: oneshot::Sender<()>,
}

/// Clients are numbers of ours: one multiplication spreads them.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte) ^ u32::try_from(self.0 >> 32).unwrap_or_default());
        }
    }

    fn write_u32(&mut self, key: u32) {
        self.0 = (u64::from(key) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Places {
    pub(crate) fn new(bounds: Bounds) -> Places {
        let line = Line {
            bounds,
            taken: 0,
            taken_by: HashMap::default(),
            waiting: 0,
            new: 0,
            turns: VecDeque::new(),
            queues: HashMap::new(),
            next_number: 0,
            held_ns: 0,
        };
        Places { line: Mutex::new(line) }
    }

    /// New bounds. Nobody is turned out: who is in stays, who waits goes on waiting.
    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        let mut line = self.lock();
        line.bounds = bounds;
        line.grant();
    }

    /// Takes a place, or waits in the line of `who` for one, at most `patience`.
    pub(crate) async fn enter(
        &self,
        who: Key,
        standing: Standing,
        patience: Duration,
    ) -> Result<Place<'_>, NoPlace> {
        match self.join(who, standing)? {
            Joined::In(place) => Ok(place),
            Joined::Waiting(waiting) => {
                let granted = tokio::time::timeout(patience, waiting.granted()).await;
                granted.unwrap_or(Err(NoPlace::WaitedTooLong))
            }
        }
    }

    /// Whether a call of this client would get a place at once.
    pub(crate) fn has_room(&self, who: Key) -> bool {
        let line = self.lock();
        let own = line.taken_by.get(&who).copied().unwrap_or_default();
        line.taken < line.bounds.max && own < line.bounds.own_max
    }

    /// Takes a place if this client may have one now.
    pub(crate) fn try_enter(&self, who: Key) -> Option<Place<'_>> {
        let taken = self.lock().take(who);
        taken.then(|| self.place(who))
    }

    /// Takes a place or joins the line.
    pub(crate) fn join(&self, who: Key, standing: Standing) -> Result<Joined<'_>, NoPlace> {
        let mut line = self.lock();
        if line.take(who) {
            drop(line);
            return Ok(Joined::In(self.place(who)));
        }
        let (number, granted) = line.join(who, standing).ok_or(NoPlace::LineFull)?;
        Ok(Joined::Waiting(Waiting { places: self, who, number, granted, served: false }))
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lock().taken
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// When one more call can expect a place, if they are held as long as lately. `None` before any was.
    pub(crate) fn expected_wait(&self) -> Option<Duration> {
        let line = self.lock();
        let ahead = u64::try_from(line.waiting + 1).unwrap_or(u64::MAX);
        let max = u64::try_from(line.bounds.max.max(1)).unwrap_or(u64::MAX);
        (line.held_ns > 0).then(|| Duration::from_nanos(line.held_ns.saturating_mul(ahead) / max))
    }

    fn place(&self, who: Key) -> Place<'_> {
        Place { places: self, who, since: Instant::now(), until: None }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing under this lock can panic half-way through a change.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// When it was taken.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Leaves it, for a caller who knows what time it is.
    pub(crate) fn leave(mut self, now: Instant) {
        self.until = Some(now);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let held = self.until.unwrap_or_else(Instant::now).saturating_duration_since(self.since);
        let held = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut line = self.places.lock();
        line.held_ns = if line.held_ns == 0 { held } else { line.held_ns - line.held_ns / 8 + held / 8 };
        line.leave(self.who);
    }
}

impl Line {
    /// Takes a place for a client that may have one now.
    fn take(&mut self, who: Key) -> bool {
        if self.taken >= self.bounds.max {
            return false;
        }
        let own = self.taken_by.entry(who).or_default();
        if *own >= self.bounds.own_max {
            return false;
        }
        *own += 1;
        self.taken += 1;
        true
    }

    /// Queues a call behind those of the same client; `None` if there is no room.
    fn join(&mut self, who: Key, standing: Standing) -> Option<(u64, oneshot::Receiver<()>)> {
        let is_new = standing == Standing::New;
        if is_new && self.new >= self.bounds.waiting_max && !self.make_room(who) {
            return None;
        }
        let (grant, granted) = oneshot::channel();
        let number = self.next_number;
        self.next_number += 1;
        let queue = self.queues.entry(who).or_default();
        if queue.waiters.is_empty() {
            self.turns.push_back(who);
        }
        queue.waiters.push_back(Waiter { number, standing, grant });
        queue.new += usize::from(is_new);
        self.new += usize::from(is_new);
        self.waiting += 1;
        Some((number, granted))
    }

    /// The line is full: the client with the longest queue gives up its latest place in it, if `who` has fewer even then.
    fn make_room(&mut self, who: Key) -> bool {
        let own = self.queues.get(&who).map_or(0, |queue| queue.new);
        let Some((&longest, queue)) = self.queues.iter().max_by_key(|(_, queue)| queue.new) else {
            return false;
        };
        if queue.new <= own + 1 {
            return false;
        }
        let latest = queue.waiters.iter().rposition(|waiter| waiter.standing == Standing::New);
        // Dropping its sender tells it.
        latest.is_some_and(|at| self.remove(longest, at).is_some())
    }

    /// Takes a waiter out of its queue.
    fn remove(&mut self, who: Key, at: usize) -> Option<Waiter> {
        let queue = self.queues.get_mut(&who)?;
        let waiter = queue.waiters.remove(at)?;
        let new = usize::from(waiter.standing == Standing::New);
        queue.new -= new;
        self.new -= new;
        self.waiting -= 1;
        if queue.waiters.is_empty() {
            self.queues.remove(&who);
            self.turns.retain(|other| *other != who);
        }
        Some(waiter)
    }

    fn leave(&mut self, who: Key) {
        self.put_back(who);
        self.grant();
    }

    fn put_back(&mut self, who: Key) {
        self.taken -= 1;
        if let Some(own) = self.taken_by.get_mut(&who) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.taken_by.remove(&who);
            }
        }
    }

    /// Gives free places to those whose turn it is, and who may have one.
    fn grant(&mut self) {
        let mut passed_over = 0;
        while self.taken < self.bounds.max && passed_over < self.turns.len() {
            let Some(who) = self.turns.pop_front() else { return };
            // It keeps its turn, or comes last again.
            self.turns.push_back(who);
            if !self.take(who) {
                passed_over += 1;
                continue;
            }
            let is_gone = self.remove(who, 0).is_none_or(|waiter| waiter.grant.send(()).is_err());
            if is_gone {
                self.put_back(who);
            }
            passed_over = 0;
        }
    }
}

/// What joining came to.
pub(crate) enum Joined<'p> {
    In(Place<'p>),
    Waiting(Waiting<'p>),
}

/// A call in the line; leaving the line is dropping this.
pub(crate) struct Waiting<'p> {
    places: &'p Places,
    who: Key,
    number: u64,
    granted: oneshot::Receiver<()>,
    served: bool,
}

impl<'p> Waiting<'p> {
    /// Ends when its turn has come, or when the line is full and it makes room for a client that has fewer calls in it.
    pub(crate) async fn granted(mut self) -> Result<Place<'p>, NoPlace> {
        match (&mut self.granted).await {
            Ok(()) => {
                self.served = true;
                Ok(self.places.place(self.who))
            }
            Err(_) => Err(NoPlace::LineFull),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let mut line = self.places.lock();
        // Grants are made under this lock, so it is known now whether one was.
        if self.granted.try_recv().is_ok() {
            return line.leave(self.who);
        }
        let queue = line.queues.get(&self.who);
        let at = queue.and_then(|queue| queue.waiters.iter().position(|waiter| waiter.number == self.number));
        if let Some(at) = at {
            line.remove(self.who, at);
        }
    }
}

#[cfg(test)]
#[path = "semaphore/tests.rs"]
mod tests;
