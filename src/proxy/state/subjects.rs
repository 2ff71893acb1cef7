//! The subjects of grants: the number under which each is counted in shared bounds, and what it has used of its quotas.
//!
//! A grant stands for many, and what it bounds it bounds for each of them. The table is bounded: subjects that have not called for
//! longest are forgotten, and begin anew. Must not know how a subject was proved.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::policy::rate::RateLimiter;
use crate::policy::shared_rates::{Messages, RateOf, SharedRates};
use crate::proxy::fairness::per_client::ClientKey;
use crate::proxy::fairness::semaphore::Bounds;
use crate::proxy::state::usage::Usages;
use crate::proxy::sync::{Mutex, MutexGuard, PoisonError};

/// Subjects that are remembered while they do not call.
const REMEMBERED_MAX: usize = 10_000;
/// Of a full table, so many subjects are forgotten at once: a search for each new one would be slow.
const FORGOTTEN_AT_ONCE: usize = REMEMBERED_MAX / 8;
/// Numbers of subjects begin above those of clients and end below those of route callers.
const FIRST_KEY: ClientKey = 1 << 30;
/// Meters of routes that one subject may have; a configuration has fewer routes.
const ROUTE_METERS_MAX: usize = 256;

/// Every subject that has called lately.
#[derive(Default)]
pub(crate) struct Subjects {
    table: Mutex<Table>,
    /// Where guards count the rates of users together.
    shared: Option<Arc<dyn SharedRates>>,
}

/// The client whose subjects they are.
#[derive(Clone, Copy)]
pub(crate) struct Grant<'g> {
    pub(crate) key: ClientKey,
    pub(crate) name: &'g str,
}

#[derive(Default)]
struct Table {
    known: HashMap<(ClientKey, [u8; 16]), Arc<SubjectState>>,
    /// The number of each user who is known, whatever the grants: a user has one share of what all share.
    numbers: HashMap<[u8; 16], ClientKey>,
    given: ClientKey,
    /// Counts the searches: later ones are higher.
    searches: u64,
}

/// One subject of one grant.
pub(crate) struct SubjectState {
    pub(crate) key: ClientKey,
    pub(crate) usages: Usages,
    user: [u8; 16],
    /// By name and beginning of the route: one that was changed counts anew.
    routes: Mutex<HashMap<(String, Instant), Arc<RateLimiter>>>,
    /// The search that found it last.
    seen: AtomicU64,
}

impl Subjects {
    /// The subjects of a process in which these rates are counted with other guards.
    pub(crate) fn new(shared: Option<Arc<dyn SharedRates>>) -> Subjects {
        Subjects { table: Mutex::default(), shared }
    }

    /// The state of a user within a grant.
    pub(crate) fn find(&self, grant: Grant<'_>, user: &[u8; 16]) -> Arc<SubjectState> {
        let mut table = lock(&self.table);
        table.searches += 1;
        let now = table.searches;
        if let Some(known) = table.known.get(&(grant.key, *user)) {
            known.seen.store(now, Ordering::Relaxed);
            return known.clone();
        }
        if table.known.len() >= REMEMBERED_MAX {
            table.forget();
        }
        let state = Arc::new(SubjectState {
            key: table.number(user),
            usages: self.unused(grant, user),
            user: *user,
            routes: Mutex::default(),
            seen: AtomicU64::new(now),
        });
        table.known.insert((grant.key, *user), state.clone());
        state
    }

    /// The state of a user who has called lately; nothing is counted by looking.
    pub(crate) fn known(&self, grant: ClientKey, user: &[u8; 16]) -> Option<Arc<SubjectState>> {
        lock(&self.table).known.get(&(grant, *user)).cloned()
    }

    /// What a user has used who has not called yet.
    pub(crate) fn unused(&self, grant: Grant<'_>, user: &[u8; 16]) -> Usages {
        let limiter =
            |messages: Messages| RateOf::User(grant.name, user, messages).limiter(self.shared.as_deref());
        // Bounded when a quota asks for it.
        Usages::new(Bounds::of_one(usize::MAX, 0), limiter)
    }
}

impl Table {
    fn number(&mut self, user: &[u8; 16]) -> ClientKey {
        *self.numbers.entry(*user).or_insert_with(|| {
            self.given = (self.given + 1) % FIRST_KEY;
            FIRST_KEY + self.given
        })
    }

