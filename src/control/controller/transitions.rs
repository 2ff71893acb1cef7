//! What a transition leads to: the route is published first, because that protects clients, then it is logged, saved, recorded
//! and sent to receivers.

use super::Controller;
use super::seat::Seat;
use crate::control::notification::Notification;
use crate::control::persistence::Persistence;
use crate::control::rollout_record;
use crate::control::state_file::Saved;
use crate::rollout::{Event, Transition};

impl Controller {
    /// Passes an event to the rollout and carries out the transition.
    pub(super) fn handle(&mut self, event: Event) -> Option<Transition> {
        if matches!(self.persistence, Persistence::ForeignOwner) {
            return None;
        }
        if self.seat.is_some() {
            return self.handle_in_fleet(event);
        }
        let transition = self.rollout.handle(event, self.clock.now())?;
        self.publish();
        self.log_transition(&transition);
        if self.rollout.state().run.is_none() {
            self.accepted.clear();
        }
        self.keep_transitions(vec![transition.clone()], true);
        Some(transition)
    }

    pub(super) fn log_transition(&self, transition: &Transition) {
        log::warn!("rollout: {transition}");
        if transition.from.step != transition.to.step
            && let Some(warning) = self.rollout.empty_share()
        {
            log::warn!("rollout: {warning}");
        }
        self.metrics.transition(transition);
    }

    /// Saves the state with these transitions, and records them. Receivers are notified by the guard that decided.
    pub(super) fn keep_transitions(&mut self, new: Vec<Transition>, notifies: bool) {
        let mut saved = Saved {
            state: self.rollout.state().clone(),
            history: std::mem::take(&mut self.history),
            accepted: self.accepted.clone(),
            fleet: self.seat.as_ref().and_then(Seat::followed),
        };
        let last = new.last().cloned();
        new.into_iter().for_each(|transition| saved.remember(transition));
        self.history.clone_from(&saved.history);
        if let Persistence::Active(writer) = &self.persistence {
            writer.save(saved);
        }
        let Some(transition) = last else { return };
        let record = self.record_of_last();
        let notified = if notifies {
            self.notifier.notify(Notification::Transition { transition, record })
        } else {
            Vec::new()
        };
        self.record_last(notified);
        self.update_gauges();
    }

    /// The id of the last transition's record, where one is kept.
    fn record_of_last(&self) -> Option<String> {
        let keeps = self.folder.is_some() && matches!(self.persistence, Persistence::Active(_));
        self.history.last().filter(|_| keeps).and_then(rollout_record::id_of)
    }

    /// Has the record of the last transition written, apart from decisions.
    pub(super) fn record_last(&self, notified: Vec<String>) {
        let (Some(folder), Some(_)) = (self.folder.clone(), self.record_of_last()) else { return };
        let (history, pictures) = (self.history.clone(), self.pictures.clone());
        self.reader.spawn(rollout_record::write_last(folder, history, notified, pictures));
    }

    /// Publishes the route if it has changed. A decision that the fleet has still to take over does not count yet.
    pub(super) fn publish(&mut self) {
        let before = self.seat.as_ref().and_then(Seat::routed_by).cloned();
        let route = match before {
            Some(before) => self.rollout.route_under(before),
            None => self.rollout.route(),
        };
        if self.published.as_ref() != Some(&route) {
            self.metrics.set_fence(route.1);
            (self.publish)(route.0.clone(), route.1, route.2);
            self.published = Some(route);
        }
        let is_running = self.rollout.state().run.is_some();
        if self.followed != is_running {
            self.followed = is_running;
            (self.pictures.follow)(is_running);
        }
    }
}
