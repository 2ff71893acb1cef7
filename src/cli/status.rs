//! `mcp-guard status`: what a running guard says of itself over its admin socket.
//!
//! Must not know the admin protocol.

use clap::Args;

use super::exit::Exit;
use super::fleet::picture::in_a_line;
use super::guard::Guard;
use super::output::{complain, complain_of, say, table};
use super::watchdog::now_seconds;
use crate::admin::{self, AdminCommand, AdminResponse};
use crate::control::fleet_report::FleetReport;
use crate::policy::identity::IssuerStatus;
use crate::telemetry::metrics::{DependencyState, DependencyStatus, SlotStatus};
use crate::upstream::Slot;

/// Show what a running guard is doing: slots, calls in flight, connections, dependencies.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard status --config /etc/mcp-guard/guard.toml
  mcp-guard status --json | jq '.slots[] | {slot, in_flight}'

Exit codes: 0 it runs, 1 no guard is running, 2 it could not be asked.")]
pub(super) struct StatusArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        let status = match fetch(guard) {
            Ok(status) => status,
            Err(exit) => return exit,
        };
        let fleet = status.fleet.as_ref().and_then(|_| fleet(guard));
        if self.json {
            let mut value = serde_json::json!(status);
            if let Some(report) = &fleet {
                value["fleet"] = serde_json::json!(report);
            }
            match serde_json::to_string_pretty(&value) {
                Ok(text) => say(text),
                Err(error) => complain_of(&error),
            }
        } else {
            show(&status, fleet.as_ref());
        }
        Exit::Done
    }
}

fn fetch(guard: &Guard) -> Result<admin::GuardStatus, Exit> {
    let response = guard.ask(&AdminCommand::Status)?;
    if let AdminResponse::Status(status) = response { Ok(*status) } else { Err(unexpected(&response)) }
}

/// The fleet as the guard sees it; none where it has left it.
fn fleet(guard: &Guard) -> Option<FleetReport> {
    match guard.ask_quietly(&AdminCommand::Fleet).0 {
        Ok(AdminResponse::Fleet(report)) => report.map(|report| *report),
        Ok(_) | Err(_) => None,
    }
}

/// A response to another command; or a refusal, which is printed.
pub(super) fn unexpected(response: &AdminResponse) -> Exit {
    if let AdminResponse::Rejected(why) = response {
        complain(why);
        return Exit::No;
    }
    if let AdminResponse::Refused(refusal) = response {
        complain_of(refusal);
    } else {
        complain("the guard answered another question (is it newer than this program?)");
    }
    Exit::CouldNotRun
}

fn show(status: &admin::GuardStatus, fleet: Option<&FleetReport>) {
    let doing = if status.draining { "draining" } else { "serving" };
    let (version, pid, up) = (&status.version, status.pid, uptime(status.uptime_seconds));
    say(format_args!("mcp-guard {version}, pid {pid}, {doing}, up {up}"));
    say(format_args!("listens on  {}  ({} connections)", status.listen, status.connections));
    say(format_args!("metrics on  {}", status.metrics.as_deref().unwrap_or("-")));
    say(format_args!("clients     {}", status.clients));
    match (&status.fleet, fleet) {
        (Some(_), Some(report)) => say(format_args!("fleet       {}", in_a_line(report))),
        (Some(name), None) => say(format_args!("fleet       {name}, which the guard has left")),
        (None, _) => {}
    }
    for off in &status.features.off {
        say(format_args!("off         {}  (since {} by {})", off.feature, off.at, off.who));
    }
    if let Some(problem) = &status.features.problem {
        complain(format_args!("features: {problem}"));
    }
    say("");
    let rows: Vec<[String; 8]> = status.slots.iter().map(|slot| row(slot, &status.stable)).collect();
    table(["SLOT", "ROLE", "ADDRESS", "REACHABLE", "IN FLIGHT", "WAITING", "HELD", "IDLE"], &rows);
    if !status.dependencies.is_empty() {
        say("");
        let now = now_seconds();
        let rows: Vec<_> = status.dependencies.iter().map(|found| dependency_row(found, now)).collect();
        table(["DEPENDENCY", "SLOT", "STATE", "FOR", "REQUIRED", "TOOK", "LATEST FAILURE"], &rows);
    }
    if !status.issuers.is_empty() {
        say("");
        let now = now_seconds();
        let rows: Vec<_> = status.issuers.iter().map(|issuer| issuer_row(issuer, now)).collect();
        table(["ISSUER", "KEYS", "REACHABLE", "CONFIRMED"], &rows);
    }
}

fn issuer_row(issuer: &IssuerStatus, now: u64) -> [String; 4] {
    [
        issuer.url.clone(),
        issuer.keys.to_string(),
        if issuer.reachable { "yes" } else { "NO" }.to_owned(),
        issuer
            .confirmed
            .map_or_else(|| "-".to_owned(), |when| format!("{} ago", uptime(now.saturating_sub(when)))),
    ]
}

fn dependency_row(dependency: &DependencyStatus, now: u64) -> [String; 7] {
    let state = match dependency.state {
        DependencyState::Unknown => "unknown",
        DependencyState::Up => "up",
        DependencyState::Down => "DOWN",
    };
    [
        dependency.name.clone(),
        dependency.slot.map_or("-", Slot::as_str).to_owned(),
        state.to_owned(),
        uptime(now.saturating_sub(dependency.since)),
        if dependency.required { "yes" } else { "no" }.to_owned(),
        dependency.took_ms.map_or_else(|| "-".to_owned(), |took| format!("{took} ms")),
        dependency.reason.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

fn row(slot: &SlotStatus, stable: &str) -> [String; 8] {
    let reachable = match slot.reachable {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not used yet",
    };
    [
        slot.slot.as_str().to_owned(),
        // What the other one is at the moment, `slots list` says.
        if slot.slot.as_str() == stable { "stable" } else { "-" }.to_owned(),
        slot.address.clone(),
        reachable.to_owned(),
        slot.in_flight.to_string(),
        slot.waiting.to_string(),
        slot.held.to_string(),
        slot.idle_connections.to_string(),
    ]
}

/// A duration in its two largest units.
pub(super) fn uptime(seconds: u64) -> String {
    let units =
        [("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(units.len() - 1);
    let shown = units.iter().skip(first).take(2).map(|(unit, count)| format!("{count}{unit}"));
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_shows_its_two_largest_units() {
        for (seconds, expect) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h 0m"), (90_061, "1d 1h")] {
            assert_eq!(uptime(seconds), expect);
        }
    }
}
