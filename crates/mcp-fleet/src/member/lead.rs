//! What a member has while it leads: its epoch, the records of the others, and the state that it is writing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::Merged;
use super::messages::Proposal;
use super::roster::Roster;
use crate::envelope::{Envelope, OrderId, Stamp};
use crate::moment::Moment;
use crate::names::MemberId;
use crate::record::{Order, Window};

/// After this time an order that was not decided on is put forward again.
const DECIDE_AGAIN: Duration = Duration::from_secs(1);
/// A leader waits so long for a live member's record before it puts its own state in place of the store's.
const RECORDS_WAIT: Duration = Duration::from_secs(1);
/// Most orders that are remembered as put forward.
const ASKED_MAX: usize = 256;

/// A state on its way into the store.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) envelope: Envelope,
    pub(crate) instead_of: Stamp,
}

/// What the live members follow, beside the leader's own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Latest {
    /// Not known of all of them.
    Unknown,
    /// Nothing later.
    Own,
    /// One of them follows a later one.
    OfAnother,
}

/// A member's time as leader.
#[derive(Debug)]
pub(crate) struct Lead<W> {
    pub(crate) epoch: u64,
    began: Moment,
    /// Until when it leads for certain.
    pub(crate) until: Moment,
    /// The members and their records.
    pub(crate) peers: Roster<W>,
    /// What they have counted.
    pub(crate) merged: Merged<W>,
    pub(crate) publication: Option<Publication>,
    /// A state that the store refused at last, but may have taken before: the reply to that may be lost.
    pub(crate) unsure: Option<Envelope>,
    /// The highest generation that was ever on its way: a stamp names one state only.
    pub(crate) tried: u64,
    /// A way back that waits for what is being written, and the state that it was made from.
    pub(crate) next: Option<(Proposal, Vec<u8>)>,
    asked: BTreeMap<OrderId, Moment>,
}

impl<W: Window> Lead<W> {
    /// Begins with the records that are known.
    pub(crate) fn new(epoch: u64, until: Moment, peers: Roster<W>, now: Moment) -> Lead<W> {
        let (asked, merged) = (BTreeMap::new(), Merged::default());
        let (publication, unsure, next) = (None, None, None);
        Lead { epoch, began: now, until, peers, merged, publication, unsure, tried: 0, next, asked }
    }

    /// Whether a member that was not silent for this time follows a later state than this one.
    pub(crate) fn latest(&self, own: Stamp, live: Duration, now: Moment) -> Latest {
        let listed = self.peers.listed;
        let is_live = |silent: Duration| silent.saturating_add(now.since(listed)) < live;
        let mut records =
            self.peers.members().values().filter(|peer| is_live(peer.silent)).map(|peer| &peer.record);
        if records.clone().flatten().any(|record| record.followed > own) {
            return Latest::OfAnother;
        }
        // A list from before it led may lack a member that has joined since.
        let is_listed = listed >= self.began && !self.peers.members().is_empty();
        let is_known = is_listed && records.all(Option::is_some);
        if is_known || now.since(self.began) >= RECORDS_WAIT { Latest::Own } else { Latest::Unknown }
    }

    /// The highest generation that a member follows under another stamp than this one, if that is not lower.
    pub(crate) fn ahead(&self, stamp: Stamp) -> Option<u64> {
        let followed = self.peers.members().values().filter_map(|peer| Some(peer.record.as_ref()?.followed));
        followed
            .filter(|followed| *followed != stamp && followed.generation >= stamp.generation.max(1))
            .map(|followed| followed.generation)
            .max()
    }

    /// Orders to put forward now: those that the state does not say to be done, each once a second.
    pub(crate) fn undecided(&mut self, followed: Option<&Envelope>, now: Moment) -> Vec<(MemberId, Order)> {
        let done = |id| followed.is_some_and(|envelope| envelope.done.iter().any(|done| done.order == id));
        let mut undecided = Vec::new();
        for (member, peer) in self.peers.members() {
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
