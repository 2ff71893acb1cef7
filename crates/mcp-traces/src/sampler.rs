//! Which requests are sampled: the caller decides for its trace, and a ratio decides for a trace that begins here.
//!
//! How many a caller can have sampled in a second is bounded, because the flag is free to set. Pure: callers pass `now`.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Sampled, TraceId, TraceParent};

const SECOND: u64 = 1_000_000_000;

/// A share of 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Traces whose randomness is below this are not sampled (OpenTelemetry: the rejection threshold).
    rejected_below: u64,
    share: f64,
}

impl Ratio {
    pub fn new(share: f64) -> Option<Ratio> {
        const ALL: f64 = (1u64 << 56) as f64;
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        // Within 2^56, which 64 bits hold.
        Some(Ratio { rejected_below: ((1.0 - share) * ALL) as u64, share })
    }

    /// Reads a share as in `"2.5%"`.
    pub fn of_percent(text: &str) -> Option<Ratio> {
        let number = text.strip_suffix('%')?.trim().parse::<f64>().ok()?;
        Ratio::new(number / 100.0)
    }

    pub fn get(self) -> f64 {
        self.share
    }

    fn takes(self, trace: TraceId) -> bool {
        trace.randomness() >= self.rejected_below
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Sampled,
    NotSampled,
    /// It would be, but such requests have had as many as they may in this second.
    Limited,
}

impl From<Decision> for Sampled {
    fn from(decision: Decision) -> Sampled {
        match decision {
            Decision::Sampled => Sampled::Recorded,
            Decision::NotSampled | Decision::Limited => Sampled::Unrecorded,
        }
    }
}

/// Decides, and counts what callers ask for.
#[derive(Debug, Default)]
pub struct Sampler {
    /// When the requests that callers had sampled would have come, had they come evenly, in nanoseconds.
    due: AtomicU64,
}

impl Sampler {
    /// Decides on a trace that begins here.
    pub fn begin(ratio: Ratio, trace: TraceId) -> Decision {
        if ratio.takes(trace) { Decision::Sampled } else { Decision::NotSampled }
    }

    /// Decides on a trace that begins here for a request without a credential. `per_second` of these are sampled, and as
    /// many at once. `now` is any monotonic time.
    pub fn begin_bounded(
        &self,
        ratio: Ratio,
        trace: TraceId,
        per_second: NonZeroU32,
        now: Duration,
    ) -> Decision {
        match Sampler::begin(ratio, trace) {
            Decision::Sampled if !self.admits(per_second, now) => Decision::Limited,
            decided @ (Decision::Sampled | Decision::NotSampled | Decision::Limited) => decided,
        }
    }

    /// Decides on a request of a caller's trace. `per_second` of these are sampled, and as many at once. `now` is any
    /// monotonic time.
    pub fn continued(&self, caller: &TraceParent, per_second: NonZeroU32, now: Duration) -> Decision {
        match caller.sampled {
            Sampled::Unrecorded => Decision::NotSampled,
            Sampled::Recorded if self.admits(per_second, now) => Decision::Sampled,
            Sampled::Recorded => Decision::Limited,
        }
    }

    /// The generic cell rate algorithm.
    fn admits(&self, per_second: NonZeroU32, now: Duration) -> bool {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        let (interval, limit) = (SECOND / u64::from(per_second.get()), now.saturating_add(SECOND));
        let next = |due: u64| due.clamp(now, limit).saturating_add(interval);
        let admitted = |due: &u64| next(*due) <= limit;
        self.due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| Some(due).filter(admitted).map(next))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ids;

    fn caller(flags: &str) -> TraceParent {
        let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        TraceParent::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_ratio_samples_its_share_of_traces() {
        let ids = Ids::new().unwrap();
        for (share, least, most) in
            [(0.0, 0, 0), (1.0, 20_000, 20_000), (0.1, 1800, 2200), (0.5, 9500, 10_500)]
        {
            let ratio = Ratio::new(share).unwrap();
            let taken =
                (0..20_000).filter(|_| Sampler::begin(ratio, ids.trace()) == Decision::Sampled).count();
            assert!((least..=most).contains(&taken), "{share}: {taken} of 20000");
        }
        assert!([-0.1, 1.1, f64::NAN, f64::INFINITY].into_iter().all(|share| Ratio::new(share).is_none()));
    }

    // Programs with different ratios decide on one trace: what a small ratio takes, a larger one takes as well.
    #[test]
    fn a_larger_ratio_takes_all_that_a_smaller_one_takes() {
        let ids = Ids::new().unwrap();
        let (small, large) = (Ratio::new(0.05).unwrap(), Ratio::new(0.3).unwrap());
        let traces: Vec<TraceId> = (0..10_000).map(|_| ids.trace()).collect();
        assert!(traces.iter().filter(|trace| small.takes(**trace)).all(|trace| large.takes(*trace)));
    }

    #[test]
    fn a_caller_that_does_not_sample_is_followed() {
        let (sampler, many) = (Sampler::default(), NonZeroU32::new(100).unwrap());
        assert_eq!(sampler.continued(&caller("00"), many, Duration::ZERO), Decision::NotSampled);
    }

    #[test]
    fn callers_have_so_many_requests_sampled_in_a_second_and_no_more() {
        let (sampler, ten) = (Sampler::default(), NonZeroU32::new(10).unwrap());
        let at = |sampler: &Sampler, milliseconds: u64| {
            let now = Duration::from_millis(milliseconds);
            let taken = |_: &u32| sampler.continued(&caller("01"), ten, now) == Decision::Sampled;
            (0..100).filter(taken).count()
        };
        let taken: Vec<usize> =
            [5_000, 5_000, 5_100, 5_600, 7_000, 7_000].map(|now| at(&sampler, now)).to_vec();
        assert_eq!(taken, [10, 0, 1, 5, 10, 0]);
        assert_eq!(sampler.continued(&caller("01"), ten, Duration::from_secs(7)), Decision::Limited);
    }

    #[test]
    fn traces_of_strangers_are_sampled_by_the_ratio_and_bounded() {
        let (sampler, ten, ids) = (Sampler::default(), NonZeroU32::new(10).unwrap(), Ids::new().unwrap());
        let at = |share: f64| {
            let ratio = Ratio::new(share).unwrap();
            let decide = |_| sampler.begin_bounded(ratio, ids.trace(), ten, Duration::from_secs(5));
            (0..100).map(decide).filter(|decision| *decision == Decision::Sampled).count()
        };
        assert_eq!([at(0.0), at(1.0), at(1.0)], [0, 10, 0]);
    }
}
