//! Rates that several guards count together: what the core asks of those that keep the count, and the name of each count.
//!
//! A name says what the rate is for, and whom it counts. It is the same on all guards with the same configuration, bounded in
//! length, and without a secret. Must not know how guards share a count.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::rate::{RateLimiter, SharedCount};

/// Most bytes of a name; the end of a longer one is replaced by a digest of the whole.
const NAME_BYTES_MAX: usize = 96;

/// Keeps the counts of rates with other guards.
pub trait SharedRates: Send + Sync + fmt::Debug {
    /// The count of this name: one window of one rate. The same name has the same count.
    fn count(&self, name: &str) -> Arc<dyn SharedCount>;

    /// The beginning of the clock by which its counts are asked.
    fn since(&self) -> Instant;
}

/// What a rate is for, and whose calls it counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateOf<'n> {
    /// A client.
    Client(&'n str, Messages),
    /// The tools of a pattern, called by all clients together.
    Tools(&'n str, Messages),
    /// One user of a grant: the grant's name, and what tells users apart.
    User(&'n str, &'n [u8; 16], Messages),
    /// A caller on a route: the route's name, and the caller's.
    Route(&'n str, &'n str),
    /// One user of a grant on a route: the route's name, and the grant's.
    RouteUser(&'n str, &'n str, &'n [u8; 16]),
}

/// Which messages a rate of calls counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Messages {
    /// Requests.
    Requests,
    /// Notifications and responses.
    Others,
}

impl Messages {
    /// The part of a name.
    fn as_str(self) -> &'static str {
        match self {
            Messages::Requests => "requests",
            Messages::Others => "others",
        }
    }
}

impl RateOf<'_> {
    /// The limiter of this rate, unused: counted with other guards where `shared` is given, else by this guard alone.
    pub fn limiter(&self, shared: Option<&dyn SharedRates>) -> RateLimiter {
        match shared {
            Some(rates) => RateLimiter::shared(rates.count(&self.name(1)), rates.count(&self.name(2))),
            None => RateLimiter::default(),
        }
    }

    /// The name of the count of this window.
    fn name(&self, window: u8) -> String {
        let hex = |user: &[u8; 16]| user.iter().fold(String::new(), with_hex);
        let (kind, names, last) = match *self {
            RateOf::Client(client, messages) => ("client", vec![escaped(client)], messages.as_str()),
            RateOf::Tools(pattern, messages) => ("tools", vec![escaped(pattern)], messages.as_str()),
            RateOf::User(grant, user, messages) => {
                ("user", vec![escaped(grant), hex(user)], messages.as_str())
            }
            RateOf::Route(route, caller) => ("route", vec![escaped(route), escaped(caller)], "requests"),
            RateOf::RouteUser(route, grant, user) => {
                ("route-user", vec![escaped(route), escaped(grant), hex(user)], "requests")
            }
        };
        let name = format!("{kind}:{}:{last}:{window}", names.join(":"));
        if name.len() <= NAME_BYTES_MAX {
            return name;
        }
        let digest = Sha256::digest(&name).iter().take(16).fold(String::new(), with_hex);
        // No escaped name has this sign.
        format!("{kind}:#{digest}")
    }
}

/// A name without the signs that names of counts are made of.
fn escaped(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'@' | b'/' => {
                text.push(char::from(byte));
            }
            _ => {
                text.push('%');
                text = with_hex(text, &byte);
            }
        }
        text
    })
}

