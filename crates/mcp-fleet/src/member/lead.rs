//! What a member has while it leads: its epoch, the records of the others, and the state that it is writing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::Peer;
use super::messages::Proposal;
use crate::envelope::{Envelope, OrderId, Stamp};
use crate::moment::Moment;
use crate::names::MemberId;
use crate::record::{Order, Record, Window};

/// After this time an order that was not decided on is put forward again.
const DECIDE_AGAIN: Duration = Duration::from_secs(1);
/// Most orders that are remembered as put forward.
const ASKED_MAX: usize = 256;

/// A state on its way into the store.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) envelope: Envelope,
    pub(crate) instead_of: Stamp,
}

/// A member's time as leader.
#[derive(Debug)]
pub(crate) struct Lead<W> {
    pub(crate) epoch: u64,
    /// Until when it leads for certain.
    pub(crate) until: Moment,
    /// Records are known up to here.
    pub(crate) cursor: u64,
    /// When the list of members came.
    pub(crate) listed: Moment,
    pub(crate) peers: BTreeMap<MemberId, Peer<W>>,
    pub(crate) publication: Option<Publication>,
    /// The highest generation that was ever on its way: a stamp names one state only.
    pub(crate) tried: u64,
    /// A way back that waits for the state that is being written.
    pub(crate) next: Option<Proposal>,
    asked: BTreeMap<OrderId, Moment>,
}

impl<W: Window> Lead<W> {
    /// Begins without knowing a record.
    pub(crate) fn new(epoch: u64, until: Moment, now: Moment) -> Lead<W> {
        let (peers, asked) = (BTreeMap::new(), BTreeMap::new());
        Lead { epoch, until, cursor: 0, listed: now, peers, publication: None, tried: 0, next: None, asked }
    }

    /// The store's list of members: who is not on it is gone.
    pub(crate) fn list(&mut self, members: Vec<(MemberId, u64)>, now: Moment) {
        let mut peers = BTreeMap::new();
        for (member, silent) in members {
            let silent = Duration::from_millis(silent);
            let (record, received) = match self.peers.remove(&member) {
                Some(peer) => (peer.record, peer.received),
                None => (None, now),
            };
            peers.insert(member, Peer { silent, record, received });
        }
        self.peers = peers;
        self.listed = now;
    }

    /// A member's record. An older one than the known one changes nothing.
    pub(crate) fn record(&mut self, member: &MemberId, record: Record<W>, now: Moment) {
        let Some(peer) = self.peers.get_mut(member) else { return };
        let known = peer.record.as_ref();
        let is_old = known
            .is_some_and(|known| known.incarnation == record.incarnation && known.number >= record.number);
        if !is_old {
            (peer.record, peer.received) = (Some(record), now);
        }
    }

    /// The highest generation that a member follows under another stamp than this one, if that is not lower.
    pub(crate) fn ahead(&self, stamp: Stamp) -> Option<u64> {
        let followed = self.peers.values().filter_map(|peer| Some(peer.record.as_ref()?.followed));
        followed
            .filter(|followed| *followed != stamp && followed.generation >= stamp.generation.max(1))
            .map(|followed| followed.generation)
            .max()
    }

    /// Orders to put forward now: those that the state does not say to be done, each once a second.
    pub(crate) fn undecided(&mut self, followed: Option<&Envelope>, now: Moment) -> Vec<(MemberId, Order)> {
        let done = |id| followed.is_some_and(|envelope| envelope.done.iter().any(|done| done.order == id));
        let mut undecided = Vec::new();
        for (member, peer) in &self.peers {
            for order in peer.record.iter().flat_map(|record| &record.orders) {
                let asked = self.asked.get(&order.id);
                let is_due = asked.is_none_or(|asked| now.since(*asked) >= DECIDE_AGAIN);
                if is_due && !done(order.id) {
                    undecided.push((member.clone(), order.clone()));
                }
            }
        }
        self.asked.retain(|_, asked| now.since(*asked) < DECIDE_AGAIN * 4);
        for (_, order) in undecided.iter().take(ASKED_MAX.saturating_sub(self.asked.len())) {
            self.asked.insert(order.id, now);
        }
        undecided
    }
}
