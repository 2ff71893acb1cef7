//! `mcp-guard doctor`: looks at everything that must be right for the guard to serve, and says what to do where it is not.
//!
//! Changes nothing. Holds the order and the printing; what is looked at is one file each.

mod apache;
mod apache_ask;
mod apache_map;
mod backends;
mod dependencies;
mod diagnosis;
#[cfg(feature = "fleet")]
mod fleet;
mod host;
#[cfg(feature = "oauth")]
mod issuers;
mod log;
#[cfg(feature = "release")]
mod releases;
mod routes;
mod units;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use self::diagnosis::{Diagnosis, State};
use self::host::Running;
use self::log::LogArgs;
use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, say};
use crate::client::Target;
use crate::config::{self, Environment, LoadError, Loaded};

/// Check binary, configuration, tokens, addresses, permissions, clock, Apache, unit files, backends, dependencies and fleet.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard doctor --config /etc/mcp-guard/guard.toml
  mcp-guard doctor --log                               has the log been clean for five minutes?
  mcp-guard doctor --log --since 3600 --lines 100      and the last 100 lines of an hour
  mcp-guard doctor --apache /etc/httpd/conf.d/mcp-guard.conf --json | jq '.findings[] | select(.state == \"bad\")'

Run it as the guard's user or as root, with the guard's environment, to see what the guard sees.
Exit codes: 0 nothing is wrong (warnings are not), 1 something is, 2 the configuration cannot be read.")]
pub(super) struct DoctorArgs {
    /// Apache configuration file that holds the ProxyPass lines, repeatable; otherwise the usual places are searched.
    #[arg(long, value_name = "FILE")]
    apache: Vec<PathBuf>,
    /// Public URL of the MCP endpoint, asked through Apache without a token: settles what reading its files cannot.
    #[arg(long, value_name = "URL")]
    apache_url: Option<Target>,
    /// Folder of the installed unit files; otherwise where systemd looks for them.
    #[arg(long, value_name = "DIR")]
    units: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What must be right before a deployment: configuration, permissions and clock. Backends are the deployment's own matter.
#[cfg(feature = "release")]
pub(super) fn before_deployment(guard: &Guard) -> Result<Vec<String>, String> {
    let loaded = config::load(&guard.file, &Environment::of_process()).map_err(|error| error.to_string())?;
    let mut findings = host::configuration(&guard.file, &loaded, &Running::of(guard), None);
    findings.extend(host::permissions(&loaded.config));
    findings.extend(host::clock());
    let bad: Vec<String> = findings
        .iter()
        .filter(|finding| finding.state == State::Bad)
        .map(|finding| format!("{}: {}", finding.what, finding.found))
        .collect();
    if bad.is_empty() { Ok(Vec::new()) } else { Err(bad.join("; ")) }
}

impl DoctorArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        if self.log.log {
            return self.look_at_the_log();
        }
        let file = guard.file.as_path();
        let running = Running::of(guard);
        let mut findings = host::binary(&running);
        let exit = match config::load(file, &Environment::of_process()) {
            Ok(loaded) => {
                if let Err(reason) = self.look_at(guard, &loaded, &running, &mut findings) {
                    complain(format_args!("doctor: {reason}"));
                    return Exit::CouldNotRun;
                }
                None
            }
            Err(LoadError::Invalid(invalid)) => {
                let bad = |problem: &mcp_host::diagnostics::Diagnostic| {
                    let found = Diagnosis::new(State::Bad, "configuration", problem.to_string());
                    found.advise(format!("mcp-guard check --config {} shows all of them", file.display()))
                };
                findings.extend(invalid.problems.iter().map(bad));
                None
            }
            Err(LoadError::Unreadable(error)) => {
                let found = Diagnosis::new(State::Bad, "configuration", error.to_string());
                findings.push(found.advise("name the file with --config, and run as a user who may read it"));
                Some(Exit::CouldNotRun)
            }
        };
        #[cfg(feature = "release")]
        findings.extend(releases::look(file));
        findings.extend(units::compare(self.units.as_deref()));
        self.print(&findings, &[]);
        exit.unwrap_or_else(|| exit_of(&findings))
    }

    fn look_at_the_log(&self) -> Exit {
        let log = match self.log.look() {
            Ok(log) => log,
            Err(reason) => {
                complain(format_args!("doctor: {reason}"));
                return Exit::CouldNotRun;
            }
        };
        if !self.json {
            log.print();
        }
        self.print(&log.findings, &log.json());
        exit_of(&log.findings)
    }

    fn look_at(
        &self,
        guard: &Guard,
        loaded: &Loaded,
        running: &Running,
        findings: &mut Vec<Diagnosis>,
    ) -> Result<(), String> {
        let config = &loaded.config;
        findings.extend(host::configuration(&guard.file, loaded, running, self.units.as_deref()));
        findings.extend(host::addresses(running, config));
        findings.extend(host::permissions(config));
        findings.extend(host::clock());
        findings.extend(backends::look(config, running)?);
        findings.extend(dependencies::look(config)?);
        #[cfg(feature = "oauth")]
        findings.extend(issuers::look(config)?);
        #[cfg(feature = "fleet")]
        findings.extend(fleet::look(config, guard, running)?);
        findings.extend(routes::look(config));
        findings.extend(apache::look(&self.apache, self.apache_url.as_ref(), config));
        Ok(())
    }

    fn print(&self, findings: &[Diagnosis], lines: &[Value]) {
        if self.json {
            let finding = |finding: &Diagnosis| {
                let Diagnosis { state, what, found, todo } = finding;
                json!({"state": state.code(), "what": what, "found": found, "todo": todo})
            };
            let all: Vec<_> = findings.iter().map(finding).collect();
            let mut whole = json!({ "findings": all });
            if self.log.log {
                whole["lines"] = lines.into();
            }
            say(format_args!("{whole:#}"));
            return;
        }
        for finding in findings {
            say(format_args!("{} {:<14} {}", finding.state.tag(), finding.what, finding.found));
            if let Some(todo) = &finding.todo {
                say(format_args!("                      -> {todo}"));
            }
        }
        let count = |state: State| findings.iter().filter(|finding| finding.state == state).count();
        let (bad, warnings) = (count(State::Bad), count(State::Warn));
        let verdict = if bad == 0 { "nothing is wrong" } else { "something is wrong" };
        say(format_args!("\n{verdict}: {bad} bad, {warnings} warnings, {} ok", count(State::Ok)));
    }
}

fn exit_of(findings: &[Diagnosis]) -> Exit {
    if findings.iter().any(|finding| finding.state == State::Bad) { Exit::No } else { Exit::Done }
}
