//! The process that this one has replaced, while it finishes its calls: what is taken away here is taken away there, before
//! the command that does it returns. This process does not end before it.
//!
//! Must not know how a change is made.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::feature::{Feature, FeatureState};
use mcp_host::diagnostics::chain;
use mcp_host::handoff::{Finishing, GiveUp};

/// For the old process to read what has changed. Its own bounds are shorter.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(9);

/// What the old process does as well. It travels as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The configuration and the tokens were read again.
    Reload,
    /// A feature was switched, whatever the files hold.
    Switch(Feature, FeatureState),
}

impl Change {
    fn to_text(&self) -> String {
        match self {
            Change::Reload => "reload".to_owned(),
            Change::Switch(feature, to) => format!("{} {feature}", to.as_str()),
        }
    }

    /// `None` for a change of another version.
    pub(super) fn parse(text: &str) -> Option<Change> {
        let (to, feature) = match text.split_once(' ') {
            None if text == "reload" => return Some(Change::Reload),
            Some(("on", feature)) => (FeatureState::On, feature),
            Some(("off", feature)) => (FeatureState::Off, feature),
            Some(_) | None => return None,
        };
        Some(Change::Switch(Feature::parse(feature).ok()?, to))
    }
}

/// The old process, if there is one. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct OldProcess(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// There until this process has replaced the old one, or cannot. Not part of the state: a stop must not wait for a change.
    give_up: Mutex<Option<GiveUp>>,
    /// This process ends without waiting for it.
    is_given_up: AtomicBool,
}

/// What is known of the old process.
#[derive(Default)]
enum State {
    /// There is none.
    #[default]
    None,
    /// It still accepts, and will follow once this process has taken over.
    Expected,
    /// The same, and it has missed a change that was made here.
    Missed,
    /// It finishes its calls.
    Finishing(Finishing),
    /// It did not follow a change. It finishes its calls, and refuses those that begin.
    Refusing(Finishing),
}

impl OldProcess {
    /// There is one that this process is to replace.
    pub(super) fn is_expected(&self, give_up: GiveUp) {
        *self.lock() = State::Expected;
        *self.give_up_lock() = Some(give_up);
    }

    /// This process has replaced it, or will not.
    pub(super) fn finishes(&self, finishing: Option<Finishing>) {
        self.give_up_lock().take();
        let mut old = self.lock();
        *old = match (finishing, &*old) {
            (None, _) => State::None,
            (Some(finishing), State::Missed) => {
                log::warn!(
                    "the process before this one refuses calls from now on, as it has missed a change"
                );
                finishing.end_changes();
                State::Refusing(finishing)
            }
            (Some(finishing), State::None | State::Expected | State::Finishing(_) | State::Refusing(_)) => {
                State::Finishing(finishing)
            }
        };
        drop(old);
        self.0.changed.notify_all();
    }

    /// This process was told to stop. If it has not replaced the old one yet, that one is to carry on.
    pub(super) fn ask_to_carry_on(&self) {
        if let Some(give_up) = &*self.give_up_lock() {
            give_up.ask("it was told to stop");
        }
    }

    /// Waits until the old process has made this change, too; one that does not make it refuses the requests that begin. Blocks,
    /// so it must not be called on a thread that serves.
    pub(super) fn follow(&self, change: &Change) {
        let is_expected = |state: &mut State| matches!(state, State::Expected);
        let waited = self.0.changed.wait_timeout_while(self.lock(), FOLLOW_TIME_MAX, is_expected);
        let (mut old, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *old = match std::mem::take(&mut *old) {
            State::Finishing(mut finishing) => match finishing.follow(&change.to_text(), FOLLOW_TIME_MAX) {
                Ok(true) => State::Finishing(finishing),
                Ok(false) => State::None,
                Err(error) => {
                    let why = chain(&error);
                    log::warn!(
                        "the process before this one refuses calls from now on, as it does not follow: {why}"
                    );
                    finishing.end_changes();
                    State::Refusing(finishing)
                }
            },
            State::Expected | State::Missed => {
                log::warn!("the process before this one still accepts, and has not read a change");
                State::Missed
            }
            State::None => State::None,
            State::Refusing(finishing) => State::Refusing(finishing),
        };
    }

    /// Waits until the old process has ended: its calls are this service's calls, and a service manager ends every process of
    /// a service when the main one has ended.
    pub(super) fn wait_ended(&self, time_max: Duration) {
        let watch = match &*self.lock() {
            State::None | State::Expected | State::Missed => return,
            State::Finishing(finishing) | State::Refusing(finishing) => finishing.watch(),
        };
        let watch = match watch {
            Ok(watch) => watch,
            Err(error) => return log::warn!("cannot wait for the process before this one: {error}"),
        };
        let is_given_up = || self.0.is_given_up.load(Ordering::Relaxed);
        if watch.wait_ended(Instant::now(), is_given_up) {
            return;
        }
        log::info!("the process before this one still finishes its calls; waiting for its end");
        if !watch.wait_ended(Instant::now() + time_max, is_given_up) {
            log::warn!("the process before this one has not ended");
        }
    }

    /// Waits for its end no longer, nor for its place.
    pub(super) fn give_up(&self) {
        self.0.is_given_up.store(true, Ordering::Relaxed);
        if let Some(give_up) = &*self.give_up_lock() {
            give_up.now();
        }
    }

    fn give_up_lock(&self) -> MutexGuard<'_, Option<GiveUp>> {
        self.0.give_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_for_the_old_process_is_what_it_was_after_it_has_travelled() {
        let tool = || Feature::parse("tool:jobs_*").unwrap();
        for change in [
            Change::Reload,
            Change::Switch(tool(), FeatureState::Off),
            Change::Switch(tool(), FeatureState::On),
            Change::Switch(Feature::EraFence, FeatureState::Off),
            Change::Switch(Feature::Client("a b".to_owned()), FeatureState::Off),
        ] {
            assert_eq!(Change::parse(&change.to_text()), Some(change));
        }
        for other in ["", "reload ", "restart", "off", "off tool", "of tool:a"] {
            assert_eq!(Change::parse(other), None, "{other}");
        }
    }
}
