//! `mcp-guard run`: runs the guard, and prints why it could not.

use std::path::Path;

use clap::Args;

use super::exit::Exit;
use super::output::{complain, complain_of};
use crate::app;
use crate::config::LoadError;

/// Run the guard until SIGTERM. SIGHUP reads the configuration and the tokens again; SIGUSR2 starts the program anew and
/// hands the listeners over.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  MCP_BEARER_TOKEN=\"$(cat token)\" mcp-guard run --config /etc/mcp-guard/guard.toml

The log goes to standard error, one JSON object a line.")]
pub(super) struct RunArgs {}

pub(super) fn run(file: &Path) -> Exit {
    let Err(failure) = app::run(file) else { return Exit::Done };
    if let app::Error::Configuration(LoadError::Invalid(found)) = &failure.error {
        for problem in &found.problems {
            complain(problem);
        }
        complain(format_args!("{found}; nothing was started"));
    } else {
        complain_of(&failure.error);
    }
    failure.report_to_predecessor();
    Exit::CouldNotRun
}
