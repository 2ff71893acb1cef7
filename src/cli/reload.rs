//! `mcp-guard reload`: the running guard reads its configuration again, and says what came of it.
//!
//! Must not know what is in it.

use std::path::Path;

use clap::Args;

use super::Exit;
use super::live::count;
use super::output::{complain, say};
use super::status::{ask_guard, unexpected};
use crate::admin::{Answer, Command, Reloaded};

/// Let the running guard read its configuration and tokens again. SIGHUP does the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mcp-guard check --config /etc/mcp-guard/guard.toml && mcp-guard reload --config /etc/mcp-guard/guard.toml

Calls under way finish on what they began with. If there is a problem, all are listed and nothing changes.

Exit codes: 0 reloaded, 1 refused or no guard is running, 2 it could not be asked.")]
pub(super) struct Reload {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub(super) fn run(&self, file: &Path) -> Exit {
        let answer = match ask_guard(file, &Command::Reload) {
            Ok(answer) => answer,
            Err(exit) => return exit,
        };
        if let Answer::Reloaded(reloaded) = answer {
            self.tell(&reloaded);
            Exit::Done
        } else if let Answer::NotReloaded(problems) = answer {
            self.tell_problems(&problems);
            Exit::No
        } else {
            unexpected(&answer)
        }
    }

    fn tell(&self, reloaded: &Reloaded) {
        if self.json {
            say(serde_json::json!({ "ok": true, "reloaded": reloaded }));
            return;
        }
        for warning in &reloaded.warnings {
            say(format_args!("warning: {warning}"));
        }
        for key in &reloaded.at_next_start {
            say(format_args!("{key}: what changed here takes effect at the next start"));
        }
        say(format_args!("reloaded: {} clients", reloaded.clients));
    }

    fn tell_problems(&self, problems: &[String]) {
        if self.json {
            say(serde_json::json!({ "ok": false, "problems": problems }));
            return;
        }
        for problem in problems {
            say(problem);
        }
        let count = count(problems.len());
        complain(format_args!("not reloaded: {count}; the running configuration stays"));
    }
}
