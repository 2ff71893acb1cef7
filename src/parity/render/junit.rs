//! A report for build servers: JUnit XML, one test case a check.

use std::fmt::Write as _;

use super::super::finding::Severity;
use super::super::report::{CheckStatus, Report, era_name};

/// Renders the report.
pub fn junit(report: &Report) -> String {
    let (failed, skipped) = (report.count(CheckStatus::Fail), report.count(CheckStatus::Skip));
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuite name=\"mcp-guard parity\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"{skipped}\">",
        report.checks.len()
    );
    for check in &report.checks {
        let (number, code) = (check.id.number(), check.id.code());
        let era = check.era.map(|era| format!(" ({})", era_name(Some(era)))).unwrap_or_default();
        let _ = write!(out, "  <testcase classname=\"parity\" name=\"{number} {code}{era}\">");
        match check.status() {
            CheckStatus::Ok => {}
            CheckStatus::Skip => {
                let _ = write!(out, "<skipped message=\"{}\"/>", escape(&check.summary));
            }
            CheckStatus::Fail => {
                let _ = write!(out, "<failure message=\"{}\">", escape(&check.summary));
                for finding in check.findings.iter().filter(|finding| finding.severity == Severity::Break) {
                    let subject = finding.subject.as_deref().unwrap_or("-");
                    let shown =
                        |value: &Option<String>| value.clone().unwrap_or_else(|| "(nothing)".to_owned());
                    let line = format!(
                        "{subject} {}: {}; live {}; candidate {}\n",
                        finding.path,
                        finding.change,
                        shown(&finding.live),
                        shown(&finding.candidate)
                    );
                    out.push_str(&escape(&line));
                }
                out.push_str("</failure>");
            }
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("</testsuite>\n");
    out
}

/// Text as XML carries it; what XML 1.0 cannot carry becomes a question mark.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(char),
            '\u{fffe}' | '\u{ffff}' => out.push('?'),
            char if char.is_control() => out.push('?'),
            char => out.push(char),
        }
    }
    out
}
