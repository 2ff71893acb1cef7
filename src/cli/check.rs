//! `mcp-guard check`: every problem of a configuration at once.
//!
//! Must not know what the keys mean: `config` does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::output::{complain_of, say, say_at};
use super::unit_reach;
use crate::config::{self, Config, Environment, LoadError, Loaded, RouteTarget};
use crate::control;
use crate::upstream::{Address, Slot};
use mcp_host::diagnostics::{Diagnostic, Diagnostics};
use mcp_host::journal::Priority;

/// Check the configuration and the tokens, and print every problem. Nothing is started or changed.
///
/// The token is looked for in this process's environment, as `run` would.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard check --config /etc/mcp-guard/guard.toml
  mcp-guard check --config guard.toml --json | jq '.problems[].key'

Exit codes: 0 no problem (warnings are none), 1 problems, 2 the file cannot be read.")]
pub(super) struct CheckArgs {
    /// Folder of the installed unit files; otherwise where systemd looks for them.
    #[arg(long, value_name = "DIR")]
    units: Option<PathBuf>,
    /// Print one JSON object: ok, problems, warnings, environment (keys that a variable sets).
    #[arg(long)]
    json: bool,
}

impl CheckArgs {
    pub(super) fn run(&self, file: &Path) -> Exit {
        let mut environment = Vec::new();
        let (diagnostics, summary) = match config::load(file, &Environment::of_process()) {
            Ok(mut loaded) => {
                let serves = serving(&loaded.config);
                let contradiction =
                    control::contradiction(loaded.config.stable, loaded.config.says_stable, serves);
                if let Some(reason) = contradiction {
                    loaded.warnings.push(Diagnostic { reason, ..Diagnostic::default() });
                }
                loaded.warnings.extend(unit_reach::out_of_reach(&loaded.config, self.units.as_deref()));
                loaded.warnings.extend(missing_folders(&loaded.config));
                let summary = summary(&loaded, serves);
                environment = loaded.overrides.iter().map(|one| (one.key, one.variable.clone())).collect();
                (Diagnostics { problems: Vec::new(), warnings: loaded.warnings }, Some(summary))
            }
            Err(LoadError::Invalid(diagnostics)) => (diagnostics, None),
            Err(unreadable @ LoadError::Unreadable(_)) => {
                complain_of(&unreadable);
                return Exit::CouldNotRun;
            }
        };
        if self.json {
            let Diagnostics { problems, warnings } = &diagnostics;
            let environment: BTreeMap<_, _> = environment.into_iter().collect();
            say(
                json!({ "ok": problems.is_empty(), "problems": problems, "warnings": warnings, "environment": environment }),
            );
        } else {
            for (key, variable) in &environment {
                say(format_args!("{key} is set by {variable} in the environment, not by the file"));
            }
            print(&diagnostics, summary.as_deref(), file);
        }
        if diagnostics.problems.is_empty() { Exit::Done } else { Exit::No }
    }
}

fn print(diagnostics: &Diagnostics, summary: Option<&str>, file: &Path) {
    for problem in &diagnostics.problems {
        say_at(Priority::Error, problem);
    }
    for warning in &diagnostics.warnings {
        say_at(Priority::Warning, format_args!("warning: {warning}"));
    }
    match summary {
        Some(summary) => say(format_args!("OK: {}: {summary}", file.display())),
        None => say(format_args!("{}: {}", file.display(), diagnostics)),
    }
}

/// Folders that must be there before the guard, or a backend, can start. The units make theirs when they start.
fn missing_folders(config: &Config) -> Vec<Diagnostic> {
    let unix = |address: &Address| match address {
        Address::Unix(path) => Some(path.clone()),
        Address::Tcp(_) | Address::Name { .. } => None,
    };
    let mut sockets: Vec<(String, Option<PathBuf>, &str)> = vec![
        ("listen.address".to_owned(), unix(&config.listen.address), "the guard does not start"),
        ("listen.admin".to_owned(), config.listen.admin.clone(), "the guard does not start"),
    ];
    for slot in Slot::ALL {
        let address = config.backend(slot).and_then(|backend| unix(&backend.address));
        sockets.push((format!("slots.{}.address", slot.as_str()), address, "no backend can listen there"));
    }
    for route in &config.routes {
        if let RouteTarget::Own(backend) = &route.target {
            let key = format!("route.{}.address", route.rule.name);
            sockets.push((key, unix(&backend.address), "no backend can listen there"));
        }
    }
    let missing = |(key, socket, what): (String, Option<PathBuf>, &str)| {
        let socket = std::path::absolute(socket?).ok()?;
        let folder = socket.parent().filter(|folder| !folder.exists())?;
        let reason = format!("the folder {} does not exist: {what} without it", folder.display());
        let hint = "the shipped units make theirs when they start; elsewhere make it before";
        Some(Diagnostic { key, reason, hint: Some(hint.to_owned()), ..Diagnostic::default() })
    };
    sockets.into_iter().filter_map(missing).collect()
}

/// The slot that serves, or would: the saved state's where there is one that can be read, else the file's.
fn serving(config: &Config) -> Slot {
    let saved =
        config.listen.state.as_deref().and_then(|folder| control::state_file::load(folder).ok().flatten());
    let stable = saved.map(|saved| saved.state.stable).filter(|slot| config.backend(*slot).is_some());
    stable.unwrap_or(config.stable)
}

fn summary(loaded: &Loaded, serves: Slot) -> String {
    let config = &loaded.config;
    let slots = Slot::ALL.into_iter().filter_map(|slot| {
        let backend = config.backend(slot)?;
        let role = if slot == serves { " (stable)" } else { "" };
        Some(format!("{}{role} at {}", slot.as_str(), backend.place()))
    });
    let slots = slots.collect::<Vec<_>>().join(", ");
    let tls = if config.listen.tls.is_some() { " with TLS" } else { "" };
    format!("listens on {}{tls}; {slots}; clients: {}", config.listen.address, config.clients.len())
}
