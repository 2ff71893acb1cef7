//! What follows from what was seen: at most one thing at a time, the gravest first.

use super::Rollout;
use super::commands::Back;
use crate::rollout::analysis::{Conclusion, Finding, conclude};
use crate::rollout::armed::{Armed, armed};
use crate::rollout::comparison::Gate;
use crate::rollout::conditions::{Streak, again};
use crate::rollout::event::Health;
use crate::rollout::observations::Span;
use crate::rollout::plan::Advance;
use crate::rollout::plan::triggers::Action;
use crate::rollout::position::Position;
use crate::rollout::sample::{CallResult, Sample, SampleSource};
use crate::rollout::stage::Stage;
use crate::rollout::state::{ServerSurface, State};
use crate::rollout::timestamp::Timestamp;
use crate::rollout::transition::{Cause, Numbers, Transition, TransitionKind};
use crate::rollout::triggers::{self, Fired, Trigger};
use crate::upstream::Slot;

impl Rollout {
    pub(super) fn on_sample(&mut self, sample: &Sample) {
        let candidate = self.state.candidate();
        let run = self.state.run.as_ref().filter(|_| sample.slot == candidate);
        // A call that began before the rollout measures the backend that was there before it.
        if run.is_some_and(|run| sample.at < run.started || sample.at.since(run.started) < sample.latency) {
            return;
        }
        let tried = run.is_some();
        match self.state.run {
            Some(_) => self.seen.record(sample),
            None => self.seen.record_idle(sample),
        }
        if tried && sample.origin == SampleSource::Live {
            let unanswered = match sample.verdict {
                CallResult::Failed(failure) => failure.counts_for_breaker(),
                CallResult::Completed | CallResult::ToolError => false,
            };
            self.conditions.call(unanswered, sample.at);
        }
    }

    pub(super) fn on_health(&mut self, slot: Slot, health: Health, answered: bool, now: Timestamp) {
        if slot == self.state.candidate() && self.state.run.is_some() {
            match &health {
                Health::Unhealthy(why) => {
                    let words = format!("{} fails its health checks: {why}", slot.as_str());
                    again(&mut self.conditions.unhealthy, now, &words);
                }
                Health::Healthy => self.conditions.unhealthy = None,
                Health::Unknown => {}
            }
            if answered {
                self.conditions.probed_well();
            }
        }
        self.known_mut(slot).health = health;
    }

    pub(super) fn on_memory(&mut self, slot: Slot, used: u64, limit: u64, now: Timestamp) {
        let Some(run) = self.state.run.as_ref().filter(|_| limit > 0 && slot == self.state.candidate())
        else {
            return;
        };
        let (threshold, part) = (run.plan.triggers.memory.threshold, used as f64 / limit as f64);
        let mib = |bytes: u64| bytes / (1 << 20);
        let words = format!(
            "{} uses {:.1} % of its memory ({} of {} MiB), above {:.1} %",
            slot.as_str(),
            part * 100.0,
            mib(used),
            mib(limit),
            threshold * 100.0
        );
        self.conditions.memory(part, threshold, now, &words);
    }

    pub(super) fn on_surface(&mut self, slot: Slot, surface: ServerSurface, now: Timestamp) {
        let candidate = self.state.candidate();
        if let Some(run) = self.state.run.as_mut().filter(|_| slot == candidate) {
            match &run.pinned {
                Some(pinned) if *pinned != surface => {
                    let words = format!("{} {}", slot.as_str(), describe_change(pinned, &surface));
                    again(&mut self.conditions.changed, now, &words);
                }
                Some(_) => self.conditions.changed = None,
                None => run.pinned = Some(surface.clone()),
            }
        }
        self.known_mut(slot).surface = Some(surface);
    }

    /// Triggers first, then the step.
    pub(super) fn decide(&mut self, now: Timestamp) -> Option<Transition> {
        let candidate = self.state.candidate();
        self.update_stall(now);
        let run = self.state.run.as_ref()?;
        let mut fired = triggers::fired(&run.plan, &self.conditions, &mut self.seen, candidate, now);
        fired.extend(self.fired_elsewhere.iter().cloned());
        fired.sort_by_key(|fired| (fired.action, fired.trigger));
        self.reported.retain(|reported| fired.iter().any(|fired| fired.trigger == *reported));
        for fired in fired {
            if let Some(transition) = self.act_on(fired, now) {
                return Some(transition);
            }
        }
        self.advance(now)
    }

