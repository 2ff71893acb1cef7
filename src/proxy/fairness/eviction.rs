//! What each connection is doing, as far as it matters when there are too many: one that waits for its client can make
//! room for a new one, one that is served cannot.
//!
//! A seat costs two exchanges of a number a request. It is looked at only when the limit is reached. Must not know sockets.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::proxy::fairness::semaphore::Key;
use crate::proxy::sync::{AtomicU32, AtomicU64, Ordering};

/// A connection that has just begun to send is not closed for another one, unless those of its owner are most of all.
const GRACE: Duration = Duration::from_millis(500);

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// The next request.
    Idle = 0,
    /// The rest of a head, of a body, or of what is discarded.
    Reading = 1,
    /// The guard or a backend: it is not closed for another one.
    Served = 2,
}

/// Set beside what a connection does once it has to make room.
const EVICTED: u64 = 4;
const BITS: u32 = 3;

/// One connection's seat.
#[derive(Debug)]
pub(crate) struct Seat {
    peer: Option<IpAddr>,
    /// What it does, whether it has to make room, and above these bits the milliseconds since when. One number, so that
    /// a connection either begins to be served or makes room, and never both.
    state: AtomicU64,
    /// The client that last showed a token, plus one; 0 is none.
    client: AtomicU32,
}

/// Whose a connection is: the client's that showed a token, else the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Client(u32),
    Peer(IpAddr),
    Unknown,
}

impl Seat {
    pub(crate) fn new(peer: Option<IpAddr>, now: u64) -> Seat {
        let state = AtomicU64::new(now << BITS | Doing::Reading as u64);
        Seat { peer, state, client: AtomicU32::new(0) }
    }

    /// The connection waits for its client since then. If it has to make room, it still has to.
    pub(crate) fn wait(&self, doing: Doing, since: u64) {
        let waits = |state: u64| Some(since << BITS | state & EVICTED | doing as u64);
        // The closure always gives a value, so this cannot fail.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, waits);
    }

    /// The connection is served from now on. Says whether it had to make room, and does not have to any more.
    pub(crate) fn serve(&self) -> bool {
        self.state.swap(Doing::Served as u64, Ordering::AcqRel) & EVICTED != 0
    }

    /// Tells a connection that was chosen to make room, if it still does what it did then.
    pub(crate) fn evict(&self, chosen: Chosen) -> bool {
        let (state, relaxed) = (chosen.state, Ordering::Acquire);
        self.state.compare_exchange(state, state | EVICTED, Ordering::AcqRel, relaxed).is_ok()
    }

    pub(crate) fn set_client(&self, who: Key) {
        self.client.store(who.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn is_evicted(&self) -> bool {
        self.state.load(Ordering::Acquire) & EVICTED != 0
    }

    fn owner(&self) -> Owner {
        match (self.client.load(Ordering::Relaxed), self.peer) {
            (0, Some(peer)) => Owner::Peer(peer),
            (0, None) => Owner::Unknown,
            (client, _) => Owner::Client(client),
        }
    }
}

/// A connection that could make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Chosen {
    pub(crate) place: usize,
    state: u64,
}

/// What a connection does, and since when.
fn doing(state: u64) -> (Doing, u64) {
    let doing = match state & 3 {
        0 => Doing::Idle,
        1 => Doing::Reading,
        _ => Doing::Served,
    };
    (doing, state >> BITS)
}

/// Which of these makes room: of the owner with the most connections, the one that has been idle for longest, else the one
/// that has been sending for longest.
pub(crate) fn choose<'s>(
    seats: impl Iterator<Item = (usize, &'s Seat)> + Clone,
    max: usize,
    now: u64,
) -> Option<Chosen> {
    let mut owners: HashMap<Owner, usize> = HashMap::new();
    for (_, seat) in seats.clone() {
        *owners.entry(seat.owner()).or_default() += 1;
    }
    let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
    let rank = |(place, seat): (usize, &Seat)| {
        let state = seat.state.load(Ordering::Acquire);
        let (doing, since) = doing(state);
        let of_owner = owners.get(&seat.owner()).copied().unwrap_or_default();
        let age = now.saturating_sub(since);
        let may_go = match doing {
            Doing::Idle => true,
            Doing::Reading => age >= grace || of_owner > max / 2,
            Doing::Served => false,
        };
        (may_go && state & EVICTED == 0).then_some((
            of_owner,
            doing == Doing::Idle,
            age,
            Chosen { place, state },
        ))
    };
    seats.filter_map(rank).max().map(|(.., chosen)| chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(peer: u8, client: Option<Key>, doing: Doing, since: u64) -> Seat {
        let seat = Seat::new(Some([127, 0, 0, peer].into()), 0);
        if let Some(client) = client {
            seat.set_client(client);
        }
        seat.wait(doing, since);
        seat
    }

    #[track_caller]
    fn check(seats: &[Seat], max: usize, expect: Option<usize>) {
        let chosen = choose(seats.iter().enumerate(), max, 1000);
        assert_eq!(chosen.map(|chosen| chosen.place), expect, "{seats:?}");
    }

    #[test]
    fn the_idlest_connection_of_the_owner_with_the_most_makes_room() {
        use Doing::{Idle, Reading, Served};
        check(&[seat(1, None, Idle, 30), seat(1, None, Idle, 10), seat(1, None, Idle, 20)], 3, Some(1));
        // One that is served does not, however long it takes.
        check(&[seat(1, None, Served, 0), seat(1, None, Idle, 999)], 2, Some(1));
        check(&[seat(1, None, Served, 0), seat(1, None, Served, 0)], 2, None);
        // Of another owner, one that waits for longer stays.
        check(
            &[seat(2, None, Idle, 0), seat(1, None, Reading, 400), seat(1, None, Reading, 300)],
            3,
            Some(2),
        );
        check(&[seat(1, Some(7), Idle, 0), seat(1, None, Idle, 900), seat(1, None, Idle, 800)], 3, Some(2));
    }

    #[test]
    fn a_request_that_is_just_arriving_is_not_closed_for_another_one() {
        use Doing::{Idle, Reading};
        check(
            &[seat(1, None, Reading, 900), seat(2, None, Reading, 800), seat(3, None, Reading, 700)],
            6,
            None,
        );
        check(&[seat(1, None, Reading, 900), seat(2, None, Idle, 999)], 4, Some(1));
        check(&[seat(1, None, Reading, 900), seat(2, None, Reading, 400)], 4, Some(1));
        let gone = seat(1, None, Idle, 0);
        let chosen = choose([(0, &gone)].into_iter(), 1, 1000).unwrap();
        assert!(gone.evict(chosen) && !gone.evict(chosen) && gone.is_evicted());
        gone.wait(Reading, 5);
        assert!(gone.is_evicted());
        check(&[gone], 1, None);
        let served = seat(1, None, Idle, 0);
        let chosen = choose([(0, &served)].into_iter(), 1, 1000).unwrap();
        assert!(!served.serve() && !served.evict(chosen), "its request arrived in between");
    }
}
