//! Which connection is closed when there are too many: one that waits for its client can be, one that is served cannot.
//!
//! A state costs two atomic exchanges per request. It is read only when the limit is reached. Must not know sockets.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::proxy::fairness::per_client::ClientKey;
use crate::proxy::sync::{AtomicU32, AtomicU64, Ordering};

/// A connection that has just begun to send is not closed for another one, unless its owner has more than half of all.
const GRACE: Duration = Duration::from_millis(500);

/// What a connection does or waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// The next request.
    Idle = 0,
    /// The rest of a head, of a body, or of what is discarded.
    Reading = 1,
    /// The guard or a backend. Such a connection is not closed for another one.
    Served = 2,
}

/// Set beside the activity once the connection is to be closed for another one.
const EVICTED: u64 = 4;
const BITS: u32 = 3;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    peer: Option<IpAddr>,
    /// Activity, evicted bit, and above these bits the milliseconds since when. One number, so that a connection either
    /// begins to be served or is evicted, and never both.
    state: AtomicU64,
    /// The client whose token came last, plus one; 0 is none.
    client: AtomicU32,
}

/// The owner of a connection: the client whose token came, else the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Client(u32),
    Peer(IpAddr),
    Unknown,
}

impl ConnectionState {
    pub(crate) fn new(peer: Option<IpAddr>, now: u64) -> ConnectionState {
        let state = AtomicU64::new(now << BITS | Activity::Reading as u64);
        ConnectionState { peer, state, client: AtomicU32::new(0) }
    }

    /// The connection waits for its client since then. An eviction stays in force.
    pub(crate) fn set_waiting(&self, activity: Activity, since: u64) {
        let waits = |state: u64| Some(since << BITS | state & EVICTED | activity as u64);
        // The closure always gives a value, so this cannot fail.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, waits);
    }

    /// The connection is served from now on. Returns whether it was evicted; the eviction is cancelled.
    pub(crate) fn set_served(&self) -> bool {
        self.state.swap(Activity::Served as u64, Ordering::AcqRel) & EVICTED != 0
    }

    /// Evicts the connection, if it still does what it did when it was chosen.
    pub(crate) fn evict(&self, victim: Victim) -> bool {
        let (state, relaxed) = (victim.state, Ordering::Acquire);
        self.state.compare_exchange(state, state | EVICTED, Ordering::AcqRel, relaxed).is_ok()
    }

    pub(crate) fn set_client(&self, who: ClientKey) {
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

/// A connection that can be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Victim {
    pub(crate) index: usize,
    state: u64,
}

/// The activity of a connection, and since when.
fn activity(state: u64) -> (Activity, u64) {
    let activity = match state & 3 {
        0 => Activity::Idle,
        1 => Activity::Reading,
        _ => Activity::Served,
    };
    (activity, state >> BITS)
}

/// Which of these is evicted: of the owner with the most connections, the one that has been idle for longest, else the one
/// that has been sending for longest.
pub(crate) fn choose_victim<'s>(
    connections: impl Iterator<Item = (usize, &'s ConnectionState)> + Clone,
    max: usize,
    now: u64,
) -> Option<Victim> {
    let mut owners: HashMap<Owner, usize> = HashMap::new();
    for (_, connection) in connections.clone() {
        *owners.entry(connection.owner()).or_default() += 1;
    }
    let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
    let rank = |(index, connection): (usize, &ConnectionState)| {
        let state = connection.state.load(Ordering::Acquire);
        let (activity, since) = activity(state);
        let of_owner = owners.get(&connection.owner()).copied().unwrap_or_default();
        let age = now.saturating_sub(since);
        let is_evictable = match activity {
            Activity::Idle => true,
            Activity::Reading => age >= grace || of_owner > max / 2,
            Activity::Served => false,
        };
        (is_evictable && state & EVICTED == 0).then_some((
            of_owner,
            activity == Activity::Idle,
            age,
            Victim { index, state },
        ))
    };
    connections.filter_map(rank).max().map(|(.., victim)| victim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(peer: u8, client: Option<ClientKey>, activity: Activity, since: u64) -> ConnectionState {
        let connection = ConnectionState::new(Some([127, 0, 0, peer].into()), 0);
        if let Some(client) = client {
            connection.set_client(client);
        }
        connection.set_waiting(activity, since);
        connection
    }

    #[track_caller]
    fn check(connections: &[ConnectionState], max: usize, expect: Option<usize>) {
        let victim = choose_victim(connections.iter().enumerate(), max, 1000);
        assert_eq!(victim.map(|victim| victim.index), expect, "{connections:?}");
    }

    #[test]
    fn eviction_takes_the_idlest_connection_of_the_owner_with_the_most() {
        use Activity::{Idle, Reading, Served};
        check(
            &[connection(1, None, Idle, 30), connection(1, None, Idle, 10), connection(1, None, Idle, 20)],
            3,
            Some(1),
        );
        // One that is served is not evicted, however long it takes.
        check(&[connection(1, None, Served, 0), connection(1, None, Idle, 999)], 2, Some(1));
        check(&[connection(1, None, Served, 0), connection(1, None, Served, 0)], 2, None);
        // Of another owner, one that waits for longer stays.
        check(
            &[
                connection(2, None, Idle, 0),
                connection(1, None, Reading, 400),
                connection(1, None, Reading, 300),
            ],
            3,
            Some(2),
        );
        check(
            &[
                connection(1, Some(7), Idle, 0),
                connection(1, None, Idle, 900),
                connection(1, None, Idle, 800),
            ],
            3,
            Some(2),
        );
    }

    #[test]
    fn eviction_spares_a_request_that_is_just_arriving() {
        use Activity::{Idle, Reading};
        check(
            &[
                connection(1, None, Reading, 900),
                connection(2, None, Reading, 800),
                connection(3, None, Reading, 700),
            ],
            6,
            None,
        );
        check(&[connection(1, None, Reading, 900), connection(2, None, Idle, 999)], 4, Some(1));
        check(&[connection(1, None, Reading, 900), connection(2, None, Reading, 400)], 4, Some(1));
        let gone = connection(1, None, Idle, 0);
        let victim = choose_victim([(0, &gone)].into_iter(), 1, 1000).unwrap();
        assert!(gone.evict(victim) && !gone.evict(victim) && gone.is_evicted());
        gone.set_waiting(Reading, 5);
        assert!(gone.is_evicted());
        check(&[gone], 1, None);
        let served = connection(1, None, Idle, 0);
        let victim = choose_victim([(0, &served)].into_iter(), 1, 1000).unwrap();
        assert!(!served.set_served() && !served.evict(victim), "its request arrived in between");
    }
}
