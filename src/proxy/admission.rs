//! Places in flight, the waiting line before them, and the line of calls held while no backend can be reached.
//!
//! All three are bounded. Who waits for a place waits in the line of its client, and clients take turns: one that floods
//! waits behind itself. Must not know what a call is, nor who a client is.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Who waits: calls of the same key wait behind each other.
pub(super) type Key = u32;

/// A place in flight; leaving it lets the next one in.
#[derive(Debug)]
pub(super) struct Place<'p> {
    places: &'p Places,
    since: Instant,
    until: Option<Instant>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    LineFull,
    WaitedTooLong,
}

/// Whether the line's bound holds for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    New,
    /// It has waited its turn before, or must not be refused.
    Privileged,
}

/// A number of places, and those who wait for one.
#[derive(Debug)]
pub(super) struct Places {
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    max: usize,
    waiting_max: usize,
    taken: usize,
    waiting: usize,
    /// Every client that waits, once, in the order of their turns.
    turns: VecDeque<Key>,
    queues: HashMap<Key, VecDeque<Waiter>>,
    next_number: u64,
    /// How long a place is held, on a sliding average; zero before the first.
    held_ns: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    standing: Standing,
    grant: oneshot::Sender<()>,
}

impl Places {
    pub(super) fn new(max: usize, waiting_max: usize) -> Places {
        let line = Line {
            max,
            waiting_max,
            taken: 0,
            waiting: 0,
            turns: VecDeque::new(),
            queues: HashMap::new(),
            next_number: 0,
            held_ns: 0,
        };
        Places { line: Mutex::new(line) }
    }

    /// New bounds. Nobody is turned out: who is in stays, who waits goes on waiting.
    pub(super) fn set_bounds(&self, max: usize, waiting_max: usize) {
        let mut line = self.lock();
        (line.max, line.waiting_max) = (max, waiting_max);
        line.grant();
    }

    /// Takes a place, or waits in the line of `who` for one, at most `patience`.
    pub(super) async fn enter(
        &self,
        who: Key,
        standing: Standing,
        patience: Duration,
    ) -> Result<Place<'_>, NoPlace> {
        let mut waiting = {
            let mut line = self.lock();
            if line.taken < line.max {
                line.taken += 1;
                return Ok(self.place());
            }
            let (number, granted) = line.join(who, standing).ok_or(NoPlace::LineFull)?;
            Waiting { places: self, who, number, granted, served: false }
        };
        match tokio::time::timeout(patience, &mut waiting.granted).await {
            Ok(Ok(())) => {
                waiting.served = true;
                Ok(self.place())
            }
            // The line is full, and somebody who has fewer calls in it came.
            Ok(Err(_)) => Err(NoPlace::LineFull),
            Err(_elapsed) => Err(NoPlace::WaitedTooLong),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lock().taken
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// When one more call can expect a place, if they are held as long as lately. `None` before any was.
    pub(super) fn expected_wait(&self) -> Option<Duration> {
        let line = self.lock();
        let ahead = u64::try_from(line.waiting + 1).unwrap_or(u64::MAX);
        let max = u64::try_from(line.max.max(1)).unwrap_or(u64::MAX);
        (line.held_ns > 0).then(|| Duration::from_nanos(line.held_ns.saturating_mul(ahead) / max))
    }

    fn place(&self) -> Place<'_> {
        Place { places: self, since: Instant::now(), until: None }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing under this lock can panic half-way through a change.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// When it was taken.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Leaves it, for a caller who knows what time it is.
    pub(super) fn leave(mut self, now: Instant) {
        self.until = Some(now);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let held = self.until.unwrap_or_else(Instant::now).saturating_duration_since(self.since);
        let held = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut line = self.places.lock();
        line.held_ns = if line.held_ns == 0 { held } else { line.held_ns - line.held_ns / 8 + held / 8 };
        line.leave();
    }
}

impl Line {
    /// Queues a call behind those of the same client; `None` if there is no room.
    fn join(&mut self, who: Key, standing: Standing) -> Option<(u64, oneshot::Receiver<()>)> {
        if standing == Standing::New && self.waiting >= self.waiting_max && !self.make_room(who) {
            return None;
        }
        let (grant, granted) = oneshot::channel();
        let number = self.next_number;
        self.next_number += 1;
        let queue = self.queues.entry(who).or_default();
        if queue.is_empty() {
            self.turns.push_back(who);
        }
        queue.push_back(Waiter { number, standing, grant });
        self.waiting += 1;
        Some((number, granted))
    }

