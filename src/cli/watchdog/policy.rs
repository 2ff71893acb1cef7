//! Whether a failed probe restarts the service: consecutive failures, backoff, an upper bound, and quiet windows.
//!
//! Pure: what happened before comes from the record, the time from the caller. A restart is harm too: it drops whatever
//! is in flight, so every doubt is decided against it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What must hold before a restart. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// Failed probes in a row before the first restart.
    pub(super) failures: u32,
    /// Wait after the first restart; doubles with each further one.
    pub(super) backoff: u64,
    /// Restarts until the service has been well for `stable`.
    pub(super) restarts: u32,
    pub(super) stable: u64,
}

/// What is remembered from one run to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// Failed probes in a row.
    pub(super) failures: u32,
    /// Restarts since the service was last well for long enough.
    pub(super) restarts: u32,
    pub(super) last_restart: Option<u64>,
    /// Since when every probe has succeeded.
    pub(super) well_since: Option<u64>,
    /// Every restart since `counting_since`: what decides whether the watchdog is still needed.
    pub(super) restarts_total: u64,
    pub(super) probes_total: u64,
    pub(super) failures_total: u64,
    /// Probes that succeeded while a dependency was down.
    pub(super) degraded_total: u64,
    pub(super) counting_since: Option<u64>,
}

/// Why a failed probe does not restart the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    TooFewFailures {
        seen: u32,
        needed: u32,
    },
    BackingOff {
        seconds: u64,
    },
    TooManyRestarts {
        made: u32,
    },
    /// A deploy is under way, the unit has just started, or it was stopped on purpose.
    Quiet(String),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::TooFewFailures { seen, needed } => write!(f, "failure {seen} of {needed} before a restart"),
            Held::BackingOff { seconds } => {
                write!(f, "no restart for another {seconds} s after the last one")
            }
            Held::TooManyRestarts { made } => {
                write!(f, "no further restart: {made} did not help, a person must look")
            }
            Held::Quiet(why) => write!(f, "no restart: {why}"),
        }
    }
}

impl Record {
    /// Notes a probe that succeeded.
    pub(super) fn probe_succeeded(&mut self, now: u64, policy: &Policy) {
        self.note(now);
        self.failures = 0;
        let since = *self.well_since.get_or_insert(now);
        if now.saturating_sub(since) >= policy.stable {
            self.restarts = 0;
        }
    }

    /// Notes that the probe that succeeded found a dependency down.
    pub(super) fn found_a_dependency_down(&mut self) {
        self.degraded_total = self.degraded_total.saturating_add(1);
    }

    /// Notes a probe that failed; whether the service may be restarted now. `quiet` is evaluated only if all else allows it.
    pub(super) fn probe_failed(
        &mut self,
        now: u64,
        policy: &Policy,
        quiet: impl FnOnce() -> Option<String>,
    ) -> Result<(), Held> {
        self.note(now);
        self.failures = self.failures.saturating_add(1);
        self.failures_total = self.failures_total.saturating_add(1);
        self.well_since = None;
        if self.failures < policy.failures {
            return Err(Held::TooFewFailures { seen: self.failures, needed: policy.failures });
        }
        if self.restarts >= policy.restarts {
            return Err(Held::TooManyRestarts { made: self.restarts });
        }
        if let Some(seconds) = self.backing_off(now, policy) {
            return Err(Held::BackingOff { seconds });
        }
        match quiet() {
            Some(why) => Err(Held::Quiet(why)),
            None => Ok(()),
        }
    }

    /// Notes that a restart is about to be made: before it is, so that a crash in between cannot forget it.
    pub(super) fn restarting(&mut self, now: u64) {
        self.restarts = self.restarts.saturating_add(1);
        self.restarts_total = self.restarts_total.saturating_add(1);
        self.last_restart = Some(now);
        self.failures = 0;
    }

    /// The restart that was noted was not made. It still counts for the backoff: it was tried.
    pub(super) fn not_restarted(&mut self) {
        self.restarts_total = self.restarts_total.saturating_sub(1);
    }

    fn note(&mut self, now: u64) {
        self.probes_total = self.probes_total.saturating_add(1);
        // A clock that was set back must not hold restarts off until it has caught up.
        self.counting_since = Some(self.counting_since.map_or(now, |since| since.min(now)));
        self.last_restart = self.last_restart.map(|last| last.min(now));
        self.well_since = self.well_since.map(|since| since.min(now));
    }

