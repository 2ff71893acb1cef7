//! The process that this one has replaced, while it finishes its calls: what is taken away here is taken away there, before
//! the command that does it returns.
//!
//! Must not know what has changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcp_host::diagnostics::chain;
use mcp_host::handoff::Finishing;

/// For the old process to read what has changed. Its own bounds are shorter.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(9);

/// The old process, if there is one. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct OldProcess(Arc<Mutex<Option<Finishing>>>);

impl OldProcess {
    /// This process has replaced one that finishes its calls.
    pub(super) fn finishes(&self, finishing: Finishing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(finishing);
    }

    /// Waits until the old process has read what has changed here. Blocks, so it must not be called on a thread that serves.
    pub(super) fn follow(&self) {
        let mut old = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(finishing) = &mut *old else { return };
        match finishing.follow(FOLLOW_TIME_MAX) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                let why = chain(&error);
                log::warn!(
                    "the process before this one does not follow a change while it finishes its calls: {why}"
                );
            }
        }
        *old = None;
    }
}
