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
pub struct View<W> {
    /// The windows of all members that follow the present state, merged.
    pub merged: W,
    /// The same without the leader's own, of which the leader knows more than the store.
    pub others: W,
    /// How many windows that are.
    pub windows: usize,
    /// Every known member.
    pub peers: BTreeMap<MemberId, Peer<W>>,
    /// Why nothing moves forward; empty if it may.
    pub holds: Vec<Hold>,
    /// The proof that it may.
    pub evidence: Option<Evidence>,
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
    /// Merges what the peers have written.
    pub(crate) fn view<W: Window>(&self, peers: &BTreeMap<MemberId, Peer<W>>, now: Moment) -> View<W> {
        let (mut merged, mut others) = (W::default(), W::default());
        let (mut windows, mut live, mut holds) = (0, 0, Vec::new());
        if self.stamp.is_none() {
            holds.push(Hold::NotCaughtUp);
        }
        for (member, peer) in peers {
            let window = peer.record.as_ref().and_then(|record| self.window(record, peer.received, now));
            if let Some(window) = window {
                merged.merge(window);
                if member != self.own {
                    others.merge(window);
                }
                windows += 1;
            }
            if peer.silent.saturating_add(now.since(self.listed)) < self.live {
                live += 1;
                self.hold(member, peer.record.as_ref(), window.is_some(), &mut holds);
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
        View { merged, others, windows, peers: peers.clone(), holds, evidence }
    }

    /// The window that counts for the present state.
    fn window<'w, W>(&self, record: &'w Record<W>, received: Moment, now: Moment) -> Option<&'w W> {
        let is_of_state = self.stamp == Some(record.followed) || !self.rules.keep(Rule::WindowOfGeneration);
        let is_recent = now.since(received) < self.window_age_max;
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
