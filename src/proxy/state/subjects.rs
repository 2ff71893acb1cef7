//! The subjects of grants: the number under which each is counted in shared bounds, and what it has used of its quotas.
//!
//! A grant stands for many, and what it bounds it bounds for each of them. The table is bounded: subjects that have not called for
//! longest are forgotten, and begin anew. Must not know how a subject was proved.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::policy::rate::RateLimiter;
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
pub(crate) struct Subjects(Mutex<Table>);

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
    /// By name and beginning of the route: one that was changed counts anew.
    routes: Mutex<HashMap<(String, Instant), Arc<RateLimiter>>>,
    /// The search that found it last.
    seen: AtomicU64,
}

impl Subjects {
    /// The state of a user within a grant, which `grant` is the number of.
    pub(crate) fn find(&self, grant: ClientKey, user: &[u8; 16]) -> Arc<SubjectState> {
        let mut table = lock(&self.0);
        table.searches += 1;
        let now = table.searches;
        if let Some(known) = table.known.get(&(grant, *user)) {
            known.seen.store(now, Ordering::Relaxed);
            return known.clone();
        }
        if table.known.len() >= REMEMBERED_MAX {
            table.forget();
        }
        let state = Arc::new(SubjectState {
            key: table.number(user),
            // Bounded when a quota asks for it.
            usages: Usages::new(Bounds::of_one(usize::MAX, 0)),
            routes: Mutex::default(),
            seen: AtomicU64::new(now),
        });
        table.known.insert((grant, *user), state.clone());
        state
    }

    /// The state of a user who has called lately; nothing is counted by looking.
    pub(crate) fn known(&self, grant: ClientKey, user: &[u8; 16]) -> Option<Arc<SubjectState>> {
        lock(&self.0).known.get(&(grant, *user)).cloned()
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
    /// What the subject has used of a route's rate.
    pub(crate) fn route_meter(&self, route: &str, since: Instant) -> Arc<RateLimiter> {
        let mut routes = lock(&self.routes);
        let route = (route.to_owned(), since);
        if let Some(meter) = routes.get(&route) {
            return meter.clone();
        }
        if routes.len() >= ROUTE_METERS_MAX {
            routes.clear();
        }
        routes.entry(route).or_default().clone()
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

    #[test]
    fn a_user_has_one_number_whatever_the_grant_and_shares_it_with_no_other_user() {
        let subjects = Subjects::default();
        let first = subjects.find(1, &user(1));
        assert!(Arc::ptr_eq(&subjects.find(1, &user(1)), &first));
        let by_another_grant = subjects.find(2, &user(1));
        assert_eq!(by_another_grant.key, first.key, "two grants are no two shares");
        assert!(!Arc::ptr_eq(&by_another_grant, &first), "the quotas of each grant are its own");
        let other = subjects.find(1, &user(2)).key;
        assert_ne!(other, first.key);
        assert!([first.key, other].iter().all(|key| (FIRST_KEY..1 << 31).contains(key)));
    }

    #[test]
    fn a_full_table_of_subjects_forgets_the_idlest_and_keeps_those_that_are_served() {
        let subjects = Subjects::default();
        let max = u32::try_from(REMEMBERED_MAX).unwrap();
        let served = subjects.find(1, &user(0));
        for number in 1..max {
            subjects.find(1, &user(number));
        }
        let recent = subjects.find(1, &user(1)).key;
        subjects.find(1, &user(max));
        let table = lock(&subjects.0);
        assert!(table.known.len() <= REMEMBERED_MAX - FORGOTTEN_AT_ONCE + 1, "{}", table.known.len());
        assert_eq!(table.known.get(&(1, user(0))).map(|state| state.key), Some(served.key));
        assert_eq!(table.known.get(&(1, user(1))).map(|state| state.key), Some(recent), "it was just seen");
        assert!(!table.known.contains_key(&(1, user(2))));
        assert_eq!(table.numbers.len(), table.known.len(), "their numbers are forgotten with them");
    }
}
