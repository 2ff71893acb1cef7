//! `mcp-guard release`: releases, deployments, the ways back, backups.
//!
//! Holds the flags and the printing; what is done is `release`'s.

mod drill;
mod ending;
mod operation;
mod packing;
mod room;
mod shown;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::drill::DrillArgs;
use self::operation::{DeployArgs, RollbackArgs};
use self::room::{Done, Room};
use self::verify::VerifyArgs;
use super::exit::Exit;
use super::guard::Guard;
use super::output::complain;

/// Install releases of a backend, deploy one with a way back, and go back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard release pack ./app --output app-1.4.tar.zst
  mcp-guard release add app-1.4.tar.zst
  mcp-guard release deploy app-1.4
  mcp-guard release rollback

Exit codes: 0 done, 1 refused or put back as it was, 2 could not run.")]
pub(super) struct ReleaseArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write the list of files into a release.toml, and pack the directory.
    #[command(after_help = "\
Examples:
  mcp-guard release pack ./app                          writes [files] into ./app/release.toml
  mcp-guard release pack ./app --output app-1.4.tar.zst")]
    Pack {
        /// Directory with a release.toml: name, version, start.
        folder: PathBuf,
        /// Archive to write, .tar.gz or .tar.zst.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Install a release from a directory or an archive. The same release again changes nothing.
    #[command(after_help = "Example:\n  mcp-guard release add app-1.4.tar.zst")]
    Add {
        /// Directory, .tar.gz or .tar.zst with a release.toml.
        source: PathBuf,
        /// A slot that has no release yet takes this one at its next start.
        #[arg(long)]
        fill: bool,
    },
    /// Show the installed releases: size, age, checksums, where each runs, the way back.
    #[command(after_help = "Example:\n  mcp-guard release list --json | jq '.releases[] | select(.damaged)'")]
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Remove old releases; never one that a slot has, nor one of a kept backup.
    #[command(after_help = "Example:\n  mcp-guard release prune --keep 3")]
    Prune {
        /// How many of the newest stay besides those in use.
        #[arg(long, value_name = "N")]
        keep: usize,
    },
    /// Bring a release into service: the idle slot takes it, is checked, and gets the traffic.
    #[command(after_help = "\
Examples:
  mcp-guard release deploy app-1.4
  mcp-guard release deploy app-1.4 --strategy rollout --reason 'new search tool'
  mcp-guard release deploy app-1.4 --dry-run

Whatever fails, the slot is put back as it was and the other one has served all the time.")]
    Deploy(DeployArgs),
    /// Go back to the release before: at once if the other slot still runs it, else it is started again.
    #[command(after_help = "\
Examples:
  mcp-guard release rollback
  mcp-guard release rollback --standard            with a checkpoint, verification and a load check
  mcp-guard release rollback --standard app-1.3")]
    Rollback(RollbackArgs),
    /// Verify the service: units, health, a session, tools, logs, metrics, and a load compared with that before the latest change.
    #[command(after_help = "\
Examples:
  mcp-guard release verify
  mcp-guard release verify --json | jq '.verification.checks[] | select(.state == \"bad\")'
  mcp-guard release verify --record                before a change that no release command makes

The load counts against the limits of the client whose token is in MCP_BEARER_TOKEN (auth.token_env). Without a token the slot that
serves is asked directly.
Exit codes: 0 everything is good, 1 something is not, 2 could not run.")]
    Verify(VerifyArgs),
    /// Let a slot fail on purpose: does the guard notice, does the service go on, does the slot recover?
    #[command(after_help = "\
Examples:
  mcp-guard release drill
  mcp-guard release drill --kind kill
  mcp-guard release drill --kind wrong-answers
  mcp-guard release drill --kind hang --reason 'monthly drill'

It takes about 20 s. When it is interrupted, `mcp-guard release undo` recovers the slot.
Exit codes: 0 passed, 1 failed or refused, 2 could not run.")]
    Drill(DrillArgs),
    /// Take a backup now: releases of the slots, configuration, token hashes, rollout state.
    #[command(after_help = "Example:\n  mcp-guard release backup")]
    Backup,
    /// Show the backups, the newest first.
    #[command(after_help = "Example:\n  mcp-guard release backups --json")]
    Backups {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Go back to a backup: its configuration, and the release that served then.
    #[command(after_help = "Example:\n  mcp-guard release restore 20261129T021500Z-deploy")]
    Restore {
        /// Name of the backup.
        name: String,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Finish the operation that was interrupted.
    #[command(after_help = "Example:\n  mcp-guard release resume")]
    Resume,
    /// Undo the operation that was interrupted: the slot is put back as it was.
    #[command(after_help = "Example:\n  mcp-guard release undo")]
    Undo,
}

impl ReleaseArgs {
    pub(super) fn run(self, guard: &Guard) -> Exit {
        let done = Room::of(&guard.file).and_then(|room| self.carry_out(&room, guard));
        done.unwrap_or_else(|failure| {
            complain(format_args!("release: {}", failure.why));
            failure.exit
        })
    }

    fn carry_out(self, room: &Room, guard: &Guard) -> Done {
        match self.what {
            What::Pack { folder, output } => packing::pack(&folder, output.as_deref()),
            What::Add { source, fill } => packing::add(room, &source, fill),
            What::List { json } => shown::list(room, guard, json),
            What::Prune { keep } => packing::prune(room, keep),
            What::Deploy(deploy) => operation::deploy(room, guard, &deploy),
            What::Rollback(rollback) => operation::rollback(room, guard, rollback),
            What::Verify(verify) => verify.run(room, guard),
            What::Drill(drill) => drill.run(room, guard),
            What::Backup => operation::backup(room, guard),
            What::Backups { json } => shown::backups(room, json),
            What::Restore { name, reason } => operation::restore(room, guard, &name, reason),
            What::Resume => operation::resume(room, guard),
            What::Undo => operation::undo(room, guard),
        }
    }
}
