//! Commands of operators: refused, carried out at once, or carried out after a preflight of their target.
//!
//! A preflight runs beside everything else; afterwards the command is checked again, because the state may have changed.

use std::collections::HashSet;

use super::Controller;
use super::preflight::{Findings, Preflight, PreflightResult};
use crate::control::commands::{CommandResult, PendingCommand, RolloutCommand};
use crate::control::parity_check::{Comparison, describe, describe_refusal};
use crate::control::persistence::{Persistence, reply_when_saved};
use crate::parity::render::safe;
use crate::rollout::{Command, Compared, Event, Health};
use crate::upstream::Slot;

/// Names of missing tools that a note lists.
const MISSING_LISTED_MAX: usize = 10;

const NO_LONGER_FITS: &str = "the order does not fit any more; see `rollout status`";

impl Controller {
    /// A command that sends more traffic to a slot waits for a preflight, because the last probe may be seconds old. Any
    /// other command is carried out at once.
    pub(super) fn on_command(&mut self, pending: PendingCommand) {
        if self.seat.is_some() && pending.order.is_none() {
            return self.order_in_fleet(pending);
        }
        let Some(slot) = self.preflight_target(&pending.command) else { return self.apply(pending) };
        let Some(pending) = self.put_off(pending) else { return };
        match self.preflight(slot, &pending.command) {
            Err(why) => pending.refuse(why),
            Ok(preflight) => {
                self.preparing_start |= matches!(pending.command, RolloutCommand::Start { .. });
                let results = self.preflights.0.clone();
                self.reader.spawn(async move { results.send(preflight.run(pending).await).await });
            }
        }
    }

    /// The slot that a command sends more traffic to.
    fn preflight_target(&self, command: &RolloutCommand) -> Option<Slot> {
        match command {
            RolloutCommand::Switch { to, .. } => Some(*to),
            RolloutCommand::Start { .. } | RolloutCommand::Promote { .. } => {
                Some(self.rollout.state().candidate())
            }
            RolloutCommand::Pause
            | RolloutCommand::Resume
            | RolloutCommand::Rollback { .. }
            | RolloutCommand::Retire { .. } => None,
        }
    }

    fn preflight(&mut self, slot: Slot, command: &RolloutCommand) -> Result<Preflight, String> {
        let starts = matches!(command, RolloutCommand::Start { .. });
        self.check_ownership()?;
        if self.preparing_start && starts {
            return Err("a start that was ordered before is being prepared".to_owned());
        }
        self.check(&self.rollout_command(command), Some(slot))?;
        let target = self.settings.backend(slot).cloned();
        let gated = match command {
            RolloutCommand::Start { .. } => self.settings.rollout.plan.parity_gate,
            RolloutCommand::Promote { .. } => self.rollout.is_gated(),
            RolloutCommand::Pause
            | RolloutCommand::Resume
            | RolloutCommand::Rollback { .. }
            | RolloutCommand::Switch { .. }
            | RolloutCommand::Retire { .. } => false,
        };
        let mut accepted = if starts { Vec::new() } else { self.accepted.clone() };
        accepted.extend_from_slice(command.accept());
        Ok(Preflight {
            slot,
            target: target.ok_or_else(|| format!("{} is not configured", slot.as_str()))?,
            stable: self.settings.backend(self.rollout.state().stable).filter(|_| gated).cloned(),
            timeout: self.settings.health.timeout,
            secrets: self.settings.secrets.clone(),
            accepted,
        })
    }

    /// The preflight of a command has ended.
    pub(super) fn on_preflight(&mut self, result: PreflightResult) {
        let PreflightResult { slot, mut pending, found } = result;
        if found.is_ok() && *self.rollout.health(slot) == Health::Healthy {
            self.probes.restart_after_success(slot, &self.settings);
        }
        let (switches, forced) = match pending.command {
            RolloutCommand::Start { force, .. } => {
                self.preparing_start = false;
                (false, force)
            }
            RolloutCommand::Promote { force, .. } => (false, force),
            RolloutCommand::Switch { .. } => (true, false),
            RolloutCommand::Pause
            | RolloutCommand::Resume
            | RolloutCommand::Rollback { .. }
            | RolloutCommand::Retire { .. } => (false, false),
        };
        let Findings { surface, names, comparison } = match found {
            Ok(found) => found,
            Err(why) => return pending.refuse(why),
        };
        if switches {
            pending.notes.extend(self.missing_tools(slot, &names));
        } else if surface.tools == 0 {
            return pending.refuse(format!("{} is not healthy: it lists no tools", slot.as_str()));
        }
        // The rollout starts from this fresh result, not from a probe that is seconds old.
        self.handle(Event::Surface { slot, surface });
        if let Some(Comparison { compared, notes }) = comparison {
            // In a fleet that would be a decision of its own, before this one; the differences are in the notes of the order.
            if let (Compared::Breaks(differences), None) = (&compared, &pending.order) {
                self.handle(Event::Differs(differences.clone()));
            }
            match (compared, forced) {
                (Compared::Holds, _) => pending.notes.extend(notes),
                (compared, true) => pending.notes.push(describe(&compared, &notes)),
                (compared, false) => return pending.refuse(describe_refusal(&compared, &notes)),
            }
        }
        self.apply(pending);
    }

