//! Whether and by which process the rollout's state is persisted, and the state to continue from.
//!
//! A state that cannot be trusted is not used: the configured stable slot serves. Must not decide about rollouts.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::commands::{CommandResult, Reply};
use super::settings::Settings;
use super::state_file::{Saved, StateError, Store, load};
use super::state_writer::{Progress, StateWriter};
use crate::rollout::State;
use crate::upstream::Slot;

/// How long a command waits for the disk before its response carries a warning.
const SAVING_MAX: Duration = Duration::from_secs(2);

/// Whether the state is persisted.
pub(super) enum Persistence {
    /// This process owns the state and writes it.
    Active(StateWriter),
    /// Another process owns the state, usually the one that this one replaces; this one follows it read-only.
    ForeignOwner,
    /// The state ends with the process, for this reason.
    Unavailable(String),
}

/// Sends the response to a command once its state is on the disk, or with a warning when that takes long.
pub(super) fn reply_when_saved(
    mut result: CommandResult,
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
            result.notes.extend(warning.map(|why| format!("done, but not saved yet: {why}")));
        }
        let _ = reply.send(Ok(result));
    });
}

/// Opens the state's directory, reads the saved state and starts the writer.
pub(super) fn open(folder: &Path) -> (Option<Saved>, Persistence) {
    let store = match Store::open(folder) {
        Ok(Some(store)) => store,
        // Read without owning it: calls follow the route of the owner.
        Ok(None) => return (load(folder).unwrap_or_default(), Persistence::ForeignOwner),
        Err(error) => {
            log::error!("rollout: {error}; the state is not kept");
            return (None, Persistence::Unavailable(error.to_string()));
        }
    };
    let loaded = store.load();
    let saved = match loaded {
        Ok(saved) => saved,
        Err(error) => {
            log::error!("rollout: {error}");
            let unusable = match &error {
                StateError::Damaged { .. } => store.quarantine().err(),
                StateError::Io { .. } | StateError::Foreign { .. } | StateError::Newer { .. } => Some(error),
            };
            if let Some(error) = unusable {
                return (None, Persistence::Unavailable(error.to_string()));
            }
            None
        }
    };
    let seq = saved.as_ref().map_or(0, |saved| saved.state.seq);
    let persistence = match StateWriter::start(store, seq) {
        Ok(writer) => Persistence::Active(writer),
        Err(error) => Persistence::Unavailable(format!("cannot start the thread that saves it: {error}")),
    };
    (saved, persistence)
}

/// The warning for a file that names another stable slot than the one that serves.
pub(crate) fn contradiction(file: Slot, says: bool, serves: Slot) -> Option<String> {
    let (file_slot, serving) = (file.as_str(), serves.as_str());
    (says && file != serves).then(|| {
        format!(
            "routing.stable: {serving} serves, as the saved state says; the file's {file_slot} counts only where there \
             is no state (hint: mcp-guard slots switch {file_slot}, or stable = \"{serving}\")"
        )
    })
}

/// The state to continue from: the saved one, if its stable slot still has a backend; else the configured one.
pub(super) fn resume_from(saved: Option<Saved>, settings: &Settings) -> Saved {
    match saved {
        Some(saved) if settings.backend(saved.state.stable).is_some() => {
            if let Some(words) = contradiction(settings.stable, settings.says_stable, saved.state.stable) {
                log::warn!("{words}");
            }
            saved
        }
        Some(Saved { state, history, fleet, .. }) => {
            let (gone, stable) = (state.stable.as_str(), settings.stable.as_str());
            log::error!(
                "rollout: the saved state names {gone} as stable, which has no backend; {stable} serves"
            );
            let state = State { seq: state.seq, ..State::new(settings.stable) };
            Saved { state, history, accepted: Vec::new(), fleet }
        }
        None => Saved::new(State::new(settings.stable)),
    }
}
