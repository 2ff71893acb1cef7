//! The nine triggers: what ends, stops or reports a rollout at once, whatever the step says.
//!
//! Each has a threshold, a window, a minimum of samples and an action. Must not act: it returns what has fired.

use serde::{Deserialize, Serialize};

use super::conditions::{Conditions, Streak};
use super::plan::Plan;
use super::plan::triggers::{Action, DurationTrigger, LatencyTrigger, RatioTrigger, Triggers};
use super::timestamp::Timestamp;
use crate::rollout::observations::{Observations, Span, Summary};
use crate::upstream::Slot;

/// The triggers by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The candidate fails its health checks.
    CandidateHealth,
    /// A check that the operator calls critical fails.
    CriticalCheck,
    /// The candidate's breaker has been open for too long.
    BreakerOpen,
    /// A step whose hold is over does not get on.
    StageStalled,
    /// Many errors at any time during the rollout.
    ErrorRate,
    /// Fewer errors, but for long.
    ErrorRateSustained,
    /// Slow responses.
    LatencyP95,
    /// The candidate's memory nears its limit.
    Memory,
    /// Versions, tools or schemas of the candidate changed under way.
    Protocol,
}

impl Trigger {
    /// All of them, in the order of the contract.
    pub const ALL: [Trigger; 9] = [
        Trigger::CandidateHealth,
        Trigger::CriticalCheck,
        Trigger::BreakerOpen,
        Trigger::StageStalled,
        Trigger::ErrorRate,
        Trigger::ErrorRateSustained,
        Trigger::LatencyP95,
        Trigger::Memory,
        Trigger::Protocol,
    ];

    /// The name in plans, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::CandidateHealth => "candidate_health",
            Trigger::CriticalCheck => "critical_check",
            Trigger::BreakerOpen => "breaker_open",
            Trigger::StageStalled => "stage_stalled",
            Trigger::ErrorRate => "error_rate",
            Trigger::ErrorRateSustained => "error_rate_sustained",
            Trigger::LatencyP95 => "latency_p95",
            Trigger::Memory => "memory",
            Trigger::Protocol => "protocol",
        }
    }
}

/// A trigger that has fired, with the numbers that decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fired {
    /// Which one.
    pub trigger: Trigger,
    /// What it leads to.
    pub action: Action,
    /// What was measured: a part of 1, or seconds.
    pub measured: f64,
    /// What would have been allowed, in the same unit.
    pub limit: f64,
    /// How many samples the measure rests on.
    pub samples: u64,
    /// The same as a sentence.
    pub detail: String,
}

/// Everything that fires now, the gravest action first.
pub fn fired(
    plan: &Plan,
    conditions: &Conditions,
    seen: &mut Observations,
    candidate: Slot,
    now: Timestamp,
) -> Vec<Fired> {
    let triggers = &plan.triggers;
    let mut all: Vec<Fired> = lasting_fired(triggers, conditions, now).into_iter().flatten().collect();
    all.extend(memory_fired(&triggers.memory, conditions, now));
    let margin = plan.analysis.error_margin;
    let mut numbers =
        |span| (seen.candidate(candidate, span, now), seen.stable(candidate.other(), span, now));
    all.extend(errors_fired(Trigger::ErrorRate, &triggers.error_rate, margin, numbers(Span::ErrorRate)));
    all.extend(slow_fired(&triggers.latency_p95, plan.analysis.latency_ratio, numbers(Span::Latency)));
    if seen.watched(candidate, now) >= triggers.error_rate_sustained.window {
        let part = &triggers.error_rate_sustained;
        let numbers = (
            seen.candidate(candidate, Span::Sustained, now),
            seen.stable(candidate.other(), Span::Sustained, now),
        );
        all.extend(errors_fired(Trigger::ErrorRateSustained, part, margin, numbers));
    }
    all.retain(|fired| fired.action != Action::Off);
    all.sort_by_key(|fired| (fired.action, fired.trigger));
    all
}

