//! How far each trigger is from firing: the same numbers that `triggers` judges, for people who watch.

use serde::{Deserialize, Serialize};

use super::conditions::{Conditions, Streak};
use super::plan::Plan;
use super::plan::triggers::{Action, DurationTrigger, RatioTrigger};
use super::timestamp::Timestamp;
use super::triggers::Trigger;
use crate::rollout::observations::{Observations, Span};
use crate::upstream::Slot;

/// What a measure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A part of the whole, 0 to 1.
    Part,
    /// Seconds.
    Seconds,
}

/// A trigger that may fire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Armed {
    /// Which one.
    pub trigger: Trigger,
    /// What it would lead to.
    pub action: Action,
    /// What is measured now.
    pub measured: f64,
    /// What is allowed, in the same unit.
    pub limit: f64,
    /// The unit of both.
    pub unit: Unit,
    /// How many samples the measure rests on.
    pub samples: u64,
    /// With how many it may fire.
    pub samples_min: u64,
    /// The same in words.
    #[serde(default)]
    pub shown: Shown,
}

/// The numbers of a trigger in words, which the console and `mcp-guard top` show.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shown {
    /// What is measured now.
    pub measured: String,
    /// What is allowed.
    pub limit: String,
    /// How far it is from firing.
    pub distance: String,
}

impl Armed {
    /// The same with its words.
    pub fn described(self) -> Armed {
        let missing = self.samples_min.saturating_sub(self.samples);
        let left = ((1.0 - self.measured / self.limit) * 100.0).max(0.0);
        let distance = match missing {
            0 => format!("{left:.0} % left"),
            1 => "1 more sample".to_owned(),
            _ => format!("{missing} more samples"),
        };
        let shown = Shown { measured: self.text(self.measured), limit: self.text(self.limit), distance };
        Armed { shown, ..self }
    }

    fn text(&self, value: f64) -> String {
        match self.unit {
            Unit::Part => format!("{:.1} %", value * 100.0),
            Unit::Seconds if value < 10.0 => format!("{value:.2} s"),
            Unit::Seconds => format!("{value:.0} s"),
        }
    }
}

/// Every trigger that is not off, in the order of the contract.
pub fn armed(
    plan: &Plan,
    conditions: &Conditions,
    seen: &mut Observations,
    candidate: Slot,
    now: Timestamp,
) -> Vec<Armed> {
    let triggers = &plan.triggers;
    let lasting = |trigger, limit: &DurationTrigger, streak: Option<&Streak>| Armed {
        trigger,
        action: limit.action,
        measured: streak.map_or(0.0, |streak| now.since(streak.since).as_secs_f64()),
        limit: limit.window.as_secs_f64(),
        unit: Unit::Seconds,
        samples: streak.map_or(0, |streak| streak.samples),
        samples_min: limit.min_samples,
        shown: Shown::default(),
    };
    let part = |trigger, limit: &RatioTrigger, measured, samples| Armed {
        trigger,
        action: limit.action,
        measured,
        limit: limit.threshold,
        unit: Unit::Part,
        samples,
        samples_min: limit.min_samples,
        shown: Shown::default(),
    };
    let errors = seen.candidate(candidate, Span::ErrorRate, now);
    let sustained = seen.candidate(candidate, Span::Sustained, now);
    let latency = seen.candidate(candidate, Span::Latency, now);
    let memory_samples = conditions.memory_above.as_ref().map_or(0, |streak| streak.samples);
    let mut all = vec![
        lasting(Trigger::CandidateHealth, &triggers.candidate_health, conditions.unhealthy.as_ref()),
        lasting(Trigger::CriticalCheck, &triggers.critical_check, conditions.worst_check()),
        lasting(Trigger::BreakerOpen, &triggers.breaker_open, conditions.breaker_open()),
        lasting(Trigger::StageStalled, &triggers.stage_stalled, conditions.stalled.as_ref()),
        part(Trigger::ErrorRate, &triggers.error_rate, errors.error_rate, errors.requests),
        part(
            Trigger::ErrorRateSustained,
            &triggers.error_rate_sustained,
            sustained.error_rate,
            sustained.requests,
        ),
        Armed {
            trigger: Trigger::LatencyP95,
            action: triggers.latency_p95.action,
            measured: latency.p95_ms.unwrap_or(0.0) / 1_000.0,
            limit: triggers.latency_p95.threshold.as_secs_f64(),
            unit: Unit::Seconds,
            samples: latency.requests,
            samples_min: triggers.latency_p95.min_samples,
            shown: Shown::default(),
        },
        part(Trigger::Memory, &triggers.memory, conditions.memory_used.unwrap_or(0.0), memory_samples),
        lasting(Trigger::Protocol, &triggers.protocol, conditions.changed.as_ref()),
    ];
    all.retain(|armed| armed.action != Action::Off);
    all.into_iter().map(Armed::described).collect()
}
