//! What commands report: exit codes, errors on standard error, lines on standard output.
//!
//! Must not know the commands.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::catalogue::listed;
use mcp_host::diagnostics::{Diagnostics, chain};

pub(crate) const REFUSED: u8 = 1;
pub(crate) const COULD_NOT_RUN: u8 = 2;
pub(crate) const USAGE: u8 = 64;

/// Why a command could not run.
pub(crate) enum CommandError {
    Problems(Diagnostics),
    Other(Box<dyn std::error::Error>),
}

impl From<Diagnostics> for CommandError {
    fn from(problems: Diagnostics) -> CommandError {
        CommandError::Problems(problems)
    }
}

pub(crate) fn other(error: impl std::error::Error + 'static) -> CommandError {
    CommandError::Other(Box::new(error))
}

impl CommandError {
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            CommandError::Problems(problems) => {
                let listed = listed(problems);
                eprintln!("{listed}\nmcp-tools: {problems} in the files; nothing was started");
            }
            CommandError::Other(error) => eprintln!("mcp-tools: {}", chain(error.as_ref())),
        }
        ExitCode::from(COULD_NOT_RUN)
    }
}

/// A line on standard output. A closed pipe (`mcp-tools list | head -1`) ends the output, not the program.
pub(crate) fn print_line(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}
