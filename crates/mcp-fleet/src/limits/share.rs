//! One guard's part of one limit, as the call's path uses it: a few atomic loads and one compare-and-set a call.
//!
//! A generic cell rate algorithm over one word: the theoretical arrival time of the next call. When the part changes, the
//! word is translated, so that the calls that were left stay the same, and none is made up.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::moment::Moment;

/// Nanoseconds in one unit of time of the word, as a power of two.
const UNIT_BITS: u32 = 6;
/// The word holds the number of its part in the upper byte and the arrival time below.
const TIME_BITS: u32 = 56;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// Whether a call is within the guard's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Admit,
    /// It is not; so many nanoseconds from now one would be, at the rate of the part, or of the even part if that is more: a
    /// smaller part grows with the calls that come.
    Refuse {
        /// Never 0.
        retry_after_nanos: u64,
    },
}

/// What calls would get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// So many would be admitted at once.
    pub calls: u64,
    /// When one would be, as [`Admission::Refuse`] says it; 0 while calls are left.
    pub retry_after_nanos: u64,
}

/// A rate and a burst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Part {
    /// Calls a second.
    pub(crate) rate: f64,
    /// Most calls at once, at least one.
    pub(crate) burst: f64,
}

/// One limit on one guard. Cheap to share: the call's path and the member use it at the same time.
#[derive(Debug)]
pub struct Share {
    word: AtomicU64,
    parts: [AtomicPart; 2],
    offered: AtomicU64,
}

#[derive(Debug)]
struct AtomicPart {
    /// Units of time between two calls.
    interval: AtomicU64,
    /// Units of time that calls may run ahead.
    ahead: AtomicU64,
    /// When the part ends.
    until: AtomicU64,
    /// Units of time between two calls after that.
    interval_after: AtomicU64,
}

/// A part, read at one time.
#[derive(Clone, Copy)]
struct Cell {
    interval: u64,
    ahead: u64,
    until: u64,
    interval_after: u64,
}

impl Share {
    /// With so many calls left now. `after` is the rate without the store.
    pub(crate) fn new(part: Part, after: f64, left: f64, now: Moment) -> Share {
        let cell = Cell::new(part, Moment::FAR, after);
        let empty = || AtomicPart {
            interval: AtomicU64::new(cell.interval),
            ahead: AtomicU64::new(cell.ahead),
            until: AtomicU64::new(cell.until),
            interval_after: AtomicU64::new(cell.interval_after),
        };
        let word = cell.arrival(left, units(now));
        Share { word: AtomicU64::new(word), parts: [empty(), empty()], offered: AtomicU64::new(0) }
    }