fn lasting_fired(triggers: &Triggers, conditions: &Conditions, now: Timestamp) -> [Option<Fired>; 5] {
    let lasting = |trigger, limit: &DurationTrigger, streak: Option<&Streak>| {
        let streak = streak?;
        let lasted = now.since(streak.since);
        (lasted >= limit.window && streak.samples >= limit.min_samples).then(|| Fired {
            trigger,
            action: limit.action,
            measured: lasted.as_secs_f64(),
            limit: limit.window.as_secs_f64(),
            samples: streak.samples,
            detail: format!("{} (for {:.1} s)", streak.what, lasted.as_secs_f64()),
        })
    };
    [
        lasting(Trigger::CandidateHealth, &triggers.candidate_health, conditions.unhealthy.as_ref()),
        lasting(Trigger::CriticalCheck, &triggers.critical_check, conditions.worst_check()),
        lasting(Trigger::BreakerOpen, &triggers.breaker_open, conditions.breaker_open()),
        lasting(Trigger::StageStalled, &triggers.stage_stalled, conditions.stalled.as_ref()),
        lasting(Trigger::Protocol, &triggers.protocol, conditions.changed.as_ref()),
    ]
}

fn memory_fired(limit: &RatioTrigger, conditions: &Conditions, now: Timestamp) -> Option<Fired> {
    let streak = conditions.memory_above.as_ref()?;
    let used = conditions.memory_used?;
    let lasted = now.since(streak.since);
    (lasted >= limit.window && streak.samples >= limit.min_samples).then(|| Fired {
        trigger: Trigger::Memory,
        action: limit.action,
        measured: used,
        limit: limit.threshold,
        samples: streak.samples,
        detail: format!("{} (for {:.1} s)", streak.what, lasted.as_secs_f64()),
    })
}

/// A rate above the threshold; but where stable is above it, too, only a candidate that is worse than stable: going back
/// to a slot that fails as often would help no client.
fn errors_fired(
    trigger: Trigger,
    limit: &RatioTrigger,
    margin: f64,
    (candidate, stable): (Summary, Summary),
) -> Option<Fired> {
    let compared = stable.requests >= limit.min_samples;
    let excused =
        compared && stable.error_rate > limit.threshold && candidate.error_rate <= stable.error_rate + margin;
    let fires = candidate.requests >= limit.min_samples && candidate.error_rate > limit.threshold && !excused;
    fires.then(|| Fired {
        trigger,
        action: limit.action,
        measured: candidate.error_rate,
        limit: limit.threshold,
        samples: candidate.requests,
        detail: format!(
            "candidate error rate {:.1} % above {:.1} % over {} s ({} calls); stable {:.1} % ({} calls)",
            candidate.error_rate * 100.0,
            limit.threshold * 100.0,
            limit.window.as_secs(),
            candidate.requests,
            stable.error_rate * 100.0,
            stable.requests
        ),
    })
}

/// As for errors: excused only where stable is too slow as well, and the candidate not much slower than it.
fn slow_fired(limit: &LatencyTrigger, ratio: f64, (candidate, stable): (Summary, Summary)) -> Option<Fired> {
    let threshold_ms = limit.threshold.as_secs_f64() * 1_000.0;
    let candidate_ms = candidate.p95_ms?;
    let stable_ms = stable.p95_ms.filter(|_| stable.requests >= limit.min_samples);
    let excused =
        stable_ms.is_some_and(|stable_ms| stable_ms > threshold_ms && candidate_ms <= stable_ms * ratio);
    let fires = candidate.requests >= limit.min_samples && candidate_ms > threshold_ms && !excused;
    fires.then(|| Fired {
        trigger: Trigger::LatencyP95,
        action: limit.action,
        measured: candidate_ms / 1_000.0,
        limit: limit.threshold.as_secs_f64(),
        samples: candidate.requests,
        detail: format!(
            "candidate p95 {candidate_ms:.0} ms above {threshold_ms:.0} ms over {} s ({} calls)",
            limit.window.as_secs(),
            candidate.requests
        ),
    })
}