fn with_hex(mut text: String, byte: &u8) -> String {
    // Writing to a string cannot fail.
    let _ = write!(text, "{byte:02x}");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::num::NonZeroU32;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::policy::rate::{Left, Rate, Window};

    const SECOND: u64 = 1_000_000_000;
    const USER: [u8; 16] = [0xab; 16];

    /// Counts by what it is told to have left, and notes what is asked of it.
    #[derive(Debug, Default)]
    struct Told {
        left: Mutex<u32>,
        windows: Mutex<Vec<Window>>,
        refunds: Mutex<u32>,
    }

    #[derive(Debug)]
    struct Fleet {
        counts: Mutex<BTreeMap<String, Arc<Told>>>,
        since: Instant,
    }

    impl SharedRates for Fleet {
        fn count(&self, name: &str) -> Arc<dyn SharedCount> {
            self.counts.lock().unwrap().entry(name.to_owned()).or_default().clone()
        }

        fn since(&self) -> Instant {
            self.since
        }
    }

    impl SharedCount for Told {
        fn admit(&self, window: Window, _now_ns: u64) -> Result<(), Duration> {
            self.windows.lock().unwrap().push(window);
            let mut left = self.left.lock().unwrap();
            *left = left.checked_sub(1).ok_or(window.interval())?;
            Ok(())
        }

        fn refund(&self, _at_ns: u64) {
            *self.left.lock().unwrap() += 1;
            *self.refunds.lock().unwrap() += 1;
        }

        fn left(&self, window: Window, _now_ns: u64) -> Left {
            let calls = *self.left.lock().unwrap();
            let wait = if calls == 0 { window.interval() } else { Duration::ZERO };
            Left { window, calls, wait }
        }
    }

    impl Fleet {
        fn new() -> Fleet {
            Fleet { counts: Mutex::default(), since: Instant::now() }
        }

        fn told(&self, name: &str) -> Arc<Told> {
            self.counts.lock().unwrap()[name].clone()
        }

        fn set(&self, name: &str, left: u32) {
            *self.told(name).left.lock().unwrap() = left;
        }
    }

    fn rate(count: u32, period: u64, burst: u32) -> Rate {
        let count = NonZeroU32::new(count).unwrap();
        Rate::new(count, Duration::from_secs(period), NonZeroU32::new(burst).unwrap()).unwrap()
    }

    #[test]
    fn a_shared_rate_admits_what_both_counts_admit_and_refunds_the_first_for_the_second() {
        let fleet = Fleet::new();
        let limiter = RateOf::Client("alice", Messages::Requests).limiter(Some(&fleet));
        let (first, second) = ("client:alice:requests:1", "client:alice:requests:2");
        let both = rate(10, 1, 10).and(rate(60, 3_600, 60));
        fleet.set(first, 3);
        fleet.set(second, 1);
        let calls = |now| limiter.left(&both, now).iter().map(|left| left.calls).collect::<Vec<_>>();
        assert_eq!(calls(SECOND), [3, 1]);
        assert_eq!(limiter.admit(&both, SECOND), Ok(()));
        assert_eq!(limiter.admit(&both, SECOND), Err(Duration::from_secs(60)));
        assert_eq!(calls(SECOND), [2, 0], "the refused call counts in neither");
        assert_eq!(
            (*fleet.told(first).refunds.lock().unwrap(), *fleet.told(second).refunds.lock().unwrap()),
            (1, 0)
        );
        fleet.set(first, 0);
        assert_eq!(limiter.admit(&both, SECOND), Err(Duration::from_secs(60)), "the longer wait of both");
        fleet.set(second, 5);
        assert_eq!(limiter.admit(&both, SECOND), Err(Duration::from_millis(100)));
        limiter.refund(&both, SECOND);
        assert_eq!(calls(SECOND), [1, 6]);
        assert!(!limiter.is_unused(u64::MAX));
        assert_eq!(
            *fleet.told(second).windows.lock().unwrap(),
            [rate(60, 3_600, 60).windows().next().unwrap(); 2]
        );
    }

    #[test]
    fn a_shared_rate_that_a_reload_changes_is_counted_by_the_new_window() {
        let fleet = Fleet::new();
        let limiter = RateOf::Tools("panda_*", Messages::Requests).limiter(Some(&fleet));
        let name = "tools:panda_*:requests:1";
        fleet.set(name, 9);
        for rate in [rate(10, 1, 10), rate(5, 1, 2)] {
            assert_eq!(limiter.admit(&rate, SECOND), Ok(()));
            assert_eq!(fleet.told(name).windows.lock().unwrap().last().copied(), rate.windows().next());
        }
    }

    #[test]
    fn without_a_fleet_a_rate_is_counted_by_the_guard_alone() {
        let limiter = RateOf::Client("alice", Messages::Requests).limiter(None);
        let rate = rate(1, 1, 1);
        assert_eq!(limiter.admit(&rate, SECOND), Ok(()));
        assert_eq!(limiter.admit(&rate, SECOND), Err(Duration::from_secs(1)));
    }

    #[test]
    fn each_rate_has_a_name_of_its_own() {
        let long = "n".repeat(300);
        let other_long = format!("{}m", "n".repeat(299));
        let texts = ["a", "b", "a:b", "a%3ab", "", "#", "requests", "a:requests", &long, &other_long];
        let mut names = BTreeSet::new();
        let mut expected = 0;
        let mut add = |of: RateOf<'_>| {
            for window in [1, 2] {
                let name = of.name(window);
                assert!(name.len() <= NAME_BYTES_MAX && name.is_ascii(), "{name}");
                names.insert(name);
                expected += 1;
            }
        };
        for text in texts {
            for messages in [Messages::Requests, Messages::Others] {
                add(RateOf::Client(text, messages));
                add(RateOf::Tools(text, messages));
                add(RateOf::User(text, &USER, messages));
                add(RateOf::User(text, &[1; 16], messages));
            }
            for other in texts {
                add(RateOf::Route(text, other));
                add(RateOf::RouteUser(text, other, &USER));
            }
        }
        assert_eq!(names.len(), expected);
    }

    // Guards of another version read the same names: a change here divides a fleet in two for the time of an upgrade.
    #[test]
    fn the_names_of_shared_rates_stay_the_same() {
        let long = "n".repeat(300);
        for (of, name) in [
            (RateOf::Client("alice", Messages::Requests), "client:alice:requests:1"),
            (RateOf::Client("a b:c", Messages::Others), "client:a%20b%3ac:others:1"),
            (RateOf::Tools("panda_*", Messages::Requests), "tools:panda_*:requests:1"),
            (
                RateOf::User("staff", &USER, Messages::Requests),
                "user:staff:abababababababababababababababab:requests:1",
            ),
            (RateOf::Route("site", ""), "route:site::requests:1"),
            (
                RateOf::RouteUser("site", "staff", &USER),
                "route-user:site:staff:abababababababababababababababab:requests:1",
            ),
            (RateOf::Client(&long, Messages::Requests), "client:#0b18bd09640bc65cd1cbc07bb41fadea"),
        ] {
            assert_eq!(of.name(1), name);
        }
    }
}
