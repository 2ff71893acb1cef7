//! Change of the state's owner during an upgrade: the new process becomes the only writer.
//!
//! After the release, this process decides nothing. Its last calls follow the route of the new owner.

use tokio::sync::oneshot;

use super::seat::Seat;
use super::{Controller, rollout_from};
use crate::control::persistence::{Persistence, open, resume_from};
use crate::control::state_file::{Followed, Saved, load};

impl Controller {
    /// Releases the state, unless the next owner would then not know the position of the rollout.
    pub(super) fn on_release_state(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        // The other process takes this guard's place in the fleet, also if it then does not start: the place is taken again.
        let followed = self.seat.as_ref().and_then(Seat::followed);
        self.give_up_seat();
        match std::mem::replace(&mut self.persistence, Persistence::ForeignOwner) {
            Persistence::Active(writer) => {
                let (progress, seq) = (writer.progress(), self.rollout.state().seq);
                if let Some(why) = &progress.borrow().problem {
                    let _ = reply.send(Err(format!("the rollout's state cannot be saved: {why}")));
                    self.persistence = Persistence::Active(writer);
                    return self.join_fleet(followed);
                }
                self.released_to = self.folder.take();
                // The disk may be slow; the loop must not wait for it.
                tokio::task::spawn_blocking(move || {
                    let reached = writer.close();
                    let saved = if reached.seq >= seq { Ok(()) } else { Err("it is not saved".to_owned()) };
                    reply.send(saved.map_err(|why| format!("the rollout's state: {why}")))
                });
            }
            Persistence::Unavailable(why) => {
                let forgets = self.has_state_worth_keeping();
                let forgotten = forgets.then(|| format!("the rollout would be forgotten: {why}"));
                let _ = reply.send(forgotten.map_or(Ok(()), Err));
                self.persistence = Persistence::Unavailable(why);
            }
            Persistence::ForeignOwner => {
                self.released_to = self.folder.take();
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// The other process did not take the state. The slow tick opens it again as soon as it is free.
    pub(super) fn on_reclaim_state(&mut self) {
        self.folder = self.folder.take().or(self.released_to.take());
        if matches!(self.persistence, Persistence::Unavailable(_)) && self.seat.is_none() {
            self.join_fleet(None);
        }
    }

    /// Follows the state that the new owner has saved.
    pub(super) fn follow_owner(&mut self) {
        let Some(Ok(Some(saved))) = self.released_to.as_deref().map(load) else { return };
        if saved.state.seq != self.rollout.state().seq {
            self.resume(Some(saved));
        }
    }

    /// Opens the state once its other owner has released it.
    pub(super) fn open_released_state(&mut self) {
        let (Persistence::ForeignOwner, Some(folder)) = (&self.persistence, &self.folder) else { return };
        let (saved, persistence) = open(folder);
        if !matches!(persistence, Persistence::ForeignOwner) {
            log::info!("rollout: the guard before this one has let go of the state");
            let kept = self.resume(saved);
            self.persistence = persistence;
            self.join_fleet(kept);
        }
    }

    fn resume(&mut self, saved: Option<Saved>) -> Option<Followed> {
        let Saved { state, history, accepted, fleet } = resume_from(saved, &self.settings);
        let withheld = self.rollout.withheld();
        self.rollout = rollout_from(state, &self.settings, &self.clock);
        self.rollout.withhold(withheld);
        (self.history, self.accepted) = (history, accepted);
        fleet
    }

    /// Whether calls go elsewhere than the configuration alone would send them.
    fn has_state_worth_keeping(&self) -> bool {
        let state = self.rollout.state();
        state.run.is_some() || state.stable != self.settings.stable
    }
}