    fn backing_off(&self, now: u64, policy: &Policy) -> Option<u64> {
        let last = self.last_restart?;
        let doublings = self.restarts.saturating_sub(1).min(20);
        let wait = policy.backoff.saturating_mul(1 << doublings);
        let left = wait.checked_sub(now.saturating_sub(last))?;
        (self.restarts > 0 && left > 0).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { failures: 3, backoff: 10, restarts: 5, stable: 3_600 };

    fn fail(record: &mut Record, now: u64) -> Result<(), Held> {
        let outcome = record.probe_failed(now, &POLICY, || None);
        if outcome.is_ok() {
            record.restarting(now);
        }
        outcome
    }

    fn needed(seen: u32) -> Result<(), Held> {
        Err(Held::TooFewFailures { seen, needed: 3 })
    }

    #[test]
    fn restarts_only_after_failures_in_a_row() {
        let mut record = Record::default();
        assert_eq!(fail(&mut record, 0), needed(1));
        assert_eq!(fail(&mut record, 60), needed(2));
        record.probe_succeeded(120, &POLICY);
        assert_eq!(fail(&mut record, 180), needed(1));
        assert_eq!(fail(&mut record, 240), needed(2));
        assert_eq!(fail(&mut record, 300), Ok(()));
        assert_eq!(fail(&mut record, 360), needed(1));
    }

    // SPEC section 11: "with backoff (10 s x2), at most 5 restarts".
    #[test]
    fn waits_longer_after_each_restart_and_gives_up_after_five() {
        let (mut record, mut now, mut waits) = (Record::default(), 0, Vec::new());
        let mut last = None;
        while record.restarts < 5 {
            if fail(&mut record, now).is_ok() {
                waits.extend(last.map(|last| now - last));
                last = Some(now);
            }
            now += 1;
        }
        assert_eq!(waits, [10, 20, 40, 80]);
        for _ in 0..10_000 {
            now += 1;
            assert!(fail(&mut record, now).is_err());
        }
        assert_eq!(fail(&mut record, now), Err(Held::TooManyRestarts { made: 5 }));
        assert_eq!(record.restarts_total, 5);
    }

    // SPEC section 11: "counter reset after 1 h"; R108: "after 1 h stable".
    #[test]
    fn an_hour_of_health_forgives() {
        let mut record = Record { restarts: 5, last_restart: Some(0), ..Record::default() };
        record.probe_succeeded(100, &POLICY);
        record.probe_succeeded(3_699, &POLICY);
        assert_eq!(record.restarts, 5);
        record.probe_succeeded(3_700, &POLICY);
        assert_eq!((record.restarts, record.restarts_total), (0, 0));
        let mut flapping = Record { restarts: 5, last_restart: Some(0), ..Record::default() };
        for now in 0..100 {
            flapping.probe_succeeded(now * 120, &POLICY);
            assert!(fail(&mut flapping, now * 120 + 60).is_err());
        }
        assert_eq!(flapping.restarts, 5, "up and down is not well");
    }

    #[test]
    fn a_quiet_window_holds_and_is_evaluated_last() {
        let mut record = Record::default();
        let ask = || -> Option<String> { panic!("too early to ask") };
        assert_eq!(record.probe_failed(0, &POLICY, ask), needed(1));
        assert_eq!(record.probe_failed(1, &POLICY, || None), needed(2));
        let deploy = || Some("a deploy is under way".to_owned());
        assert_eq!(
            record.probe_failed(2, &POLICY, deploy),
            Err(Held::Quiet("a deploy is under way".to_owned()))
        );
        assert_eq!(record.probe_failed(3, &POLICY, || None), Ok(()));
    }

    #[test]
    fn a_clock_set_back_does_not_hold_restarts_off() {
        let mut record =
            Record { restarts: 1, last_restart: Some(1_000_000), failures: 2, ..Record::default() };
        assert_eq!(fail(&mut record, 100), Err(Held::BackingOff { seconds: 10 }));
        assert_eq!(fail(&mut record, 111), Ok(()));
    }
}
