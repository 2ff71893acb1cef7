//! A report for a person at a terminal: one line a check, the differences below it, the times side by side.
//!
//! What the servers sent is shown, so nothing of it may drive the terminal, and long values are cut.

use std::fmt::Write as _;

use super::super::finding::{Finding, Severity};
use super::super::report::{Check, CheckStatus, Latency, Report, era_name};
use crate::parity::checks::behaviour::{millis, ratio};

const VALUE_CHARS_MAX: usize = 120;
/// Notes and compatible differences of one kind beyond these are only counted.
const QUIET_LINES_MAX: usize = 5;

/// Renders the report; with `verbose` every note is listed.
pub fn text(report: &Report, verbose: bool) -> String {
    let mut out = String::new();
    let (live, candidate) = (safe(&report.live), safe(&report.candidate));
    let _ = writeln!(out, "live       {live}\ncandidate  {candidate}\n");
    for check in &report.checks {
        check_lines(&mut out, check, verbose);
    }
    latency_table(&mut out, &report.latency);
    let (ok, failed, skipped) =
        (report.count(CheckStatus::Ok), report.count(CheckStatus::Fail), report.count(CheckStatus::Skip));
    let verdict = if report.passed() { "parity holds" } else { "parity does not hold" };
    let _ = writeln!(out, "\n{verdict}: {ok} ok, {failed} failed, {skipped} skipped");
    out
}

fn check_lines(out: &mut String, check: &Check, verbose: bool) {
    let tag = match check.status() {
        CheckStatus::Ok => "[OK]  ",
        CheckStatus::Fail => "[FAIL]",
        CheckStatus::Skip => "[SKIP]",
    };
    let name = format!("{:>2} {}", check.id.number(), check.id.code());
    let _ = writeln!(out, "{tag} {name:<21} {:<10}  {}", era_name(check.era), safe(&check.summary));
    for severity in [Severity::Break, Severity::Accepted, Severity::Compatible, Severity::Note] {
        let found: Vec<&Finding> =
            check.findings.iter().filter(|finding| finding.severity == severity).collect();
        let shown = if severity == Severity::Break || verbose {
            found.len()
        } else {
            QUIET_LINES_MAX.min(found.len())
        };
        for finding in found.iter().take(shown) {
            finding_lines(out, finding);
        }
        if found.len() > shown {
            let _ = writeln!(out, "         {:<10} … and {} more (-v)", severity.code(), found.len() - shown);
        }
    }
}

fn finding_lines(out: &mut String, finding: &Finding) {
    let severity = if finding.severity == Severity::Break { "BREAK" } else { finding.severity.code() };
    let mut place = finding.subject.as_deref().map(safe).unwrap_or_default();
    if !finding.path.is_empty() {
        if !place.is_empty() {
            place.push_str(": ");
        }
        place.push_str(&safe(&finding.path));
    }
    let colon = if place.is_empty() { "" } else { " - " };
    let _ = writeln!(out, "         {severity:<10} {place}{colon}{}", safe(&finding.change));
    if finding.live.is_some() || finding.candidate.is_some() {
        let shown = |value: &Option<String>| value.as_deref().map_or_else(|| "(nothing)".to_owned(), safe);
        let _ = writeln!(out, "                    live       {}", shown(&finding.live));
        let _ = writeln!(out, "                    candidate  {}", shown(&finding.candidate));
    }
}

fn latency_table(out: &mut String, table: &[Latency]) {
    if table.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{:<32} {:>9} {:>9} {:>11} {:>9} {:>7}",
        "latency, ms", "live p50", "p95", "cand. p50", "p95", "times"
    );
    for row in table {
        let cell = |time: Option<std::time::Duration>| {
            time.map_or("-".to_owned(), |time| format!("{:.1}", millis(time)))
        };
        let times = match (row.live, row.candidate) {
            (Some(was), Some(is)) => format!("{:.1}", ratio(was.p50, is.p50)),
            (Some(_) | None, Some(_) | None) => "-".to_owned(),
        };
        let _ = writeln!(
            out,
            "{:<32} {:>9} {:>9} {:>11} {:>9} {:>7}",
            safe(&row.question),
            cell(row.live.map(|times| times.p50)),
            cell(row.live.map(|times| times.p95)),
            cell(row.candidate.map(|times| times.p50)),
            cell(row.candidate.map(|times| times.p95)),
            times
        );
    }
}

/// Foreign text, fit for one line of a terminal.
pub fn safe(text: &str) -> String {
    let mut out = String::new();
    for (count, char) in text.chars().enumerate() {
        if count == VALUE_CHARS_MAX {
            let _ = write!(out, "… ({} characters)", text.chars().count());
            break;
        }
        // Bidirectional controls reorder what a terminal shows.
        let unsafe_char = char.is_control()
            || matches!(char, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if unsafe_char { out.extend(char.escape_default()) } else { out.push(char) }
    }
    out
}