    /// Forgets those that were not seen for longest. One that is served is kept: its permits are counted in its state.
    fn forget(&mut self) {
        let idle = self.known.values().filter(|state| Arc::strong_count(state) == 1);
        let mut seen: Vec<u64> = idle.map(|state| state.seen.load(Ordering::Relaxed)).collect();
        let last = FORGOTTEN_AT_ONCE.min(seen.len().saturating_sub(1));
        if seen.is_empty() {
            return;
        }
        let (_, limit, _) = seen.select_nth_unstable(last);
        let limit = *limit;
        self.known
            .retain(|_, state| Arc::strong_count(state) > 1 || state.seen.load(Ordering::Relaxed) > limit);
        let left: HashSet<[u8; 16]> = self.known.keys().map(|(_, user)| *user).collect();
        self.numbers.retain(|user, _| left.contains(user));
    }
}

impl SubjectState {
    /// What tells the user apart.
    pub(crate) fn user(&self) -> &[u8; 16] {
        &self.user
    }

    /// What the subject has used of a route's rate.
    pub(crate) fn route_meter(
        &self,
        route: &str,
        since: Instant,
        unused: impl FnOnce() -> RateLimiter,
    ) -> Arc<RateLimiter> {
        let mut routes = lock(&self.routes);
        let route = (route.to_owned(), since);
        if let Some(meter) = routes.get(&route) {
            return meter.clone();
        }
        if routes.len() >= ROUTE_METERS_MAX {
            routes.clear();
        }
        routes.entry(route).or_insert_with(|| Arc::new(unused())).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u32) -> [u8; 16] {
        let mut user = [0; 16];
        user[..4].copy_from_slice(&number.to_be_bytes());
        user
    }

    fn grant(key: ClientKey) -> Grant<'static> {
        Grant { key, name: "staff" }
    }

    #[test]
    fn a_user_has_one_number_whatever_the_grant_and_shares_it_with_no_other_user() {
        let subjects = Subjects::default();
        let first = subjects.find(grant(1), &user(1));
        assert!(Arc::ptr_eq(&subjects.find(grant(1), &user(1)), &first));
        let by_another_grant = subjects.find(grant(2), &user(1));
        assert_eq!(by_another_grant.key, first.key, "two grants are no two shares");
        assert!(!Arc::ptr_eq(&by_another_grant, &first), "the quotas of each grant are its own");
        let other = subjects.find(grant(1), &user(2)).key;
        assert_ne!(other, first.key);
        assert!([first.key, other].iter().all(|key| (FIRST_KEY..1 << 31).contains(key)));
    }

    #[cfg(feature = "fleet")]
    #[test]
    fn the_rate_of_a_user_is_counted_with_other_guards_by_grant_and_user() {
        use std::num::NonZeroU32;
        use std::time::Duration;

        use crate::policy::rate::Rate;
        use crate::wire::Kind;

        let rates = crate::fuzzing::shared_rates();
        let guards = [Subjects::new(Some(rates.clone())), Subjects::new(Some(rates))];
        let once = Rate::new(NonZeroU32::MIN, Duration::from_secs(3_600), NonZeroU32::MIN).unwrap();
        let calls = |guard: usize, name: &'static str, number: u32, kind: Kind| {
            let state = guards[guard].find(Grant { key: name.len() as ClientKey, name }, &user(number));
            state.usages.of(kind).meter.admit(&once, 0).is_ok()
        };
        assert!(calls(0, "staff", 1, Kind::Request));
        assert!(!calls(1, "staff", 1, Kind::Request), "the other guard knows of the call");
        assert!(calls(1, "staff", 1, Kind::Notification));
        assert!(calls(1, "staff", 2, Kind::Request));
        assert!(calls(1, "guests", 1, Kind::Request), "each grant has a quota of its own");
    }

    #[test]
    fn a_full_table_of_subjects_forgets_the_idlest_and_keeps_those_that_are_served() {
        let subjects = Subjects::default();
        let max = u32::try_from(REMEMBERED_MAX).unwrap();
        let served = subjects.find(grant(1), &user(0));
        for number in 1..max {
            subjects.find(grant(1), &user(number));
        }
        let recent = subjects.find(grant(1), &user(1)).key;
        subjects.find(grant(1), &user(max));
        let table = lock(&subjects.table);
        assert!(table.known.len() <= REMEMBERED_MAX - FORGOTTEN_AT_ONCE + 1, "{}", table.known.len());
        assert_eq!(table.known.get(&(1, user(0))).map(|state| state.key), Some(served.key));
        assert_eq!(table.known.get(&(1, user(1))).map(|state| state.key), Some(recent), "it was just seen");
        assert!(!table.known.contains_key(&(1, user(2))));
        assert_eq!(table.numbers.len(), table.known.len(), "their numbers are forgotten with them");
    }
}
