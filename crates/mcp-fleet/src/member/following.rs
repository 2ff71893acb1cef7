//! Which state a member follows, and how the store's state relates to it.
//!
//! A member only ever moves to a higher generation. Two states of one generation come from a store that forgot the last
//! writes; then the store's state wins, under a higher generation that the leader gives it.

use crate::envelope::{Envelope, Published, Stamp};
use crate::key::FleetKey;
use crate::names::FleetName;
use crate::rules::{Rule, Rules};

/// How the store's state relates to the one that the member follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreState {
    /// Nothing is known yet.
    Unknown,
    /// It is the same.
    Same,
    /// There is none.
    Empty,
    /// It is an older one, or another one of the same generation.
    Other(Envelope),
    /// It is not valid.
    Bad,
}

/// What a member follows.
#[derive(Debug)]
pub(crate) struct Following {
    followed: Option<Envelope>,
    store: StoreState,
    seen: Stamp,
}

/// What a look at the store's state has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    Nothing,
    /// The member follows a new state.
    Followed,
    /// The store holds another state that is no newer one.
    Forgot,
    /// The store's state is not valid.
    Bad,
}

impl Following {
    /// Follows what the guard has kept, if anything, but knows nothing of the store.
    pub(crate) fn new(kept: Option<Envelope>) -> Following {
        Following { followed: kept, store: StoreState::Unknown, seen: Stamp::default() }
    }

    /// The state that is followed.
    pub(crate) fn followed(&self) -> Option<&Envelope> {
        self.followed.as_ref()
    }

    /// Its stamp.
    pub(crate) fn stamp(&self) -> Stamp {
        self.followed.as_ref().map(|envelope| envelope.stamp).unwrap_or_default()
    }

    /// What the store was seen to hold last.
    pub(crate) fn seen(&self) -> Stamp {
        self.seen
    }

    /// How the store's state relates to it.
    pub(crate) fn store(&self) -> &StoreState {
        &self.store
    }

    /// Whether the store's state is the one that is followed.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.store == StoreState::Same
    }

    /// The store has taken this state from this member.
    pub(crate) fn written(&mut self, envelope: Envelope) {
        self.seen = envelope.stamp;
        self.followed = Some(envelope);
        self.store = StoreState::Same;
    }

    /// Looks at what the store holds. A `late` reply can only lead forward.
    pub(crate) fn look(
        &mut self,
        stamp: Stamp,
        sealed: Option<Vec<u8>>,
        late: bool,
        (key, fleet, rules): (&FleetKey, &FleetName, Rules),
    ) -> Change {
        let Some(sealed) = sealed else {
            // Nothing was sent: the store has none, or the one that was seen before.
            if stamp != Stamp::default() || late {
                return Change::Nothing;
            }
            let before = std::mem::replace(&mut self.store, StoreState::Empty);
            self.seen = stamp;
            let forgot = self.followed.is_some() && before != StoreState::Empty;
            return if forgot { Change::Forgot } else { Change::Nothing };
        };
        let published = Published { stamp, sealed };
        let opened = if rules.keep(Rule::Seal) {
            Envelope::open(&published, key, fleet)
        } else {
            published.sealed.get(32..).and_then(Envelope::decode)
        };
        let is_newer = |envelope: &Envelope| {
            let never_back = rules.keep(Rule::NeverBack);
            envelope.stamp.generation > self.stamp().generation || self.followed.is_none() || !never_back
        };
        match opened {
            None if late => Change::Nothing,
            None => {
                self.seen = stamp;
                self.store = StoreState::Bad;
                Change::Bad
            }
            Some(envelope) if envelope.stamp == self.stamp() && self.followed.is_some() => {
                if !late {
                    (self.seen, self.store) = (stamp, StoreState::Same);
                }
                Change::Nothing
            }
            Some(envelope) if is_newer(&envelope) => {
                self.written(envelope);
                Change::Followed
            }
            Some(_) if late => Change::Nothing,
            Some(envelope) => {
                (self.seen, self.store) = (stamp, StoreState::Other(envelope));
                Change::Forgot
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Incarnation;

    fn envelope(generation: u64, writer: u64) -> Envelope {
        let writer = Incarnation::new(writer);
        Envelope { stamp: Stamp { generation, epoch: 1, writer }, done: Vec::new(), state: Vec::new() }
    }

    #[track_caller]
    fn check(followed: Option<Envelope>, store: &Envelope, late: bool, expect: &Change, caught_up: bool) {
        let (key, fleet) = (FleetKey::new(&[1; 32]).unwrap(), FleetName::new("f").unwrap());
        let mut following = Following::new(followed);
        let before = following.stamp();
        let published = store.seal(&key, &fleet);
        let rules = (&key, &fleet, Rules::default());
        assert_eq!(following.look(published.stamp, Some(published.sealed), late, rules), *expect);
        assert_eq!(following.is_caught_up(), caught_up);
        assert!(following.stamp().generation >= before.generation);
    }

    #[test]
    fn a_member_follows_higher_generations_only() {
        check(None, &envelope(4, 1), false, &Change::Followed, true);
        check(Some(envelope(3, 1)), &envelope(4, 2), false, &Change::Followed, true);
        check(Some(envelope(4, 1)), &envelope(4, 1), false, &Change::Nothing, true);
        check(Some(envelope(4, 1)), &envelope(4, 2), false, &Change::Forgot, false);
        check(Some(envelope(4, 1)), &envelope(3, 2), false, &Change::Forgot, false);
    }

    #[test]
    fn a_late_reply_can_only_lead_forward() {
        check(Some(envelope(3, 1)), &envelope(4, 2), true, &Change::Followed, true);
        check(Some(envelope(4, 1)), &envelope(3, 2), true, &Change::Nothing, false);
        check(Some(envelope(4, 1)), &envelope(4, 1), true, &Change::Nothing, false);
    }

    #[test]
    fn a_state_with_another_seal_is_not_followed() {
        let (key, other) = (FleetKey::new(&[1; 32]).unwrap(), FleetKey::new(&[2; 32]).unwrap());
        let fleet = FleetName::new("f").unwrap();
        let mut following = Following::new(Some(envelope(3, 1)));
        let published = envelope(9, 1).seal(&other, &fleet);
        let rules = (&key, &fleet, Rules::default());
        assert_eq!(following.look(published.stamp, Some(published.sealed), false, rules), Change::Bad);
        assert_eq!(following.stamp().generation, 3);
        assert_eq!(following.seen().generation, 9, "the leader replaces exactly this");
    }
}
