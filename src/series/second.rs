//! One second, and columns of many.

use serde::{Deserialize, Serialize};

use crate::telemetry::metrics::Tally;

/// One second of a slot, a tool or a client.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Second {
    pub(crate) calls: u32,
    /// Without a response of the backend.
    pub(crate) failures: u32,
    /// With an error in the response.
    pub(crate) errors: u32,
    /// None without calls.
    pub(crate) p50_ms: Option<f32>,
    pub(crate) p95_ms: Option<f32>,
    /// Memory of the backend as a part of its limit; of slots only.
    pub(crate) memory: Option<f32>,
}

/// Columns of one slot or tool, the oldest second first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Columns {
    pub(crate) calls: Vec<u32>,
    pub(crate) failures: Vec<u32>,
    pub(crate) errors: Vec<u32>,
    pub(crate) p50_ms: Vec<Option<f32>>,
    pub(crate) p95_ms: Vec<Option<f32>>,
    pub(crate) memory: Vec<Option<f32>>,
}

impl Second {
    pub(super) fn of(tally: &Tally) -> Second {
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let quantile = |part| tally.quantile_ms(part).map(|millis| millis as f32);
        Second {
            calls: count(tally.calls),
            failures: count(tally.failures),
            errors: count(tally.errors),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            memory: None,
        }
    }
}
