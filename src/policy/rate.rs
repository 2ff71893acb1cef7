//! How many calls a client or a tool may make in a time: the generic cell rate algorithm, on one number.
//!
//! Pure: callers pass `now`. A limiter never allocates, never locks, and says exactly when the next call fits. Where several
//! guards share a rate, the count of its windows is theirs. Must not know whose calls it counts.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// So many calls in a time, and so many of them at once; or two of these, of which both hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    first: Window,
    second: Option<Window>,
}

/// One call in each interval, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Between two calls, when all that may come at once have come.
    interval_ns: u64,
    burst: u32,
}

impl Rate {
    /// `count` calls in each `period`, `burst` of them at once. `None` if they would follow each other within less than
    /// a nanosecond, or if filling up again would take longer than a limiter can count.
    pub fn new(count: NonZeroU32, period: Duration, burst: NonZeroU32) -> Option<Rate> {
        let interval_ns = u64::try_from(period.as_nanos()).ok()? / u64::from(count.get());
        let whole = interval_ns.checked_mul(u64::from(burst.get()))?;
        // A tenth of what 64 bits hold leaves room for any time a process can run.
        let countable = interval_ns > 0 && whole < u64::MAX / 10;
        countable.then_some(Rate { first: Window { interval_ns, burst: burst.get() }, second: None })
    }

    /// Its windows: one, or two of which both hold.
    pub fn windows(&self) -> impl Iterator<Item = Window> {
        std::iter::once(self.first).chain(self.second)
    }

    /// This rate, and `other`'s first one beside it.
    pub fn and(self, other: Rate) -> Rate {
        Rate { second: Some(other.first), ..self }
    }
}

impl Window {
    /// The time between two calls, when all that may come at once have come.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval_ns)
    }

    /// How many may come at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// The time in which an unused rate gathers all its calls.
    fn depth_ns(&self) -> u64 {
        self.interval_ns * u64::from(self.burst)
    }

    /// Where the next call starts to count. What an earlier, slower rate left behind is no debt to the present one.
    fn start(&self, due: u64, now_ns: u64) -> u64 {
        due.clamp(now_ns, now_ns.saturating_add(self.depth_ns()))
    }
}

/// What has been used of a rate. Shared by every call it counts; it outlives the configuration that named the rate.
#[derive(Debug, Default)]
pub struct RateLimiter {
    first: Count,
    second: Count,
}

/// What several guards have used of one window. Never waits for them: a call is judged by what is known here.
pub trait SharedCount: Send + Sync + fmt::Debug {
    /// Counts a call at `now_ns` if this guard's share of the window has room for it; else says how long until it should have.
    /// A window that is another one than before takes its place; what was left of that stays.
    fn admit(&self, window: Window, now_ns: u64) -> Result<(), Duration>;

    /// Takes a call back that was counted at `at_ns`.
    fn refund(&self, at_ns: u64);

    /// What is left of this guard's share at `now_ns`; nothing is counted.
    fn left(&self, window: Window, now_ns: u64) -> Left;
}

impl RateLimiter {
    /// A limiter whose windows several guards count together.
    pub fn shared(first: Arc<dyn SharedCount>, second: Arc<dyn SharedCount>) -> RateLimiter {
        RateLimiter { first: Count::Shared(first), second: Count::Shared(second) }
    }

    /// Counts a call at `now_ns` if the rate has room for it; else says how long it would have to wait.
    pub fn admit(&self, rate: &Rate, now_ns: u64) -> Result<(), Duration> {
        let first = self.first.admit(&rate.first, now_ns);
        let Some(second) = &rate.second else { return first };
        match first {
            // For a moment the call counts in one window only: another call may be refused too early, none is admitted beyond the rate.
            Ok(()) => {
                self.second.admit(second, now_ns).inspect_err(|_| self.first.refund(&rate.first, now_ns))
            }
            Err(wait) => Err(wait.max(self.second.wait(second, now_ns))),
        }
    }

