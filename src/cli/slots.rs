//! `mcp-guard slots`: which backend serves, and the switch between the two.
//!
//! Each command waits until its work is done, and says what happened. Must not know how a switch is made: `control` does.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, say, table};
use super::status::unexpected;
use crate::admin::{AdminCommand, AdminResponse};
use crate::control::{CommandResult, RolloutCommand, RolloutReport};
use crate::rollout::status::SlotReport;
use crate::upstream::Slot;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Show the slots, switch to the other one, or take one out of service.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard slots list
  mcp-guard slots switch green        all traffic to green; refused unless green is healthy
  mcp-guard slots switch blue         and back
  mcp-guard slots switch green --wait 30    as soon as green is healthy
  mcp-guard slots retire blue         blue takes no calls any more, not even in need; returns when it is idle

Exit codes: 0 done, 1 refused or not drained in time, 2 the guard could not be asked.")]
pub(super) struct SlotsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Both slots: role, health, what they speak, calls in flight.
    #[command(after_help = "Example:\n  mcp-guard slots list --json | jq '.slots[] | {slot, health}'")]
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make the other slot stable: all traffic goes there. The way back is the same command.
    #[command(after_help = "Example:\n  mcp-guard slots switch green")]
    Switch {
        /// `blue` or `green`.
        #[arg(value_parser = slot)]
        slot: Slot,
        /// Also if it lists no tools, or speaks less than the other, which breaks clients that use protocol 2026-07-28.
        #[arg(long)]
        force: bool,
        /// Seconds to wait for the slot to be healthy, as after its backend was started a moment ago.
        #[arg(long, value_name = "SECONDS", default_value = "0")]
        wait: u64,
        /// Seconds to wait for the calls on the other slot to finish. They are not cut.
        #[arg(long, value_name = "SECONDS", default_value = "60")]
        drain_timeout: u64,
    },
    /// Take a slot out of service, and wait until it is idle.
    #[command(
        visible_alias = "drain",
        after_help = "Example:\n  mcp-guard slots retire blue && systemctl stop mcp-tools@blue"
    )]
    Retire {
        /// `blue` or `green`.
        #[arg(value_parser = slot)]
        slot: Slot,
        /// Seconds to wait for its calls to finish. They are not cut.
        #[arg(long, value_name = "SECONDS", default_value = "60")]
        drain_timeout: u64,
    },
}

impl SlotsArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        let result = match &self.what {
            What::List { json } => list(guard, *json),
            What::Switch { slot, force, wait, drain_timeout } => patient(
                guard,
                &RolloutCommand::Switch { to: *slot, force: *force },
                Duration::from_secs(*wait),
            )
            .and_then(|_| drained(guard, slot.other(), *drain_timeout)),
            What::Retire { slot, drain_timeout } => order(guard, RolloutCommand::Retire { slot: *slot })
                .and_then(|_| drained(guard, *slot, *drain_timeout)),
        };
        result.err().unwrap_or(Exit::Done)
    }
}

/// Queries the guard. That none runs is exit code 2 here: 1 means that a guard refused.
pub(super) fn ask(guard: &Guard, command: &AdminCommand) -> Result<AdminResponse, Exit> {
    guard.ask(command).map_err(|_told| Exit::CouldNotRun)
}

/// Gives an order again and again while its slot is not healthy, for so long.
fn patient(guard: &Guard, order: &RolloutCommand, wait: Duration) -> Result<CommandResult, Exit> {
    let deadline = Instant::now() + wait;
    loop {
        let response = ask(guard, &AdminCommand::Control(order.clone()))?;
        let early = matches!(&response, AdminResponse::Rejected(why) if why.contains("is not healthy"));
        if !early || Instant::now() >= deadline {
            return told(response);
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Sends a command and prints its result.
pub(super) fn order(guard: &Guard, order: RolloutCommand) -> Result<CommandResult, Exit> {
    told(ask(guard, &AdminCommand::Control(order))?)
}

fn told(response: AdminResponse) -> Result<CommandResult, Exit> {
    let AdminResponse::Done(done) = response else { return Err(unexpected(&response)) };
    say(&done.transition);
    for note in &done.notes {
        say(format_args!("note: {note}"));
    }
    Ok(*done)
}

/// The rollout and both slots.
pub(super) fn overview(guard: &Guard) -> Result<RolloutReport, Exit> {
    let response = ask(guard, &AdminCommand::Rollout)?;
    if let AdminResponse::Rollout(overview) = response { Ok(*overview) } else { Err(unexpected(&response)) }
}

/// Waits until no call is on the slot any more.
pub(super) fn drained(guard: &Guard, slot: Slot, timeout: u64) -> Result<(), Exit> {
    let started = Instant::now();
    let deadline = started + Duration::from_secs(timeout);
    loop {
        let AdminResponse::Status(status) = ask(guard, &AdminCommand::Status)? else {
            return Err(Exit::CouldNotRun);
        };
        let ours = status.slots.iter().find(|found| found.slot == slot);
        let calls = ours.map_or(0, |found| found.in_flight);
        if calls == 0 {
            say(format_args!("{} is idle after {:.1} s", slot.as_str(), started.elapsed().as_secs_f64()));
            return Ok(());
        }
        if Instant::now() >= deadline {
            complain(format_args!("{} still has {calls} calls in flight; they are not cut", slot.as_str()));
            return Err(Exit::No);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A slot's name, for the command line.
pub(super) fn slot(name: &str) -> Result<Slot, String> {
    Slot::parse(name).ok_or_else(|| "the slots are blue and green".to_owned())
}

fn list(guard: &Guard, json: bool) -> Result<(), Exit> {
    let overview = overview(guard)?;
    if json {
        let status = &overview.status;
        let (slots, standby) = (&status.slots, &status.standby);
        say(serde_json::json!({ "slots": slots, "standby": standby, "problems": overview.problems }));
        return Ok(());
    }
    let rows: Vec<[String; 6]> =
        overview.status.slots.iter().filter(|slot| slot.configured).map(row).collect();
    table(["SLOT", "ROLE", "HEALTH", "SPEAKS", "TOOLS", "WHY NOT"], &rows);
    say(&overview.status.standby);
    for problem in &overview.problems {
        complain(problem);
    }
    Ok(())
}

fn row(slot: &SlotReport) -> [String; 6] {
    let speaks = slot.surface.as_ref().map_or("-", |surface| match (surface.legacy, surface.modern) {
        (true, true) => "both eras",
        (true, false) => "up to 2025-11-25",
        (false, true) => "2026-07-28",
        (false, false) => "-",
    });
    let tools = slot.surface.as_ref().map_or_else(|| "-".to_owned(), |surface| surface.tools.to_string());
    [
        slot.slot.as_str().to_owned(),
        slot.role.clone(),
        slot.health.clone(),
        speaks.to_owned(),
        tools,
        slot.why.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        what: What,
    }

    #[test]
    fn slots_retire_has_the_alias_drain() {
        for name in ["retire", "drain"] {
            let line = Line::try_parse_from(["slots", name, "blue", "--drain-timeout", "5"]).unwrap();
            assert!(matches!(line.what, What::Retire { slot: Slot::Blue, drain_timeout: 5 }), "{name}");
        }
    }
}
