//! The outcome of a comparison: checks with their findings, and what they come to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Severity};
use crate::wire::Era;

/// A check, numbered as the migration plan numbers the first eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckId {
    /// The same tools on both sides.
    ToolNames,
    /// The same arguments.
    Schemas,
    /// The same `serverInfo.name`.
    ServerName,
    /// The same instructions, byte for byte.
    Instructions,
    /// The tool that returns them does.
    InstructionsTool,
    /// Who must not pass does not.
    AuthMatrix,
    /// What the server says of its tools is what it lists.
    SelfDescription,
    /// Each client sees as many tools as it must.
    ToolCounts,
    /// No protocol era is lost.
    Eras,
    /// Recorded calls have the same results.
    Calls,
    /// The candidate is not far slower.
    Latency,
}

impl CheckId {
    /// Every check, in the order of the report.
    pub const ALL: [CheckId; 11] = [
        CheckId::ToolNames,
        CheckId::Schemas,
        CheckId::ServerName,
        CheckId::Instructions,
        CheckId::InstructionsTool,
        CheckId::AuthMatrix,
        CheckId::SelfDescription,
        CheckId::ToolCounts,
        CheckId::Eras,
        CheckId::Calls,
        CheckId::Latency,
    ];

    /// The number in the migration plan; 9 and up are ours.
    pub fn number(self) -> usize {
        CheckId::ALL.iter().position(|id| *id == self).map_or(0, |position| position + 1)
    }

    /// The stable name, for reports and `--accept`.
    pub fn code(self) -> &'static str {
        match self {
            CheckId::ToolNames => "tool-names",
            CheckId::Schemas => "schemas",
            CheckId::ServerName => "server-name",
            CheckId::Instructions => "instructions",
            CheckId::InstructionsTool => "instructions-tool",
            CheckId::AuthMatrix => "auth-matrix",
            CheckId::SelfDescription => "self-description",
            CheckId::ToolCounts => "tool-counts",
            CheckId::Eras => "eras",
            CheckId::Calls => "calls",
            CheckId::Latency => "latency",
        }
    }

    /// The check of this name.
    pub fn from_code(code: &str) -> Option<CheckId> {
        CheckId::ALL.into_iter().find(|id| id.code() == code)
    }
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStatus {
    /// No break was found.
    Ok,
    /// At least one break was found.
    Fail,
    /// It was not made.
    Skip,
}

impl CheckStatus {
    /// The stable name.
    pub fn code(self) -> &'static str {
        match self {
            CheckStatus::Ok => "ok",
            CheckStatus::Fail => "fail",
            CheckStatus::Skip => "skip",
        }
    }
}

/// One check in one era (or in none, where eras do not matter).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which check.
    pub id: CheckId,
    /// The era it was made in.
    pub era: Option<Era>,
    /// One line: what was found, or why it was skipped.
    pub summary: String,
    /// Whether it was not made.
    pub skipped: bool,
    /// What differs.
    pub findings: Vec<Finding>,
}

impl Check {
    /// A check that was made.
    pub fn made(id: CheckId, era: Option<Era>, summary: impl Into<String>, findings: Vec<Finding>) -> Check {
        Check { id, era, summary: summary.into(), skipped: false, findings }
    }

    /// A check that was not made, and why.
    pub fn skipped(id: CheckId, era: Option<Era>, why: impl Into<String>) -> Check {
        Check { id, era, summary: why.into(), skipped: true, findings: Vec::new() }
    }

    /// A break fails the check; anything less does not.
    pub fn status(&self) -> CheckStatus {
        match (self.skipped, self.findings.iter().any(|finding| finding.severity == Severity::Break)) {
            (_, true) => CheckStatus::Fail,
            (true, false) => CheckStatus::Skip,
            (false, false) => CheckStatus::Ok,
        }
    }
}

/// One line of the latency table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    /// The request.
    pub question: String,
    /// The live server's times.
    pub live: Option<Percentiles>,
    /// The candidate's times.
    pub candidate: Option<Percentiles>,
}

/// The middle and the slow end of some samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// Half of the responses were faster.
    pub p50: Duration,
    /// All but one in twenty were faster.
    pub p95: Duration,
    /// How many responses these are of.
    pub samples: usize,
}

/// Two servers compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where the live server is.
    pub live: String,
    /// Where the candidate is.
    pub candidate: String,
    /// In the order of the report.
    pub checks: Vec<Check>,
    /// The times side by side.
    pub latency: Vec<Latency>,
}

impl Report {
    /// How many checks came to this.
    pub fn count(&self, status: CheckStatus) -> usize {
        self.checks.iter().filter(|check| check.status() == status).count()
    }

    /// Whether a client of the live server may be moved to the candidate.
    pub fn passed(&self) -> bool {
        self.count(CheckStatus::Fail) == 0
    }

    /// Every finding with its check.
    pub fn findings(&self) -> impl Iterator<Item = (&Check, &Finding)> {
        self.checks.iter().flat_map(|check| check.findings.iter().map(move |finding| (check, finding)))
    }
}

/// How an era is called in a report.
pub fn era_name(era: Option<Era>) -> &'static str {
    match era {
        Some(Era::Legacy) => "legacy",
        Some(Era::Modern) => "2026-07-28",
        None => "",
    }
}
