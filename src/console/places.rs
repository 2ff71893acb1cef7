//! The places of connections: bounded in number. Where all are taken, a connection without a valid token is closed for a new one.
//!
//! Must not know what a connection is for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

pub(super) const CONNECTIONS_MAX: usize = 64;

/// The other end of a connection.
pub(super) struct Visitor {
    pub(super) address: SocketAddr,
    /// Whether its last request had a valid token.
    is_authenticated: AtomicBool,
}

impl Visitor {
    pub(super) fn new(address: SocketAddr) -> Visitor {
        Visitor { address, is_authenticated: AtomicBool::new(false) }
    }

    pub(super) fn set_authenticated(&self, is_authenticated: bool) {
        self.is_authenticated.store(is_authenticated, Ordering::Relaxed);
    }

    fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Relaxed)
    }
}

/// Every place is taken by a connection with a valid token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The connections, the oldest first.
#[derive(Default)]
pub(super) struct Places {
    taken: Vec<(Arc<Visitor>, AbortHandle)>,
}

impl Places {
    /// Makes room for a connection. Of those without a valid token one is closed whose address has the most of them, so that one
    /// machine displaces itself; of these, the oldest.
    pub(super) fn make_room(&mut self) -> Result<(), Full> {
        self.taken.retain(|(_, task)| !task.is_finished());
        if self.taken.len() < CONNECTIONS_MAX {
            return Ok(());
        }
        let strangers = || self.taken.iter().enumerate().filter(|(_, (peer, _))| !peer.is_authenticated());
        let from_there = |peer: &Visitor| {
            strangers().filter(|(_, (other, _))| other.address.ip() == peer.address.ip()).count()
        };
        // The last of equals is taken: the oldest of a reversed row.
        let found = strangers().rev().max_by_key(|(_, (peer, _))| from_there(peer));
        let place = found.map(|(place, _)| place).ok_or(Full)?;
        self.taken.remove(place).1.abort();
        Ok(())
    }

    /// Takes the place that was made.
    pub(super) fn take(&mut self, peer: Arc<Visitor>, task: AbortHandle) {
        self.taken.push((peer, task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a place from this machine, with a valid token or without.
    fn enter(places: &mut Places, machine: u8, is_authenticated: bool) -> Result<AbortHandle, Full> {
        places.make_room()?;
        let peer = Visitor::new(([10, 0, 0, machine], 1).into());
        peer.set_authenticated(is_authenticated);
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        places.take(Arc::new(peer), task.clone());
        Ok(task)
    }

    async fn is_closed(task: &AbortHandle) -> bool {
        tokio::task::yield_now().await;
        task.is_finished()
    }

    #[tokio::test]
    async fn one_without_a_token_makes_room_and_the_busiest_address_first() {
        let mut places = Places::default();
        let lonely = enter(&mut places, 1, false).unwrap();
        let operator = enter(&mut places, 2, true).unwrap();
        let crowd: Vec<AbortHandle> =
            (2..CONNECTIONS_MAX).map(|_| enter(&mut places, 2, false).unwrap()).collect();
        enter(&mut places, 3, false).unwrap();
        assert!(is_closed(&crowd[0]).await && !is_closed(&crowd[1]).await);
        assert!(!is_closed(&lonely).await && !is_closed(&operator).await);
        assert_eq!(places.taken.len(), CONNECTIONS_MAX);
    }

    #[tokio::test]
    async fn those_with_a_token_are_never_displaced_and_ended_ones_give_their_place_back() {
        let mut places = Places::default();
        let all: Vec<AbortHandle> =
            (0..CONNECTIONS_MAX).map(|_| enter(&mut places, 1, true).unwrap()).collect();
        assert!(enter(&mut places, 2, false).is_err());
        all[7].abort();
        assert!(is_closed(&all[7]).await);
        assert!(enter(&mut places, 2, false).is_ok());
    }
}
