//! The state machine: one event in, at most one transition out.
//!
//! An observation updates the conditions; a clock tick, and any observation but a sample, may lead to a decision; a command
//! is applied or refused. An event that does not fit returns `None` and never panics.

mod commands;
mod decide;
mod fleet;
mod gate;
mod standby;

use std::sync::Arc;

use super::comparison::Gate;
use super::conditions::Conditions;
use super::event::{Event, Health};
use super::observations::Observations;
use super::others::Withheld;
use super::plan::Plan;
use super::stage::Stage;
use super::state::{ServerSurface, State};
use super::timestamp::Timestamp;
use super::transition::Transition;
use super::triggers::{Fired, Trigger};
use crate::upstream::{PerSlot, Share, Slot, Split};

/// The rollout: state that is kept, and what has been seen since the process started.
#[derive(Debug)]
pub struct Rollout {
    pub(super) state: State,
    pub(super) seen: Observations,
    pub(super) conditions: Conditions,
    pub(super) slots: PerSlot<SlotKnown>,
    /// Triggers that have been reported and have not ceased since: they pause and are noted once, not at every tick.
    pub(super) reported: Vec<Trigger>,
    /// Whether this step's failed analysis has been reported.
    pub(super) reported_analysis: bool,
    /// What is known of the gate before the next step.
    pub(super) gate: Gate,
    /// Since when the machine could have moved on: its start, or the latest resume.
    pub(super) eligible_since: Timestamp,
    pub(super) split_context: SplitContext,
    /// What makes another guard of the fleet keep calls from its candidate.
    pub(super) fired_elsewhere: Vec<Fired>,
    /// Why the fleet does not move forward.
    pub(super) hold: Option<String>,
    /// Why this guard sends no calls to its candidate.
    pub(super) withheld: Option<Withheld>,
}

/// What of the configuration the rollout goes by, besides its plan.
#[derive(Debug, Clone, Default)]
pub struct SplitContext {
    /// Whether a slot that has never been stable stands by.
    pub standby: bool,
    /// The clients that a share is made of, where they are few enough for one to be empty.
    pub clients: Arc<[Member]>,
}

/// A client, as the split sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it is split by.
    pub key: String,
}

#[derive(Debug)]
pub(super) struct SlotKnown {
    pub(super) configured: bool,
    pub(super) health: Health,
    pub(super) surface: Option<ServerSurface>,
}

impl Rollout {
    /// Takes up where a state left off. `idle_plan` sets the windows while nothing is in rollout.
    pub fn new(state: State, configured: &[Slot], idle_plan: &Plan, now: Timestamp) -> Rollout {
        let known = |slot| SlotKnown {
            configured: configured.contains(&slot),
            health: Health::Unknown,
            surface: None,
        };
        let seen = Observations::new(state.run.as_ref().map_or(idle_plan, |run| &run.plan));
        Rollout {
            state,
            seen,
            conditions: Conditions::default(),
            slots: PerSlot::new(known),
            reported: Vec::new(),
            reported_analysis: false,
            gate: Gate::Idle,
            eligible_since: now,
            split_context: SplitContext::default(),
            fired_elsewhere: Vec::new(),
            hold: None,
            withheld: None,
        }
    }

    /// The same in these surroundings.
    pub fn within(self, split_context: SplitContext) -> Rollout {
        Rollout { split_context, ..self }
    }

    /// What is to be kept.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What probes say of a slot.
    pub fn health(&self, slot: Slot) -> &Health {
        &self.known(slot).health
    }

    /// What a slot's backend speaks and offers, once known.
    pub fn surface(&self, slot: Slot) -> Option<&ServerSurface> {
        self.known(slot).surface.as_ref()
    }

    /// A configuration was loaded: these slots have a backend now.
    pub fn configure(&mut self, configured: &[Slot], split_context: SplitContext) {
        self.split_context = split_context;
        for slot in Slot::ALL {
            self.known_mut(slot).configured = configured.contains(&slot);
        }
    }

    /// Who gets which share now, whether newer protocol versions are fenced off, and the stage.
    pub fn route(&self) -> (Split, bool, Stage) {
        (self.split(), self.fenced(), self.state.position().stage)
    }

    /// Who gets which share now.
    pub fn split(&self) -> Split {
        let (stable, split) = (self.state.stable, self.planned());
        // Nothing could stand in for stable: nothing to choose.
        if self.state.run.is_none() && split.fallback(stable).is_none() {
            return split;
        }
        let sick = |slot| matches!(self.health(slot), Health::Unhealthy(_));
        let candidate = stable.other();
        let is_open = self.conditions.breaker_open().is_some() || self.withheld == Some(Withheld::Fails);
        let broken = self.state.run.is_some() && is_open;
        if self.state.run.is_some() && self.withheld == Some(Withheld::NotCaughtUp) {
            return split.eject(candidate);
        }
        if (sick(candidate) || broken) && !sick(stable) {
            split.eject(candidate)
        } else if sick(stable) && *self.health(candidate) == Health::Healthy && !broken {
            split.eject(stable)
        } else {
            split
        }
    }

    /// Who would get which share if both slots were healthy.
    pub(super) fn planned(&self) -> Split {
        let split = Split::all(self.state.stable);
        match self.state.run.as_ref().and_then(|run| Some((run, run.step()?))) {
            None if self.state.spare || self.stands_by() => split.with_standby(),
            None => split,
            Some((run, step)) => match step.stage {
                Stage::Stable | Stage::DualProtocol | Stage::Complete => split,
                Stage::Shadow => split.with_shadow(),
                Stage::Canary | Stage::Progressive | Stage::CandidateOnly | Stage::Bake => {
                    split.with_share(Share {
                        weight: step.weight,
                        salt: run.id.clone(),
                        candidate_clients: run.plan.candidate_clients.clone(),
                        stable_clients: run.plan.stable_clients.clone(),
                    })
                }
            },
        }
    }

    /// Whether newer protocol versions must be fenced off, so that every client survives the way back: as long as there
    /// is one, and it leads to a backend that is not known to speak them.
    pub fn fenced(&self) -> bool {
        let speaks = |slot: Slot| self.surface(slot).is_some_and(|surface| surface.modern);
        match &self.state.run {
            Some(_) => !speaks(self.state.stable),
            None => self.state.spare && !speaks(self.state.candidate()),
        }
    }

    /// Takes note of an event. The only way in which anything changes.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Option<Transition> {
        match event {
            Event::Command { command, who } => {
                self.check(&command, now).ok()?;
                return self.apply(command, who, now);
            }
            Event::Sample(sample) => {
                self.on_sample(&sample);
                return None;
            }
            Event::Health { slot, health, answered } => self.on_health(slot, health, answered, now),
            Event::Check { name, failure } => self.conditions.check(&name, failure.as_deref(), now),
            Event::Memory { slot, used, limit } => self.on_memory(slot, used, limit, now),
            Event::Surface { slot, surface } => self.on_surface(slot, surface, now),
            Event::Gate { step, compared } => {
                if let Some(stopped) = self.on_gate(step, compared, now) {
                    return Some(stopped);
                }
            }
            Event::Differs(differences) => return Some(self.note_differences(differences, now)),
            Event::Tick => {}
        }
        self.decide(now)
    }

    pub(super) fn known(&self, slot: Slot) -> &SlotKnown {
        &self.slots[slot]
    }

    pub(super) fn known_mut(&mut self, slot: Slot) -> &mut SlotKnown {
        &mut self.slots[slot]
    }
}
