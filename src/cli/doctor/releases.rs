//! An operation of a release that was interrupted: a slot may be half done, and no other operation begins.

use std::path::Path;

use mcp_host::diagnostics::chain;

use super::diagnosis::{Diagnosis, State};
use crate::config;
use crate::release::Layout;
use crate::release::files::{Lock, LockError};
use crate::release::journal::{self, JournalError, Recorded};

const WHAT: &str = "release";

/// Looks for the journal of an operation; one that runs now has one, too.
pub(super) fn look(file: &Path) -> Vec<Diagnosis> {
    // What is wrong with the settings is found elsewhere.
    let Ok(settings) = config::release_settings(file) else { return Vec::new() };
    let layout = Layout::new(settings.directory);
    match journal::read(&layout) {
        Ok(None) => Vec::new(),
        Ok(Some(recorded)) => {
            let runs = matches!(Lock::take(&layout), Err(LockError::Taken { .. }));
            vec![describe(&recorded, runs)]
        }
        Err(error @ JournalError::Damaged { .. }) => {
            vec![Diagnosis::new(State::Bad, WHAT, error.to_string())]
        }
        Err(error @ JournalError::File(_)) => {
            let found = format!("whether an operation was interrupted is not known: {}", chain(&error));
            vec![Diagnosis::new(State::Skip, WHAT, found).advise("run the doctor as root")]
        }
    }
}

fn describe(recorded: &Recorded, runs: bool) -> Diagnosis {
    let (operation, progress) = (&recorded.operation, recorded.progress());
    let id = &operation.id;
    if runs {
        return Diagnosis::new(State::Ok, WHAT, format!("{id} runs now"));
    }
    let release = operation.release.as_ref().map_or_else(String::new, |release| format!(" of {release}"));
    let what = format!("{id} ({}{release} in slot {})", operation.kind.as_str(), operation.slot.as_str());
    let (found, todo) = match (progress.failure(), progress.interrupted()) {
        (Some((step, why)), _) => (
            format!("{what} failed at `{}` and is not undone: {why}", step.as_str()),
            "mcp-guard release undo puts the slot back as it was",
        ),
        (None, step) => (
            step.map_or_else(
                || format!("{what} was interrupted between two steps"),
                |step| format!("{what} was interrupted at `{}`", step.as_str()),
            ),
            "mcp-guard release resume finishes it, mcp-guard release undo puts the slot back as it was",
        ),
    };
    Diagnosis::new(State::Warn, WHAT, found).advise(todo)
}