    /// Decides on a call that arrives now. Never waits.
    pub fn admit(&self, now: Moment) -> Admission {
        self.offered.fetch_add(1, Ordering::Relaxed);
        let now = units(now);
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let cell = self.cell(word);
            let (interval, ahead) = cell.terms(now);
            let arrival = (word & TIME_MASK).max(now);
            if arrival > now + ahead {
                return Admission::Refuse { retry_after_nanos: cell.wait_nanos(arrival - now - ahead) };
            }
            let next = (word & !TIME_MASK) | ((arrival + interval) & TIME_MASK);
            // Fails if another call came first, or the part has changed: its number is in the word.
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Admission::Admit,
                Err(other) => word = other,
            }
        }
    }

    /// Takes a call back that was admitted at this time, and is not made. Never leaves more calls than the burst.
    pub fn refund(&self, at: Moment) {
        self.offered.fetch_sub(1, Ordering::Relaxed);
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            // An arrival time that has passed stands for a full bucket, however long ago it was.
            // After the end of its part it was counted at the rate after it: no more is given back than was taken.
            let (taken, _) = self.cell(word).terms(units(at));
            let arrival = (word & TIME_MASK).saturating_sub(taken);
            let next = (word & !TIME_MASK) | arrival;
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    /// What a call that arrives now would get; none is counted.
    pub fn outlook(&self, now: Moment) -> Outlook {
        let (word, now) = (self.word.load(Ordering::Acquire), units(now));
        let cell = self.cell(word);
        let (interval, ahead) = cell.terms(now);
        let behind = (word & TIME_MASK).saturating_sub(now);
        match ahead.checked_sub(behind) {
            Some(room) => Outlook { calls: room / interval + 1, retry_after_nanos: 0 },
            None => Outlook { calls: 0, retry_after_nanos: cell.wait_nanos(behind - ahead) },
        }
    }

    /// Changes the part; the calls left stay the same, but for what the new burst does not hold. `after` is the rate that holds
    /// from `until` on.
    pub(crate) fn set(&self, part: Part, until: Moment, after: f64, now: Moment) {
        let cell = Cell::new(part, until, after);
        let now = units(now);
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let number = (word >> TIME_BITS).wrapping_add(1) & 0xff;
            // Written before the word that names it; a call that still reads the slot's former part fails at the word.
            self.slot(number).store(cell);
            let left = self.cell(word).left(word & TIME_MASK, now);
            let next = (number << TIME_BITS) | cell.arrival(left, now);
            match self.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    /// How many calls are left now.
    pub(crate) fn left(&self, now: Moment) -> f64 {
        let word = self.word.load(Ordering::Acquire);
        self.cell(word).left(word & TIME_MASK, units(now))
    }

    /// Calls that came since the start, admitted or not.
    pub(crate) fn offered(&self) -> u64 {
        self.offered.load(Ordering::Relaxed)
    }

    fn slot(&self, number: u64) -> &AtomicPart {
        let [even, odd] = &self.parts;
        if number.is_multiple_of(2) { even } else { odd }
    }

    fn cell(&self, word: u64) -> Cell {
        self.slot(word >> TIME_BITS).load()
    }
}

impl AtomicPart {
    fn store(&self, cell: Cell) {
        self.interval.store(cell.interval, Ordering::Release);
        self.ahead.store(cell.ahead, Ordering::Release);
        self.until.store(cell.until, Ordering::Release);
        self.interval_after.store(cell.interval_after, Ordering::Release);
    }

    fn load(&self) -> Cell {
        Cell {
            interval: self.interval.load(Ordering::Acquire),
            ahead: self.ahead.load(Ordering::Acquire),
            until: self.until.load(Ordering::Acquire),
            interval_after: self.interval_after.load(Ordering::Acquire),
        }
    }
}

impl Cell {
    fn new(part: Part, until: Moment, after: f64) -> Cell {
        let burst = part.burst.max(1.0);
        let interval = interval(part.rate, burst);
        let ahead = (burst - 1.0) * interval as f64;
        Cell {
            interval,
            ahead: ahead as u64,
            until: units(until),
            interval_after: self::interval(after, burst),
        }
    }

    /// Between two calls, and how far they may run ahead. A part that has ended, because the member did not run: its rate without
    /// the store, one call at a time.
    fn terms(self, now: u64) -> (u64, u64) {
        if now < self.until { (self.interval, self.ahead) } else { (self.interval_after, 0) }
    }

    /// How long until these units have passed, or the same part of a call has come at the even part's rate.
    fn wait_nanos(self, missing: u64) -> u64 {
        let units = if self.interval_after < self.interval {
            let even = u128::from(missing) * u128::from(self.interval_after);
            u64::try_from(even.div_ceil(u128::from(self.interval))).unwrap_or(missing)
        } else {
            missing
        };
        units.max(1) << UNIT_BITS
    }

    /// Calls left under this part, if the word says this arrival time.
    fn left(self, arrival: u64, now: u64) -> f64 {
        let behind = arrival.saturating_sub(now) as f64;
        let burst = self.ahead as f64 / self.interval as f64 + 1.0;
        (burst - behind / self.interval as f64).max(0.0)
    }

    /// The arrival time that leaves so many calls.
    fn arrival(self, left: f64, now: u64) -> u64 {
        let burst = self.ahead as f64 / self.interval as f64 + 1.0;
        let behind = (burst - left).max(0.0) * self.interval as f64;
        now.saturating_add(behind.ceil() as u64).min(TIME_MASK)
    }
}

fn units(moment: Moment) -> u64 {
    (moment.as_nanos() >> UNIT_BITS).min(TIME_MASK >> 1)
}

/// Units between two calls, rounded up, so that the rate is never exceeded. No rate at all is one call in 31 years, or less if
/// the word could not hold the burst's time otherwise.
fn interval(rate: f64, burst: f64) -> u64 {
    const BURST: f64 = (1u64 << 54) as f64;
    let units_a_second = 1e9 / f64::from(1u32 << UNIT_BITS);
    (units_a_second / rate.max(1e-9)).ceil().clamp(1.0, BURST / burst) as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    fn admitted(share: &Share, calls: usize, now: Moment) -> usize {
        (0..calls).filter(|_| share.admit(now) == Admission::Admit).count()
    }

    const FOREVER: Duration = Duration::from_secs(1 << 30);

    #[test]
    fn a_share_admits_its_burst_and_then_its_rate() {
        let share = Share::new(Part { rate: 10.0, burst: 5.0 }, 10.0, 5.0, at(0));
        assert_eq!(admitted(&share, 20, at(0)), 5);
        assert_eq!(share.admit(at(99)), Admission::Refuse { retry_after_nanos: 1_000_000 });
        assert_eq!(admitted(&share, 20, at(300)), 3);
        assert_eq!(admitted(&share, 20, at(60_000)), 5, "no more than the burst is saved up");
        assert_eq!(share.offered(), 61);
    }

    #[test]
    fn a_changed_share_keeps_the_calls_that_were_left() {
        let share = Share::new(Part { rate: 10.0, burst: 5.0 }, 10.0, 5.0, at(0));
        admitted(&share, 2, at(0));
        share.set(Part { rate: 100.0, burst: 50.0 }, Moment::default().plus(FOREVER), 1.0, at(0));
        assert_eq!(admitted(&share, 20, at(0)), 3);
        assert_eq!(admitted(&share, 200, at(100)), 10);
        share.set(Part { rate: 1.0, burst: 2.0 }, Moment::default().plus(FOREVER), 1.0, at(10_000));
        assert_eq!(admitted(&share, 200, at(10_000)), 2, "what the burst does not hold is gone");
        share.set(Part { rate: 0.0, burst: 10.0 }, Moment::default().plus(FOREVER), 1.0, at(10_000));
        assert_eq!(admitted(&share, 200, at(20_000)), 0, "without a rate nothing is added");
    }

    #[test]
    fn a_share_that_has_ended_admits_one_call_at_a_time_at_the_rate_after_it() {
        let share = Share::new(Part { rate: 100.0, burst: 50.0 }, 100.0, 50.0, at(0));
        share.set(Part { rate: 100.0, burst: 50.0 }, at(1_000), 2.0, at(0));
        assert_eq!(admitted(&share, 10, at(999)), 10);
        let calls: usize = (0..100).map(|step| admitted(&share, 10, at(1_500 + step * 100))).sum();
        assert!((20..=21).contains(&calls), "{calls}");
    }

    #[test]
    fn a_refunded_call_of_a_share_does_not_count_and_leaves_no_more_than_the_burst() {
        let share = Share::new(Part { rate: 10.0, burst: 5.0 }, 10.0, 5.0, at(0));
        admitted(&share, 5, at(0));
        share.refund(at(0));
        assert_eq!((admitted(&share, 5, at(0)), share.offered()), (1, 9));
        // The call was counted under another part.
        share.set(Part { rate: 0.1, burst: 3.0 }, Moment::FAR, 1.0, at(0));
        share.refund(at(0));
        assert_eq!(admitted(&share, 5, at(0)), 1);
        (0..9).for_each(|_| share.refund(at(0)));
        assert_eq!(share.outlook(at(0)).calls, 3);
        assert_eq!(admitted(&share, 9, at(60_000)), 3);
    }

    // Found by the simulation: the wait of a small part was given back for a call that had cost that of the even part.
    #[test]
    fn a_refunded_call_after_the_end_of_its_part_gives_back_no_more_than_it_cost() {
        let share = Share::new(Part { rate: 0.1, burst: 5.0 }, 2.0, 5.0, at(0));
        share.set(Part { rate: 0.1, burst: 5.0 }, at(1_000), 2.0, at(0));
        admitted(&share, 5, at(0));
        for _ in 0..20 {
            if share.admit(at(60_000)) == Admission::Admit {
                share.refund(at(60_000));
            }
        }
        assert_eq!(admitted(&share, 9, at(60_000)), 1, "one call at a time");
    }

    #[test]
    fn the_outlook_of_a_share_is_what_it_admits() {
        let share = Share::new(Part { rate: 10.0, burst: 5.0 }, 10.0, 5.0, at(0));
        for left in (0..5).rev() {
            assert_eq!(share.admit(at(7)), Admission::Admit);
            assert_eq!(share.outlook(at(7)).calls, left);
        }
        let Outlook { calls: 0, retry_after_nanos } = share.outlook(at(7)) else { panic!() };
        assert_eq!(share.admit(at(7)), Admission::Refuse { retry_after_nanos });
        let then = at(7).plus(Duration::from_nanos(retry_after_nanos));
        assert_eq!(share.outlook(then), Outlook { calls: 1, retry_after_nanos: 0 });
        share.set(Part { rate: 10.0, burst: 5.0 }, at(1_000), 10.0, at(7));
        assert_eq!(share.outlook(at(999)).calls, 5);
        assert_eq!(share.outlook(at(1_000)).calls, 1, "the part has ended");
    }

    // A share without a rate gets one within a moment, and a client must not stay away for years.
    #[test]
    fn a_small_share_names_the_wait_of_the_even_part() {
        for rate in [0.0, 0.000_01] {
            let share = Share::new(Part { rate, burst: 1.0 }, 2.0, 1.0, at(0));
            assert_eq!(share.admit(at(0)), Admission::Admit);
            assert_eq!(share.admit(at(0)), Admission::Refuse { retry_after_nanos: 500_000_000 }, "{rate}");
        }
    }

    #[test]
    fn a_small_share_of_a_slow_limit_is_slow() {
        let hour = 1.0 / 3_600.0;
        let share = Share::new(Part { rate: hour / 200.0, burst: 1.0 }, hour / 200.0, 1.0, at(0));
        let hours: usize = (0..400).map(|hour| admitted(&share, 2, at(hour * 3_600_000))).sum();
        assert_eq!(hours, 2);
    }

    #[test]
    fn a_share_admits_exactly_its_calls_to_many_threads_while_it_changes() {
        let share = Share::new(Part { rate: 0.0, burst: 20_000.0 }, 0.0, 20_000.0, at(0));
        let admitted: usize = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..3).map(|_| scope.spawn(|| admitted(&share, 20_000, at(0)))).collect();
            for _ in 0..2_000 {
                share.set(Part { rate: 0.0, burst: 20_000.0 }, Moment::default().plus(FOREVER), 0.0, at(0));
            }
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        assert!((19_990..=20_000).contains(&admitted), "{admitted}");
    }
}
