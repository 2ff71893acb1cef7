//! The slots and the split: an immutable value that a request reads once, when it is admitted.
//!
//! A split says which slot a key goes to, which slot may stand in for it, and whether calls are copied to the candidate.
//! The owner of the rollout computes it and publishes it whole. Must not know why it looks the way it does: stages,
//! health and commands are elsewhere.

use std::collections::BTreeSet;

/// A place where a backend lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The first of the two; where a single backend lives.
    Blue,
    /// The second.
    Green,
}

impl Slot {
    /// Both slots, in the order they are shown.
    pub const ALL: [Slot; 2] = [Slot::Blue, Slot::Green];

    /// The name in config, metrics and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::Blue => "blue",
            Slot::Green => "green",
        }
    }

    /// The slot of this name.
    pub fn parse(name: &str) -> Option<Slot> {
        Slot::ALL.into_iter().find(|slot| slot.as_str() == name)
    }

    /// The other slot.
    pub fn other(self) -> Slot {
        match self {
            Slot::Blue => Slot::Green,
            Slot::Green => Slot::Blue,
        }
    }
}

/// One value for each slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PerSlot<T>([T; 2]);

impl<T> PerSlot<T> {
    /// The value that `make` gives for each slot.
    pub fn new(make: impl FnMut(Slot) -> T) -> PerSlot<T> {
        PerSlot(Slot::ALL.map(make))
    }

    /// Both values, in the order of `Slot::ALL`.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T> std::ops::Index<Slot> for PerSlot<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        let [blue, green] = &self.0;
        match slot {
            Slot::Blue => blue,
            Slot::Green => green,
        }
    }
}

impl<T> std::ops::IndexMut<Slot> for PerSlot<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        let [blue, green] = &mut self.0;
        match slot {
            Slot::Blue => blue,
            Slot::Green => green,
        }
    }
}

/// A share of the traffic, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

impl Percent {
    /// None of the traffic.
    pub const ZERO: Percent = Percent(0);
    /// All of the traffic.
    pub const ALL: Percent = Percent(100);

    /// A share of 0 to 100.
    pub fn new(value: u8) -> Option<Percent> {
        (value <= 100).then_some(Percent(value))
    }

    /// The share as a number of 0 to 100.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Percent {
    type Error = &'static str;

    fn try_from(value: u8) -> Result<Percent, Self::Error> {
        Percent::new(value).ok_or("a share is 0 to 100")
    }
}

impl From<Percent> for u8 {
    fn from(share: Percent) -> u8 {
        share.0
    }
}

/// The candidate's part of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// How many of the keys go to the candidate.
    pub weight: Percent,
    /// Mixed into every key, so that two rollouts do not always try the same clients first.
    pub salt: String,
    /// Clients that go to the candidate at any weight.
    pub candidate_clients: BTreeSet<String>,
    /// Clients that stay on stable at any weight below 100.
    pub stable_clients: BTreeSet<String>,
}

impl Share {
    /// A share without client lists.
    pub fn new(weight: Percent, salt: &str) -> Share {
        Share {
            weight,
            salt: salt.to_owned(),
            candidate_clients: BTreeSet::new(),
            stable_clients: BTreeSet::new(),
        }
    }
}

/// Which slot a request goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    stable: Slot,
    share: Option<Share>,
    shadow: bool,
    standby: bool,
    /// One at most: a type that cannot say "both" cannot eject the last healthy slot.
    ejected: Option<Slot>,
}

impl Split {
    /// All traffic to one slot; the other one takes nothing, not even in need.
    pub fn all(stable: Slot) -> Split {
        Split { stable, share: None, shadow: false, standby: false, ejected: None }
    }

    /// Gives the candidate a share. A candidate that serves clients may also stand in for stable.
    pub fn with_share(self, share: Share) -> Split {
        Split { share: Some(share), standby: true, ..self }
    }

    /// Read-only calls are copied to the candidate; its responses reach no client.
    pub fn with_shadow(self) -> Split {
        Split { shadow: true, ..self }
    }

    /// The other slot may stand in when stable cannot serve.
    pub fn with_standby(self) -> Split {
        Split { standby: true, ..self }
    }

    /// This slot gets no new traffic as long as the other one may stand in for it.
    pub fn eject(self, ejected: Slot) -> Split {
        Split { ejected: Some(ejected), ..self }
    }

    /// The slot that serves by default and is rolled back to.
    pub fn stable(&self) -> Slot {
        self.stable
    }

