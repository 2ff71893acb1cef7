//! `mcp-guard check`: every problem of a configuration at once.
//!
//! Must not know what the keys mean: `config` does.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::Exit;
use super::output::{complain_of, say};
use crate::config::{self, Findings, LoadError, Loaded, Surroundings};
use crate::upstream::Slot;

/// Check the configuration and the tokens, and print every problem. Nothing is started or changed.
///
/// The token is looked for in this process's environment, as `run` would.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard check --config /etc/mcp-guard/guard.toml
  mcp-guard check --config guard.toml --json | jq '.problems[].key'

Exit codes: 0 no problem (warnings are none), 1 problems, 2 the file cannot be read.")]
pub(super) struct Check {
    /// Print one JSON object: ok, problems, warnings.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self, file: &Path) -> Exit {
        let (findings, summary) = match config::load(file, &Surroundings::of_this_process()) {
            Ok(loaded) => {
                let summary = summary(&loaded);
                (Findings { problems: Vec::new(), warnings: loaded.warnings }, Some(summary))
            }
            Err(LoadError::Invalid(findings)) => (findings, None),
            Err(unreadable @ LoadError::Unreadable(_)) => {
                complain_of(&unreadable);
                return Exit::CouldNotRun;
            }
        };
        if self.json {
            let Findings { problems, warnings } = &findings;
            say(json!({ "ok": problems.is_empty(), "problems": problems, "warnings": warnings }));
        } else {
            print(&findings, summary.as_deref(), file);
        }
        if findings.problems.is_empty() { Exit::Done } else { Exit::No }
    }
}

fn print(findings: &Findings, summary: Option<&str>, file: &Path) {
    for problem in &findings.problems {
        say(problem);
    }
    for warning in &findings.warnings {
        say(format_args!("warning: {warning}"));
    }
    match summary {
        Some(summary) => say(format_args!("OK: {}: {summary}", file.display())),
        None => say(format_args!("{}: {}", file.display(), findings)),
    }
}

fn summary(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let slots = Slot::ALL.into_iter().filter_map(|slot| {
        let backend = config.backend(slot)?;
        let role = if slot == config.stable { " (stable)" } else { "" };
        Some(format!("{}{role} at {}", slot.as_str(), backend.address))
    });
    let slots = slots.collect::<Vec<_>>().join(", ");
    format!("listens on {}; {slots}; clients: {}", config.listen.address, config.clients.len())
}
