//! What the guard's own samples say about each slot, over the windows that the plan needs.
//!
//! Stable is watched all the time, also without a rollout: how often its users' calls end in a tool error is the measure
//! for the candidate. Must not decide anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::sample::{CallResult, Sample, SampleSource};
use super::tally::{GuardTally, SlotTally};
pub use super::tally::{ShadowTally, Span};
use super::timestamp::Timestamp;
use super::window::{CountWindow, Counts, Latencies, LatencyWindow};
use crate::upstream::{PerSlot, Slot};

/// How far back a slot's usual tool-error rate is remembered.
const USUAL_WINDOW: Duration = Duration::from_secs(3_600);
/// Calls that make a rate of tool errors a usual one.
const USUAL_SAMPLES: u64 = 20;

/// Numbers of one slot over one window, as shown and as recorded in the history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Calls that ended in the window.
    pub requests: u64,
    /// Calls that the slot failed.
    pub failures: u64,
    /// Calls whose result has `isError: true`.
    pub tool_errors: u64,
    /// Failures, and tool errors beyond the usual rate, as a part of all calls.
    pub error_rate: f64,
    /// Half of the calls took no longer than this, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95 of 100 calls took no longer than this, in milliseconds.
    pub p95_ms: Option<f64>,
}

/// All windows of both slots, and what the other guards of a fleet have counted.
#[derive(Debug)]
pub struct Observations {
    windows: PerSlot<SlotWindows>,
    shadow: ShadowTally,
    others: GuardTally,
}

impl Observations {
    /// Empty windows as wide as this plan needs them.
    pub fn new(plan: &Plan) -> Observations {
        Observations {
            windows: PerSlot::new(|_| SlotWindows::new(plan)),
            shadow: ShadowTally::default(),
            others: GuardTally::default(),
        }
    }

    /// A rollout begins: empty windows, as wide as its plan needs them. Only the usual rates are kept.
    pub fn replan(&mut self, plan: &Plan) {
        for slot in Slot::ALL {
            let windows = self.windows(slot);
            let usual = windows.usual.clone();
            *windows = SlotWindows { usual, ..SlotWindows::new(plan) };
        }
        self.shadow = ShadowTally::default();
        self.others = GuardTally::default();
    }

    /// Takes note of a call that ended while no rollout is under way: only where it is read then. The windows of the
    /// triggers stay as they are, and begin empty with the next rollout.
    pub fn record_idle(&mut self, sample: &Sample) {
        match sample.origin {
            SampleSource::Live => self.windows(sample.slot).record_shown(sample),
            SampleSource::Shadow { .. } => {}
        }
    }

    /// Takes note of a call that ended while a rollout is under way.
    pub fn record(&mut self, sample: &Sample) {
        match sample.origin {
            SampleSource::Live => {
                let windows = self.windows(sample.slot);
                windows.record_shown(sample);
                windows.record_judged(sample);
            }
            SampleSource::Shadow { matched } => {
                self.shadow.requests += 1;
                let failed = matches!(sample.verdict, CallResult::Failed(_));
                self.shadow.failures += u64::from(failed);
                // A missing response is no different one: it has a limit of its own.
                self.shadow.mismatched += u64::from(!matched && !failed);
            }
        }
    }

    /// A step begins: what was seen before it says nothing about it.
    pub fn begin_step(&mut self) {
        self.shadow = ShadowTally::default();
        self.others.begin_step();
        for slot in Slot::ALL {
            let windows = self.windows(slot);
            windows.step.reset();
            windows.step_latency.reset();
        }
    }

    /// Copies compared since the step began.
    pub fn shadow(&self) -> ShadowTally {
        let mut all = self.shadow;
        all.merge(&self.others.shadow);
        all
    }

    /// How long ago the first call of the sustained window's life ended: whether it can speak for its whole width.
    pub fn watched(&mut self, slot: Slot, now: Timestamp) -> Duration {
        self.windows(slot).watched(now).max(self.others.slot(slot).watched())
    }

