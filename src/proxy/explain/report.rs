//! An explanation as plain data, which the admin socket carries: what was asked, and what would become of it.
//!
//! A later version may add members: each that is added has a default. Must not know how it is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::feature::FeatureChange;
use crate::upstream::Slot;

/// A request that is to be explained.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Head and body, in base64.
    pub(crate) request: String,
    /// Who is said to call; without it the credential in the request says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    /// Which of those that the client stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// Whether the request was made for the question: then its path is to be the guard's own.
    #[serde(default)]
    pub(crate) is_made: bool,
}

impl fmt::Debug for Question {
    /// Leaves out the request, which may carry a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("client", &self.client).finish_non_exhaustive()
    }
}

/// What would become of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    pub(crate) source: Source,
    #[serde(default)]
    pub(crate) client: Option<String>,
    /// What it is known by.
    #[serde(default)]
    pub(crate) known_by: Option<String>,
    #[serde(default)]
    pub(crate) subject: Option<String>,
    #[serde(default)]
    pub(crate) method: Option<String>,
    #[serde(default)]
    pub(crate) tool: Option<String>,
    /// `legacy` or `modern`.
    #[serde(default)]
    pub(crate) era: Option<String>,
    pub(crate) verdict: VerdictReport,
    /// Every check, in the order in which this request meets them.
    pub(crate) checks: Vec<CheckReport>,
    /// The limits that hold for it; none before it has passed the checks on what it says.
    #[serde(default)]
    pub(crate) limits: Vec<LimitReport>,
    #[serde(default)]
    pub(crate) slot: Option<SlotChoice>,
    /// The newest protocol version that passes; none without a bound.
    #[serde(default)]
    pub(crate) newest_version: Option<String>,
    /// Whether that is the era fence of a rollout.
    #[serde(default)]
    pub(crate) fenced: bool,
    /// The route that it belongs to, or would belong to if that was not switched off.
    #[serde(default)]
    pub(crate) route: Option<String>,
    /// The rollout's stage and share.
    #[serde(default)]
    pub(crate) rollout: Option<String>,
    /// What is switched off and has to do with it.
    #[serde(default)]
    pub(crate) off: Vec<FeatureChange>,
    #[serde(default)]
    pub(crate) notes: Vec<String>,
}

/// Where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// A running guard, with what is used of its limits.
    Guard,
    /// The configuration and the saved state.
    Configuration,
}

/// What happens in the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VerdictReport {
    pub(crate) outcome: ExplainedOutcome,
    /// The status that the client gets, where it is the guard's own.
    #[serde(default)]
    pub(crate) status: Option<u16>,
    /// The code of the refusal: a row of `docs/denials.md`.
    #[serde(default)]
    pub(crate) code: Option<String>,
    /// A sentence for the operator.
    pub(crate) why: String,
    #[serde(default)]
    pub(crate) retry_after_ms: Option<u64>,
}

/// The kinds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExplainedOutcome {
    /// Sent to a backend.
    Forwarded,
    /// Sent to a backend when it has waited.
    Waits,
    /// The guard replies itself, and refuses nothing.
    Answered,
    Refused,
    /// It belongs to a route beside the endpoint.
    Route,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckReport {
    /// The number in the contract.
    pub(crate) number: String,
    pub(crate) check: String,
    pub(crate) result: CheckResult,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

impl CheckReport {
    /// Another thing than this check decided.
    pub(crate) fn pass(&mut self) {
        (self.result, self.why) = (CheckResult::Passed, None);
    }
}

/// What a check made of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckResult {
    Passed,
    /// The request ends here.
    Decides,
    NotReached,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LimitReport {
    /// `client_rate`, `tool_concurrency`, `in_flight`, ...
    pub(crate) limit: String,
    /// Whose.
    pub(crate) of: String,
    /// What it allows, for people.
    pub(crate) allows: String,
    /// What is used or left of it, for people; none where no guard was asked.
    #[serde(default)]
    pub(crate) now: Option<String>,
    #[serde(default)]
    pub(crate) left: Option<u64>,
    pub(crate) result: LimitResult,
    #[serde(default)]
    pub(crate) retry_after_ms: Option<u64>,
}

/// What a limit would make of a call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LimitResult {
    Passes,
    Waits,
    Refuses,
    /// No guard was asked, or what the caller has used is not known.
    Unknown,
}

/// The slot of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlotChoice {
    /// None where each request is assigned on its own, or each subject.
    #[serde(default)]
    pub(crate) slot: Option<Slot>,
    /// A sentence for the operator.
    pub(crate) why: String,
    pub(crate) stable: Slot,
    /// What it is assigned by; none where that is not known.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// Where the key lies, in percent of the circle.
    #[serde(default)]
    pub(crate) point: Option<f64>,
    /// The candidate's share in percent.
    pub(crate) candidate_weight: u8,
    #[serde(default)]
    pub(crate) ejected: Option<Slot>,
    /// The slot that stands in when this one cannot be reached.
    #[serde(default)]
    pub(crate) fallback: Option<Slot>,
    /// The slot that gets copies of read-only calls.
    #[serde(default)]
    pub(crate) shadow: Option<Slot>,
    #[serde(default)]
    pub(crate) address: Option<String>,
    /// Whether the backend could be reached when that was last tried.
    #[serde(default)]
    pub(crate) reachable: Option<bool>,
}
