//! Whether the rollout's state is kept, by whom, and what to do where it is not.
//!
//! A state that cannot be trusted is not used: the configured stable slot serves. Must not decide about rollouts.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::Settings;
use crate::control::commands::CommandResult;
use crate::control::controller::Reply;
use crate::control::state_file::{Saved, StateError, Store, load};
use crate::control::state_writer::{Progress, StateWriter};
use crate::rollout::State;
use crate::upstream::Slot;

/// How long an order waits to be on the disk before it is answered with a warning.
const SAVING_MAX: Duration = Duration::from_secs(2);

/// Whether the state is kept.
pub(super) enum Persistence {
    /// It is ours. The thread starts with the loop.
    Opened(Store),
    Active(StateWriter),
    /// Another guard has it, usually the one that this one replaces: we do as the state says and change nothing.
    ForeignOwner,
    /// It dies with the process, and why.
    Unavailable(String),
}

/// Answers an order once it is on the disk, or with a warning when that takes long.
pub(super) fn answer(
    mut done: CommandResult,
    progress: Option<(watch::Receiver<Progress>, u64)>,
    reply: Reply,
) {
    tokio::spawn(async move {
        if let Some((mut progress, seq)) = progress {
            let settled = progress.wait_for(|progress| progress.seq >= seq || progress.problem.is_some());
            let warning = match tokio::time::timeout(SAVING_MAX, settled).await {
                Ok(Ok(progress)) => progress.problem.clone(),
                Ok(Err(_)) => Some("the thread that saves it has ended".to_owned()),
                Err(_elapsed) => Some("the disk does not answer".to_owned()),
            };
            done.notes.extend(warning.map(|why| format!("done, but not saved yet: {why}")));
        }
        let _ = reply.send(Ok(done));
    });
}

/// Opens the state's directory and reads what is there.
pub(super) fn open(folder: &Path) -> (Option<Saved>, Persistence) {
    let store = match Store::open(folder) {
        Ok(Some(store)) => store,
        // Read all the same: calls go where the guard that owns it sends them.
        Ok(None) => return (load(folder).unwrap_or_default(), Persistence::ForeignOwner),
        Err(error) => {
            log::error!("rollout: {error}; the state is not kept");
            return (None, Persistence::Unavailable(error.to_string()));
        }
    };
    match store.load() {
        Ok(saved) => (saved, Persistence::Opened(store)),
        Err(error) => {
            log::error!("rollout: {error}");
            let persistence = match &error {
                StateError::Damaged { .. } => match store.quarantine() {
                    Ok(()) => Persistence::Opened(store),
                    Err(error) => Persistence::Unavailable(error.to_string()),
                },
                StateError::Io { .. } | StateError::Foreign { .. } | StateError::Newer { .. } => {
                    Persistence::Unavailable(error.to_string())
                }
            };
            (None, persistence)
        }
    }
}

/// What to say where the file names another stable slot than the one that serves.
pub(crate) fn contradiction(file: Slot, says: bool, serves: Slot) -> Option<String> {
    let (file_slot, serving) = (file.as_str(), serves.as_str());
    (says && file != serves).then(|| {
        format!(
            "routing.stable: {serving} serves, as the saved state says; the file's {file_slot} counts only where there \
             is no state (hint: mcp-guard slots switch {file_slot}, or stable = \"{serving}\")"
        )
    })
}

/// What to go on from: the saved state, if its stable slot still has a backend; else the configured one.
pub(super) fn resume_from(saved: Option<Saved>, settings: &Settings) -> Saved {
    match saved {
        Some(saved) if settings.backend(saved.state.stable).is_some() => {
            if let Some(words) = contradiction(settings.stable, settings.says_stable, saved.state.stable) {
                log::warn!("{words}");
            }
            saved
        }
        Some(Saved { state, history, .. }) => {
            let (gone, stable) = (state.stable.as_str(), settings.stable.as_str());
            log::error!(
                "rollout: the saved state names {gone} as stable, which has no backend; {stable} serves"
            );
            let state = State { seq: state.seq, ..State::new(settings.stable) };
            Saved { state, history, accepted: Vec::new() }
        }
        None => Saved { state: State::new(settings.stable), history: Vec::new(), accepted: Vec::new() },
    }
}