    /// What this guard alone has counted, for the others.
    pub fn tally(&mut self, now: Timestamp) -> GuardTally {
        let shadow = self.shadow;
        let [blue, green] = Slot::ALL.map(|slot| self.windows(slot).tally(now));
        GuardTally { blue, green, shadow }
    }

    /// Counts what the other guards have counted from now on, in place of what they had before; returns that.
    pub fn replace_others(&mut self, others: GuardTally) -> GuardTally {
        std::mem::replace(&mut self.others, others)
    }

    /// The candidate's numbers. Its tool errors count as failures as far as they exceed stable's own rate.
    pub fn candidate(&mut self, candidate: Slot, span: Span, now: Timestamp) -> Summary {
        let usual = self.usual_tool_error_rate(candidate.other(), span, now);
        let counts = self.counts(candidate, span, now);
        let excess = (counts.tool_errors as f64 - usual * counts.requests as f64).max(0.0);
        let latencies = self.others.slot(candidate).latencies(span);
        self.windows[candidate].summary(counts, excess, (span, latencies), now)
    }

    /// Stable's numbers. Its own tool errors are the measure, and never failures.
    pub fn stable(&mut self, stable: Slot, span: Span, now: Timestamp) -> Summary {
        let counts = self.counts(stable, span, now);
        let latencies = self.others.slot(stable).latencies(span);
        self.windows[stable].summary(counts, 0.0, (span, latencies), now)
    }

    /// This guard's counts and those of the others.
    fn counts(&mut self, slot: Slot, span: Span, now: Timestamp) -> Counts {
        let mut counts = self.windows(slot).counter(span).counts(now);
        counts.merge(self.others.slot(slot).counts(span));
        counts
    }

    /// Stable's tool-error rate: of the same minutes where these hold enough calls, else of the last hour.
    fn usual_tool_error_rate(&mut self, stable: Slot, span: Span, now: Timestamp) -> f64 {
        let same_minutes = self.counts(stable, span, now);
        if same_minutes.requests >= USUAL_SAMPLES {
            return same_minutes.tool_error_rate();
        }
        let mut usual = self.windows(stable).usual.counts(now);
        usual.merge(&self.others.slot(stable).usual);
        usual.tool_error_rate()
    }

    fn windows(&mut self, slot: Slot) -> &mut SlotWindows {
        &mut self.windows[slot]
    }
}

#[derive(Debug)]
struct SlotWindows {
    step: CountWindow,
    step_latency: LatencyWindow,
    error_rate: CountWindow,
    sustained: CountWindow,
    latency: LatencyWindow,
    latency_counts: CountWindow,
    usual: CountWindow,
}

impl SlotWindows {
    fn new(plan: &Plan) -> SlotWindows {
        let triggers = &plan.triggers;
        SlotWindows {
            step: CountWindow::new(plan.analysis.window),
            step_latency: LatencyWindow::new(plan.analysis.window),
            error_rate: CountWindow::new(triggers.error_rate.window),
            sustained: CountWindow::new(triggers.error_rate_sustained.window),
            latency: LatencyWindow::new(triggers.latency_p95.window),
            latency_counts: CountWindow::new(triggers.latency_p95.window),
            usual: CountWindow::new(USUAL_WINDOW),
        }
    }

    /// What status, metrics and the usual rate are read from, at any time.
    fn record_shown(&mut self, sample: &Sample) {
        self.step.record(sample.at, sample.verdict);
        self.usual.record(sample.at, sample.verdict);
        if has_latency(sample) {
            self.step_latency.record(sample.at, sample.latency);
        }
    }

    /// What the triggers alone are read from.
    fn record_judged(&mut self, sample: &Sample) {
        self.error_rate.record(sample.at, sample.verdict);
        self.sustained.record(sample.at, sample.verdict);
        if has_latency(sample) {
            self.latency_counts.record(sample.at, sample.verdict);
            self.latency.record(sample.at, sample.latency);
        }
    }

