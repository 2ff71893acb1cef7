//! `mcp-guard incident`: the records of deployments, rollbacks, restores and drills, and those of the guard's rollouts.
//!
//! Must not know how a record is made.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, complain_of, say, table};
use crate::config;
use crate::control::rollout_record;
use crate::incident::{self, Incident, IncidentError};
use crate::release::Layout;

/// Show the records of what was deployed, rolled out, rolled back, restored and drilled.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard incident list
  mcp-guard incident show 20261129T021500Z-deploy

Exit codes: 0 done, 1 there is no such record, 2 could not run.")]
pub(super) struct IncidentArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the records, the newest first.
    #[command(
        after_help = "Example:\n  mcp-guard incident list --json | jq '.[] | select(.outcome == \"undone\")'"
    )]
    List {
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Print one record.
    #[command(after_help = "Example:\n  mcp-guard incident show 20261129T021500Z-deploy --json")]
    Show {
        /// The record's id.
        id: String,
        /// Print JSON instead of Markdown.
        #[arg(long)]
        json: bool,
    },
}

impl IncidentArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        let layout = match config::release_settings(&guard.file) {
            Ok(settings) => Layout::new(settings.directory),
            Err(why) => {
                complain(why);
                return Exit::CouldNotRun;
            }
        };
        let of_rollouts = config::state_folder(&guard.file).map(|state| rollout_record::folder_in(&state));
        let folders: Vec<PathBuf> = std::iter::once(layout.incidents()).chain(of_rollouts).collect();
        let result = match &self.what {
            What::List { json } => list(&folders, *json),
            What::Show { id, json } => show(&folders, id, *json),
        };
        result.unwrap_or_else(|error| {
            complain_of(&error);
            Exit::CouldNotRun
        })
    }
}

/// The records of all folders, the newest first.
fn all(folders: &[PathBuf]) -> Result<Vec<Incident>, IncidentError> {
    let mut records = Vec::new();
    for folder in folders {
        records.extend(incident::reading::list(folder)?);
    }
    // Ids begin with the time.
    records.sort_by(|one, other| other.id.cmp(&one.id));
    Ok(records)
}

fn list(folders: &[PathBuf], json: bool) -> Result<Exit, IncidentError> {
    let records = all(folders)?;
    if json {
        say(serde_json::json!(records));
        return Ok(Exit::Done);
    }
    let rows: Vec<[String; 5]> = records
        .into_iter()
        .map(|record| {
            let first = record.cause.as_deref().and_then(|cause| cause.lines().next()).unwrap_or_default();
            [record.id, record.kind, record.outcome, record.who, first.to_owned()].map(|cell| plain(&cell))
        })
        .collect();
    table(["RECORD", "KIND", "OUTCOME", "WHO", "CAUSE"], &rows);
    Ok(Exit::Done)
}

/// A cell for a terminal: the guard's user may have written it, and root reads it.
fn plain(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).collect()
}

fn show(folders: &[PathBuf], id: &str, json: bool) -> Result<Exit, IncidentError> {
    let mut found = None;
    for folder in folders {
        found = found.or(incident::reading::read(folder, id)?);
    }
    let Some(record) = found else {
        complain(format_args!("there is no record {id} (hint: `mcp-guard incident list`)"));
        return Ok(Exit::No);
    };
    if json {
        say(format_args!("{:#}", serde_json::json!(record)));
    } else {
        say(record.markdown().trim_end());
    }
    Ok(Exit::Done)
}
