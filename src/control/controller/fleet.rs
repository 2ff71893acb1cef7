//! The controller of a guard in a fleet: it decides while it leads, and follows what was decided.
//!
//! A decision takes effect when the fleet has taken it over; what takes calls away from the candidate takes effect here at
//! once. Whatever the fleet says, a candidate that fails on this guard gets no calls from it.

mod orders;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use super::Controller;
use super::seat::{Proposed, Seat};
use crate::control::commands::OrderId;
use crate::control::fleet::{Decision, FleetEvent, FleetInput, FleetView, MemberFacts, OrderResult};
use crate::control::persistence::Persistence;
use crate::control::state_file::{Followed, Saved};
use crate::rollout::plan::triggers::Action;
use crate::rollout::triggers::Fired;
use crate::rollout::{Command, Event, Health, Others, State, Timestamp, Transition, Withheld};
use crate::upstream::Slot;

/// Time between two reports of what was counted.
const COUNTED_EVERY: Duration = Duration::from_millis(400);
/// What a guard says of a slot that it has just begun to probe.
const NOT_PROBED: &str = "not probed often enough yet";
/// Transitions that the fleet's state carries, for guards that were away; each guard keeps more of them itself.
const HISTORY_SHARED: usize = 16;

impl Controller {
    /// Takes this guard's place in its fleet, if it has one, and publishes the route. Only the process that owns the rollout
    /// has the place.
    pub(super) fn join_fleet(&mut self, followed: Option<Followed>) {
        let owns = !matches!(self.persistence, Persistence::ForeignOwner);
        match self.fleet.as_ref().filter(|_| owns).map(|(join, _)| join(followed)) {
            None => {}
            Some(Ok(fleet)) => {
                self.seat = Some(Seat::new(fleet));
                self.rollout.withhold(Some(Withheld::NotCaughtUp));
                self.configure_fleet();
            }
            Some(Err(why)) => log::error!("fleet: this guard works by itself: {why}"),
        }
        self.publish();
    }

    /// The others must know which configuration this guard has.
    pub(super) fn configure_fleet(&mut self) {
        self.tell_fleet(FleetInput::Configured(self.settings.shared_digest.clone()));
    }

    /// Leaves the decisions to another process of this guard, which takes the place.
    pub(super) fn give_up_seat(&mut self) {
        let Some(mut seat) = self.seat.take() else { return };
        if let Some(proposed) = seat.proposed.take().filter(|proposed| proposed.transition.is_some()) {
            self.take_back(proposed.before);
        }
        let waiting = seat.ordered.into_values().chain(seat.unnamed);
        for pending in waiting {
            pending.refuse("the guard is being replaced; order it again".to_owned());
        }
    }

    /// The fleet is to be spoken to, or has said something.
    pub(super) fn on_fleet(&mut self) {
        self.tell_fleet(FleetInput::Woken);
        self.report_to_fleet();
        self.consider_others();
        self.decide_on_waiting_orders();
        self.respond_to_looks();
    }

    /// One input for the fleet, and all that follows from it.
    fn tell_fleet(&mut self, input: FleetInput) {
        let Some(seat) = &mut self.seat else { return };
        let mut results = Vec::new();
        for event in seat.fleet.handle(input) {
            match event {
                FleetEvent::Follow(state) => self.follow(*state),
                FleetEvent::Withheld(withheld) => {
                    self.rollout.withhold(withheld);
                    self.publish();
                }
                FleetEvent::Decide(id, order) => self.on_fleet_order(id, *order),
                FleetEvent::OrderTaken(id) => self.name_order(id),
                FleetEvent::OrderRefused => self.refuse_unnamed(),
                // The state that carries the result out comes with it.
                FleetEvent::OrderDone(id, result) => results.push((id, result)),
                FleetEvent::OrderExpired(id) => self.on_order_expired(id),
                FleetEvent::NotTaken => self.on_not_taken(),
                FleetEvent::StoreFailed => self.fleet.iter().for_each(|(_, metrics)| metrics.store_failed()),
                FleetEvent::Left => self.on_left(),
            }
        }
        for (id, result) in results {
            self.on_order_done(id, result);
        }
    }

