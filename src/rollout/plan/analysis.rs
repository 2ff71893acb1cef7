//! Settings of the analysis: what a step must show.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::triggers::Action;

/// What a step must show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// How far back a step is looked at.
    pub window: Duration,
    /// The candidate may fail this part of its calls.
    pub max_error_rate: f64,
    /// The candidate may fail this much more than stable, as a part of the calls.
    pub error_margin: f64,
    /// The candidate's 95th percentile.
    pub max_p95: Duration,
    /// The candidate's 95th percentile as a multiple of stable's.
    pub latency_ratio: f64,
    /// A difference in latency below this one does not count.
    pub latency_floor: Duration,
    /// The part of compared responses that may differ.
    pub max_mismatch_rate: f64,
    /// What a failed step leads to.
    pub on_fail: Action,
}

impl Default for Analysis {
    fn default() -> Analysis {
        Analysis {
            window: Duration::from_secs(3_600),
            max_error_rate: 0.05,
            error_margin: 0.02,
            max_p95: Duration::from_secs(5),
            latency_ratio: 2.0,
            latency_floor: Duration::from_millis(100),
            max_mismatch_rate: 0.01,
            on_fail: Action::Rollback,
        }
    }
}
