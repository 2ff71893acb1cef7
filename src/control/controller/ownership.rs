//! The state changes hands: the process that replaces this one becomes its only writer.
//!
//! From then on this process decides nothing. It still sends its last calls where the new owner sends its own.

use tokio::sync::oneshot;

use super::{Controller, rollout_from};
use crate::control::persistence::{Persistence, resume_from};
use crate::control::state_file::{Saved, load};

impl Controller {
    /// Lets go of the state, unless the next owner would then not know where the rollout stands.
    pub(super) fn release_state(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        match std::mem::replace(&mut self.persistence, Persistence::ForeignOwner) {
            Persistence::Active(writer) => {
                let (progress, seq) = (writer.progress(), self.rollout.state().seq);
                if let Some(why) = &progress.borrow().problem {
                    let _ = reply.send(Err(format!("the rollout's state cannot be saved: {why}")));
                    self.persistence = Persistence::Active(writer);
                    return;
                }
                self.released_to = self.folder.take();
                // The disk may take its time; the loop may not.
                tokio::task::spawn_blocking(move || {
                    let reached = writer.close();
                    let saved = if reached.seq >= seq { Ok(()) } else { Err("it is not saved".to_owned()) };
                    reply.send(saved.map_err(|why| format!("the rollout's state: {why}")))
                });
            }
            Persistence::Unavailable(why) if self.has_state_worth_keeping() => {
                let _ = reply.send(Err(format!("the rollout would be forgotten: {why}")));
                self.persistence = Persistence::Unavailable(why);
            }
            persistence @ Persistence::Unavailable(_) => {
                let _ = reply.send(Ok(()));
                self.persistence = persistence;
            }
            Persistence::Opened(_) | Persistence::ForeignOwner => {
                self.released_to = self.folder.take();
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// Nobody took the state over. The loop opens it again as soon as it is free.
    pub(super) fn reclaim_state(&mut self) {
        self.folder = self.folder.take().or(self.released_to.take());
    }

    /// Does as the new owner does.
    pub(super) fn follow_owner(&mut self) {
        let Some(Ok(Some(saved))) = self.released_to.as_deref().map(load) else { return };
        if saved.state.seq != self.rollout.state().seq {
            let Saved { state, history, accepted } = resume_from(Some(saved), &self.settings);
            self.rollout = rollout_from(state, &self.settings, &self.clock);
            (self.history, self.accepted) = (history, accepted);
        }
    }

    /// Whether calls go elsewhere than the configuration alone would send them.
    fn has_state_worth_keeping(&self) -> bool {
        let state = self.rollout.state();
        state.run.is_some() || state.stable != self.settings.stable
    }
}
