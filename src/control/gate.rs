//! The gate before the first step: candidate and stable compared as `mcp-guard parity` compares them, asked as the guard
//! asks them. Must not know what a refusal leads to.

use std::time::Duration;

use crate::client::{Client, Limits, Target, survey};
use crate::parity::report::Status;
use crate::parity::verdict::Verdict;
use crate::parity::{Expectations, judge};
use crate::upstream::Backend;

/// For the whole comparison.
const TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(10);
/// Differences told one by one.
const TOLD_MAX: usize = 20;

/// Compares two backends: how many checks hold, or what breaks.
pub(super) async fn compare(stable: &Backend, candidate: &Backend) -> Result<String, Vec<String>> {
    let comparing = async {
        let expected = Expectations::default();
        let limits = Limits { connect: Duration::from_secs(2), total: ANSWER, ..Limits::default() };
        let client = |backend| Client::new(Target::of_backend(backend), limits);
        let (live, next) = (client(stable), client(candidate));
        let (was, is) = tokio::join!(survey(&live, &expected), survey(&next, &expected));
        for (facts, side) in [(&was, "stable"), (&is, "the candidate")] {
            if !facts.reached() {
                let why = facts.legacy.why_not().unwrap_or_default();
                return Err(vec![format!("{side} does not answer: {why}")]);
            }
        }
        let report = judge(&was, &is, &expected);
        let mut breaks: Vec<String> = report
            .findings()
            .filter(|(_, finding)| finding.verdict == Verdict::Break)
            .map(|(check, finding)| {
                let subject =
                    finding.subject.as_deref().map_or_else(String::new, |subject| format!(" ({subject})"));
                format!("{}: {}{subject}", check.id.code(), finding.change)
            })
            .collect();
        if breaks.is_empty() {
            return Ok(format!("{} parity checks hold", report.count(Status::Ok)));
        }
        let more = breaks.len().saturating_sub(TOLD_MAX);
        breaks.truncate(TOLD_MAX);
        if more > 0 {
            breaks.push(format!("and {more} more: see mcp-guard parity"));
        }
        breaks.insert(0, "the candidate does not match stable (--force to go on):".to_owned());
        Err(breaks)
    };
    tokio::time::timeout(TIMEOUT, comparing)
        .await
        .unwrap_or_else(|_elapsed| Err(vec![format!("no verdict within {} s", TIMEOUT.as_secs())]))
}
