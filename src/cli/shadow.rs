//! `mcp-guard shadow`: where the candidate's responses to copies of calls differ from stable's to the clients.

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::guard::Guard;
use super::output::{complain, say};
use super::slots;
use super::status::unexpected;
use crate::admin::{AdminCommand, AdminResponse};
use crate::parity::shadow::mismatch_log::{Counts, Entry, MismatchSite};
use crate::shadow::Diff;

/// What copies of read-only calls have shown of the candidate, in a rollout's shadow stage.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard shadow diff                    where the answers differ, with the first examples of each place
  mcp-guard shadow diff --show-arguments   with what the tools were given
  mcp-guard shadow diff --json | jq '.entries[].place'

Exit codes: 0 nothing differs, 1 something does or was not answered, 2 the guard could not be asked.")]
pub(super) struct ShadowArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every place where the responses differ, and its first examples.
    #[command(after_help = "Example:\n  mcp-guard shadow diff --show-arguments")]
    Diff {
        /// Show what the tools were given, too: it may be confidential, and that it was looked at is logged.
        #[arg(long)]
        show_arguments: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

impl ShadowArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        let What::Diff { show_arguments, json } = &self.what;
        match ask(guard, *show_arguments) {
            Ok(diff) => {
                show(&diff, *json);
                let Counts { mismatched, failed, .. } = diff.summary.counts;
                if mismatched + failed == 0 { Exit::Done } else { Exit::No }
            }
            Err(exit) => exit,
        }
    }
}

fn ask(guard: &Guard, show_arguments: bool) -> Result<Diff, Exit> {
    let response = slots::ask(guard, &AdminCommand::Shadow { show_arguments })?;
    if let AdminResponse::Shadow(diff) = response { Ok(*diff) } else { Err(unexpected(&response)) }
}

fn show(diff: &Diff, json: bool) {
    if json {
        match serde_json::to_string_pretty(diff) {
            Ok(text) => say(text),
            Err(error) => complain(error),
        }
        return;
    }
    say(counted(&diff.summary.counts));
    for entry in &diff.entries {
        show_entry(entry);
    }
    if diff.unlisted > 0 {
        say(format_args!("\n{} more differences at further places", diff.unlisted));
    }
}

fn show_entry(entry: &Entry) {
    say(format_args!("\n{}", placed(&entry.place)));
    for example in &entry.examples {
        let given =
            if example.arguments.is_null() { String::new() } else { format!(" {}", example.arguments) };
        say(format_args!("  request {}{given}", example.request_id));
        if example.live.is_some() || example.candidate.is_some() {
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(nothing)".to_owned());
            say(format_args!("    stable     {}", shown(&example.live)));
            say(format_args!("    candidate  {}", shown(&example.candidate)));
        }
    }
}

/// The counts on one line.
pub(super) fn counted(counts: &Counts) -> String {
    let Counts { matched, mismatched, failed, dropped, skipped } = counts;
    format!(
        "{matched} matched, {mismatched} mismatched, {failed} failed, {dropped} dropped, {skipped} skipped"
    )
}

/// A place on one line.
pub(super) fn placed(place: &MismatchSite) -> String {
    let at = if place.path.is_empty() { String::new() } else { format!(" {}", place.path) };
    format!("{} x {}{at} - {}", place.count, place.question, place.change)
}