    /// Carries a command out, or refuses it.
    fn apply(&mut self, pending: PendingCommand) {
        let Some(pending) = self.put_off(pending) else { return };
        let command = self.rollout_command(&pending.command);
        let slot = self.preflight_target(&pending.command);
        if let Err(why) = self.check_ownership().and_then(|()| self.check(&command, slot)) {
            return pending.refuse(why);
        }
        let PendingCommand { command: ordered, who, reply, mut notes, order } = pending;
        self.accepted.extend_from_slice(ordered.accept());
        if let Some(order) = order {
            // The result goes to the guard that took the order, with the state that carries it out.
            self.carries_out(order, notes);
            if self.handle(Event::Command { command, who }).is_none() {
                self.carries_out_nothing();
                let _ = reply.send(Err(NO_LONGER_FITS.to_owned()));
            }
            return;
        }
        match self.handle(Event::Command { command, who }) {
            Some(transition) => {
                notes.extend(self.warnings());
                notes.extend(self.rollout.empty_share());
                reply_when_saved(CommandResult { transition, notes }, self.progress(), reply);
            }
            None => drop(reply.send(Err(NO_LONGER_FITS.to_owned()))),
        }
    }

    /// The number of the latest rollout.
    fn rollouts(&self) -> u64 {
        let number = |id: &str| id.strip_prefix('r')?.parse::<u64>().ok();
        let known = self.history.iter().filter_map(|transition| number(transition.rollout.as_deref()?));
        known.max().unwrap_or_default()
    }

    /// The tools that stable lists and the target of a switch does not, as a sentence.
    fn missing_tools(&self, target: Slot, names: &[String]) -> Option<String> {
        let stable = self.rollout.state().stable;
        let listed = self.tool_names[stable].as_ref()?;
        let has: HashSet<&String> = names.iter().collect();
        let missing: Vec<&str> =
            listed.iter().filter(|name| !has.contains(name)).map(String::as_str).collect();
        let shown: Vec<String> = missing.iter().take(MISSING_LISTED_MAX).map(|name| safe(name)).collect();
        let more = missing.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!missing.is_empty()).then(|| {
            format!(
                "{} lacks {} of the {} tools that {} lists: {}{more}",
                target.as_str(),
                missing.len(),
                listed.len(),
                stable.as_str(),
                shown.join(", ")
            )
        })
    }

    fn check(&mut self, command: &Command, slot: Option<Slot>) -> Result<(), String> {
        self.rollout.check(command, self.clock.now()).map_err(|refusal| refusal.to_string())?;
        self.fleet_refuses(command, slot).map_or(Ok(()), Err)
    }

    pub(super) fn check_ownership(&self) -> Result<(), String> {
        match &self.persistence {
            Persistence::ForeignOwner => {
                Err("another guard still owns the rollout's state (is one being replaced?)".to_owned())
            }
            Persistence::Active(_) | Persistence::Unavailable(_) => Ok(()),
        }
    }

    /// The command as the rollout takes it: a start gets its number and its plan.
    pub(super) fn rollout_command(&self, command: &RolloutCommand) -> Command {
        match *command {
            RolloutCommand::Start { force, .. } => {
                let id = format!("r{}", self.rollouts() + 1);
                Command::Start { id, plan: Box::new(self.settings.rollout.plan.clone()), force }
            }
            RolloutCommand::Pause => Command::Pause,
            RolloutCommand::Resume => Command::Resume,
            RolloutCommand::Promote { force, .. } => Command::Promote { force },
            RolloutCommand::Rollback { to } => Command::Rollback { to },
            RolloutCommand::Switch { to, force } => Command::Switch { to, force },
            RolloutCommand::Retire { slot } => Command::Retire { slot },
        }
    }
}