    fn counter(&mut self, span: Span) -> &mut CountWindow {
        match span {
            Span::Step => &mut self.step,
            Span::ErrorRate => &mut self.error_rate,
            Span::Sustained => &mut self.sustained,
            Span::Latency => &mut self.latency_counts,
        }
    }

    /// For how long the sustained error rate has been watched.
    fn watched(&self, now: Timestamp) -> Duration {
        self.sustained.first().map_or(Duration::ZERO, |first| now.since(first))
    }

    fn tally(&mut self, now: Timestamp) -> SlotTally {
        SlotTally {
            watched_ms: u64::try_from(self.watched(now).as_millis()).unwrap_or(u64::MAX),
            step: self.step.counts(now),
            error_rate: self.error_rate.counts(now),
            sustained: self.sustained.counts(now),
            latency: self.latency_counts.counts(now),
            usual: self.usual.counts(now),
            step_latencies: self.step_latency.latencies(now),
            trigger_latencies: self.latency.latencies(now),
        }
    }

    fn summary(
        &mut self,
        counts: Counts,
        excess: f64,
        (span, others): (Span, &Latencies),
        now: Timestamp,
    ) -> Summary {
        let latency = match span {
            Span::Step => &mut self.step_latency,
            // The error-rate windows are about counts; the latency beside them is the trigger's.
            Span::ErrorRate | Span::Sustained | Span::Latency => &mut self.latency,
        };
        let quantiles = latency.quantiles(now, [0.5, 0.95], others);
        let [p50_ms, p95_ms] = quantiles.map(|time| Some(time?.as_secs_f64() * 1_000.0));
        let failed = counts.failures as f64 + excess;
        Summary {
            requests: counts.requests,
            failures: counts.failures,
            tool_errors: counts.tool_errors,
            error_rate: if counts.requests == 0 { 0.0 } else { failed / counts.requests as f64 },
            p50_ms,
            p95_ms,
        }
    }
}

/// A call that was never sent has none: counted as zero, it would make a dead slot look quick.
fn has_latency(sample: &Sample) -> bool {
    !sample.latency.is_zero()
}

#[cfg(test)]
mod tests {
    use super::super::sample::Failure;
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    fn feed(observations: &mut Observations, slot: Slot, verdict: CallResult, times: u64) {
        for _ in 0..times {
            let latency = Duration::from_millis(10);
            observations.record(&Sample { slot, at: at(0), verdict, latency, origin: SampleSource::Live });
        }
    }

    // SPEC 9: "`isError:true` above the stable slot's own rate".
    #[test]
    fn tool_errors_count_only_beyond_the_stable_slots_own_rate() {
        let mut seen = Observations::new(&Plan::default());
        feed(&mut seen, Slot::Blue, CallResult::Completed, 90);
        feed(&mut seen, Slot::Blue, CallResult::ToolError, 10);
        feed(&mut seen, Slot::Green, CallResult::Completed, 80);
        feed(&mut seen, Slot::Green, CallResult::ToolError, 20);
        let candidate = seen.candidate(Slot::Green, Span::Step, at(1));
        assert!((candidate.error_rate - 0.10).abs() < 1e-9, "{candidate:?}");
        assert_eq!(seen.stable(Slot::Blue, Span::Step, at(1)).error_rate, 0.0);
        feed(&mut seen, Slot::Green, CallResult::Failed(Failure::Garbage), 100);
        let candidate = seen.candidate(Slot::Green, Span::Step, at(1));
        assert!(
            (candidate.error_rate - 0.5).abs() < 1e-9,
            "fewer tool errors do not pay for failures: {candidate:?}"
        );
    }