    /// Tells the others what was counted here, and whether the candidate fails here.
    fn report_to_fleet(&mut self) {
        let now = self.clock.now();
        let failure = self.rollout.own_failure(now);
        let run = self.rollout.state().run.as_ref().map(|run| run.id.clone());
        let Some(seat) = &mut self.seat else { return };
        let is_new = seat.failed.is_none();
        if let (Some(run), Some(fired)) = (run, failure.filter(|_| is_new)) {
            self.fail_candidate(run, fired);
        } else if seat.counted.is_none_or(|counted| counted.elapsed() >= COUNTED_EVERY) {
            self.report_counts();
        }
    }

    fn report_counts(&mut self) {
        let now = self.clock.now();
        let tally = self.rollout.tally(now);
        let facts = self.facts(now);
        if let Some(seat) = &mut self.seat {
            seat.counted = Some(Instant::now());
        }
        self.tell_fleet(FleetInput::Counted(Box::new(tally), facts));
    }

    fn facts(&mut self, now: Timestamp) -> MemberFacts {
        let health = |slot: Slot| match self.rollout.health(slot) {
            Health::Healthy => (slot, None),
            Health::Unknown => (slot, Some(NOT_PROBED.to_owned())),
            Health::Unhealthy(why) => (slot, Some(why.clone())),
        };
        let slots = self.settings.configured().into_iter().map(health).collect();
        let failed = self.seat.as_ref().and_then(|seat| seat.failed.clone());
        let fired = failed.into_iter().chain(self.own_warnings(now)).collect();
        MemberFacts { slots, fired, clock_off_ms: None }
    }

    /// The triggers that pause or note, and fire by what this guard alone has seen: those that go back keep calls from the
    /// candidate as well.
    fn own_warnings(&mut self, now: Timestamp) -> Vec<(String, Fired)> {
        let Some(run) = self.rollout.state().run.as_ref().map(|run| run.id.clone()) else {
            return Vec::new();
        };
        let warns = |fired: &Fired| fired.action != Action::Rollback;
        let own = self.rollout.own_fired(now).into_iter().filter(warns);
        own.map(|fired| (run.clone(), fired)).collect()
    }

    /// Keeps calls from the candidate on this guard, and tells the others why.
    fn fail_candidate(&mut self, run: String, fired: Fired) {
        log::warn!("fleet: the candidate gets no calls from this guard: {}", fired.detail);
        let why = format!("{}: {}", fired.trigger.as_str(), fired.detail);
        self.rollout.withhold(Some(Withheld::Fails));
        self.publish();
        if let Some(seat) = &mut self.seat {
            seat.failed = Some((run, fired));
        }
        self.report_counts();
        self.tell_fleet(FleetInput::Failed(why));
    }

    /// Takes what the others say into account, and decides if this guard leads.
    fn consider_others(&mut self) {
        let now = self.clock.now();
        let Some(seat) = &mut self.seat else { return };
        let view = seat.fleet.view();
        seat.leads = view.is_some();
        // Those of a guard that does not lead are judged by the one that does.
        let warnings = if seat.leads { self.own_warnings(now) } else { Vec::new() };
        let Some(seat) = &mut self.seat else { return };
        let FleetView { counted, fired, hold, unhealthy } = view.unwrap_or_default();
        seat.unhealthy = unhealthy;
        let run = self.rollout.state().run.as_ref().map(|run| run.id.as_str());
        let of_run = |(id, fired): (String, Fired)| (Some(id.as_str()) == run).then_some(fired);
        // What failed here counts as what failed elsewhere: the good calls of the others do not outweigh it.
        let fired = fired.into_iter().chain(seat.failed.clone()).chain(warnings).filter_map(of_run).collect();
        let candidate = self.rollout.state().candidate();
        let sick = seat.unhealthy.iter().find(|(slot, _)| run.is_some() && *slot == candidate);
        let sick = sick.map(|(slot, why)| format!("{} is not healthy at {why}", slot.as_str()));
        let is_new = seat.unhealthy.iter().any(|(_, why)| why.ends_with(NOT_PROBED));
        seat.is_held_briefly = is_new || hold.as_ref().is_some_and(|hold| hold.is_brief);
        let hold = hold.map(|hold| hold.why).or(sick);
        let is_first = seat.leads && seat.proposed.is_none() && !seat.fleet.has_state();
        self.rollout.consider(Others { counted, fired, hold }, now);
        if is_first {
            self.found_fleet();
        }
        self.handle(Event::Tick);
    }

