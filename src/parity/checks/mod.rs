//! The checks: what was observed about two servers becomes a report. One function a check, in the order of the report.

pub(crate) mod behaviour;
pub(crate) mod surface;

use std::time::Duration;

use super::accept::{Acceptance, apply};
use super::facts::{EraFacts, Facts, Observed};
use super::report::{Check, CheckId, Report};
use super::verdict::{Finding, Verdict};
use crate::parity::results::IgnoreRule;
use crate::wire::Era;

/// The tool that lists all tools, where a deployment names no other.
pub const SELF_DESCRIPTION: &str = "swf_list_available_tools";

/// A client that sees only tools with some prefixes, and how many it must see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedCount {
    /// The client's name.
    pub client: String,
    /// It keeps the tools whose names start with one of these.
    pub prefixes: Vec<String>,
    /// How many those must be.
    pub count: usize,
}

/// One recorded call, known to be read-only.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedCall {
    /// The tool called.
    pub tool: String,
    /// What it is given.
    pub arguments: serde_json::Value,
    /// Paths of its answer that say nothing.
    pub ignore: Vec<IgnoreRule>,
}

/// What the operator expects, besides that both servers agree.
#[derive(Debug, Clone)]
pub struct Expectations {
    /// `serverInfo.name`; without it the live server's own.
    pub server_name: Option<String>,
    /// The instructions, byte for byte; without them the live server's own.
    pub instructions: Option<String>,
    /// The tool that returns the instructions.
    pub instructions_tool: String,
    /// The tool that lists the tools.
    pub self_description: String,
    /// How many tools each client must see.
    pub counts: Vec<ExpectedCount>,
    /// The calls to replay.
    pub calls: Vec<RecordedCall>,
    /// What a wrong token must be answered with.
    pub wrong_token_status: u16,
    /// A candidate whose median is more than this many times the live one's is a break.
    pub slowdown_max: f64,
    /// Below this difference of medians nothing is slow.
    pub slowdown_floor: Duration,
    /// Differences that somebody has reviewed.
    pub accepted: Vec<Acceptance>,
    /// When it is, in seconds since the epoch: what was accepted until then no longer is.
    pub now: u64,
}

impl Default for Expectations {
    fn default() -> Expectations {
        Expectations {
            server_name: None,
            instructions: None,
            instructions_tool: "get_server_instructions".to_owned(),
            self_description: SELF_DESCRIPTION.to_owned(),
            counts: Vec::new(),
            calls: Vec::new(),
            wrong_token_status: 403,
            slowdown_max: 5.0,
            slowdown_floor: Duration::from_millis(25),
            accepted: Vec::new(),
            now: 0,
        }
    }
}

/// Both servers in one era.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) era: Era,
    pub(super) live: &'a EraFacts,
    pub(super) candidate: &'a EraFacts,
}

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
        let found = |verdict, change: &str| {
            Finding::new(verdict, change).about(name).values(Some(shown(was)), Some(shown(is)))
        };
        match (was, is) {
            (Observed::Known(was), Observed::Known(is)) => {
                both.push(name);
                if was.handshake.protocol_version != is.handshake.protocol_version {
                    findings.push(found(Verdict::Note, "negotiated versions differ"));
                }
            }
            (_, Observed::Failed(_)) => findings.push(found(Verdict::Break, "the candidate fails to answer")),
            (Observed::Failed(_), _) => {
                findings.push(found(Verdict::Break, "the live server fails to answer"))
            }
            (Observed::Known(_), Observed::Absent(_)) => {
                findings.push(found(Verdict::Break, "era lost: clients that speak it cannot follow"));
            }
            (Observed::Absent(_), Observed::Known(_)) => {
                findings.push(found(Verdict::Note, "era gained: its clients could not be rolled back"));
            }
            (Observed::Absent(_), Observed::Absent(_)) => {}
        }
    }
    let summary =
        if both.is_empty() { "no era in common".to_owned() } else { format!("both: {}", both.join(", ")) };
    if both.is_empty() && findings.iter().all(|finding| finding.verdict != Verdict::Break) {
        findings.push(Finding::new(Verdict::Break, "the servers have no era in common"));
    }
    Check::made(CheckId::Eras, None, summary, findings)
}

#[cfg(test)]
mod tests;