    #[test]
    fn the_usual_rate_is_known_from_before_the_rollout() {
        let mut seen = Observations::new(&Plan::default());
        feed(&mut seen, Slot::Blue, CallResult::ToolError, 10);
        feed(&mut seen, Slot::Blue, CallResult::Completed, 10);
        seen.replan(&Plan::default());
        feed(&mut seen, Slot::Green, CallResult::ToolError, 5);
        feed(&mut seen, Slot::Green, CallResult::Completed, 5);
        assert_eq!(seen.candidate(Slot::Green, Span::ErrorRate, at(1)).error_rate, 0.0);
        assert_eq!(seen.stable(Slot::Blue, Span::Step, at(1)).requests, 0, "but no other number is");
    }

    #[test]
    fn outside_a_rollout_all_that_is_shown_is_known_and_a_rollout_begins_with_the_usual_rate_alone() {
        let mut seen = Observations::new(&Plan::default());
        let calls = |verdict, times| std::iter::repeat_n(verdict, times);
        for verdict in calls(CallResult::Completed, 15).chain(calls(CallResult::ToolError, 5)) {
            let (slot, latency, origin) = (Slot::Blue, Duration::from_millis(10), SampleSource::Live);
            seen.record_idle(&Sample { slot, at: at(0), verdict, latency, origin });
        }
        let shown = seen.stable(Slot::Blue, Span::Step, at(1));
        assert_eq!((shown.requests, shown.tool_errors), (20, 5));
        assert!(shown.p50_ms.unwrap() >= 9.9 && shown.p95_ms.unwrap() >= 9.9, "{shown:?}");
        seen.replan(&Plan::default());
        for span in [Span::Step, Span::ErrorRate, Span::Sustained, Span::Latency] {
            let before = seen.stable(Slot::Blue, span, at(1));
            assert_eq!((before.requests, before.p95_ms), (0, None), "{span:?}");
        }
        feed(&mut seen, Slot::Green, CallResult::ToolError, 5);
        feed(&mut seen, Slot::Green, CallResult::Completed, 15);
        for span in [Span::Step, Span::ErrorRate, Span::Sustained, Span::Latency] {
            let candidate = seen.candidate(Slot::Green, span, at(1));
            assert_eq!((candidate.requests, candidate.tool_errors), (20, 5), "{span:?}");
            assert_eq!(candidate.error_rate, 0.0, "{span:?}: as usual");
            assert!(candidate.p95_ms.is_some_and(|p95| p95 >= 9.9), "{span:?}");
        }
    }

    #[test]
    fn a_slot_that_cannot_be_reached_does_not_look_quick() {
        let mut seen = Observations::new(&Plan::default());
        feed(&mut seen, Slot::Green, CallResult::Completed, 10);
        for _ in 0..100 {
            let verdict = CallResult::Failed(Failure::NoConnection);
            let (slot, latency, origin) = (Slot::Green, Duration::ZERO, SampleSource::Live);
            seen.record(&Sample { slot, at: at(0), verdict, latency, origin });
        }
        let candidate = seen.candidate(Slot::Green, Span::Step, at(1));
        assert_eq!((candidate.requests, candidate.failures), (110, 100));
        assert!(candidate.p50_ms.unwrap() >= 9.9, "{candidate:?}");
    }

    #[test]
    fn copies_are_counted_apart_from_clients_calls() {
        let mut seen = Observations::new(&Plan::default());
        let failed = CallResult::Failed(Failure::Timeout);
        for (matched, verdict) in
            [(true, CallResult::Completed), (false, CallResult::Completed), (false, failed)]
        {
            let (slot, latency, origin) =
                (Slot::Green, Duration::from_secs(9), SampleSource::Shadow { matched });
            seen.record(&Sample { slot, at: at(0), verdict, latency, origin });
        }
        assert_eq!(seen.shadow(), ShadowTally { requests: 3, failures: 1, mismatched: 1 });
        assert_eq!(seen.candidate(Slot::Green, Span::Step, at(1)).requests, 0);
        seen.begin_step();
        assert_eq!(seen.shadow(), ShadowTally::default());
    }
}
