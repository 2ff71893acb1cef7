//! Limits that hold over the whole fleet, by shares that each guard takes ahead.
//!
//! A share is a part of the limit's rate: all shares together are never more than the whole, as the store counts them. The
//! burst is divided by the same shares: one call for each guard, and of the rest half evenly, half by share. So over any
//! time the fleet admits at most the rate, and once the burst and a call for each guard but one.
//!
//! No call waits for the store. Without the store a guard takes the limit divided by the members last seen.

mod demand;
mod share;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use share::{Admission, Outlook, Share};

use crate::moment::Moment;
use crate::request::{ShareRequest, WHOLE};
use crate::rules::{Rule, Rules};
use demand::Demand;
use share::Part;

/// Most limits in one request; those that waited longest come first.
pub const LIMITS_IN_REQUEST_MAX: usize = 64;
/// After this time without calls, a guard with a full bucket gives its share back.
const IDLE_BEFORE_RELEASE: Duration = Duration::from_secs(5);
/// The end of what does not end.
const FOREVER: Moment = Moment::FAR;

/// A limit of the whole fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    rate: f64,
    burst: f64,
}

/// How a guard stands to the store, as far as its shares go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contact {
    /// The store responds.
    Present,
    /// No share can be valid any more; the other guards may not have made room for the even part yet.
    Lost,
    /// The guard takes its even part.
    Away,
}

/// The limits of one guard. Copies share them. They outlive the members of a process: each new one gets the same.
#[derive(Debug, Clone)]
pub struct Limits {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Table {
    entries: BTreeMap<String, Entry>,
    /// Members of the fleet, as last seen.
    members: u64,
    contact: Contact,
    started: Moment,
    ticked: Moment,
    rules: Rules,
}

#[derive(Debug)]
struct Entry {
    limit: Limit,
    share: Arc<Share>,
    demand: Demand,
    lease: Lease,
    asked: Moment,
    /// What the store was told last that the guard holds.
    told: u64,
}

/// What the guard holds of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lease {
    /// Nothing, and the store counts nothing: one full bucket of the even part, which is not refilled.
    None,
    /// So many parts per million.
    Granted { parts: u64, until: Moment },
    /// The even part, because the store is away.
    Even { parts: u64 },
}

impl Limit {
    /// So many calls in this time, at most `burst` at once; none if one of them is 0.
    pub fn new(calls: u32, per: Duration, burst: u32) -> Option<Limit> {
        if calls == 0 || per.is_zero() || burst == 0 {
            return None;
        }
        Some(Limit { rate: f64::from(calls) / per.as_secs_f64(), burst: f64::from(burst) })
    }

    /// One call in each interval, at most `burst` at once; at least a nanosecond, and one call.
    pub fn spaced(interval: Duration, burst: u32) -> Limit {
        let interval = interval.max(Duration::from_nanos(1));
        Limit { rate: 1.0 / interval.as_secs_f64(), burst: f64::from(burst.max(1)) }
    }

    /// The part of a guard that holds so many parts per million, in a fleet of so many members.
    fn part(self, parts: u64, members: u64) -> Part {
        let (share, members) = (parts.min(WHOLE) as f64 / WHOLE as f64, members.max(1) as f64);
        let spread = self.burst - 1.0;
        Part { rate: self.rate * share, burst: 1.0 + spread * (0.5 / members + share / 2.0) }
    }

    /// The rate in the store's unit.
    fn in_store(rate: f64) -> u64 {
        (rate * 1_000.0).round().clamp(0.0, 1e9) as u64
    }
}

impl Limits {
    /// No limits yet. `members` is what the guard assumes until it has reached the store; 0 if it does not know.
    pub fn new(members: u64, now: Moment) -> Limits {
        let contact = if members > 1 { Contact::Lost } else { Contact::Away };
        let (entries, members) = (BTreeMap::new(), members.max(1));
        let table = Table { entries, members, contact, started: now, ticked: now, rules: Rules::default() };
        Limits { table: Arc::new(Mutex::new(table)) }
    }

