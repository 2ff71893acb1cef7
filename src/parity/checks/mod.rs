//! The checks: what was observed about two servers becomes a report. One function a check, in the order of the report.

pub(crate) mod behaviour;
pub(crate) mod surface;

use super::accept::apply;
use super::expectations::Expectations;
use super::facts::{EraFacts, Facts, Observed, Pair};
use super::finding::{Finding, Severity};
use super::report::{Check, CheckId, Report};
use crate::wire::Era;

/// Compares two servers.
pub fn judge(live: &Facts, candidate: &Facts, expected: &Expectations) -> Report {
    let pairs: Vec<Pair<'_>> = [Era::Legacy, Era::Modern]
        .into_iter()
        .filter_map(|era| {
            Some(Pair { era, live: live.era(era).known()?, candidate: candidate.era(era).known()? })
        })
        .collect();
    let mut checks = Vec::new();
    for id in CheckId::ALL {
        match id {
            CheckId::ToolNames => per_era(&mut checks, &pairs, id, surface::tool_names),
            CheckId::Schemas => per_era(&mut checks, &pairs, id, surface::schemas),
            CheckId::ServerName => {
                per_era(&mut checks, &pairs, id, |pair| surface::server_name(pair, expected))
            }
            CheckId::Instructions => {
                per_era(&mut checks, &pairs, id, |pair| surface::instructions(pair, expected))
            }
            CheckId::InstructionsTool => {
                per_era(&mut checks, &pairs, id, |pair| behaviour::instructions_tool(pair, expected));
            }
            CheckId::AuthMatrix => checks.push(behaviour::auth_matrix(&candidate.auth, expected)),
            CheckId::SelfDescription => {
                per_era(&mut checks, &pairs, id, |pair| behaviour::self_description(pair, expected));
            }
            CheckId::ToolCounts => {
                per_era(&mut checks, &pairs, id, |pair| surface::tool_counts(pair, expected))
            }
            CheckId::Eras => checks.push(eras(live, candidate)),
            CheckId::Calls => per_era(&mut checks, &pairs, id, |pair| behaviour::calls(pair, expected)),
            CheckId::Latency => checks.push(behaviour::latency(live, candidate, expected)),
        }
    }
    let mut report = Report {
        live: live.at.clone(),
        candidate: candidate.at.clone(),
        checks,
        latency: behaviour::latency_table(live, candidate),
    };
    apply(&mut report, &expected.accepted, expected.now);
    report
}

/// The check in each era that both servers speak; skipped when there is none.
fn per_era<'a>(checks: &mut Vec<Check>, pairs: &[Pair<'a>], id: CheckId, check: impl Fn(&Pair<'a>) -> Check) {
    if pairs.is_empty() {
        checks.push(Check::skipped(id, None, "there is no era in which both servers answered"));
    }
    checks.extend(pairs.iter().map(check));
}

/// Which eras each server speaks: one that only the live server speaks cuts off the clients that negotiated it.
fn eras(live: &Facts, candidate: &Facts) -> Check {
    let mut findings = Vec::new();
    let mut both = Vec::new();
    for (era, name) in [(Era::Legacy, "initialize"), (Era::Modern, "server/discover")] {
        let (was, is) = (live.era(era), candidate.era(era));
        let shown = |observed: &Observed<EraFacts>| match observed {
            Observed::Known(facts) => facts.handshake.supported_versions.join(", "),
            Observed::Absent(why) | Observed::Failed(why) => why.clone(),
        };
        let found = |severity, change: &str| {
            Finding::new(severity, change).about(name).values(Some(shown(was)), Some(shown(is)))
        };
        match (was, is) {
            (Observed::Known(was), Observed::Known(is)) => {
                both.push(name);
                if was.handshake.protocol_version != is.handshake.protocol_version {
                    findings.push(found(Severity::Note, "negotiated versions differ"));
                }
            }
            (_, Observed::Failed(_)) => {
                findings.push(found(Severity::Break, "the candidate fails to answer"))
            }
            (Observed::Failed(_), _) => {
                findings.push(found(Severity::Break, "the live server fails to answer"))
            }
            (Observed::Known(_), Observed::Absent(_)) => {
                findings.push(found(Severity::Break, "era lost: clients that speak it cannot follow"));
            }
            (Observed::Absent(_), Observed::Known(_)) => {
                findings.push(found(Severity::Note, "era gained: its clients could not be rolled back"));
            }
            (Observed::Absent(_), Observed::Absent(_)) => {}
        }
    }
    let summary =
        if both.is_empty() { "no era in common".to_owned() } else { format!("both: {}", both.join(", ")) };
    if both.is_empty() && findings.iter().all(|finding| finding.severity != Severity::Break) {
        findings.push(Finding::new(Severity::Break, "the servers have no era in common"));
    }
    Check::made(CheckId::Eras, None, summary, findings)
}

#[cfg(test)]
mod tests;