    /// What is left of each window at `now_ns`; nothing is counted.
    pub fn left(&self, rate: &Rate, now_ns: u64) -> Vec<Left> {
        let used = [&self.first, &self.second];
        rate.windows().zip(used).map(|(window, used)| used.left(window, now_ns)).collect()
    }

    /// Whether it is as it was before its first call: nothing that was counted is left at `now_ns`. A shared one never is: the
    /// other guards may have used it.
    pub fn is_unused(&self, now_ns: u64) -> bool {
        [&self.first, &self.second].into_iter().all(|count| match count {
            Count::Own(used) => used.tat_ns.load(Ordering::Acquire) <= now_ns,
            Count::Shared(_) => false,
        })
    }

    /// Takes a call back that was counted at `at_ns`: another limit refused it.
    pub fn refund(&self, rate: &Rate, at_ns: u64) {
        self.first.refund(&rate.first, at_ns);
        if let Some(second) = &rate.second {
            self.second.refund(second, at_ns);
        }
    }
}

/// What is left of one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The window.
    pub window: Window,
    /// So many calls would be admitted at once.
    pub calls: u32,
    /// How long until the next one would be; zero while calls are left.
    pub wait: Duration,
}

/// The count of one window.
#[derive(Debug)]
enum Count {
    Own(Used),
    Shared(Arc<dyn SharedCount>),
}

impl Default for Count {
    fn default() -> Count {
        Count::Own(Used::default())
    }
}

impl Count {
    fn admit(&self, window: &Window, now_ns: u64) -> Result<(), Duration> {
        match self {
            Count::Own(used) => used.admit(window, now_ns),
            Count::Shared(shared) => shared.admit(*window, now_ns),
        }
    }

    /// How long until a call would be admitted; none is counted.
    fn wait(&self, window: &Window, now_ns: u64) -> Duration {
        match self {
            Count::Own(used) => used.wait(window, now_ns),
            Count::Shared(shared) => shared.left(*window, now_ns).wait,
        }
    }

    fn left(&self, window: Window, now_ns: u64) -> Left {
        match self {
            Count::Own(used) => used.left(window, now_ns),
            Count::Shared(shared) => shared.left(window, now_ns),
        }
    }

    fn refund(&self, window: &Window, at_ns: u64) {
        match self {
            Count::Own(used) => used.refund(window),
            Count::Shared(shared) => shared.refund(at_ns),
        }
    }
}

/// What this guard has used of one window.
#[derive(Debug, Default)]
struct Used {
    /// When the calls so far would have been made, had they come evenly: the theoretical arrival time of the next one.
    tat_ns: AtomicU64,
}

impl Used {
    fn admit(&self, window: &Window, now_ns: u64) -> Result<(), Duration> {
        let limit = now_ns.saturating_add(window.depth_ns());
        let mut due = self.tat_ns.load(Ordering::Acquire);
        loop {
            let start = window.start(due, now_ns);
            let next = start.saturating_add(window.interval_ns);
            let admitted = next <= limit;
            // A refused call leaves no trace, but what was no debt any more is forgotten.
            let new = if admitted { next } else { start };
            match self.tat_ns.compare_exchange_weak(due, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if admitted => return Ok(()),
                Ok(_) => return Err(Duration::from_nanos(next - limit)),
                Err(other) => due = other,
            }
        }
    }

    fn wait(&self, window: &Window, now_ns: u64) -> Duration {
        let next =
            window.start(self.tat_ns.load(Ordering::Acquire), now_ns).saturating_add(window.interval_ns);
        Duration::from_nanos(next.saturating_sub(now_ns.saturating_add(window.depth_ns())))
    }

    fn left(&self, window: Window, now_ns: u64) -> Left {
        let start = window.start(self.tat_ns.load(Ordering::Acquire), now_ns);
        let room = now_ns.saturating_add(window.depth_ns()).saturating_sub(start) / window.interval_ns;
        let calls = u32::try_from(room).unwrap_or(u32::MAX);
        Left { window, calls, wait: self.wait(&window, now_ns) }
    }

