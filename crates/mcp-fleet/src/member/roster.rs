//! The members of the fleet and what each has written, as the leader and one who looks at the fleet have them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::Peer;
use crate::moment::Moment;
use crate::names::MemberId;
use crate::record::Record;

/// Every known member.
#[derive(Debug, Clone, PartialEq)]
pub struct Roster<W> {
    /// Records are known up to here.
    pub(crate) cursor: u64,
    /// When the list of members came; before that, when it was asked for.
    pub(crate) listed: Moment,
    members: BTreeMap<MemberId, Peer<W>>,
}

/// A look at the fleet.
#[derive(Debug)]
pub(crate) struct Look<W> {
    pub(crate) until: Moment,
    pub(crate) peers: Roster<W>,
}

impl<W> Roster<W> {
    /// Begins without knowing a member.
    pub(crate) fn new(now: Moment) -> Roster<W> {
        Roster { cursor: 0, listed: now, members: BTreeMap::new() }
    }

    /// Every known member by name; none before the store's first response.
    pub fn members(&self) -> &BTreeMap<MemberId, Peer<W>> {
        &self.members
    }

    /// The store's list of members: who is not on it is gone.
    pub(crate) fn list(&mut self, members: Vec<(MemberId, u64)>, now: Moment) {
        let mut peers = BTreeMap::new();
        for (member, silent) in members {
            let silent = Duration::from_millis(silent);
            let (record, received) = match self.members.remove(&member) {
                Some(peer) => (peer.record, peer.received),
                None => (None, now),
            };
            peers.insert(member, Peer { silent, record, received });
        }
        self.members = peers;
        self.listed = now;
    }

    /// A member's record. An older one than the known one changes nothing.
    pub(crate) fn record(&mut self, member: &MemberId, record: Record<W>, now: Moment) {
        let Some(peer) = self.members.get_mut(member) else { return };
        let known = peer.record.as_ref();
        // An older start never speaks after a later one: such a record was put there again.
        let is_old = known
            .is_some_and(|known| (known.incarnation, known.number) >= (record.incarnation, record.number));
        if !is_old {
            (peer.record, peer.received) = (Some(record), now);
        }
    }
}