    /// How far each trigger is from firing; none outside a rollout.
    pub fn armed(&mut self, now: Timestamp) -> Vec<Armed> {
        let candidate = self.state.candidate();
        let Some(run) = self.state.run.as_ref() else { return Vec::new() };
        armed(&run.plan, &self.conditions, &mut self.seen, candidate, now)
    }

    /// What the present step has shown; none outside a rollout.
    pub fn conclusion(&mut self, now: Timestamp) -> Option<Conclusion> {
        let numbers = self.numbers(now)?;
        let run = self.state.run.as_ref()?;
        let step = run.step()?;
        Some(conclude(&run.plan.analysis, step, &numbers.candidate, &numbers.stable, &numbers.shadow))
    }

    /// Both slots' numbers since the step began; none outside a rollout.
    pub fn numbers(&mut self, now: Timestamp) -> Option<Numbers> {
        self.state.run.as_ref()?;
        let (stable, candidate) = (self.state.stable, self.state.candidate());
        Some(Numbers {
            candidate: self.seen.candidate(candidate, Span::Step, now),
            stable: self.seen.stable(stable, Span::Step, now),
            shadow: self.seen.shadow(),
        })
    }

    fn act_on(&mut self, fired: Fired, now: Timestamp) -> Option<Transition> {
        let (trigger, mut action) = (fired.trigger, fired.action);
        if action == Action::Rollback && trigger == Trigger::StageStalled && self.lacks_only_calls(now) {
            action = Action::Pause;
        }
        if action == Action::Rollback && self.way_back_is_worse() {
            action = Action::Pause;
        }
        if action != Action::Rollback && self.reported.contains(&trigger) {
            return None;
        }
        let cause = Cause::Trigger { fired };
        match action {
            Action::Rollback => Some(self.roll_back(Back::End, cause, now)),
            Action::Pause if !self.state.position().paused => {
                self.reported.push(trigger);
                Some(self.pause(cause, now))
            }
            Action::Pause | Action::Notify => {
                self.reported.push(trigger);
                Some(self.change(TransitionKind::Noted, cause, now, |_| ()))
            }
            Action::Off => None,
        }
    }

    /// Whether the step waits for nothing but calls: their lack says nothing against the candidate.
    fn lacks_only_calls(&mut self, now: Timestamp) -> bool {
        match self.conclusion(now) {
            Some(Conclusion::Inconclusive(findings)) => {
                findings.iter().all(|finding| matches!(finding, Finding::TooFewSamples { .. }))
            }
            Some(Conclusion::Pass | Conclusion::Fail(_)) | None => false,
        }
    }

    /// Going back by itself to a slot that is known to be down, from one that is up, would turn a fault into an outage.
    pub(super) fn way_back_is_worse(&self) -> bool {
        matches!(self.health(self.state.stable), Health::Unhealthy(_))
            && *self.health(self.state.candidate()) == Health::Healthy
    }

    fn advance(&mut self, now: Timestamp) -> Option<Transition> {
        let run = self.state.run.as_ref()?;
        let step = run.step()?;
        if run.paused.is_some() || now.since(run.since) < step.hold {
            return None;
        }
        let (manual, on_fail) = (step.advance == Advance::Manual, run.plan.analysis.on_fail);
        let conclusion = self.conclusion(now)?;
        match &conclusion {
            Conclusion::Inconclusive(_) => None,
            Conclusion::Pass if manual || *self.health(self.state.candidate()) != Health::Healthy => None,
            Conclusion::Pass if self.hold.is_some() => None,
            Conclusion::Pass if !self.may_leave_step(now) => None,
            Conclusion::Pass => {
                Some(self.next_step(TransitionKind::Advanced, Cause::Analysis { conclusion }, now))
            }
            Conclusion::Fail(_) => {
                let action = if self.way_back_is_worse() { on_fail.max(Action::Pause) } else { on_fail };
                let reported = std::mem::replace(&mut self.reported_analysis, true);
                let cause = Cause::Analysis { conclusion };
                match action {
                    Action::Rollback => Some(self.roll_back(Back::End, cause, now)),
                    Action::Pause if !reported => Some(self.pause(cause, now)),
                    Action::Notify if !reported => {
                        Some(self.change(TransitionKind::Noted, cause, now, |_| ()))
                    }
                    Action::Pause | Action::Notify | Action::Off => None,
                }
            }
        }
    }

