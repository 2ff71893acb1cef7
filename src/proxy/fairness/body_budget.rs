//! The budget of bytes that all request bodies may hold at a time, fair between clients.
//!
//! A reservation grows before the memory is allocated and is released with the body. One client may hold as much as it
//! leaves free: half of the budget alone, a third beside another client with as much. The oldest body of each client may
//! take all that is free, so that one of many incomplete bodies is completed. A body without budget waits, unless every
//! other body waits too. Must not know what a body is.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::proxy::fairness::per_client::{ClientKey, Exceeded};
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};

/// The budget. Its size may change with a reload, so each reservation carries it.
#[derive(Debug, Default)]
pub(crate) struct BodyBudget {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    by_client: HashMap<ClientKey, Own>,
    waiting: VecDeque<Waiter>,
    next_number: u64,
    /// Bodies that hold bytes, and those of them that wait for more.
    holders: usize,
    holders_waiting: usize,
}

/// What one client holds.
#[derive(Debug, Default)]
struct Own {
    bytes: usize,
    /// Its bodies that hold bytes, the oldest first.
    bodies: BTreeSet<u64>,
}

#[derive(Debug)]
struct Waiter {
    growth: Growth,
    grant: oneshot::Sender<()>,
}

/// The bytes that a body requests.
#[derive(Debug, Clone, Copy)]
struct Growth {
    who: ClientKey,
    number: u64,
    bytes: usize,
    bytes_max: usize,
    /// Whether the body holds bytes already.
    holds: bool,
}

/// What one body holds of the budget; released when dropped.
#[derive(Debug)]
pub(crate) struct Reservation<'r> {
    budget: &'r BodyBudget,
    who: ClientKey,
    bytes_max: usize,
    /// How long it may wait for more.
    timeout: Duration,
    bytes: usize,
    /// The order of arrival; `None` before its first bytes.
    number: Option<u64>,
}

impl BodyBudget {
    /// An empty reservation for a body of `who`, in a budget of `bytes_max`, which waits for bytes at most `timeout`.
    pub(crate) fn reservation(&self, who: ClientKey, bytes_max: usize, timeout: Duration) -> Reservation<'_> {
        Reservation { budget: self, who, bytes_max, timeout, bytes: 0, number: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation<'_> {
    /// How long it may wait for more.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Reserves more bytes, if they are in the client's share and no body waits for any. Returns whether it did.
    pub(crate) fn reserve_ahead(&mut self, bytes: usize) -> bool {
        let mut state = self.budget.lock();
        let growth = self.growth(bytes, &mut state);
        let reserved = state.waiting.is_empty() && state.fits_share(growth);
        if reserved {
            state.take(growth);
            drop(state);
            self.bytes += bytes;
        }
        reserved
    }

    /// Reserves more bytes, or waits for them. Cancelling the wait leaves the reservation as it was.
    pub(crate) async fn reserve(&mut self, bytes: usize) -> Result<(), Exceeded> {
        let granted = {
            let mut state = self.budget.lock();
            let growth = self.growth(bytes, &mut state);
            match state.reserve(growth) {
                Reserve::Done => {
                    self.bytes += bytes;
                    return Ok(());
                }
                Reserve::Exhausted(full) => return Err(full),
                Reserve::Waits(granted) => Waiting { budget: self.budget, growth, granted, done: false },
            }
        };
        granted.end().await;
        self.bytes += bytes;
        Ok(())
    }

    /// Why so many bytes are not free now.
    pub(crate) fn reason(&self, bytes: usize) -> Exceeded {
        self.budget.lock().reason(self.who, bytes, self.bytes_max)
    }

    fn growth(&mut self, bytes: usize, state: &mut State) -> Growth {
        let number = *self.number.get_or_insert_with(|| {
            state.next_number += 1;
            state.next_number
        });
        Growth { who: self.who, number, bytes, bytes_max: self.bytes_max, holds: self.bytes > 0 }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.lock().release(self.who, self.number, self.bytes);
        }
    }
}

enum Reserve {
    Done,
    Waits(oneshot::Receiver<()>),
    Exhausted(Exceeded),
}

impl State {
    fn reserve(&mut self, growth: Growth) -> Reserve {
        if self.fits(growth) {
            self.take(growth);
            return Reserve::Done;
        }
        let holds = usize::from(growth.holds);
        // If all bodies that hold bytes waited for more, none would be completed.
        let is_last = growth.holds && self.holders_waiting + 1 >= self.holders;
        if is_last || self.holders == 0 || growth.bytes > growth.bytes_max {
            return Reserve::Exhausted(self.reason(growth.who, growth.bytes, growth.bytes_max));
        }
        let (grant, granted) = oneshot::channel();
        self.holders_waiting += holds;
        self.waiting.push_back(Waiter { growth, grant });
        Reserve::Waits(granted)
    }

    fn fits(&self, growth: Growth) -> bool {
        let own = self.by_client.get(&growth.who);
        let is_oldest = own.and_then(|own| own.bodies.first()).is_none_or(|oldest| *oldest >= growth.number);
        self.free(growth).is_some_and(|_| is_oldest) || self.fits_share(growth)
    }

    /// Whether the client would hold no more than it leaves free.
    fn fits_share(&self, growth: Growth) -> bool {
        let held = self.by_client.get(&growth.who).map_or(0, |own| own.bytes);
        self.free(growth).is_some_and(|left| held + growth.bytes <= left)
    }

    /// What remains free after this growth; none if it does not fit at all.
    fn free(&self, growth: Growth) -> Option<usize> {
        growth.bytes_max.checked_sub(self.taken)?.checked_sub(growth.bytes)
    }

    fn reason(&self, who: ClientKey, bytes: usize, bytes_max: usize) -> Exceeded {
        let own = self.by_client.get(&who).map_or(0, |own| own.bytes);
        let free = bytes_max.saturating_sub(self.taken);
        if own > 0 && (bytes <= free || own > self.taken - own) { Exceeded::Own } else { Exceeded::All }
    }

    fn take(&mut self, growth: Growth) {
        self.taken += growth.bytes;
        let own = self.by_client.entry(growth.who).or_default();
        own.bytes += growth.bytes;
        if own.bodies.insert(growth.number) {
            self.holders += 1;
        }
    }

    fn release(&mut self, who: ClientKey, number: Option<u64>, bytes: usize) {
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

    /// Grants bytes to those that wait and fit now, in the order of arrival.
    fn grant(&mut self) {
        let mut at = 0;
        while let Some(growth) = self.waiting.get(at).map(|waiter| waiter.growth) {
            if !self.fits(growth) {
                at += 1;
                continue;
            }
            let Some(waiter) = self.waiting.remove(at) else { return };
            self.holders_waiting -= usize::from(growth.holds);
            if waiter.grant.send(()).is_ok() {
                self.take(growth);
            }
        }
    }
}

/// A body that waits for bytes; dropping this ends the wait.
struct Waiting<'r> {
    budget: &'r BodyBudget,
    growth: Growth,
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
        let mut state = self.budget.lock();
        let Growth { who, number, bytes, holds, .. } = self.growth;
        // Grants are made under this lock, so it is known now whether one was.
        if self.granted.try_recv().is_ok() {
            return state.release(who, (!holds).then_some(number), bytes);
        }
        if let Some(at) = state.waiting.iter().position(|waiter| waiter.growth.number == number) {
            state.waiting.remove(at);
            state.holders_waiting -= usize::from(holds);
        }
    }
}

#[cfg(test)]
#[path = "body_budget/tests.rs"]
mod tests;