    /// The line is full: the client with the longest queue gives up its latest place in it, if `who` has fewer even then.
    fn make_room(&mut self, who: Key) -> bool {
        let own = self.queues.get(&who).map_or(0, VecDeque::len);
        let Some((&longest, queue)) = self.queues.iter_mut().max_by_key(|(_, queue)| queue.len()) else {
            return false;
        };
        if queue.len() <= own + 1 {
            return false;
        }
        let latest = queue.iter().rposition(|waiter| waiter.standing == Standing::New);
        let Some(evicted) = latest.and_then(|at| queue.remove(at)) else { return false };
        self.waiting -= 1;
        self.forget_if_empty(longest);
        // Dropping its sender tells it.
        drop(evicted);
        true
    }

    fn forget_if_empty(&mut self, who: Key) {
        if self.queues.get(&who).is_some_and(VecDeque::is_empty) {
            self.queues.remove(&who);
            self.turns.retain(|other| *other != who);
        }
    }

    fn leave(&mut self) {
        self.taken -= 1;
        self.grant();
    }

    /// Gives free places to those whose turn it is.
    fn grant(&mut self) {
        while self.taken < self.max {
            let Some(who) = self.turns.pop_front() else { return };
            let Some(queue) = self.queues.get_mut(&who) else { continue };
            let first = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&who);
            } else {
                self.turns.push_back(who);
            }
            let Some(waiter) = first else { continue };
            self.waiting -= 1;
            if waiter.grant.send(()).is_ok() {
                self.taken += 1;
            }
        }
    }
}

/// A call in the line; leaving the line is dropping this.
struct Waiting<'p> {
    places: &'p Places,
    who: Key,
    number: u64,
    granted: oneshot::Receiver<()>,
    served: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let mut line = self.places.lock();
        // Grants are made under this lock, so it is known now whether one was.
        if self.granted.try_recv().is_ok() {
            return line.leave();
        }
        let Some(queue) = line.queues.get_mut(&self.who) else { return };
        if let Some(at) = queue.iter().position(|waiter| waiter.number == self.number) {
            queue.remove(at);
            line.waiting -= 1;
            line.forget_if_empty(self.who);
        }
    }
}

/// The line of held calls of one slot. Its first one tries the backend; the others wait for their turn.
pub(super) struct HoldLine {
    held: AtomicUsize,
    held_max: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
}

impl HoldLine {
    pub(super) fn new(held_max: usize) -> HoldLine {
        HoldLine {
            held: AtomicUsize::new(0),
            held_max: AtomicUsize::new(held_max),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn set_bound(&self, held_max: usize) {
        self.held_max.store(held_max, Ordering::Relaxed);
    }

    /// Joins the line, unless it is full.
    pub(super) fn join(&self) -> Option<Held<'_>> {
        let held_max = self.held_max.load(Ordering::Relaxed);
        let joined = self
            .held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| (held < held_max).then_some(held + 1));
        // Lazily: a guard that is made and dropped for a refused one would count down.
        joined.is_ok().then(|| Held(&self.held))
    }

    /// Waits until the caller is the first of the line. The turn passes on when the guard is dropped.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// A call in the line; leaving the line is dropping this.
pub(super) struct Held<'l>(&'l AtomicUsize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