    /// The guard's share of this limit. Takes a lock: the caller keeps the share, and asks again after the limit has changed.
    pub fn share(&self, name: &str, limit: Limit, now: Moment) -> Arc<Share> {
        let mut table = self.lock();
        let (members, rules) = (table.members, table.rules);
        let even = Lease::Even { parts: WHOLE / members };
        let (lease, since_start) = match table.contact {
            Contact::Present | Contact::Lost => (Lease::None, now.since(table.started)),
            Contact::Away => (even, now.since(table.started)),
        };
        if let Some(entry) = table.entries.get_mut(name) {
            if entry.limit != limit {
                entry.limit = limit;
                entry.apply(members, rules, now);
            }
            return Arc::clone(&entry.share);
        }
        // A bucket that was not used is as full as its even part of the rate has filled it since the start.
        let part = limit.part(lease.parts(), members);
        let left = (1.0 + since_start.as_secs_f64() * limit.rate / members as f64).min(part.burst);
        let share = Arc::new(Share::new(part, limit.rate / members as f64, left, now));
        let entry =
            Entry { limit, share: Arc::clone(&share), demand: Demand::default(), lease, asked: now, told: 0 };
        table.entries.insert(name.to_owned(), entry);
        share
    }

    /// The guard has left: from now on each limit is its own, and nothing renews them.
    pub fn alone(&self, now: Moment) {
        let mut table = self.lock();
        (table.contact, table.members) = (Contact::Away, 1);
        let rules = table.rules;
        for entry in table.entries.values_mut() {
            entry.lease = Lease::Even { parts: WHOLE };
            entry.apply(1, rules, now);
        }
    }

    /// Time has passed, or the contact has changed: renews every part.
    pub(crate) fn tick(&self, contact: Contact, members: u64, rules: Rules, now: Moment) {
        let mut table = self.lock();
        let elapsed = now.since(table.ticked);
        table.ticked = now;
        table.contact = contact;
        table.rules = rules;
        table.members = members.max(1);
        let members = table.members;
        table.entries.retain(|_, entry| {
            entry.demand.update(entry.share.offered(), elapsed);
            entry.settle_lease(contact, members, rules, now);
            entry.apply(members, rules, now);
            entry.is_in_use(members, now)
        });
    }

    /// What to ask of the store now.
    pub(crate) fn requests(&self, terms: Duration, now: Moment) -> Vec<ShareRequest> {
        let mut table = self.lock();
        let (members, rules) = (table.members, table.rules);
        let mut due: Vec<(Moment, &String)> = table
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_due(members, terms, now))
            .map(|(name, entry)| (entry.asked, name))
            .collect();
        due.sort();
        let names: Vec<String> =
            due.into_iter().take(LIMITS_IN_REQUEST_MAX).map(|(_, name)| name.clone()).collect();
        let mut requests = Vec::with_capacity(names.len());
        for name in names {
            if let Some(entry) = table.entries.get_mut(&name) {
                entry.asked = now;
                requests.push(entry.request(name, members, rules, now));
            }
        }
        requests
    }

    /// Gives all shares back, for a guard that leaves; what one request does not hold ends with its time.
    pub(crate) fn release(&self, now: Moment) -> Vec<ShareRequest> {
        let mut table = self.lock();
        let (members, rules) = (table.members, table.rules);
        let leased = table.entries.iter_mut().filter(|(_, entry)| entry.lease != Lease::None);
        let mut requests = Vec::new();
        for (name, entry) in leased.take(LIMITS_IN_REQUEST_MAX) {
            entry.lease = Lease::None;
            entry.apply(members, rules, now);
            let rate = Limit::in_store(entry.limit.rate).max(1);
            requests.push(ShareRequest { limit: name.clone(), rate, demand: 0, holds: 0 });
        }
        requests
    }

    /// The store's response to these requests, which were sent at this time.
    /// Returns whether a share has become much smaller: the store gives it to others once the next request says so.
    pub(crate) fn granted(
        &self,
        requests: &[ShareRequest],
        parts: &[u64],
        until: Moment,
        now: Moment,
    ) -> bool {
        let mut given_up = false;
        let mut table = self.lock();
        let (members, rules) = (table.members, table.rules);
        for (request, parts) in requests.iter().zip(parts) {
            if let Some(entry) = table.entries.get_mut(&request.limit) {
                let released = request.demand == 0 && request.holds == 0;
                let parts = (*parts).min(WHOLE);
                given_up |= parts + WHOLE / 20 < request.holds;
                entry.lease = if released { Lease::None } else { Lease::Granted { parts, until } };
                entry.apply(members, rules, now);
            }
        }
        given_up
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn parts(self) -> u64 {
        match self {
            Lease::None => 0,
            Lease::Granted { parts, .. } | Lease::Even { parts } => parts,
        }
    }
}