    /// The fleet has no state yet: this guard's is its first one. A rollout of one guard is none of the fleet's.
    fn found_fleet(&mut self) {
        if self.rollout.state().run.is_some() {
            let who = "the guard, because its fleet begins".to_owned();
            self.handle(Event::Command { command: Command::Rollback { to: None }, who });
            return;
        }
        log::info!("fleet: it has no state yet; this guard's is its first one");
        self.propose(None, self.rollout.state().clone(), None);
    }

    /// An event, while other guards have a say.
    pub(super) fn handle_in_fleet(&mut self, event: Event) -> Option<Transition> {
        let now = self.clock.now();
        let seat = self.seat.as_mut()?;
        if !seat.leads || seat.proposed.is_some() {
            match event {
                Event::Gate { .. } if seat.leads => seat.postponed.push(event),
                Event::Command { .. }
                | Event::Sample(_)
                | Event::Health { .. }
                | Event::Check { .. }
                | Event::Memory { .. }
                | Event::Surface { .. }
                | Event::Gate { .. }
                | Event::Differs(_)
                | Event::Tick => self.rollout.observe(event, now),
            }
            return None;
        }
        let before = self.rollout.state().clone();
        let is_forced = matches!(&event, Event::Command { command: Command::Switch { force: true, .. }, .. });
        let transition = self.rollout.handle(event, now)?;
        let order = self.seat.as_mut().and_then(|seat| seat.carries_out.take());
        let result = order.map(|(id, notes)| (id, OrderResult::Done(transition.seq, notes)));
        self.propose(Some((transition.clone(), is_forced)), before, result);
        Some(transition)
    }

    /// Puts a decision before the fleet: a transition and whether it is forced, or the result of an order alone.
    fn propose(
        &mut self,
        transition: Option<(Transition, bool)>,
        before: State,
        order: Option<(OrderId, OrderResult)>,
    ) {
        let (transition, is_forced) = transition.map_or((None, false), |(made, forced)| (Some(made), forced));
        let is_forward = transition.as_ref().is_some_and(|made| made.kind.is_forward());
        let history = self.history.iter().chain(&transition).cloned().collect::<Vec<_>>();
        let shared = history.len().saturating_sub(HISTORY_SHARED);
        let state = Saved {
            state: self.rollout.state().clone(),
            history: history[shared..].to_vec(),
            accepted: if self.rollout.state().run.is_some() { self.accepted.clone() } else { Vec::new() },
            fleet: None,
        };
        let Some(seat) = &mut self.seat else { return };
        let id = order.as_ref().map(|(id, _)| *id);
        seat.proposed = Some(Proposed { transition, before, order: id });
        // What takes calls away from the candidate need not wait for anything.
        self.publish();
        let needs_evidence = is_forward && !is_forced;
        self.tell_fleet(FleetInput::Propose(Box::new(Decision { state, needs_evidence, order })));
    }

