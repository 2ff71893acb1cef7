//! One line of a verification.
//!
//! Must not know what is checked.

use std::time::Duration;

use serde::Serialize;

/// For one request of the verification: what the rollback procedure allows `initialize`.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// What a check has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckState {
    Good,
    Bad,
    /// What is needed for it is not configured.
    NotChecked,
}

/// One line of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CheckResult {
    pub(crate) name: &'static str,
    pub(crate) state: CheckState,
    pub(crate) found: String,
}

impl CheckResult {
    pub(super) fn good(name: &'static str, found: impl Into<String>) -> CheckResult {
        CheckResult { name, state: CheckState::Good, found: found.into() }
    }

    pub(super) fn bad(name: &'static str, found: impl Into<String>) -> CheckResult {
        CheckResult { name, state: CheckState::Bad, found: found.into() }
    }

    pub(super) fn not_checked(name: &'static str, why: impl Into<String>) -> CheckResult {
        CheckResult { name, state: CheckState::NotChecked, found: why.into() }
    }

    /// A check whose failure has a text.
    pub(super) fn of(name: &'static str, found: Result<String, String>) -> CheckResult {
        found.map_or_else(|why| CheckResult::bad(name, why), |found| CheckResult::good(name, found))
    }
}