    /// A step stalls when it could go on by itself and does not. Waiting for a person is not a stall.
    fn update_stall(&mut self, now: Timestamp) {
        self.conditions.stalled = None;
        let Some(run) = self.state.run.as_ref().filter(|run| run.paused.is_none()) else { return };
        let Some(step) = run.step().filter(|step| step.advance == Advance::Automatic) else { return };
        let over = (run.since + step.hold).max(self.eligible_since);
        if now < over {
            return;
        }
        let window = run.plan.triggers.stage_stalled.window;
        let stage = step.stage.as_str();
        // The words cost an analysis; they are needed once the time has come.
        let what = if now.since(over) < window {
            String::new()
        } else {
            let conclusion = self.conclusion(now).unwrap_or(Conclusion::Pass);
            let findings: Vec<String> = conclusion.findings().iter().map(ToString::to_string).collect();
            let empty = self.empty_share().map_or_else(String::new, |words| format!("; {words}"));
            format!("`{stage}` does not get on: {} {}{empty}", conclusion.as_str(), findings.join("; "))
        };
        self.conditions.stalled = Some(Streak { since: over, samples: 1, what });
    }

    pub(super) fn pause(&mut self, cause: Cause, now: Timestamp) -> Transition {
        self.change(TransitionKind::Paused, cause, now, |state| {
            if let Some(run) = &mut state.run {
                run.paused = Some(now);
            }
        })
    }

    /// To the next step of the plan; after the last one the roles swap.
    pub(super) fn next_step(&mut self, kind: TransitionKind, cause: Cause, now: Timestamp) -> Transition {
        let next = self.state.run.as_ref().map_or(0, |run| run.step + 1);
        let exists = self.state.run.as_ref().is_some_and(|run| run.plan.step(next).is_some());
        if exists {
            self.eligible_since = now;
            self.change(kind, cause, now, |state| {
                if let Some(run) = &mut state.run {
                    (run.step, run.since, run.paused) = (next, now, None);
                }
            })
        } else {
            self.change(TransitionKind::Completed, cause, now, |state| {
                state.stable = state.candidate();
                state.run = None;
                // The old backend is history: clients may use what only the new one speaks.
                (state.spare, state.retired) = (false, false);
            })
        }
    }

    /// To an earlier step, where the rollout waits; or out of the rollout.
    pub(super) fn roll_back(&mut self, back: Back, cause: Cause, now: Timestamp) -> Transition {
        self.change(TransitionKind::RolledBack, cause, now, |state| {
            let step = match (back, &mut state.run) {
                (Back::End, _) | (_, None) => {
                    state.run = None;
                    return;
                }
                (Back::Step(step), Some(_)) => step,
                (Back::Hold, Some(run)) => {
                    run.plan.begin_on_stable();
                    0
                }
            };
            if let Some(run) = &mut state.run {
                (run.step, run.since, run.paused) = (step, now, Some(now));
            }
        })
    }

    /// The only place that writes the state: every change of it is a transition.
    pub(super) fn change(
        &mut self,
        kind: TransitionKind,
        cause: Cause,
        now: Timestamp,
        edit: impl FnOnce(&mut State),
    ) -> Transition {
        let (from, rollout) = (self.state.position(), self.state.run.as_ref().map(|run| run.id.clone()));
        let slot = Some(self.state.candidate());
        let numbers = self.numbers(now);
        edit(&mut self.state);
        self.state.seq += 1;
        let to = self.state.position();
        if (from.step, from.stage) != (to.step, to.stage) {
            self.seen.begin_step();
            self.reported_analysis = false;
            self.gate = Gate::Idle;
        }
        let to =
            if kind == TransitionKind::Completed { Position { stage: Stage::Complete, ..to } } else { to };
        let rollout = rollout.or_else(|| self.state.run.as_ref().map(|run| run.id.clone()));
        Transition { seq: self.state.seq, at: now, rollout, slot, kind, from, to, cause, numbers }
    }
}

fn describe_change(pinned: &ServerSurface, now: &ServerSurface) -> String {
    if (pinned.modern, pinned.legacy) != (now.modern, now.legacy) {
        "speaks other protocol versions than at the start of the rollout".to_owned()
    } else if pinned.tools != now.tools {
        format!("lists {} tools, {} at the start of the rollout", now.tools, pinned.tools)
    } else {
        "lists tools that differ from those at the start of the rollout".to_owned()
    }
}