    /// The fleet's state is another one, or this guard's decision is the fleet's now.
    fn follow(&mut self, shared: Saved) {
        let now = self.clock.now();
        let Some(seat) = &mut self.seat else { return };
        // The state before a decision, written once more, is none after it.
        let is_before =
            |proposed: &Proposed| proposed.transition.is_some() && proposed.before.seq == shared.state.seq;
        if seat.proposed.as_ref().is_some_and(is_before) {
            return;
        }
        let is_first = !std::mem::replace(&mut seat.has_followed, true);
        let proposed = seat.proposed.take();
        let ordered = proposed.as_ref().and_then(|proposed| seat.deciding.remove(&proposed.order?));
        let Saved { state, history, accepted, fleet: _ } = shared;
        let same = |a: &Transition, b: &Transition| (a.seq, a.at, a.kind) == (b.seq, b.at, b.kind);
        let own = proposed.and_then(|proposed| proposed.transition);
        let is_last = |own: &Transition| history.last().is_some_and(|last| same(own, last));
        let is_own = own.is_some_and(|own| is_last(&own));
        seat.carried_out = ordered.filter(|_| is_own).max(seat.carried_out);
        // Its response was lost on the way: the receivers do not have it yet.
        let was_own = seat.taken_back.take_if(|own| is_last(own)).is_some();
        let is_changed = state != *self.rollout.state();
        if is_changed && !is_own {
            self.rollout.follow(state, now);
        }
        self.accepted = accepted;
        let known = std::mem::take(&mut self.history);
        let new: Vec<Transition> =
            history.into_iter().filter(|new| !known.iter().any(|known| same(known, new))).collect();
        self.history = known;
        self.publish();
        // What the fleet did before this guard joined it is no news.
        for transition in new.iter().filter(|_| !is_first) {
            self.log_transition(transition);
        }
        self.keep_transitions(new, is_own || was_own);
        self.end_failure();
        self.report_counts();
        self.handle_postponed();
    }

    /// A candidate that failed here in another rollout may get calls again.
    fn end_failure(&mut self) {
        let run = self.rollout.state().run.as_ref().map(|run| run.id.clone());
        let Some(seat) = &mut self.seat else { return };
        if seat.failed.take_if(|(failed, _)| Some(&*failed) != run.as_ref()).is_some() {
            self.tell_fleet(FleetInput::Recovered);
        }
    }

    /// The decision was not taken over: everything is as it was before it.
    fn on_not_taken(&mut self) {
        let Some(seat) = &mut self.seat else { return };
        let Some(proposed) = seat.proposed.take() else { return };
        if let Some(id) = proposed.order {
            seat.deciding.remove(&id);
        }
        if let Some(transition) = proposed.transition {
            log::warn!(
                "fleet: the decision was not taken over; another guard leads, or the fleet has changed"
            );
            seat.taken_back = Some(transition);
            self.take_back(proposed.before);
        }
        self.handle_postponed();
    }

    /// Everything is as it was before a decision that the fleet has not taken over.
    fn take_back(&mut self, before: State) {
        self.rollout.take_back(before, self.clock.now());
        if self.rollout.state().run.is_none() {
            self.accepted.clear();
        }
        self.publish();
    }

    fn handle_postponed(&mut self) {
        let Some(seat) = &mut self.seat else { return };
        for event in std::mem::take(&mut seat.postponed) {
            self.handle(event);
        }
    }

    /// Why an order that sends more calls to this slot cannot be carried out by the fleet now.
    pub(super) fn fleet_refuses(&self, command: &Command, slot: Option<Slot>) -> Option<String> {
        let seat = self.seat.as_ref()?;
        if !needs_whole_fleet(command) {
            return None;
        }
        if let Some(hold) = self.rollout.hold() {
            return Some(format!("the fleet does not move forward: {hold} (see mcp-guard fleet status)"));
        }
        let unhealthy = seat.unhealthy.iter().find(|(other, _)| Some(*other) == slot);
        unhealthy.map(|(slot, why)| format!("{} is not healthy everywhere: {why}", slot.as_str()))
    }
}

/// Whether a command sends calls to a candidate, so that the fleet must have been seen whole.
fn needs_whole_fleet(command: &Command) -> bool {
    match command {
        Command::Start { .. } | Command::Promote { .. } | Command::Switch { force: false, .. } => true,
        Command::Switch { force: true, .. }
        | Command::Pause
        | Command::Resume
        | Command::Rollback { .. }
        | Command::Retire { .. } => false,
    }
}
