//! `mcp-guard fleet`: the guards that work as one, as the guard that is asked sees them.
//!
//! Must not know how they agree.

pub(super) mod differences;
pub(super) mod picture;

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, complain_of, say, table};
use super::slots::ask;
use super::status::unexpected;
use crate::admin::{AdminCommand, AdminResponse};
use crate::control::fleet_report::{FleetReport, NO_FLEET};

/// Show the guards of a fleet, and take this guard out of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard fleet status                 members, leader, generation, and what differs between them
  mcp-guard fleet status --json | jq '.members[] | {member, generation, silent_ms}'
  mcp-guard fleet leave                  this guard works alone until its next start

Exit codes: 0 done, 1 refused or in no fleet, 2 the guard could not be asked.")]
pub(super) struct FleetArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Members with version, configuration, generation and health; the leader, the store, and why a rollout holds.
    #[command(after_help = "Example:\n  mcp-guard fleet status")]
    Status {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Take this guard out of the fleet until its next start. The others share its limits at once.
    #[command(after_help = "Example:\n  mcp-guard fleet leave && systemctl stop mcp-guard")]
    Leave,
}

impl FleetArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        let done = match &self.what {
            What::Status { json } => report(guard).map(|report| show(&report, *json)),
            What::Leave => leave(guard),
        };
        done.err().unwrap_or(Exit::Done)
    }
}

fn report(guard: &Guard) -> Result<FleetReport, Exit> {
    let response = ask(guard, &AdminCommand::Fleet)?;
    let AdminResponse::Fleet(report) = response else { return Err(unexpected(&response)) };
    report.map(|report| *report).ok_or_else(|| {
        complain(NO_FLEET);
        Exit::No
    })
}

fn leave(guard: &Guard) -> Result<(), Exit> {
    let response = ask(guard, &AdminCommand::LeaveFleet)?;
    if response != AdminResponse::LeftFleet {
        return Err(unexpected(&response));
    }
    say("this guard has left the fleet and works alone until its next start");
    Ok(())
}

fn show(report: &FleetReport, json: bool) {
    if json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => say(text),
            Err(error) => complain_of(&error),
        }
        return;
    }
    picture::head(report).iter().for_each(say);
    if !report.members.is_empty() {
        say("");
        table(picture::HEADING, &picture::rows(report));
    }
    picture::remarks(report).iter().for_each(say);
}