impl Entry {
    /// A lease that has ended, or that the contact replaces.
    fn settle_lease(&mut self, contact: Contact, members: u64, rules: Rules, now: Moment) {
        self.lease = match (self.lease, contact) {
            (Lease::Granted { until, .. }, _) if now < until || !rules.keep(Rule::ShareEnd) => self.lease,
            (Lease::None | Lease::Granted { .. } | Lease::Even { .. }, Contact::Away) => {
                Lease::Even { parts: WHOLE / members }
            }
            // Not more than before, and not more than the part that the store keeps for it.
            (Lease::Granted { parts, .. } | Lease::Even { parts }, Contact::Lost) => {
                Lease::Even { parts: parts.min(WHOLE / members) }
            }
            (Lease::None, Contact::Lost) => Lease::None,
            // The store was away, and is back: what it was told of is held until it has decided.
            (Lease::Even { parts }, Contact::Present) if parts <= self.told => {
                Lease::Granted { parts, until: now.plus(Duration::from_secs(1)) }
            }
            (Lease::None | Lease::Granted { .. } | Lease::Even { .. }, Contact::Present) => Lease::None,
        };
    }

    fn apply(&self, members: u64, rules: Rules, now: Moment) {
        let even = self.limit.rate / members as f64;
        let until = match self.lease {
            Lease::Granted { until, .. } if rules.keep(Rule::ShareEnd) => until,
            Lease::None | Lease::Granted { .. } | Lease::Even { .. } => FOREVER,
        };
        self.share.set(self.limit.part(self.lease.parts(), members), until, even, now);
    }

    fn wanted(&self, members: u64, now: Moment) -> f64 {
        let burst = self.limit.part(self.lease.parts(), members).burst;
        self.demand.wanted(self.share.left(now), burst)
    }

    fn is_due(&self, members: u64, terms: Duration, now: Moment) -> bool {
        let wanted = self.wanted(members, now);
        match self.lease {
            Lease::None => wanted > 0.0,
            // What is held without use, or was given up, may be what others wait for.
            Lease::Granted { parts, .. } if parts >= WHOLE / 100 || parts < self.told => true,
            // The request before may be lost: the first one that gets through must say what the guard uses.
            Lease::Even { .. } => true,
            Lease::Granted { .. } => {
                wanted > 0.0 || self.can_release(wanted) || now.since(self.asked) >= terms / 4
            }
        }
    }

    fn can_release(&self, wanted: f64) -> bool {
        wanted <= 0.0 && self.demand.idle() >= IDLE_BEFORE_RELEASE
    }

    fn request(&mut self, limit: String, members: u64, rules: Rules, now: Moment) -> ShareRequest {
        let wanted = self.wanted(members, now);
        let (mut demand, mut holds) = (Limit::in_store(wanted), self.lease.parts());
        if self.can_release(wanted) {
            // Given back before the next request says so: what the store counts is never less than what is used.
            self.lease = Lease::None;
            self.apply(members, rules, now);
            (demand, holds) = (0, 0);
        } else if wanted > 0.0 {
            demand = demand.max(1);
        }
        self.told = holds;
        ShareRequest { limit, rate: Limit::in_store(self.limit.rate).max(1), demand, holds }
    }

    /// Whether the entry must be kept: a call has it, the store counts it, or its bucket is not full.
    fn is_in_use(&self, members: u64, now: Moment) -> bool {
        let full = || self.wanted(members, now) <= 0.0 && self.demand.idle() >= IDLE_BEFORE_RELEASE;
        Arc::strong_count(&self.share) > 1 || self.lease != Lease::None || !full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_changed_limit_holds_at_once_and_what_is_left_stays() {
        let limits = Limits::new(1, at(0));
        let share = limits.share("a", Limit::spaced(Duration::from_millis(100), 10), at(60));
        assert_eq!(share.outlook(at(60)).calls, 10);
        (0..4).for_each(|_| assert_eq!(share.admit(at(60)), Admission::Admit));
        let changed = limits.share("a", Limit::spaced(Duration::from_secs(1), 3), at(60));
        assert!(Arc::ptr_eq(&share, &changed));
        assert_eq!(share.outlook(at(60)).calls, 3, "what the new burst does not hold is gone");
        limits.share("a", Limit::spaced(Duration::from_secs(1), 20), at(60));
        assert_eq!((share.outlook(at(60)).calls, share.outlook(at(64)).calls), (3, 7));
    }

    #[test]
    fn a_limit_by_its_interval_is_the_limit_by_its_count() {
        assert_eq!(
            Limit::new(4, Duration::from_secs(1), 7),
            Some(Limit::spaced(Duration::from_millis(250), 7))
        );
        assert_eq!(Limit::spaced(Duration::ZERO, 0), Limit::spaced(Duration::from_nanos(1), 1));
    }
}
