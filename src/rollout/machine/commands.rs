//! The operator's commands: each is refused with a reason, or takes effect at once.

use super::Rollout;
use crate::rollout::analysis::Conclusion;
use crate::rollout::comparison::Gate;
use crate::rollout::conditions::Conditions;
use crate::rollout::event::{Command, Health, Refusal};
use crate::rollout::plan::Plan;
use crate::rollout::stage::Stage;
use crate::rollout::state::Run;
use crate::rollout::timestamp::Timestamp;
use crate::rollout::transition::{Cause, Transition, TransitionKind};
use crate::upstream::Slot;

/// Where a rollback leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// Out of the rollout.
    End,
    /// To this step of the plan.
    Step(usize),
    /// To before the plan's first step: both slots are up, all traffic is on stable.
    Hold,
}

impl Rollout {
    /// Whether a command would be obeyed, and why not. A refused command changes nothing.
    pub fn check(&mut self, command: &Command, now: Timestamp) -> Result<(), Refusal> {
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
                self.check_lists(*to, *force)?;
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

    pub(super) fn apply(&mut self, command: Command, who: String, now: Timestamp) -> Option<Transition> {
        let cause = Cause::Operator { who };
        match command {
            Command::Start { id, plan, .. } => Some(self.start(id, *plan, cause, now)),
            Command::Switch { to, .. } => Some(self.change(TransitionKind::Switched, cause, now, |state| {
                state.stable = to;
                (state.spare, state.retired) = (true, false);
            })),
            Command::Retire { .. } => Some(self.change(TransitionKind::Retired, cause, now, |state| {
                (state.spare, state.retired) = (false, true);
            })),
            Command::Pause => Some(self.pause(cause, now)),
            Command::Resume => {
                self.eligible_since = now;
                self.gate = Gate::Idle;
                Some(self.change(TransitionKind::Resumed, cause, now, |state| {
                    if let Some(run) = &mut state.run {
                        run.paused = None;
                    }
                }))
            }
            Command::Promote { .. } => Some(self.next_step(TransitionKind::Promoted, cause, now)),
            Command::Rollback { to } => {
                let back = self.rollback_step(to).ok()?;
                Some(self.roll_back(back, cause, now))
            }
        }
    }

    fn start(&mut self, id: String, plan: Plan, cause: Cause, now: Timestamp) -> Transition {
        let pinned = self.surface(self.state.candidate()).cloned();
        self.seen.replan(&plan);
        self.conditions = Conditions::default();
        self.reported.clear();
        self.eligible_since = now;
        let run = Run { id, plan, step: 0, started: now, since: now, paused: None, pinned };
        self.change(TransitionKind::Started, cause, now, |state| {
            state.run = Some(run);
            (state.spare, state.retired) = (false, false);
        })
    }

    /// Where a rollback to this stage leads.
    fn rollback_step(&self, to: Option<Stage>) -> Result<Back, Refusal> {
        let run = self.run()?;
        let at = self.state.position().stage;
        match to {
            None | Some(Stage::Stable) => Ok(Back::End),
            Some(to) if to >= at => Err(Refusal::NotBack { to, at }),
            // A plan that lacks the stage must not keep traffic on the candidate: then it is what comes before.
            Some(to) => {
                let before = || run.plan.steps().iter().rposition(|step| step.stage < to);
                Ok(run.plan.first_of(to).or_else(before).map_or(Back::Hold, Back::Step))
            }
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

    /// A slot that lists no tools is not healthy, but an operator may have a reason.
    fn check_lists(&self, slot: Slot, force: bool) -> Result<(), Refusal> {
        match self.surface(slot) {
            Some(surface) if surface.tools == 0 && self.known(slot).configured => {
                if force {
                    Ok(())
                } else {
                    Err(Refusal::ListsNothing(slot))
                }
            }
            Some(_) | None => self.check_serves(slot),
        }
    }

    /// A slot that speaks less than stable would break clients that have negotiated more.
    fn check_speaks(&self, slot: Slot, force: bool) -> Result<(), Refusal> {
        let modern = |slot| self.surface(slot).is_some_and(|surface| surface.modern);
        // Behind the fence no client has negotiated more.
        if force || self.fenced() || modern(slot) || !modern(slot.other()) {
            Ok(())
        } else {
            Err(Refusal::SpeaksLess { slot })
        }
    }
}
