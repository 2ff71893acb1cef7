//! Rates that hold over the fleet: each count is this guard's share of a limit, which the member leases ahead.
//!
//! The moments of the member count from the same instant as the proxy's clock of rates, which takes it from here.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mcp_fleet::{Admission, Limit, Limits, Moment, Share};

use crate::policy::rate::{Left, SharedCount, Window};
use crate::policy::shared_rates::SharedRates;

/// The shares of one guard.
#[derive(Debug)]
pub(crate) struct LeasedRates {
    limits: Limits,
    base: Instant,
}

/// One count.
#[derive(Debug)]
struct LeasedCount {
    limits: Limits,
    name: String,
    /// Leased with the first call: most names are never called.
    lease: OnceLock<Lease>,
}

/// A share, and the window that it is of.
#[derive(Debug)]
struct Lease {
    share: Arc<Share>,
    interval_ns: AtomicU64,
    burst: AtomicU32,
}

impl LeasedRates {
    /// The shares that members lease by these limits. Their moments count from `base`.
    pub(crate) fn new(limits: Limits, base: Instant) -> LeasedRates {
        LeasedRates { limits, base }
    }
}

impl SharedRates for LeasedRates {
    fn count(&self, name: &str) -> Arc<dyn SharedCount> {
        Arc::new(LeasedCount { limits: self.limits.clone(), name: name.to_owned(), lease: OnceLock::new() })
    }

    fn since(&self) -> Instant {
        self.base
    }
}

impl SharedCount for LeasedCount {
    fn admit(&self, window: Window, now_ns: u64) -> Result<(), Duration> {
        let now = moment(now_ns);
        match self.share(window, now).admit(now) {
            Admission::Admit => Ok(()),
            Admission::Refuse { retry_after_nanos } => Err(Duration::from_nanos(retry_after_nanos)),
        }
    }

    fn refund(&self, at_ns: u64) {
        if let Some(lease) = self.lease.get() {
            lease.share.refund(moment(at_ns));
        }
    }

    fn left(&self, window: Window, now_ns: u64) -> Left {
        let now = moment(now_ns);
        let outlook = self.share(window, now).outlook(now);
        let calls = u32::try_from(outlook.calls).unwrap_or(u32::MAX);
        Left { window, calls, wait: Duration::from_nanos(outlook.retry_after_nanos) }
    }
}

impl LeasedCount {
    fn share(&self, window: Window, now: Moment) -> &Share {
        let limit = || Limit::spaced(window.interval(), window.burst());
        let lease = self.lease.get_or_init(|| Lease {
            share: self.limits.share(&self.name, limit(), now),
            interval_ns: AtomicU64::new(interval_ns(window)),
            burst: AtomicU32::new(window.burst()),
        });
        if !lease.is_of(window) {
            // A reload has changed the rate. A late call of the former configuration changes it back until the next one.
            self.limits.share(&self.name, limit(), now);
            lease.interval_ns.store(interval_ns(window), Ordering::Relaxed);
            lease.burst.store(window.burst(), Ordering::Relaxed);
        }
        &lease.share
    }
}

impl Lease {
    fn is_of(&self, window: Window) -> bool {
        self.interval_ns.load(Ordering::Relaxed) == interval_ns(window)
            && self.burst.load(Ordering::Relaxed) == window.burst()
    }
}

fn moment(now_ns: u64) -> Moment {
    Moment::after_start(Duration::from_nanos(now_ns))
}

