//! The state changes hands: the process that replaces this one becomes its only writer.
//!
//! From then on this process decides nothing. It still sends its last calls where the new owner sends its own.

use tokio::sync::oneshot;

use super::{Task, rollout_from};
use crate::control::persistence::{Keeping, adopt};
use crate::control::state_file::{Saved, load};

impl Task {
    /// Lets go of the state, unless the next owner would then not know where the rollout stands.
    pub(super) fn let_go(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        match std::mem::replace(&mut self.keeping, Keeping::Theirs) {
            Keeping::Kept(keeper) => {
                let (progress, seq) = (keeper.progress(), self.rollout.state().seq);
                if let Some(why) = &progress.borrow().problem {
                    let _ = reply.send(Err(format!("the rollout's state cannot be saved: {why}")));
                    self.keeping = Keeping::Kept(keeper);
                    return;
                }
                self.lent = self.folder.take();
                // The disk may take its time; the loop may not.
                tokio::task::spawn_blocking(move || {
                    let reached = keeper.close();
                    let saved = if reached.seq >= seq { Ok(()) } else { Err("it is not saved".to_owned()) };
                    reply.send(saved.map_err(|why| format!("the rollout's state: {why}")))
                });
            }
            Keeping::Lost(why) if self.is_remarkable() => {
                let _ = reply.send(Err(format!("the rollout would be forgotten: {why}")));
                self.keeping = Keeping::Lost(why);
            }
            keeping @ Keeping::Lost(_) => {
                let _ = reply.send(Ok(()));
                self.keeping = keeping;
            }
            Keeping::Ours(_) | Keeping::Theirs => {
                self.lent = self.folder.take();
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// Nobody took the state over. The loop opens it again as soon as it is free.
    pub(super) fn take_back(&mut self) {
        self.folder = self.folder.take().or(self.lent.take());
    }

    /// Does as the new owner does.
    pub(super) fn follow(&mut self) {
        let Some(Ok(Some(saved))) = self.lent.as_deref().map(load) else { return };
        if saved.state.seq != self.rollout.state().seq {
            let Saved { state, history, accepted } = adopt(Some(saved), &self.settings);
            self.rollout = rollout_from(state, &self.settings, &self.clock);
            (self.history, self.accepted) = (history, accepted);
        }
    }

    /// Whether calls go elsewhere than the configuration alone would send them.
    fn is_remarkable(&self) -> bool {
        let state = self.rollout.state();
        state.run.is_some() || state.stable != self.settings.stable
    }
}
