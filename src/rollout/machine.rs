//! The state machine: one event in, at most one transition out.
//!
//! Events that observe update what is known; the clock tick (and any observation but a sample) may lead to a decision;
//! commands are obeyed or refused. Nothing here panics on an event that does not fit: it returns `None`.

use std::sync::Arc;

use super::conditions::Conditions;
use super::gate::{Compared, Difference, Gate};
use super::plan::Plan;
use super::sample::Sample;
use super::state::{ServerSurface, State};
use super::transition::Transition;
use super::triggers::Trigger;
use super::{Stage, Timestamp};
use crate::rollout::observations::Observations;
use crate::upstream::{PerSlot, Share, Slot, Split};

/// What an operator may ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begin a rollout of the slot that is not stable.
    Start {
        /// Names the rollout.
        id: String,
        /// What it follows.
        plan: Box<Plan>,
        /// Also if the candidate speaks less than stable does.
        force: bool,
    },
    /// Stay at this step.
    Pause,
    /// Go on.
    Resume,
    /// Go to the next step now.
    Promote {
        /// Also against the analysis.
        force: bool,
    },
    /// Go back: to stable, or to an earlier stage, where the rollout waits.
    Rollback {
        /// The earlier stage.
        to: Option<Stage>,
    },
    /// Make the other slot stable without a rollout.
    Switch {
        /// The slot to become stable.
        to: Slot,
        /// Also if it speaks less than stable does.
        force: bool,
    },
    /// Take the slot that is not stable out of service.
    Retire {
        /// That slot.
        slot: Slot,
    },
}

/// What the machine hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An operator's command.
    Command {
        /// What.
        command: Command,
        /// Who, as far as known.
        who: String,
    },
    /// A call ended. Never leads to a transition by itself; the next tick may.
    Sample(Sample),
    /// A probe of a slot ended; rise and fall are counted by the sender.
    Health {
        /// Which slot.
        slot: Slot,
        /// What the slot is now.
        health: Health,
        /// Whether this very probe was answered well.
        answered: bool,
    },
    /// A named check of the candidate ended; a failure has words.
    Check {
        /// Its name.
        name: String,
        /// Why it failed.
        failure: Option<String>,
    },
    /// A reading of a backend's memory.
    Memory {
        /// Which slot.
        slot: Slot,
        /// Bytes in use.
        used: u64,
        /// Bytes it may use.
        limit: u64,
    },
    /// What a backend speaks and offers.
    Surface {
        /// Which slot.
        slot: Slot,
        /// What it offers.
        surface: ServerSurface,
    },
    /// The comparison before the end of a step, counted from 0, has ended.
    Gate {
        /// The step.
        step: usize,
        /// What it came to.
        compared: Compared,
    },
    /// The comparison that an order waited for found differences; whether it is forced is a matter of the command.
    Differs(Vec<Difference>),
    /// Time has passed.
    Tick,
}

/// What probes say of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not probed often enough yet.
    Unknown,
    /// Answers as it should.
    Healthy,
    /// Does not; the latest probe's answer.
    Unhealthy(String),
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// One at a time.
    #[error(
        "rollout `{0}` is under way; finish it with `rollout promote`, or end it with `rollout rollback`"
    )]
    UnderWay(String),
    /// There is none.
    #[error("nothing is in rollout: {} serves all traffic", .0.as_str())]
    NothingInRollout(Slot),
    /// No backend there.
    #[error("{} is not configured (hint: add [slots.{}])", .0.as_str(), .0.as_str())]
    NotConfigured(Slot),
    /// Traffic for a backend that does not answer.
    #[error("{} is not healthy: {why}", slot.as_str())]
    Unhealthy {
        /// Which slot.
        slot: Slot,
        /// The latest probe's answer.
        why: String,
    },
    /// It is there already.
    #[error("{} is stable already", .0.as_str())]
    AlreadyStable(Slot),
    /// Waits already.
    #[error("the rollout is paused already")]
    AlreadyPaused,
    /// Does not wait.
    #[error("the rollout is not paused")]
    NotPaused,
    /// Forward is not back.
    #[error("cannot roll back to `{}`: the rollout is at `{}`", to.as_str(), at.as_str())]
    NotBack {
        /// The stage asked for.
        to: Stage,
        /// The stage it is at.
        at: Stage,
    },
    /// Moving on against the evidence.
    #[error("the analysis of this step fails: {0} (add --force to promote all the same)")]
    AnalysisFails(String),
    /// Clients that have negotiated more would break.
    #[error(
        "{} does not speak protocol 2026-07-28, {} does: clients that use it would break (add --force to go on)",
        slot.as_str(), slot.other().as_str()
    )]
    SpeaksLess {
        /// The slot that would receive them.
        slot: Slot,
    },
    /// Every call would be refused.
    #[error("{} lists no tools (add --force to switch all the same)", .0.as_str())]
    ListsNothing(Slot),
    /// Stable cannot be taken out of service.
    #[error("{} is stable and serves; switch to the other slot first", .0.as_str())]
    Serves(Slot),
}

/// The rollout: state that is kept, and what has been seen since the process started.
#[derive(Debug)]
pub struct Rollout {
    pub(super) state: State,
    pub(super) seen: Observations,
    pub(super) conditions: Conditions,
    pub(super) slots: PerSlot<SlotKnown>,
    /// Triggers that have been told and have not ceased since: paused and noted once, not at every tick.
    pub(super) told: Vec<Trigger>,
    /// Whether this step's failed analysis has been told.
    pub(super) told_analysis: bool,
    /// What is known of the gate before the next step.
    pub(super) gate: Gate,
    /// Since when the machine could have moved on: its start, or the latest resume.
    pub(super) awake: Timestamp,
    pub(super) split_context: SplitContext,
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
            told: Vec::new(),
            told_analysis: false,
            gate: Gate::Far,
            awake: now,
            split_context: SplitContext::default(),
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

    /// Who gets which share now.
    pub fn split(&self) -> Split {
        let (stable, split) = (self.state.stable, self.planned());
        // Nothing could stand in for stable: nothing to choose.
        if self.state.run.is_none() && split.fallback(stable).is_none() {
            return split;
        }
        let sick = |slot| matches!(self.health(slot), Health::Unhealthy(_));
        let candidate = stable.other();
        let broken = self.state.run.is_some() && self.conditions.breaker_open().is_some();
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
                return self.obey(command, who, now);
            }
            Event::Sample(sample) => {
                self.see_sample(&sample);
                return None;
            }
            Event::Health { slot, health, answered } => self.see_health(slot, health, answered, now),
            Event::Check { name, failure } => self.conditions.check(&name, failure.as_deref(), now),
            Event::Memory { slot, used, limit } => self.see_memory(slot, used, limit, now),
            Event::Surface { slot, surface } => self.see_surface(slot, surface, now),
            Event::Gate { step, compared } => {
                if let Some(stopped) = self.see_gate(step, compared, now) {
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