fn interval_ns(window: Window) -> u64 {
    u64::try_from(window.interval().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::rate::{Rate, RateLimiter};
    use crate::policy::shared_rates::{Messages, RateOf};

    const SECOND: u64 = 1_000_000_000;
    const ALICE: RateOf<'_> = RateOf::Client("alice", Messages::Requests);

    fn rate(count: u32, seconds: u64, burst: u32) -> Rate {
        let (count, burst) = (NonZeroU32::new(count).unwrap(), NonZeroU32::new(burst).unwrap());
        Rate::new(count, Duration::from_secs(seconds), burst).unwrap()
    }

    /// Of a guard that is alone, so it holds the whole.
    fn alone() -> LeasedRates {
        LeasedRates::new(Limits::new(0, Moment::default()), Instant::now())
    }

    fn passes(limiter: &RateLimiter, rate: &Rate, now_ns: u64) -> usize {
        (0..100).filter(|_| limiter.admit(rate, now_ns).is_ok()).count()
    }

    #[test]
    fn a_reload_changes_a_shared_rate_and_keeps_what_is_left() {
        let (rates, now) = (alone(), 60 * SECOND);
        let limiter = ALICE.limiter(Some(&rates));
        let before = rate(10, 1, 10);
        assert_eq!((0..4).filter(|_| limiter.admit(&before, now).is_ok()).count(), 4);
        let after = rate(100, 1, 50);
        assert_eq!(limiter.left(&after, now)[0].calls, 6);
        assert_eq!(passes(&limiter, &after, now), 6);
        let wait = limiter.admit(&after, now).unwrap_err();
        assert!(wait.abs_diff(Duration::from_millis(10)) < Duration::from_micros(1), "{wait:?}");
        assert_eq!(passes(&limiter, &after, now + SECOND / 10), 10);
        assert_eq!(passes(&limiter, &before, now + 60 * SECOND), 10, "and back");
    }

    #[test]
    fn limiters_of_one_name_have_one_share_and_of_two_names_two() {
        let (rates, now, rate) = (alone(), 60 * SECOND, rate(10, 1, 10));
        let (one, same) = (ALICE.limiter(Some(&rates)), ALICE.limiter(Some(&rates)));
        assert_eq!((passes(&one, &rate, now), passes(&same, &rate, now)), (10, 0));
        let others = RateOf::Client("alice", Messages::Others).limiter(Some(&rates));
        assert_eq!(passes(&others, &rate, now), 10);
    }

    #[test]
    fn a_shared_rate_with_two_windows_refunds_the_first_for_the_second() {
        let (rates, now) = (alone(), 7_200 * SECOND);
        let limiter = ALICE.limiter(Some(&rates));
        let both = rate(10, 1, 10).and(rate(3, 3_600, 3));
        let left = || limiter.left(&both, now).iter().map(|left| left.calls).collect::<Vec<_>>();
        assert_eq!(passes(&limiter, &both, now), 3);
        assert_eq!(left(), [7, 0]);
        limiter.refund(&both, now);
        assert_eq!(left(), [8, 1]);
    }

    // A guard of several that has just started may use one call; then the wait is that of its part.
    #[test]
    fn the_wait_of_a_new_share_is_that_of_the_even_part() {
        let rates = LeasedRates::new(Limits::new(5, Moment::default()), Instant::now());
        let (limiter, rate) = (ALICE.limiter(Some(&rates)), rate(10, 1, 10));
        assert_eq!(limiter.admit(&rate, 0), Ok(()));
        let wait = limiter.admit(&rate, 0).unwrap_err();
        assert!((Duration::from_millis(450)..=Duration::from_millis(501)).contains(&wait), "{wait:?}");
        assert_eq!(limiter.left(&rate, 0)[0].wait, wait);
    }

    proptest! {
        // Contract, section 22: a guard that has the whole of a limit admits what it admits without a fleet.
        #[test]
        fn a_share_that_holds_the_whole_admits_what_the_guard_alone_does(
            count in 1_u32..2_000, burst in 1_u32..50,
            calls in proptest::collection::vec((0_u64..300_000_000, 0_u8..8), 1..300),
        ) {
            let (rates, rate) = (alone(), rate(count, 1, burst));
            let (shared, own) = (ALICE.limiter(Some(&rates)), RateLimiter::default());
            let (mut now, mut admitted) = (100 * SECOND, [0_i64; 2]);
            for (gap, kind) in calls {
                now += gap;
                for (limiter, admitted) in [&shared, &own].into_iter().zip(&mut admitted) {
                    match limiter.admit(&rate, now) {
                        Ok(()) if kind == 0 => limiter.refund(&rate, now),
                        Ok(()) => *admitted += 1,
                        Err(wait) => {
                            let wait = u64::try_from(wait.as_nanos()).unwrap();
                            prop_assert!(limiter.left(&rate, now + wait)[0].calls >= 1);
                            // The share counts in units of 64 ns.
                            prop_assert_eq!(limiter.left(&rate, (now + wait).saturating_sub(65))[0].calls, 0);
                        }
                    }
                }
                prop_assert!((admitted[0] - admitted[1]).abs() <= 1, "{:?}", admitted);
                let left = [&shared, &own].map(|limiter| i64::from(limiter.left(&rate, now)[0].calls));
                prop_assert!((left[0] - left[1]).abs() <= 1, "{:?}", left);
            }
        }
    }
}
