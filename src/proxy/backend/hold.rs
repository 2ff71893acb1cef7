//! The line of calls held while a slot's backend cannot be reached. The first one tries the backend; the others wait.
//!
//! The line is bounded, and fair when it is full: the client with the most calls in it gives up its latest one to a client
//! that has fewer. Must not know what a call is, nor how a backend is reached.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::proxy::fairness::semaphore::Key;
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};

/// The held calls of one slot.
pub(crate) struct HoldLine {
    line: Mutex<Line>,
    turn: tokio::sync::Mutex<()>,
}

struct Line {
    held_max: usize,
    held: usize,
    next_number: u64,
    /// The latest last.
    by_client: HashMap<Key, Vec<Entry>>,
}

struct Entry {
    number: u64,
    /// Dropping it takes the call out of the line.
    _stay: oneshot::Sender<()>,
}

/// Why a call is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotHeld {
    /// The line is full, and the client's own calls are not what fills it.
    Full,
    /// Others wait besides, and none of them has more calls in the full line than this client.
    OwnExcess,
}

/// A call in the line; leaving the line is dropping this.
pub(crate) struct Held<'l> {
    hold: &'l HoldLine,
    who: Key,
    number: u64,
    stay: oneshot::Receiver<()>,
}

impl HoldLine {
    pub(crate) fn new(held_max: usize) -> HoldLine {
        let line = Line { held_max, held: 0, next_number: 0, by_client: HashMap::new() };
        HoldLine { line: Mutex::new(line), turn: tokio::sync::Mutex::new(()) }
    }

    pub(crate) fn set_bound(&self, held_max: usize) {
        self.lock().held_max = held_max;
    }

    /// Joins the line, unless it is full and no other client has more calls in it.
    pub(crate) fn join(&self, who: Key) -> Result<Held<'_>, NotHeld> {
        let mut line = self.lock();
        if line.held >= line.held_max {
            line.make_room(who)?;
        }
        let (stay, staying) = oneshot::channel();
        let number = line.next_number;
        line.next_number += 1;
        line.held += 1;
        line.by_client.entry(who).or_default().push(Entry { number, _stay: stay });
        Ok(Held { hold: self, who, number, stay: staying })
    }

    /// Waits until the caller is the first of the line. The turn passes on when the guard is dropped.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(crate) fn held(&self) -> usize {
        self.lock().held
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing under this lock can panic half-way through a change.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn make_room(&mut self, who: Key) -> Result<(), NotHeld> {
        let own = self.by_client.get(&who).map_or(0, Vec::len);
        let clients = self.by_client.len();
        let most = self.by_client.iter_mut().max_by_key(|(_, calls)| calls.len());
        match most {
            Some((_, calls)) if calls.len() > own + 1 => {
                calls.pop();
                self.held -= 1;
                Ok(())
            }
            Some(_) if own > 0 && clients > 1 => Err(NotHeld::OwnExcess),
            Some(_) | None => Err(NotHeld::Full),
        }
    }
}

impl Held<'_> {
    /// Ends when the call has to make room for one of another client.
    pub(crate) async fn evicted(&mut self) {
        // Nothing is ever sent: the sender is kept or dropped.
        let _ = (&mut self.stay).await;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut line = self.hold.lock();
        let Some(calls) = line.by_client.get_mut(&self.who) else { return };
        // One that made room is not there any more.
        let Some(at) = calls.iter().position(|entry| entry.number == self.number) else { return };
        calls.remove(at);
        if calls.is_empty() {
            line.by_client.remove(&self.who);
        }
        line.held -= 1;
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
    async fn the_hold_line_is_bounded_and_gives_turns() {
        let line = HoldLine::new(2);
        let (first, second) = (line.join(1).unwrap(), line.join(1).unwrap());
        assert_eq!(line.join(1).err(), Some(NotHeld::Full), "there is nobody else");
        let turn = line.turn().await;
        assert!(at_once(line.turn()).await.is_none(), "the first still has its turn");
        drop(turn);
        let _turn = line.turn().await;
        drop((first, second));
        assert!(line.join(1).is_ok());
    }

    #[tokio::test]
    async fn in_a_full_hold_line_the_client_with_the_most_calls_makes_room() {
        let line = HoldLine::new(4);
        let mut flood: Vec<_> = (0..4).map(|_| line.join(1).unwrap()).collect();
        let mut other = line.join(2).unwrap();
        let mut latest = flood.pop().unwrap();
        assert!(at_once(latest.evicted()).await.is_some(), "its latest");
        assert_eq!(line.held(), 4);
        drop(latest);
        assert_eq!(line.held(), 4, "it is counted once");
        assert_eq!(line.join(1).err(), Some(NotHeld::OwnExcess));
        let _second = line.join(2).unwrap();
        assert_eq!(line.join(2).err(), Some(NotHeld::OwnExcess), "two each");
        assert!(at_once(other.evicted()).await.is_none());
        drop((flood, other));
        assert_eq!(line.held(), 1);
    }
}
