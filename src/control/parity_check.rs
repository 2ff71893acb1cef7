//! The parity check: compares candidate and stable like `mcp-guard parity`, over connections like those of the guard.
//!
//! Runs at the start of a rollout, at a promotion by an operator, and before each step that the analysis would begin. Must
//! not know what a break leads to.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::client::{Client, Limits, Target};
use crate::collect::survey;
use crate::parity::accept::Acceptance;
use crate::parity::finding::{Finding, Severity};
use crate::parity::render::safe;
use crate::parity::report::{CheckStatus, Report};
use crate::parity::{Check, Expectations, judge};
use crate::rollout::Compared;
use crate::rollout::comparison::Difference;
use crate::upstream::{Backend, Secrets};
use mcp_host::process;

/// For the whole comparison.
const TIMEOUT: Duration = Duration::from_secs(60);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Differences that are listed one by one.
const LISTED_MAX: usize = 20;

/// The result of a comparison.
pub(crate) struct Comparison {
    pub(crate) compared: Compared,
    /// Further facts for the operator: how many checks hold, what was accepted, which acceptances match nothing.
    pub(crate) notes: Vec<String>,
}

/// Compares two backends; a reviewed difference is no break.
pub(crate) async fn compare(
    stable: &Backend,
    candidate: &Backend,
    secrets: &Secrets,
    accepted: Vec<Acceptance>,
) -> Comparison {
    tokio::time::timeout(TIMEOUT, compare_surveys(stable, candidate, secrets, accepted))
        .await
        .unwrap_or_else(|_elapsed| Comparison::unknown(format!("no verdict within {} s", TIMEOUT.as_secs())))
}

impl Comparison {
    fn unknown(why: String) -> Comparison {
        Comparison { compared: Compared::Unknown(why), notes: Vec::new() }
    }
}

async fn compare_surveys(
    stable: &Backend,
    candidate: &Backend,
    secrets: &Secrets,
    accepted: Vec<Acceptance>,
) -> Comparison {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expected = Expectations { accepted, now, ..Expectations::default() };
    let limits = Limits { connect: Duration::from_secs(2), total: RESPONSE_TIMEOUT, ..Limits::default() };
    let client = |backend| Client::new(Target::of_backend(backend), limits).with_secrets(secrets);
    let (live, next) = (client(stable), client(candidate));
    let (was, is) = tokio::join!(survey(&live, &expected), survey(&next, &expected));
    for (facts, side) in [(&was, "stable"), (&is, "the candidate")] {
        if !facts.reached() {
            let why = facts.legacy.why_not().unwrap_or_default();
            return Comparison::unknown(format!("{side} does not answer: {why}"));
        }
    }
    let comparing = tokio::task::spawn_blocking(move || {
        // Threads that serve calls go first.
        let _ = process::yield_to_others();
        comparison_of(&judge(&was, &is, &expected))
    });
    comparing.await.unwrap_or_else(|_failed| Comparison::unknown("the comparison has failed".to_owned()))
}

fn comparison_of(report: &Report) -> Comparison {
    let mut notes: Vec<String> = report
        .findings()
        .filter(|(_, finding)| {
            finding.severity == Severity::Accepted || finding.change.starts_with("accepted, but not")
        })
        .map(|(check, finding)| difference(check, finding).to_string())
        .collect();
    let mut breaks: Vec<Difference> = report
        .findings()
        .filter(|(_, finding)| finding.severity == Severity::Break)
        .map(|(check, finding)| difference(check, finding))
        .collect();
    if breaks.is_empty() {
        notes.insert(0, format!("{} parity checks hold", report.count(CheckStatus::Ok)));
        return Comparison { compared: Compared::Holds, notes };
    }
    // A difference in both eras is listed once.
    let mut seen = HashSet::new();
    breaks.retain(|difference| seen.insert(difference.to_string()));
    let more = breaks.len().saturating_sub(LISTED_MAX);
    breaks.truncate(LISTED_MAX);
    if let (1.., Some(last)) = (more, breaks.last_mut()) {
        last.change.push_str(&format!(" (and {more} more differences: see mcp-guard parity)"));
    }
    Comparison { compared: Compared::Breaks(breaks), notes }
}

/// The comparison as text.
pub(crate) fn describe(compared: &Compared, notes: &[String]) -> String {
    let mut lines: Vec<String> = match compared {
        Compared::Holds => Vec::new(),
        Compared::Unknown(why) => vec![format!("candidate and stable cannot be compared: {why}")],
        Compared::Breaks(differences) => std::iter::once("the candidate does not match stable:".to_owned())
            .chain(differences.iter().map(ToString::to_string))
            .collect(),
    };
    lines.extend_from_slice(notes);
    lines.join("\n  ")
}

/// The comparison as the reason for refusing a command.
pub(super) fn describe_refusal(compared: &Compared, notes: &[String]) -> String {
    format!(
        "{}\n(--accept FILE for reviewed differences, --force to go on all the same)",
        describe(compared, notes)
    )
}

/// Bounded, and safe for a terminal: text of a server ends up in the history.
fn difference(check: &Check, finding: &Finding) -> Difference {
    let cut = |value: &Option<String>| value.as_deref().map(safe);
    Difference {
        check: check.id.code().to_owned(),
        subject: cut(&finding.subject),
        path: safe(&finding.path),
        change: safe(&finding.change),
        live: cut(&finding.live),
        candidate: cut(&finding.candidate),
    }
}
