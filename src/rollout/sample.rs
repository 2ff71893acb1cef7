//! What one finished call says about the slot that served it, and what counts as the slot's failure.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::timestamp::Timestamp;
use crate::upstream::Slot;

/// Why a slot failed a call. A client's own error is not among these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No connection, or one that broke before a response.
    NoConnection,
    /// No response within the deadline.
    Timeout,
    /// An HTTP status of 500 or above without a JSON-RPC body.
    Status,
    /// A 200 whose body is not JSON-RPC, or a response that is not HTTP.
    Garbage,
    /// JSON-RPC -32603, internal error.
    Internal,
}

impl Failure {
    /// The name in metrics, logs and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::NoConnection => "no_connection",
            Failure::Timeout => "timeout",
            Failure::Status => "http_5xx",
            Failure::Garbage => "not_json_rpc",
            Failure::Internal => "internal_error",
        }
    }

    /// Whether there was no response at all: what a breaker counts.
    pub fn counts_for_breaker(self) -> bool {
        match self {
            Failure::NoConnection | Failure::Timeout | Failure::Status | Failure::Garbage => true,
            Failure::Internal => false,
        }
    }
}

/// How a call ended, from the slot's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// It responded; also with an error that is the client's own (-32600 to -32602, -3202x, HTTP 400 and 404).
    Completed,
    /// `isError: true`. A failure only as far as it exceeds the stable slot's own rate: users make errors, too.
    ToolError,
    /// The slot's failure.
    Failed(Failure),
}

/// Whether a client waited for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleSource {
    /// A client's call.
    Live,
    /// A copy: its response went nowhere, and was compared with stable's.
    Shadow {
        /// Whether the responses agreed.
        matched: bool,
    },
}

/// A finished call, as the data path reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishedCall {
    /// When it ended. A later reader knows the moment.
    pub when: Instant,
    /// The slot that served it.
    pub slot: Slot,
    /// How it ended.
    pub verdict: CallResult,
    /// From the first byte to the backend until the last of its response.
    pub latency: Duration,
    /// Whether a client waited for it.
    pub origin: SampleSource,
}

impl FinishedCall {
    /// The same, with its time as the rollout sees it.
    pub fn at(self, at: Timestamp) -> Sample {
        let FinishedCall { slot, verdict, latency, origin, .. } = self;
        Sample { slot, at, verdict, latency, origin }
    }
}

/// One finished call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The slot that served it.
    pub slot: Slot,
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub verdict: CallResult,
    /// From the first byte to the backend until the last of its response.
    pub latency: Duration,
    /// Whether a client waited for it.
    pub origin: SampleSource,
}

/// The verdict on a JSON-RPC error code: only -32603 is the server's own fault.
pub fn judge_rpc_error(code: i64) -> CallResult {
    if code == -32603 { CallResult::Failed(Failure::Internal) } else { CallResult::Completed }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SPEC 9: "client errors (-32600…-32602, -3202x, 400/404) are not" failures.
    #[test]
    fn only_an_internal_error_is_the_slots_failure() {
        for code in [-32700, -32600, -32601, -32602, -32020, -32021, -32022, -32002, -1, 0, 404] {
            assert_eq!(judge_rpc_error(code), CallResult::Completed, "{code}");
        }
        assert_eq!(judge_rpc_error(-32603), CallResult::Failed(Failure::Internal));
    }
}
