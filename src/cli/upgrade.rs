//! `mcp-guard upgrade`: the running guard starts the program anew and hands its listeners over.
//!
//! Must not know how it is done.

use clap::Args;

use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, say};
use super::reload::lend_secrets;
use super::status::unexpected;
use crate::admin::{AdminCommand, AdminResponse};

/// Replace the running guard by the program that is installed now, without losing a call.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  apt-get install ./mcp-guard.deb && mcp-guard upgrade --config /etc/mcp-guard/guard.toml

The new process takes the listeners over once it is ready; the old one finishes what it has and ends. If the new one does
not become ready within 30 s, the old one carries on and says why. SIGUSR2 does the same.

Exit codes: 0 the new process serves, 1 the old one carries on or no guard is running, 2 it could not be asked.")]
pub(super) struct UpgradeArgs {}

impl UpgradeArgs {
    #[expect(clippy::unused_self, reason = "every command is a value that runs")]
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        lend_secrets(guard);
        let response = match guard.ask(&AdminCommand::Upgrade) {
            Ok(response) => response,
            Err(exit) => return exit,
        };
        if let AdminResponse::Upgraded(upgraded) = response {
            say(format_args!("process {} serves now, version {}", upgraded.pid, upgraded.version));
            Exit::Done
        } else if let AdminResponse::Rejected(why) = response {
            complain(format_args!("not upgraded, the running guard carries on: {why}"));
            Exit::No
        } else {
            unexpected(&response)
        }
    }
}