    fn refund(&self, window: &Window) {
        let before = |due: u64| due.saturating_sub(window.interval_ns);
        let _ = self.tat_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, |due| Some(before(due)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(count: u32, period: Duration, burst: u32) -> Rate {
        Rate::new(NonZeroU32::new(count).unwrap(), period, NonZeroU32::new(burst).unwrap()).unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_one_call_an_interval() {
        let (rate, limiter) = (rate(10, Duration::from_secs(1), 3), RateLimiter::default());
        let now = 5 * SECOND;
        for _ in 0..3 {
            assert_eq!(limiter.admit(&rate, now), Ok(()));
        }
        assert_eq!(limiter.admit(&rate, now), Err(Duration::from_millis(100)));
        assert_eq!(limiter.admit(&rate, now + SECOND / 20), Err(Duration::from_millis(50)));
        assert_eq!(limiter.admit(&rate, now + SECOND / 10), Ok(()));
        assert_eq!(limiter.admit(&rate, now + SECOND / 10), Err(Duration::from_millis(100)));
    }

    #[test]
    fn what_is_left_of_a_rate_is_what_it_admits_and_looking_counts_nothing() {
        let limiter = RateLimiter::default();
        let rate = rate(10, Duration::from_secs(1), 3).and(rate(60, Duration::from_secs(60), 5));
        let now = 5 * SECOND;
        let left =
            |now| limiter.left(&rate, now).iter().map(|left| (left.calls, left.wait)).collect::<Vec<_>>();
        let none = Duration::ZERO;
        assert_eq!(left(now), [(3, none), (5, none)]);
        assert_eq!(left(now), [(3, none), (5, none)]);
        for _ in 0..3 {
            limiter.admit(&rate, now).unwrap();
        }
        assert_eq!(left(now), [(0, Duration::from_millis(100)), (2, none)]);
        assert_eq!(left(now + SECOND / 5), [(2, none), (2, none)]);
        assert_eq!(left(now + 60 * SECOND), [(3, none), (5, none)]);
    }

    #[test]
    fn unused_calls_gather_up_to_the_burst_and_no_further() {
        let (rate, limiter) = (rate(10, Duration::from_secs(1), 3), RateLimiter::default());
        let passes = |now: u64| (0..10).filter(|_| limiter.admit(&rate, now).is_ok()).count();
        assert_eq!(passes(SECOND), 3);
        assert_eq!(passes(SECOND + SECOND / 5), 2);
        assert_eq!(passes(1000 * SECOND), 3);
    }

    #[test]
    fn a_slow_rate_of_yesterday_is_no_debt_under_a_quick_one() {
        let limiter = RateLimiter::default();
        let slow = rate(1, Duration::from_secs(3600), 10);
        assert!((0..10).all(|_| limiter.admit(&slow, SECOND).is_ok()));
        let quick = rate(100, Duration::from_secs(1), 5);
        assert_eq!(limiter.admit(&quick, SECOND), Err(Duration::from_millis(10)));
        assert_eq!(limiter.admit(&quick, SECOND + SECOND / 100), Ok(()));
    }

    #[test]
    fn a_call_that_was_given_back_does_not_count() {
        let (rate, limiter) = (rate(1, Duration::from_secs(1), 1), RateLimiter::default());
        assert_eq!(limiter.admit(&rate, SECOND), Ok(()));
        limiter.refund(&rate, SECOND);
        assert_eq!(limiter.admit(&rate, SECOND), Ok(()));
    }

    #[test]
    fn of_two_rates_both_hold_and_a_call_that_one_refuses_counts_in_neither() {
        // 100 an hour and 10 a minute.
        let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
        let (rate, limiter) = (rate(100, hour, 100).and(rate(10, minute, 10)), RateLimiter::default());
        let passes = |now: u64| (0..200).filter(|_| limiter.admit(&rate, now).is_ok()).count();
        assert_eq!(passes(SECOND), 10, "a minute's");
        assert_eq!(limiter.admit(&rate, SECOND), Err(Duration::from_secs(6)));
        let minutes = (1..20).map(|minute| passes((1 + 60 * minute) * SECOND)).collect::<Vec<_>>();
        // Ten a minute for eleven minutes use up the hour's hundred and what it has gained meanwhile.
        assert_eq!(minutes[..9], [10; 9]);
        assert!(minutes[12..].iter().all(|passed| (1..=2).contains(passed)), "{minutes:?}");
        let refused = limiter.admit(&rate, (1 + 60 * 19) * SECOND).unwrap_err();
        assert!(refused > Duration::from_secs(6) && refused <= Duration::from_secs(36), "{refused:?}");
    }

    #[test]
    fn a_call_of_two_rates_that_was_given_back_does_not_count() {
        let second = Duration::from_secs(1);
        let (rate, limiter) = (rate(1, second, 1).and(rate(1, second * 60, 1)), RateLimiter::default());
        assert_eq!(limiter.admit(&rate, SECOND), Ok(()));
        limiter.refund(&rate, SECOND);
        assert_eq!(limiter.admit(&rate, SECOND), Ok(()));
        assert_eq!(limiter.admit(&rate, SECOND), Err(second * 60), "the longer wait of both");
    }

    #[test]
    fn rates_that_cannot_be_counted_are_refused() {
        let one = NonZeroU32::MIN;
        assert!(Rate::new(NonZeroU32::MAX, Duration::from_nanos(7), one).is_none());
        assert!(Rate::new(one, Duration::from_secs(86_400 * 365), NonZeroU32::MAX).is_none());
        assert!(Rate::new(one, Duration::from_secs(3600), NonZeroU32::new(100_000).unwrap()).is_some());
    }

    // Contract, section 7; the issue: "`retryAfterMs` right to 10 %".
    proptest! {
        #[test]
        fn a_rate_limited_client_is_admitted_after_retry_after_and_not_before(
            count in 1_u32..1000, burst in 1_u32..50, gaps in proptest::collection::vec(0_u64..200_000_000, 1..200),
        ) {
            let (rate, limiter) = (rate(count, Duration::from_secs(1), burst), RateLimiter::default());
            let (mut now, mut admitted) = (SECOND, 0_u64);
            for gap in &gaps {
                now += gap;
                if let Err(wait) = limiter.admit(&rate, now) {
                    let wait = u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert!(limiter.admit(&rate, now + wait - 1).is_err());
                    now += wait;
                    prop_assert!(limiter.admit(&rate, now).is_ok());
                }
                admitted += 1;
            }
            let most = u64::from(burst) + (now - SECOND) / (SECOND / u64::from(count));
            prop_assert!(admitted <= most, "{admitted} of {most}");
        }

        #[test]
        fn with_two_rates_a_call_is_admitted_after_retry_after_and_not_before(
            counts in (1_u32..100, 1_u32..100), bursts in (1_u32..20, 1_u32..20),
            gaps in proptest::collection::vec(0_u64..2_000_000_000, 1..200),
        ) {
            let second = Duration::from_secs(1);
            let (first, other) = (rate(counts.0, second, bursts.0), rate(counts.1, second * 60, bursts.1));
            let (both, limiter) = (first.and(other), RateLimiter::default());
            let (alone, mut now) = ([RateLimiter::default(), RateLimiter::default()], SECOND);
            for gap in gaps {
                now += gap;
                if let Err(wait) = limiter.admit(&both, now) {
                    let wait = u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert!(limiter.admit(&both, now + wait - 1).is_err());
                    now += wait;
                    prop_assert!(limiter.admit(&both, now).is_ok());
                }
                // What both admit, each admits by itself.
                prop_assert!(alone[0].admit(&first, now).is_ok() && alone[1].admit(&other, now).is_ok());
            }
        }
    }
}
