//! What the leader has gathered from all members, and whether it is enough to move forward.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::envelope::Stamp;
use crate::moment::Moment;
use crate::names::MemberId;
use crate::record::{Record, Window};
use crate::rules::{Rule, Rules};

/// Proof that the fleet was seen whole under one state. Only a [`View`] gives it, and it ages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    stamp: Stamp,
    epoch: u64,
    at: Moment,
}

/// Why nothing moves forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The leader has not heard of the store's present state.
    NotCaughtUp,
    /// Most of the fleet is silent.
    FewMembers {
        /// How many are not.
        live: usize,
        /// How many there are.
        known: usize,
    },
    /// This member follows another state.
    Behind(MemberId),
    /// There is no recent window of this member.
    NoWindow(MemberId),
    /// This member has another configuration than the leader.
    Differs {
        /// Which.
        member: MemberId,
        /// The digest of its configuration.
        digest: String,
    },
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer<W> {
    /// How long it was silent, as the store says.
    pub silent: Duration,
    /// What it has written last.
    pub record: Option<Record<W>>,
    /// When the leader received that.
    pub received: Moment,
}

/// The fleet as its leader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct View<'m, W> {
    /// The windows of all other members that follow the present state, merged. Of its own the leader knows more than the store.
    pub others: W,
    /// Every known member.
    pub peers: &'m BTreeMap<MemberId, Peer<W>>,
    /// Why nothing moves forward; empty if it may.
    pub holds: Vec<Hold>,
    /// The proof that it may.
    pub evidence: Option<Evidence>,
}

/// The windows of others, merged when they changed: a leader looks at them more often.
#[derive(Debug, Default)]
pub(crate) struct Merged<W> {
    /// The state under which they were counted.
    stamp: Option<Stamp>,
    sum: W,
    /// When the first of them is too old.
    expires: Option<Moment>,
}

/// Under what the leader judges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    /// Its epoch.
    pub(crate) epoch: u64,
    /// The leader itself.
    pub(crate) own: &'a MemberId,
    /// The present state; none if the store's is another one.
    pub(crate) stamp: Option<Stamp>,
    /// The leader's own configuration.
    pub(crate) digest: &'a str,
    /// Members of the fleet, also of one that the store has forgotten.
    pub(crate) known: u64,
    /// After this silence a member is not live.
    pub(crate) live: Duration,
    /// An older window is none.
    pub(crate) window_age_max: Duration,
    /// When the list of members was received.
    pub(crate) listed: Moment,
    /// Which rules are kept.
    pub(crate) rules: Rules,
}

impl Evidence {
    /// Whether it is of this state and epoch, and not old.
    pub(crate) fn holds(&self, stamp: Stamp, epoch: u64, now: Moment) -> bool {
        self.stamp == stamp && self.epoch == epoch && now.since(self.at) < Duration::from_secs(1)
    }
}

impl Standing<'_> {
    /// Merges what the others have written.
    pub(crate) fn merge<W: Window>(&self, peers: &BTreeMap<MemberId, Peer<W>>, now: Moment) -> Merged<W> {
        let mut merged = Merged { stamp: self.stamp, sum: W::default(), expires: None };
        for (_, peer) in peers.iter().filter(|(member, _)| *member != self.own) {
            if let Some(window) = self.window_of(peer, now) {
                merged.sum.merge(window);
                let expires = peer.received.plus(self.window_age_max);
                merged.expires = Some(merged.expires.map_or(expires, |first| first.min(expires)));
            }
        }
        merged
    }

    /// Whether that must be done again, though nothing was written since.
    pub(crate) fn is_past<W>(&self, merged: &Merged<W>, now: Moment) -> bool {
        merged.stamp != self.stamp || merged.expires.is_some_and(|expires| expires <= now)
    }

    /// The fleet with what was merged.
    pub(crate) fn view<'m, W: Window>(
        &self,
        peers: &'m BTreeMap<MemberId, Peer<W>>,
        merged: &Merged<W>,
        now: Moment,
    ) -> View<'m, W> {
        let (mut live, mut holds) = (0, Vec::new());
        if self.stamp.is_none() {
            holds.push(Hold::NotCaughtUp);
        }
        for (member, peer) in peers {
            if peer.silent.saturating_add(now.since(self.listed)) < self.live {
                live += 1;
                let counted = self.window_of(peer, now).is_some();
                self.hold(member, peer.record.as_ref(), counted, &mut holds);
            }
        }
        let known = peers.len().max(usize::try_from(self.known).unwrap_or(usize::MAX));
        if live * 2 <= known && self.rules.keep(Rule::Quorum) {
            holds.push(Hold::FewMembers { live, known });
        }
        let evidence = match self.stamp {
            Some(stamp) if holds.is_empty() => Some(Evidence { stamp, epoch: self.epoch, at: now }),
            Some(_) | None => None,
        };
        let others = if merged.stamp == self.stamp { merged.sum.clone() } else { W::default() };
        View { others, peers, holds, evidence }
    }

    /// The window that counts for the present state.
    fn window_of<'w, W>(&self, peer: &'w Peer<W>, now: Moment) -> Option<&'w W> {
        let record = peer.record.as_ref()?;
        let is_of_state = self.stamp == Some(record.followed) || !self.rules.keep(Rule::WindowOfGeneration);
        let is_recent = now.since(peer.received) < self.window_age_max;
        record.window.as_ref().filter(|_| is_of_state && is_recent)
    }

    fn hold<W>(&self, member: &MemberId, record: Option<&Record<W>>, counted: bool, holds: &mut Vec<Hold>) {
        let Some(record) = record else {
            if self.rules.keep(Rule::Quorum) {
                holds.push(Hold::NoWindow(member.clone()));
            }
            return;
        };
        if record.digest != self.digest && self.rules.keep(Rule::Agreement) {
            holds.push(Hold::Differs { member: member.clone(), digest: record.digest.clone() });
        }
        if !self.rules.keep(Rule::Quorum) {
            return;
        }
        if self.stamp != Some(record.followed) && self.rules.keep(Rule::WindowOfGeneration) {
            holds.push(Hold::Behind(member.clone()));
        } else if !counted {
            holds.push(Hold::NoWindow(member.clone()));
        }
    }
}
