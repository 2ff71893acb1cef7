//! Room for request bodies: how many bytes of them the process holds at a time, fair between clients.
//!
//! A share grows before the memory is taken and is given back when the body is. One client may hold as much as it leaves
//! free: half of the room alone, a third with another one that wants as much, and never what others need to begin. The
//! oldest body of each client may take all that is free, so that of many bodies that are half there one comes to its end.
//! A body that finds no room waits, but never where every other body would wait, too. Must not know what a body is.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::proxy::fairness::semaphore::Key;
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};

/// All the room there is. Its size may change at any time: each share brings it along.
#[derive(Debug, Default)]
pub(crate) struct Room {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    by_client: HashMap<Key, Own>,
    waiting: VecDeque<Waiter>,
    next_number: u64,
    /// Bodies that have some room, and those of them that wait for more.
    holders: usize,
    holders_waiting: usize,
}

/// What one client has.
#[derive(Debug, Default)]
struct Own {
    bytes: usize,
    /// Its bodies that have some room, the oldest first.
    bodies: BTreeSet<u64>,
}

#[derive(Debug)]
struct Waiter {
    wish: Wish,
    grant: oneshot::Sender<()>,
}

/// Room that a body asks for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    who: Key,
    number: u64,
    bytes: usize,
    bytes_max: usize,
    /// Whether the body has some room already.
    holds: bool,
}

/// What one body has of it.
#[derive(Debug)]
pub(crate) struct Share<'r> {
    room: &'r Room,
    who: Key,
    bytes_max: usize,
    /// How long it may wait for more.
    patience: Duration,
    bytes: usize,
    /// Of the order in which bodies came; none before it needed room.
    number: Option<u64>,
}

/// There is no room left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The client has more than it leaves to others.
    OwnExcess,
    All,
}

impl Room {
    /// A share of nothing yet, for a body of `who`, in a room of `bytes_max`.
    pub(crate) fn share(&self, who: Key, bytes_max: usize, patience: Duration) -> Share<'_> {
        Share { room: self, who, bytes_max, patience, bytes: 0, number: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share<'_> {
    /// How long it may wait for more.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Takes room for so many bytes more, or waits for it. Cancelling the wait leaves the share as it was.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let granted = {
            let mut state = self.room.lock();
            let wish = self.wish(bytes, &mut state);
            match state.ask(wish) {
                Asked::Granted => {
                    self.bytes += bytes;
                    return Ok(());
                }
                Asked::Refused(full) => return Err(full),
                Asked::Waits(granted) => Waiting { room: self.room, wish, granted, done: false },
            }
        };
        granted.end().await;
        self.bytes += bytes;
        Ok(())
    }

    /// Why there is no room for so many bytes now.
    pub(crate) fn reason(&self, bytes: usize) -> Full {
        self.room.lock().reason(self.who, bytes, self.bytes_max)
    }

    fn wish(&mut self, bytes: usize, state: &mut State) -> Wish {
        let number = *self.number.get_or_insert_with(|| {
            state.next_number += 1;
            state.next_number
        });
        Wish { who: self.who, number, bytes, bytes_max: self.bytes_max, holds: self.bytes > 0 }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.room.lock().give_back(self.who, self.number, self.bytes);
        }
    }
}

enum Asked {
    Granted,
    Waits(oneshot::Receiver<()>),
    Refused(Full),
}

impl State {
    fn ask(&mut self, wish: Wish) -> Asked {
        if self.fits(wish) {
            self.take(wish);
            return Asked::Granted;
        }
        let holds = usize::from(wish.holds);
        // Where all that have some room wait for more, none would come to its end.
        let is_last = wish.holds && self.holders_waiting + 1 >= self.holders;
        if is_last || self.holders == 0 || wish.bytes > wish.bytes_max {
            return Asked::Refused(self.reason(wish.who, wish.bytes, wish.bytes_max));
        }
        let (grant, granted) = oneshot::channel();
        self.holders_waiting += holds;
        self.waiting.push_back(Waiter { wish, grant });
        Asked::Waits(granted)
    }

    fn fits(&self, wish: Wish) -> bool {
        let Some(left) = wish.bytes_max.checked_sub(self.taken).and_then(|free| free.checked_sub(wish.bytes))
        else {
            return false;
        };
        let own = self.by_client.get(&wish.who);
        own.and_then(|own| own.bodies.first()).is_none_or(|oldest| *oldest >= wish.number)
            || own.is_none_or(|own| own.bytes + wish.bytes <= left)
    }

    fn reason(&self, who: Key, bytes: usize, bytes_max: usize) -> Full {
        let own = self.by_client.get(&who).map_or(0, |own| own.bytes);
        let free = bytes_max.saturating_sub(self.taken);
        if own > 0 && (bytes <= free || own > self.taken - own) { Full::OwnExcess } else { Full::All }
    }

    fn take(&mut self, wish: Wish) {
        self.taken += wish.bytes;
        let own = self.by_client.entry(wish.who).or_default();
        own.bytes += wish.bytes;
        if own.bodies.insert(wish.number) {
            self.holders += 1;
        }
    }

    fn give_back(&mut self, who: Key, number: Option<u64>, bytes: usize) {
        self.taken -= bytes;
        if let Some(own) = self.by_client.get_mut(&who) {
            own.bytes -= bytes;
            if number.is_some_and(|number| own.bodies.remove(&number)) {
                self.holders -= 1;
            }
            if own.bodies.is_empty() {
                self.by_client.remove(&who);
            }
        }
        self.grant();
    }

    /// Gives room to those that wait and fit now, in the order in which they came.
    fn grant(&mut self) {
        let mut at = 0;
        while let Some(wish) = self.waiting.get(at).map(|waiter| waiter.wish) {
            if !self.fits(wish) {
                at += 1;
                continue;
            }
            let Some(waiter) = self.waiting.remove(at) else { return };
            self.holders_waiting -= usize::from(wish.holds);
            if waiter.grant.send(()).is_ok() {
                self.take(wish);
            }
        }
    }
}

/// A body that waits for room; it gives up when this is dropped.
struct Waiting<'r> {
    room: &'r Room,
    wish: Wish,
    granted: oneshot::Receiver<()>,
    done: bool,
}

impl Waiting<'_> {
    async fn end(mut self) {
        // The sender is dropped only after it was used, or by the drop below.
        let _ = (&mut self.granted).await;
        self.done = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.room.lock();
        let Wish { who, number, bytes, holds, .. } = self.wish;
        // Grants are made under this lock, so it is known now whether one was.
        if self.granted.try_recv().is_ok() {
            return state.give_back(who, (!holds).then_some(number), bytes);
        }
        if let Some(at) = state.waiting.iter().position(|waiter| waiter.wish.number == number) {
            state.waiting.remove(at);
            state.holders_waiting -= usize::from(holds);
        }
    }
}

#[cfg(test)]
#[path = "body_budget/tests.rs"]
mod tests;
