//! `release verify`: the service, one line a check.

use clap::Args;
use serde_json::json;

use super::room::{Done, Failure, Room};
use crate::admin::AdminCommand;
use crate::cli::exit::Exit;
use crate::cli::guard::Guard;
use crate::cli::output::{complain, say};
use crate::release::figures::{self, Figures, Kept};
use crate::release::journal;
use crate::release::verify::{self, CheckResult, CheckState};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Keep the figures of now, as those before a change that no release command makes.
    #[arg(long, conflicts_with = "json")]
    record: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl VerifyArgs {
    pub(super) fn run(&self, room: &Room, guard: &Guard) -> Done {
        if let Err(unasked) = guard.ask_quietly(&AdminCommand::Status).0 {
            return Err(Failure { exit: unasked.exit, why: unasked.reason });
        }
        let installation = room.installation(guard);
        installation.config().map_err(|why| Failure { exit: Exit::CouldNotRun, why })?;
        if self.record {
            let _lock = room.lock()?;
            let before = Figures::measure(&installation).map_err(Failure::refused)?;
            say(format_args!("recorded: {}", before.line()));
            figures::keep(room.store.layout(), &Kept { operation: None, before, after: None })?;
            return Ok(Exit::Done);
        }
        let verified =
            verify::verify(&installation).map_err(|why| Failure { exit: Exit::CouldNotRun, why })?;
        let holds = verified.holds();
        if self.json {
            say(format_args!("{:#}", json!({ "holds": holds, "verification": verified })));
        } else {
            verified.checks.iter().for_each(print);
        }
        if let Some(recorded) = journal::read(room.store.layout())? {
            let id = recorded.operation.id;
            complain(format_args!(
                "{id} was interrupted, or runs now (hint: `mcp-guard release resume` or `undo`)"
            ));
        }
        if holds {
            return Ok(Exit::Done);
        }
        if !self.json {
            let bad = verified.checks.iter().filter(|check| check.state == CheckState::Bad).count();
            complain(format_args!("release verify: {bad} of {} checks failed", verified.checks.len()));
        }
        Ok(Exit::No)
    }
}

fn print(check: &CheckResult) {
    let state = match check.state {
        CheckState::Good => "ok ",
        CheckState::Bad => "BAD",
        CheckState::NotChecked => "-  ",
    };
    say(format_args!("{state} {:<12} {}", check.name, check.found));
}
