//! One rollout on several guards: what the others add to the decision, and how a guard follows what was decided elsewhere.
//!
//! The guard that decides judges the counts of all; the others only observe, and keep calls from their own candidate where it
//! fails. Must not know how guards reach each other.

use super::Rollout;
use crate::rollout::comparison::Gate;
use crate::rollout::conditions::Conditions;
use crate::rollout::event::Event;
use crate::rollout::others::{Others, Withheld};
use crate::rollout::plan::triggers::Action;
use crate::rollout::stage::Stage;
use crate::rollout::state::State;
use crate::rollout::tally::GuardTally;
use crate::rollout::timestamp::Timestamp;
use crate::rollout::triggers::{self, Fired, Trigger};
use crate::upstream::Split;

impl Rollout {
    /// Takes note of what the others say, in place of what they said before.
    pub fn consider(&mut self, others: Others, now: Timestamp) {
        let Others { counted, fired, hold } = others;
        self.seen.replace_others(counted);
        if hold.is_some() {
            // That the fleet waits says nothing against the candidate.
            self.eligible_since = now;
        }
        (self.fired_elsewhere, self.hold) = (fired, hold);
    }

    /// Why the fleet does not move forward.
    pub fn hold(&self) -> Option<&str> {
        self.hold.as_deref()
    }

    /// Keeps calls from the candidate on this guard, or no longer.
    pub fn withhold(&mut self, withheld: Option<Withheld>) {
        self.withheld = withheld;
    }

    /// Takes note of an observation and decides nothing: another guard does.
    pub fn observe(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Sample(sample) => self.on_sample(&sample),
            Event::Health { slot, health, answered } => self.on_health(slot, health, answered, now),
            Event::Check { name, failure } => self.conditions.check(&name, failure.as_deref(), now),
            Event::Memory { slot, used, limit } => self.on_memory(slot, used, limit, now),
            Event::Surface { slot, surface } => self.on_surface(slot, surface, now),
            // Another guard decides now: a comparison is made again once it is this one's turn.
            Event::Gate { .. } => self.gate = Gate::Idle,
            Event::Command { .. } | Event::Differs(_) | Event::Tick => {}
        }
    }

    /// Takes over a state that was decided elsewhere. What was counted before a rollout or a step says nothing about it.
    pub fn follow(&mut self, state: State, now: Timestamp) {
        let id = |state: &State| state.run.as_ref().map(|run| run.id.clone());
        let step = |state: &State| (state.position().step, state.position().stage);
        let (is_other_run, is_other_step) =
            (id(&state) != id(&self.state), step(&state) != step(&self.state));
        self.state = state;
        if let Some(run) = self.state.run.as_ref().filter(|_| is_other_run) {
            self.seen.replan(&run.plan);
            self.conditions = Conditions::default();
            self.reported.clear();
        }
        if is_other_step {
            self.seen.begin_step();
            self.reported_analysis = false;
        }
        self.gate = Gate::Idle;
        self.eligible_since = now;
    }

    /// A decision does not count: what led to it may lead to it again.
    pub fn take_back(&mut self, before: State, now: Timestamp) {
        self.follow(before, now);
        self.reported.clear();
        self.reported_analysis = false;
    }

    /// Why calls are kept from the candidate.
    pub fn withheld(&self) -> Option<Withheld> {
        self.withheld
    }

    /// The route as it would be in this state: a decision that the fleet has not taken over yet does not count.
    pub fn route_under(&mut self, state: State) -> (Split, bool, Stage) {
        let decided = std::mem::replace(&mut self.state, state);
        let route = self.route();
        self.state = decided;
        route
    }

    /// What this guard has counted by itself, for the others.
    pub fn tally(&mut self, now: Timestamp) -> GuardTally {
        self.seen.tally(now)
    }

    /// The triggers that fire by what this guard alone has seen.
    pub fn own_fired(&mut self, now: Timestamp) -> Vec<Fired> {
        let Some(run) = &self.state.run else { return Vec::new() };
        let others = self.seen.replace_others(GuardTally::default());
        let fired = triggers::fired(&run.plan, &self.conditions, &mut self.seen, self.state.candidate(), now);
        self.seen.replace_others(others);
        // A step that does not get on is a matter of the whole fleet.
        fired.into_iter().filter(|fired| fired.trigger != Trigger::StageStalled).collect()
    }

    /// What would end the rollout by what this guard alone has seen; none where the way back leads to a slot that is worse.
    pub fn own_failure(&mut self, now: Timestamp) -> Option<Fired> {
        let ends = |fired: &Fired| fired.action == Action::Rollback;
        self.own_fired(now).into_iter().find(ends).filter(|_| !self.way_back_is_worse())
    }
}