    /// The slot that receives copies of read-only calls.
    pub fn shadow(&self) -> Option<Slot> {
        let candidate = self.stable.other();
        (self.shadow && self.ejected != Some(candidate)).then_some(candidate)
    }

    /// Whether the rollout is at its shadow stage, also while the candidate takes no copies.
    pub fn is_shadowing(&self) -> bool {
        self.shadow
    }

    /// The candidate's share of the keys; zero when there is no candidate or it is ejected.
    pub fn candidate_weight(&self) -> Percent {
        let ejected = self.ejected == Some(self.stable.other());
        self.share.as_ref().filter(|_| !ejected).map_or(Percent::ZERO, |share| share.weight)
    }

    /// The candidate's share as the plan has it, also while it is ejected.
    pub fn planned_weight(&self) -> Percent {
        self.share.as_ref().map_or(Percent::ZERO, |share| share.weight)
    }

    /// The slot that gets no new traffic.
    pub fn ejected(&self) -> Option<Slot> {
        self.ejected
    }

    /// The slot for a key that is the client's name.
    pub fn pick(&self, key: &[u8]) -> Slot {
        self.assign(key, key)
    }

    /// The slot for this client and key (the client's name again, or the request id). Client lists come first.
    pub fn assign(&self, client: &[u8], key: &[u8]) -> Slot {
        self.choose(client, key).slot
    }

    /// The same, and why.
    pub fn choose(&self, client: &[u8], key: &[u8]) -> Choice {
        let reason = self.share.as_ref().map_or(Reason::NoShare, |share| share.assign(client, key));
        let wanted = if reason.is_candidate() { self.stable.other() } else { self.stable };
        Choice { slot: self.instead_of(wanted), wanted, reason }
    }

    /// The slot that gets what this one would get if none was ejected.
    pub fn instead_of(&self, wanted: Slot) -> Slot {
        let is_ejected = self.ejected == Some(wanted);
        if is_ejected { self.fallback(wanted).unwrap_or(wanted) } else { wanted }
    }

    /// The slot that may take a request which this one could not. Stable may always stand in for the candidate.
    pub fn fallback(&self, slot: Slot) -> Option<Slot> {
        let other = slot.other();
        let may = other == self.stable || self.standby;
        (may && self.ejected != Some(other)).then_some(other)
    }
}

/// Where a split sends a request, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The slot that gets it.
    pub slot: Slot,
    /// The slot that would get it if none was ejected.
    pub wanted: Slot,
    /// Why it is that one.
    pub reason: Reason,
}

/// Why a request goes to stable or to the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The candidate has no share: stable.
    NoShare,
    /// The candidate has everything.
    Everything,
    /// The client is listed for stable.
    StableList,
    /// The client is listed for the candidate.
    CandidateList,
    /// The key lies below the candidate's share of the circle, at this point of 2^32.
    Below(u64),
    /// The key does not.
    NotBelow(u64),
}

impl Reason {
    /// Whether the candidate gets it.
    pub fn is_candidate(self) -> bool {
        match self {
            Reason::Everything | Reason::CandidateList | Reason::Below(_) => true,
            Reason::NoShare | Reason::StableList | Reason::NotBelow(_) => false,
        }
    }
}

impl Share {
    fn assign(&self, client: &[u8], key: &[u8]) -> Reason {
        // At either end the lists have nothing left to say: all means all, so that a rollout cannot complete with
        // clients that never met the candidate.
        if self.weight == Percent::ALL {
            return Reason::Everything;
        }
        if !(self.candidate_clients.is_empty() && self.stable_clients.is_empty())
            && let Ok(client) = std::str::from_utf8(client)
        {
            // Stable wins over a client named twice: it is the side that is known to work.
            if self.stable_clients.contains(client) {
                return Reason::StableList;
            }
            if self.candidate_clients.contains(client) {
                return Reason::CandidateList;
            }
        }
        let point = hash_point(self.salt.as_bytes(), key);
        if point < threshold(self.weight) { Reason::Below(point) } else { Reason::NotBelow(point) }
    }
}

/// A key's place on a circle of 2^32 points. The same on every machine and in every version: a restart or an upgrade
/// during a rollout must not move a client (FNV-1a, then the finalizer of `MurmurHash3`, whose upper bits are even).
fn hash_point(salt: &[u8], key: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = salt.iter().chain(&[0]).chain(key);
    let mut hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    hash >> 32
}

