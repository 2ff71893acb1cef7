//! `mcp-guard fleet status` as text. What members write is foreign: it is made fit for a terminal. Pure.

use super::differences::{MemberDifference, differences, is_silent};
use crate::control::fleet_report::{CandidateState, FleetReport, MemberReport};
use crate::parity::render::safe;
use crate::upstream::Slot;

/// Marks what differs from this guard, or is silent.
const MARK: &str = " !";

pub(in crate::cli) const HEADING: [&str; 9] =
    ["MEMBER", "ROLE", "VERSION", "CONFIGURATION", "GENERATION", "SILENT", "BLUE", "GREEN", "CLOCK"];

/// The lines above the table.
pub(in crate::cli) fn head(report: &FleetReport) -> Vec<String> {
    let leader = leader(report);
    let (live, known) = (report.live, report.known);
    let mut lines = vec![
        format!(
            "fleet {}: {leader}, {live} of {known} members live, generation {}",
            safe(&report.name),
            report.generation
        ),
        format!("this guard  {}", safe(&report.member)),
        format!("store       {}", store(report)),
        format!("candidate   {}", candidate(report.candidate)),
    ];
    let labels = std::iter::once("holds       ").chain(std::iter::repeat("            "));
    lines.extend(labels.zip(&report.holds).map(|(label, hold)| format!("{label}{}", safe(hold))));
    lines
}

/// The fleet in a line, for `status`.
pub(in crate::cli) fn in_a_line(report: &FleetReport) -> String {
    let (live, known) = (report.live, report.known);
    let candidate = match report.candidate {
        CandidateState::Open => "",
        CandidateState::CatchingUp => "; catching up",
        CandidateState::Ejected => "; candidate EJECTED here",
    };
    format!(
        "{}  ({}, {live} of {known} members live, store {}{candidate})",
        safe(&report.name),
        leader(report),
        store(report)
    )
}

fn leader(report: &FleetReport) -> String {
    report.leader.as_deref().map_or_else(|| "no leader".to_owned(), |name| format!("{} leads", safe(name)))
}

fn store(report: &FleetReport) -> String {
    let problem = report.store_problem.as_deref().map_or_else(String::new, |why| format!(": {}", safe(why)));
    match (report.store_away, report.store_silent_ms) {
        (true, Some(silent)) => format!("AWAY for {}{problem}", seconds(silent)),
        (true, None) => format!("AWAY since the start{problem}"),
        (false, Some(silent)) => format!("responded {} ago", seconds(silent)),
        (false, None) => format!("has not responded yet{problem}"),
    }
}

pub(in crate::cli) fn candidate(state: CandidateState) -> &'static str {
    match state {
        CandidateState::Open => "open: it gets the calls that the rollout gives it",
        CandidateState::CatchingUp => "no calls from this guard before it follows the fleet's state",
        CandidateState::Ejected => "EJECTED by this guard: it gets no calls from here",
    }
}

/// A row for each member.
pub(in crate::cli) fn rows(report: &FleetReport) -> Vec<[String; 9]> {
    let differing = differences(report);
    let row = |member: &MemberReport| {
        let difference = differing.iter().find(|difference| difference.member == member.member);
        row(report, member, difference)
    };
    report.members.iter().map(row).collect()
}

fn row(
    report: &FleetReport,
    member: &MemberReport,
    difference: Option<&MemberDifference<'_>>,
) -> [String; 9] {
    let marked = |text: String, differs: bool| if differs { text + MARK } else { text };
    let role = match (report.leader.as_ref() == Some(&member.member), report.member == member.member) {
        (true, true) => "leader, this",
        (true, false) => "leader",
        (false, true) => "this",
        (false, false) => "-",
    };
    let health = |slot: Slot| {
        let found = member.slots.iter().find(|found| found.slot == slot);
        found.map_or_else(|| "-".to_owned(), |found| safe(in_short(&found.health)))
    };
    let differs = |of: fn(&MemberDifference<'_>) -> bool| difference.is_some_and(of);
    let other_parts = differs(|found| !found.parts.is_empty());
    let configuration = if other_parts { "differs" } else { "same" };
    [
        safe(&member.member),
        role.to_owned(),
        marked(safe(&member.version), differs(|found| found.version.is_some())),
        marked(configuration.to_owned(), other_parts),
        marked(member.generation.to_string(), differs(|found| found.generation.is_some())),
        marked(seconds(member.silent_ms), is_silent(member)),
        health(Slot::Blue),
        health(Slot::Green),
        member.clock_off_ms.map_or_else(|| "-".to_owned(), |off| format!("{off:+} ms")),
    ]
}

/// The lines below the table: which members differ in what, are silent, or have ejected their candidates.
pub(in crate::cli) fn remarks(report: &FleetReport) -> Vec<String> {
    let mut lines: Vec<String> = differences(report).iter().map(differs).collect();
    for member in &report.members {
        let name = safe(&member.member);
        if is_silent(member) {
            let silent = seconds(member.silent_ms);
            lines.push(format!("{name} is silent for {silent}: its part of the limits is kept for it"));
        }
        for slot in &member.slots {
            if in_short(&slot.health) != slot.health {
                lines.push(format!("{name}: {} is {}", slot.slot.as_str(), safe(&slot.health)));
            }
        }
        if let Some(why) = &member.ejected {
            lines.push(format!("{name} has ejected its candidate: {}", safe(why)));
        }
    }
    lines
}

/// The health of a slot without its reason.
pub(in crate::cli) fn in_short(health: &str) -> &str {
    health.split_once(": ").map_or(health, |(word, _)| word)
}

/// In what a member differs, in a line.
pub(in crate::cli) fn differs(difference: &MemberDifference<'_>) -> String {
    let mut parts = Vec::new();
    if let Some((there, here)) = difference.version {
        parts.push(format!("version {} (here {})", safe(there), safe(here)));
    }
    if !difference.parts.is_empty() {
        let names: Vec<String> = difference.parts.iter().map(|part| safe(part)).collect();
        parts.push(format!("configuration of {}", names.join(", ")));
    }
    if let Some((there, here)) = difference.generation {
        parts.push(format!("generation {there} (here {here})"));
    }
    format!("{} differs: {}", safe(difference.member), parts.join("; "))
}

pub(in crate::cli) fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1_000, millis % 1_000 / 100)
}

#[cfg(test)]
mod tests;
