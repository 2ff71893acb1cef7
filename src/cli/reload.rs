//! `mcp-guard reload`: the running guard reads its configuration again, and says what came of it.
//!
//! Must not know what is in it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clap::Args;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, complain_of, say, say_at};
use super::status::unexpected;
use crate::admin::{AdminCommand, AdminResponse, Reloaded};
use crate::app::reload::problem_lines;
use crate::config::{self, Environment, SecretFile};
use mcp_host::diagnostics::count;
use mcp_host::journal::Priority;
use mcp_host::lend::{self, Lent, To};

/// Let the running guard read its configuration and tokens again. SIGHUP does the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mcp-guard check --config /etc/mcp-guard/guard.toml && mcp-guard reload --config /etc/mcp-guard/guard.toml

Calls under way finish on what they began with. If there is a problem, all are listed and nothing changes. A token that was
taken out of its file is refused when this command returns. Run by root, it makes files of secrets that belong to root alone
(tokens.toml, /etc/mcp-guard/env) readable for the guard.

Exit codes: 0 reloaded, 1 refused or no guard is running, 2 it could not be asked.")]
pub(super) struct ReloadArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl ReloadArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        lend_secrets(guard);
        if let Some(main) = only_signals(guard) {
            return self.signal(&guard.file, main);
        }
        let response = match guard.ask(&AdminCommand::Reload) {
            Ok(response) => response,
            Err(exit) => return exit,
        };
        if let AdminResponse::Reloaded(reloaded) = response {
            self.tell(&reloaded);
            Exit::Done
        } else if let AdminResponse::NotReloaded(problems) = response {
            self.tell_problems(&problems);
            Exit::No
        } else {
            unexpected(&response)
        }
    }

    /// The guard has no admin socket: its configuration is judged here, and its log has what came of it.
    fn signal(&self, file: &Path, main: Pid) -> Exit {
        if let Err(error) = config::load(file, &Environment::of_process()) {
            self.tell_problems(&problem_lines(error));
            return Exit::No;
        }
        match kill_process(main, Signal::HUP) {
            Ok(()) => {
                say("the guard reloads; its log has the result (listen.admin lets it answer)");
                Exit::Done
            }
            Err(error) => {
                complain_of(&std::io::Error::from(error));
                Exit::CouldNotRun
            }
        }
    }

    fn tell(&self, reloaded: &Reloaded) {
        if self.json {
            say(serde_json::json!({ "ok": true, "reloaded": reloaded }));
            return;
        }
        for warning in &reloaded.warnings {
            say_at(Priority::Warning, format_args!("warning: {warning}"));
        }
        for key in &reloaded.at_next_start {
            say(format_args!("{key}: what changed here takes effect at the next start or upgrade"));
        }
        say(format_args!("reloaded: {} clients", reloaded.clients));
    }

    fn tell_problems(&self, problems: &[String]) {
        if self.json {
            say(serde_json::json!({ "ok": false, "problems": problems }));
            return;
        }
        for problem in problems {
            say_at(Priority::Error, problem);
        }
        let count = count(problems.len(), "problem");
        complain(format_args!("not reloaded: {count}; the running configuration stays"));
    }
}

/// The process to signal, where a service manager reloads a guard that has no admin socket.
fn only_signals(guard: &Guard) -> Option<Pid> {
    if !guard.sockets().is_empty() {
        return None;
    }
    Pid::from_raw(std::env::var("MAINPID").ok()?.parse().ok()?)
}

/// Makes the files that an operator wrote as root readable for the guard that runs as another user.
pub(super) fn lend_secrets(guard: &Guard) {
    if !geteuid().is_root() {
        return;
    }
    let file = &guard.file;
    let owner = guard.sockets().into_iter().find_map(|socket| std::fs::symlink_metadata(socket).ok());
    let Some(guard) = owner.filter(|guard| guard.uid() != 0) else { return };
    for secret in config::secret_files(file) {
        let (path, to) = match &secret {
            SecretFile::Environment(path) => (path, To::User(guard.uid())),
            SecretFile::Tokens(path) => (path, To::Group(guard.gid())),
        };
        match lend::lend(path, to) {
            Ok(Lent::AsItWas) => {}
            Ok(Lent::ToTheService) => {
                say(format_args!("{}: is readable for the guard now", path.display()));
            }
            Err(error) => complain(format_args!("{}: cannot let the guard read it: {error}", path.display())),
        }
    }
}
