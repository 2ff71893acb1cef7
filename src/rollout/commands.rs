//! What operators ask for: refused with a reason, or obeyed at once.

use super::analysis::Conclusion;
use super::conditions::Conditions;
use super::gate::Gate;
use super::machine::{Command, Health, Refusal, Rollout};
use super::plan::Plan;
use super::state::Run;
use super::transition::{Cause, Kind, Transition};
use super::{Moment, Stage};
use crate::upstream::Slot;

impl Rollout {
    /// Whether a command would be obeyed, and why not. A refused command changes nothing.
    pub fn check(&mut self, command: &Command, now: Moment) -> Result<(), Refusal> {
        let (stable, candidate) = (self.state.stable, self.state.candidate());
        match command {
            Command::Start { force, .. } => {
                self.check_idle()?;
                self.check_serves(candidate)?;
                self.check_speaks(candidate, *force)
            }
            Command::Switch { to, force } => {
                self.check_idle()?;
                if *to == stable {
                    return Err(Refusal::AlreadyStable(*to));
                }
                self.check_serves(*to)?;
                self.check_speaks(*to, *force)
            }
            Command::Retire { slot } => {
                self.check_idle()?;
                if *slot == stable { Err(Refusal::Serves(*slot)) } else { Ok(()) }
            }
            Command::Pause => {
                if self.run()?.paused.is_some() {
                    Err(Refusal::AlreadyPaused)
                } else {
                    Ok(())
                }
            }
            Command::Resume => {
                if self.run()?.paused.is_none() {
                    Err(Refusal::NotPaused)
                } else {
                    Ok(())
                }
            }
            Command::Promote { force } => {
                self.run()?;
                self.check_serves(candidate)?;
                match self.conclusion(now) {
                    Some(Conclusion::Fail(findings)) if !force => {
                        let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
                        Err(Refusal::AnalysisFails(words.join("; ")))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Command::Rollback { to } => self.rollback_step(*to).map(|_| ()),
        }
    }

    pub(super) fn obey(&mut self, command: Command, who: String, now: Moment) -> Option<Transition> {
        let cause = Cause::Operator { who };
        match command {
            Command::Start { id, plan, .. } => Some(self.start(id, *plan, cause, now)),
            Command::Switch { to, .. } => Some(self.change(Kind::Switched, cause, now, |state| {
                state.stable = to;
                state.spare = true;
            })),
            Command::Retire { .. } => {
                Some(self.change(Kind::Retired, cause, now, |state| state.spare = false))
            }
            Command::Pause => Some(self.pause(cause, now)),
            Command::Resume => {
                self.awake = now;
                self.gate = Gate::Far;
                Some(self.change(Kind::Resumed, cause, now, |state| {
                    if let Some(run) = &mut state.run {
                        run.paused = None;
                    }
                }))
            }
            Command::Promote { .. } => Some(self.next_step(Kind::Promoted, cause, now)),
            Command::Rollback { to } => {
                let step = self.rollback_step(to).ok()?;
                Some(self.roll_back(step, cause, now))
            }
        }
    }

    fn start(&mut self, id: String, plan: Plan, cause: Cause, now: Moment) -> Transition {
        let pinned = self.surface(self.state.candidate()).cloned();
        self.seen.replan(&plan);
        self.conditions = Conditions::default();
        self.told.clear();
        self.awake = now;
        let run = Run { id, plan, step: 0, started: now, since: now, paused: None, pinned };
        self.change(Kind::Started, cause, now, |state| {
            state.run = Some(run);
            state.spare = false;
        })
    }

    /// The step that a rollback to this stage leads to; none is the end of the rollout.
    fn rollback_step(&self, to: Option<Stage>) -> Result<Option<usize>, Refusal> {
        let run = self.run()?;
        let at = self.state.position().stage;
        match to {
            None | Some(Stage::Stable) => Ok(None),
            // Also where the plan has no such step: before its first one, both are up and all traffic is on stable.
            Some(to) if to >= at => Err(Refusal::NotBack { to, at }),
            Some(to) => run.plan.first_of(to).map(Some).ok_or(Refusal::NoSuchStage(to)),
        }
    }

    fn run(&self) -> Result<&Run, Refusal> {
        self.state.run.as_ref().ok_or(Refusal::NothingInRollout(self.state.stable))
    }

    fn check_idle(&self) -> Result<(), Refusal> {
        match &self.state.run {
            Some(run) => Err(Refusal::UnderWay(run.id.clone())),
            None => Ok(()),
        }
    }

    fn check_serves(&self, slot: Slot) -> Result<(), Refusal> {
        if !self.known(slot).configured {
            return Err(Refusal::NotConfigured(slot));
        }
        match self.health(slot) {
            Health::Healthy => Ok(()),
            Health::Unhealthy(why) => Err(Refusal::Unhealthy { slot, why: why.clone() }),
            Health::Unknown => {
                Err(Refusal::Unhealthy { slot, why: "not probed often enough yet".to_owned() })
            }
        }
    }

    /// A slot that speaks less than stable would break clients that have negotiated more.
    fn check_speaks(&self, slot: Slot, force: bool) -> Result<(), Refusal> {
        let modern = |slot| self.surface(slot).is_some_and(|surface| surface.modern);
        // Behind the fence nobody has negotiated more.
        if force || self.fenced() || modern(slot) || !modern(slot.other()) {
            Ok(())
        } else {
            Err(Refusal::SpeaksLess { slot })
        }
    }
}
