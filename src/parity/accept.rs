//! Reviewed differences: a break that a person has accepted, with a reason, no longer fails its check.

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Severity};
use super::report::{Check, CheckId, Report};

/// One reviewed difference. It covers exactly what was reviewed: the same change to the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The check that found it.
    pub check: CheckId,
    /// The tool or client; `None` where the finding has none.
    pub subject: Option<String>,
    /// Where in the subject.
    pub path: String,
    /// What happened, in the words of the report.
    pub change: String,
    /// The candidate's value when it was reviewed; `None` accepts any.
    pub candidate: Option<String>,
    /// Why it may be: who agreed, and to what.
    pub reason: String,
    /// Until when, in seconds since the epoch; `None` is for good.
    pub expires: Option<u64>,
}

impl Acceptance {
    fn covers(&self, check: &Check, finding: &Finding) -> bool {
        self.check == check.id
            && self.subject == finding.subject
            && self.path == finding.path
            && self.change == finding.change
            && (self.candidate.is_none() || self.candidate == finding.candidate)
    }
}

/// Turns accepted breaks into what they are now, and says which acceptances are past or found nothing to accept.
pub(super) fn apply(report: &mut Report, accepted: &[Acceptance], now: u64) {
    let is_past = |acceptance: &Acceptance| acceptance.expires.is_some_and(|expires| expires <= now);
    let mut used = vec![false; accepted.len()];
    for check in &mut report.checks {
        let whole = check.clone();
        for finding in check.findings.iter_mut().filter(|finding| finding.severity == Severity::Break) {
            let covering = accepted.iter().position(|acceptance| acceptance.covers(&whole, finding));
            if let Some(position) = covering.filter(|position| !is_past(&accepted[*position])) {
                finding.severity = Severity::Accepted;
                finding.change = format!("{} (accepted: {})", finding.change, accepted[position].reason);
                used[position] = true;
            }
        }
    }
    for (acceptance, _) in accepted.iter().zip(used).filter(|(_, used)| !used) {
        let Some(check) = report.checks.iter_mut().find(|check| check.id == acceptance.check) else {
            continue;
        };
        let why = if is_past(acceptance) {
            "accepted, but not any more"
        } else {
            "accepted, but not found any more"
        };
        let mut note = Finding::new(Severity::Note, format!("{why}: {}", acceptance.change));
        (note.subject, note.path) = (acceptance.subject.clone(), acceptance.path.clone());
        check.findings.push(note);
    }
}
