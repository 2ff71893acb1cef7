//! What every `release` command needs: the configuration, the store that it names, and how a failure ends.

use std::path::Path;

use mcp_host::diagnostics::chain;

use crate::cli::exit::Exit;
use crate::cli::guard::Guard;
use crate::config;
use crate::config::release::Release;
use crate::release::Layout;
use crate::release::files::Lock;
use crate::release::host::{Installation, load_config};
use crate::release::store::Store;

/// Why a command ended, and with which exit code.
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) why: String,
}

impl Failure {
    /// The command was understood and is refused.
    pub(super) fn refused(why: impl ToString) -> Failure {
        Failure { exit: Exit::No, why: why.to_string() }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { exit: Exit::CouldNotRun, why: chain(&error) }
    }
}

/// How a command ended.
pub(super) type Done = Result<Exit, Failure>;

/// What commands work in.
pub(super) struct Room {
    pub(super) settings: Release,
    pub(super) store: Store,
}

impl Room {
    /// The room of a configuration file, whatever is wrong with the rest of it.
    pub(super) fn of(file: &Path) -> Result<Room, Failure> {
        let hint = "(hint: `mcp-guard slots switch SLOT` goes back without this file)";
        let settings = config::release_settings(file)
            .map_err(|why| Failure { exit: Exit::CouldNotRun, why: format!("{why}\n{hint}") })?;
        Ok(Room { store: Store::new(Layout::new(settings.directory.clone())), settings })
    }

    /// What is installed, and the guard that runs.
    pub(super) fn installation<'a>(&'a self, guard: &'a Guard) -> Installation<'a> {
        let Room { settings, store } = self;
        Installation { store, guard, settings, config: load_config(&guard.file), file: &guard.file }
    }

    /// The right to change something.
    pub(super) fn lock(&self) -> Result<Lock, Failure> {
        Lock::take(self.store.layout()).map_err(|error| Failure::refused(chain(&error)))
    }
}
