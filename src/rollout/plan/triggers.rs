//! Settings of the nine triggers: threshold, window, minimum of samples and action.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a trigger leads to, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// All traffic to stable; the rollout is over.
    Rollback,
    /// The rollout stays where it is until an operator decides.
    Pause,
    /// Tell, and go on.
    Notify,
    /// Not even looked at.
    Off,
}

impl Action {
    /// The name in plans.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Rollback => "rollback",
            Action::Pause => "pause",
            Action::Notify => "notify",
            Action::Off => "off",
        }
    }

    /// The action of this name.
    pub fn parse(name: &str) -> Option<Action> {
        [Action::Rollback, Action::Pause, Action::Notify, Action::Off]
            .into_iter()
            .find(|action| action.as_str() == name)
    }
}

/// Fires when a condition has lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationTrigger {
    /// What it leads to.
    pub action: Action,
    /// How long the condition must have lasted.
    pub window: Duration,
    /// How often it must have been seen.
    pub min_samples: u64,
}

/// Fires when a part of the whole is too large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatioTrigger {
    /// What it leads to.
    pub action: Action,
    /// The largest part allowed, 0 to 1.
    pub threshold: f64,
    /// Over which time it is taken.
    pub window: Duration,
    /// From how many samples at least.
    pub min_samples: u64,
}

/// Fires when responses are too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyTrigger {
    /// What it leads to.
    pub action: Action,
    /// The longest 95th percentile allowed.
    pub threshold: Duration,
    /// Over which time it is taken.
    pub window: Duration,
    /// From how many samples at least.
    pub min_samples: u64,
}

/// All nine, configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Triggers {
    /// `window` is how long the candidate has been unhealthy; `min_samples` counts failed probes.
    pub candidate_health: DurationTrigger,
    /// `window` is how long the check has been failing; `min_samples` counts failures.
    pub critical_check: DurationTrigger,
    /// `window` is how long the breaker has been open; `min_samples` counts calls that went unanswered.
    pub breaker_open: DurationTrigger,
    /// `window` is the time since the hold was over; `min_samples` is 1.
    pub stage_stalled: DurationTrigger,
    /// Over `window`.
    pub error_rate: RatioTrigger,
    /// Over `window`, all of which must have been watched.
    pub error_rate_sustained: RatioTrigger,
    /// Over `window`.
    pub latency_p95: LatencyTrigger,
    /// `window` is how long memory has been above the threshold; `min_samples` counts readings.
    pub memory: RatioTrigger,
    /// `window` is how long the candidate's responses have differed; `min_samples` counts them.
    pub protocol: DurationTrigger,
}

impl Default for Triggers {
    fn default() -> Triggers {
        let seconds = Duration::from_secs;
        let lasting = |window, min_samples| DurationTrigger {
            action: Action::Rollback,
            window: seconds(window),
            min_samples,
        };
        let part = |threshold, window, min_samples| RatioTrigger {
            action: Action::Rollback,
            threshold,
            window: seconds(window),
            min_samples,
        };
        Triggers {
            candidate_health: lasting(0, 1),
            critical_check: lasting(0, 2),
            breaker_open: lasting(30, 1),
            stage_stalled: lasting(3_600, 1),
            error_rate: part(0.10, 60, 20),
            error_rate_sustained: part(0.05, 300, 50),
            latency_p95: LatencyTrigger {
                action: Action::Rollback,
                threshold: seconds(5),
                window: seconds(300),
                min_samples: 20,
            },
            memory: part(0.90, 10, 3),
            protocol: lasting(0, 2),
        }
    }
}
