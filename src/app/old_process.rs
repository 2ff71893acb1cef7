//! The process that this one has replaced, while it finishes its calls: what is taken away here is taken away there, before
//! the command that does it returns.
//!
//! Must not know what has changed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_host::diagnostics::chain;
use mcp_host::handoff::Finishing;

/// For the old process to read what has changed. Its own bounds are shorter.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(9);

/// The old process, if there is one. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct OldProcess(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is known of the old process.
#[derive(Default)]
enum State {
    /// There is none, or it does not follow.
    #[default]
    None,
    /// It still accepts, and will follow once this process has taken over.
    Expected,
    /// It finishes its calls.
    Finishing(Finishing),
}

impl OldProcess {
    /// There is one that this process is to replace.
    pub(super) fn is_expected(&self) {
        *self.lock() = State::Expected;
    }

    /// This process has replaced it; it finishes its calls, if it said so.
    pub(super) fn finishes(&self, finishing: Option<Finishing>) {
        *self.lock() = finishing.map_or(State::None, State::Finishing);
        self.0.changed.notify_all();
    }

    /// Waits until the old process has read what has changed here. Blocks, so it must not be called on a thread that serves.
    pub(super) fn follow(&self) {
        let is_expected = |state: &mut State| matches!(state, State::Expected);
        let waited = self.0.changed.wait_timeout_while(self.lock(), FOLLOW_TIME_MAX, is_expected);
        let (mut old, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &mut *old {
            State::None => return,
            State::Expected => {
                log::warn!("the process before this one still accepts, and has not read a change")
            }
            State::Finishing(finishing) => match finishing.follow(FOLLOW_TIME_MAX) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    let why = chain(&error);
                    log::warn!(
                        "the process before this one does not follow a change while it finishes its calls: {why}"
                    );
                }
            },
        }
        *old = State::None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
