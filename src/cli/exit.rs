//! How a command ends, and the file that it reads unless an option names another.

use std::process::ExitCode;

pub(super) const DEFAULT_FILE: &str = "/etc/mcp-guard/guard.toml";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    /// Refused, or a negative result.
    No,
    CouldNotRun,
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::CouldNotRun => 2,
            Exit::Usage => 64,
        })
    }
}