/// The points below this one belong to the candidate: growing with the weight, so no client ever moves back.
fn threshold(weight: Percent) -> u64 {
    (u64::from(weight.get()) << 32) / 100
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(weight: u8) -> Share {
        Share::new(Percent::new(weight).unwrap(), "r1")
    }

    fn split(weight: u8) -> Split {
        Split::all(Slot::Blue).with_share(share(weight))
    }

    #[test]
    fn without_a_candidate_all_clients_are_on_stable() {
        assert_eq!(Split::all(Slot::Green).pick(b"bot"), Slot::Green);
        assert_eq!(
            Split::all(Slot::Green).fallback(Slot::Green),
            None,
            "no slot is a fallback unless the split says so"
        );
    }

    #[test]
    fn lists_come_before_the_weight() {
        let listed = |weight| {
            let mut share = share(weight);
            share.candidate_clients.insert("early".to_owned());
            share.stable_clients.insert("late".to_owned());
            Split::all(Slot::Blue).with_share(share)
        };
        assert_eq!(listed(0).pick(b"early"), Slot::Green);
        assert_eq!(listed(99).pick(b"late"), Slot::Blue);
        assert_eq!(listed(0).assign(b"early", b"request-7"), Slot::Green, "also when the key is the request");
        assert_eq!(listed(100).pick(b"late"), Slot::Green, "all means all");
    }

    #[test]
    fn an_ejected_slot_gets_nothing_while_the_other_may_stand_in() {
        assert_eq!(split(100).eject(Slot::Green).pick(b"bot"), Slot::Blue);
        assert_eq!(split(0).eject(Slot::Blue).pick(b"bot"), Slot::Green);
        assert_eq!(split(100).eject(Slot::Green).candidate_weight(), Percent::ZERO);
        let alone = Split::all(Slot::Blue).eject(Slot::Blue);
        assert_eq!(alone.pick(b"bot"), Slot::Blue, "the last slot is never ejected");
        assert_eq!(alone.with_standby().pick(b"bot"), Slot::Green);
    }

    #[test]
    fn stable_stands_in_for_the_candidate_and_a_serving_candidate_for_stable() {
        assert_eq!(split(50).fallback(Slot::Green), Some(Slot::Blue));
        assert_eq!(split(50).fallback(Slot::Blue), Some(Slot::Green));
        let shadow = Split::all(Slot::Blue).with_shadow();
        assert_eq!(shadow.fallback(Slot::Blue), None, "a shadow is no fallback");
        assert_eq!(shadow.shadow(), Some(Slot::Green));
        assert_eq!(shadow.eject(Slot::Green).shadow(), None);
        assert_eq!(split(50).eject(Slot::Blue).fallback(Slot::Green), None);
    }

    #[test]
    fn positions_do_not_change_between_versions() {
        // Fixed points: a change here moves every client of a running rollout.
        assert_eq!(hash_point(b"r1", b"panda-bot"), 4274447928);
        assert_eq!(hash_point(b"r1", b"testbed-bot"), 1933865874);
        assert_eq!(hash_point(b"", b""), 3104000723);
    }

    #[test]
    fn the_share_is_close_to_the_weight() {
        for weight in [1, 5, 25, 50, 75, 99] {
            let split = split(weight);
            let taken = (0..20_000).filter(|n| split.pick(format!("client-{n}").as_bytes()) == Slot::Green);
            let share = taken.count() as f64 / 200.0;
            assert!((share - f64::from(weight)).abs() < 1.5, "weight {weight} gave {share} %");
        }
    }

    proptest! {
        // "raising the weight never moves a client back"
        #[test]
        fn raising_the_weight_never_moves_a_client_back(key in ".*", salt in ".*", low in 0u8..=100, high in 0u8..=100) {
            let (low, high) = (low.min(high), low.max(high));
            let at = |weight| {
                let share = Share::new(Percent::new(weight).unwrap(), &salt);
                Split::all(Slot::Blue).with_share(share).pick(key.as_bytes())
            };
            prop_assert!(at(low) == Slot::Blue || at(high) == Slot::Green);
            prop_assert_eq!(at(0), Slot::Blue);
            prop_assert_eq!(at(100), Slot::Green);
        }

        #[test]
        fn the_choice_depends_on_nothing_but_key_salt_and_weight(key in ".*", weight in 0u8..=100) {
            prop_assert_eq!(split(weight).pick(key.as_bytes()), split(weight).pick(key.as_bytes()));
            let mirrored = Split::all(Slot::Green).with_share(share(weight)).pick(key.as_bytes());
            prop_assert_eq!(mirrored, split(weight).pick(key.as_bytes()).other());
        }
    }
}
