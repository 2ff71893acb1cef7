//! What each connection is doing, as far as it matters when there are too many: one that waits for its client can make
//! room for a new one, one that is served cannot.
//!
//! A seat costs two plain stores a request. It is looked at only when the limit is reached. Must not know sockets.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::admission::Key;
use super::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A connection that has just begun to send is not closed for another one, unless those of its owner are most of all.
const GRACE: Duration = Duration::from_millis(500);

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// The next request.
    Idle = 0,
    /// The rest of a head, of a body, or of what nobody reads.
    Reading = 1,
    /// The guard or a backend: it is not closed for another one.
    Served = 2,
}

/// One connection's seat.
#[derive(Debug)]
pub(super) struct Seat {
    peer: Option<IpAddr>,
    /// Milliseconds at which it began, and what: two bits.
    state: AtomicU64,
    /// The client that last showed a token, plus one; 0 is none.
    client: AtomicU32,
    evicted: AtomicBool,
}

/// Whose a connection is: the client's that showed a token, else the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Client(u32),
    Peer(IpAddr),
    Unknown,
}

impl Seat {
    pub(super) fn new(peer: Option<IpAddr>, now: u64) -> Seat {
        let seat = Seat {
            peer,
            state: AtomicU64::new(0),
            client: AtomicU32::new(0),
            evicted: AtomicBool::new(false),
        };
        seat.set(Doing::Reading, now);
        seat
    }

    pub(super) fn set(&self, doing: Doing, now: u64) {
        // In one order with `evicted`: a connection that begins to be served, or who tells it to go, sees the other.
        self.state.store(now << 2 | doing as u64, Ordering::SeqCst);
    }

    pub(super) fn set_client(&self, who: Key) {
        self.client.store(who.saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::SeqCst)
    }

    /// Its connection has to make room, or need not any more. Says whether that changes anything.
    pub(super) fn set_evicted(&self, evicted: bool) -> bool {
        self.evicted.swap(evicted, Ordering::SeqCst) != evicted
    }

    /// Whether it is served.
    pub(super) fn is_served(&self) -> bool {
        self.doing().0 == Doing::Served
    }

    /// What it does, and since when.
    fn doing(&self) -> (Doing, u64) {
        let state = self.state.load(Ordering::SeqCst);
        let doing = match state & 3 {
            0 => Doing::Idle,
            1 => Doing::Reading,
            _ => Doing::Served,
        };
        (doing, state >> 2)
    }

    fn owner(&self) -> Owner {
        match (self.client.load(Ordering::Relaxed), self.peer) {
            (0, Some(peer)) => Owner::Peer(peer),
            (0, None) => Owner::Unknown,
            (client, _) => Owner::Client(client),
        }
    }
}

/// Which of these makes room: of the owner with the most connections, the one that has been idle for longest, else the one
/// that has been sending for longest.
pub(super) fn choose<'s>(
    seats: impl Iterator<Item = (usize, &'s Seat)> + Clone,
    max: usize,
    now: u64,
) -> Option<usize> {
    let mut owners: HashMap<Owner, usize> = HashMap::new();
    for (_, seat) in seats.clone() {
        *owners.entry(seat.owner()).or_default() += 1;
    }
    let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
    let rank = |(place, seat): (usize, &Seat)| {
        let (doing, since) = seat.doing();
        let of_owner = owners.get(&seat.owner()).copied().unwrap_or_default();
        let age = now.saturating_sub(since);
        let may_go = match doing {
            Doing::Idle => true,
            Doing::Reading => age >= grace || of_owner > max / 2,
            Doing::Served => false,
        };
        (may_go && !seat.is_evicted()).then_some((of_owner, doing == Doing::Idle, age, place))
    };
    seats.filter_map(rank).max().map(|(.., place)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(peer: u8, client: Option<Key>, doing: Doing, since: u64) -> Seat {
        let seat = Seat::new(Some([127, 0, 0, peer].into()), 0);
        if let Some(client) = client {
            seat.set_client(client);
        }
        seat.set(doing, since);
        seat
    }

    #[track_caller]
    fn check(seats: &[Seat], max: usize, expect: Option<usize>) {
        assert_eq!(choose(seats.iter().enumerate(), max, 1000), expect, "{seats:?}");
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
        assert!(gone.set_evicted(true) && !gone.set_evicted(true));
        check(&[gone], 1, None);
    }
}
