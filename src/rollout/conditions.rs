//! What is known of the candidate besides its calls: health, checks, breaker, memory, protocol - and since when.
//!
//! Bounded: one streak a condition, and at most `CHECKS_MAX` named checks. Must not judge: the triggers do.

use std::collections::BTreeMap;

use super::timestamp::Timestamp;

/// Named checks remembered at most.
const CHECKS_MAX: usize = 64;
/// Calls in a row without a response that open the breaker.
pub const BREAKER_FAILURES: u64 = 5;

/// A condition that holds: since when, how often seen, and in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Streak {
    /// Since when.
    pub since: Timestamp,
    /// How often it has been seen.
    pub samples: u64,
    /// The latest words for it.
    pub what: String,
}

/// Sees a condition that holds once more, or for the first time.
pub fn again(streak: &mut Option<Streak>, now: Timestamp, what: &str) {
    match streak {
        Some(streak) => {
            streak.samples += 1;
            what.clone_into(&mut streak.what);
        }
        None => *streak = Some(Streak { since: now, samples: 1, what: what.to_owned() }),
    }
}

/// Everything known of the candidate.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// The health check says no.
    pub unhealthy: Option<Streak>,
    /// The step's hold is over, and it does not get on.
    pub stalled: Option<Streak>,
    /// Versions, tools or schemas differ from those the rollout started with.
    pub changed: Option<Streak>,
    /// Memory is above the threshold.
    pub memory_above: Option<Streak>,
    /// The latest reading, as a part of the limit.
    pub memory_used: Option<f64>,
    checks: BTreeMap<String, Streak>,
    unanswered: u64,
    breaker: Option<Streak>,
    half_open: bool,
}

impl Conditions {
    /// A named check said yes or no.
    pub fn check(&mut self, name: &str, failure: Option<&str>, now: Timestamp) {
        let Some(failure) = failure else {
            self.checks.remove(name);
            return;
        };
        if self.checks.len() < CHECKS_MAX || self.checks.contains_key(name) {
            let mut streak = self.checks.remove(name);
            again(&mut streak, now, &format!("critical check `{name}` fails: {failure}"));
            self.checks.extend(streak.map(|streak| (name.to_owned(), streak)));
        }
    }

    /// The check that has been failing for the longest time.
    pub fn worst_check(&self) -> Option<&Streak> {
        self.checks.values().min_by_key(|streak| streak.since)
    }

    /// A reading of memory, as a part of the limit; `words` describe it.
    pub fn memory(&mut self, used: f64, threshold: f64, now: Timestamp, words: &str) {
        self.memory_used = Some(used);
        if used > threshold {
            again(&mut self.memory_above, now, words);
        } else {
            self.memory_above = None;
        }
    }

    /// The open breaker, and since when it has not been closed by a response.
    pub fn breaker_open(&self) -> Option<&Streak> {
        self.breaker.as_ref().filter(|_| !self.half_open)
    }

    /// A call of the candidate ended. Enough of them without a response, one after the other, open the breaker; a response
    /// closes it.
    pub fn call(&mut self, unanswered: bool, now: Timestamp) {
        if !unanswered {
            self.unanswered = 0;
            self.breaker = None;
            self.half_open = false;
            return;
        }
        self.unanswered += 1;
        if self.unanswered >= BREAKER_FAILURES || self.half_open {
            self.half_open = false;
            let words = format!("breaker open: {} calls in a row without an answer", self.unanswered);
            again(&mut self.breaker, now, &words);
        }
    }

    /// An active probe had a response: an open breaker, which takes no calls, lets them through again. The next one decides:
    /// without a response it is open again, and has been all the time.
    pub fn probed_well(&mut self) {
        self.half_open = self.breaker.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn five_calls_in_a_row_without_a_response_open_the_breaker_and_four_do_not() {
        let mut known = Conditions::default();
        for second in 0..4 {
            known.call(true, at(second));
        }
        assert_eq!(known.breaker_open(), None);
        known.call(false, at(4));
        for second in 5..9 {
            known.call(true, at(second));
        }
        assert_eq!(known.breaker_open(), None, "an answer starts the count again");
        known.call(true, at(9));
        assert_eq!(known.breaker_open().unwrap().since, at(9));
    }

    #[test]
    fn a_good_probe_lets_calls_through_and_only_a_response_closes_the_breaker() {
        let mut known = Conditions::default();
        for second in 0..5 {
            known.call(true, at(second));
        }
        known.probed_well();
        assert_eq!(known.breaker_open(), None, "half open");
        known.call(true, at(20));
        assert_eq!(known.breaker_open().unwrap().since, at(4), "open all the time");
        known.probed_well();
        known.call(false, at(30));
        known.call(true, at(31));
        assert_eq!(known.breaker_open(), None);
    }

    #[test]
    fn the_check_that_fails_longest_is_reported_and_the_list_is_bounded() {
        let mut known = Conditions::default();
        known.check("database", Some("connection refused"), at(1));
        known.check("cache", Some("timeout"), at(2));
        known.check("database", Some("still refused"), at(3));
        let worst = known.worst_check().unwrap();
        assert_eq!((worst.since, worst.samples), (at(1), 2));
        assert_eq!(worst.what, "critical check `database` fails: still refused");
        known.check("database", None, at(4));
        assert_eq!(known.worst_check().unwrap().since, at(2));
        for n in 0..1_000 {
            known.check(&format!("check-{n}"), Some("no"), at(5));
        }
        assert_eq!(known.checks.len(), CHECKS_MAX);
    }
}
