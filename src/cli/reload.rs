//! `mcp-guard reload`: the running guard reads its configuration again, and says what came of it.
//!
//! Must not know what is in it.

use std::path::Path;

use clap::Args;

use super::Exit;
use super::live::count;
use super::output::{complain, say};
use super::status::{ask_guard, unexpected};
use crate::admin::{Answer, Command};

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
        match ask_guard(file, &Command::Reload) {
            Ok(Answer::Reloaded(reloaded)) => {
                if self.json {
                    say(serde_json::json!({ "ok": true, "reloaded": reloaded }));
                    return Exit::Done;
                }
                for warning in &reloaded.warnings {
                    say(format_args!("warning: {warning}"));
                }
                for key in &reloaded.at_next_start {
                    say(format_args!("{key}: what changed here takes effect at the next start"));
                }
                say(format_args!("reloaded: {} clients", reloaded.clients));
                Exit::Done
            }
            Ok(Answer::NotReloaded(problems)) => {
                if self.json {
                    say(serde_json::json!({ "ok": false, "problems": problems }));
                    return Exit::No;
                }
                for problem in &problems {
                    say(problem);
                }
                complain(format_args!(
                    "not reloaded: {}; the running configuration stays",
                    count(problems.len())
                ));
                Exit::No
            }
            Ok(
                other @ (Answer::Status(_)
                | Answer::Rollout(_)
                | Answer::History(_)
                | Answer::Shadow(_)
                | Answer::Done(_)
                | Answer::Upgraded(_)
                | Answer::Tokens(_)
                | Answer::No(_)
                | Answer::Refused(_)),
            ) => unexpected(&other),
            Err(exit) => exit,
        }
    }
}
