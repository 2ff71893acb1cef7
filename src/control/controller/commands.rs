//! Orders of an operator's: refused, carried out at once, or after a fresh look at their target.
//!
//! The look, and the comparison that may follow it, go on beside everything else; what has changed meanwhile is judged again.

use std::collections::HashSet;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Controller, Reply};
use crate::control::commands::{CommandResult, RolloutCommand};
use crate::control::parity_check;
use crate::control::parity_check::{Comparison, describe, describe_refusal};
use crate::control::persistence::{Persistence, answer};
use crate::control::probe::Prober;
use crate::parity::render::safe;
use crate::rollout::state::ServerSurface;
use crate::rollout::{Command, Compared, Event};
use crate::upstream::{Backend, Secrets, Slot};
/// Names of lacking tools that are told one by one.
const LACKING_TOLD_MAX: usize = 10;

/// An order on its way.
pub(super) struct PendingCommand {
    pub(super) order: RolloutCommand,
    pub(super) who: String,
    pub(super) reply: Reply,
    pub(super) notes: Vec<String>,
}

/// What a fresh look at the target of an order showed: why it does not answer, which nobody can force; else the
/// comparison, where one is asked for.
pub(super) struct PreflightResult {
    pub(super) at: Slot,
    pub(super) pending: PendingCommand,
    pub(super) verdict: Result<(ServerSurface, Option<Comparison>), String>,
    /// The names of its tools.
    pub(super) names: Vec<String>,
}

impl Controller {
    /// An order that sends more traffic to a slot waits for a fresh look at it: the last probe may be seconds old. The look
    /// goes on beside everything else; any other order is carried out at once.
    pub(super) fn take(
        &mut self,
        pending: PendingCommand,
        reader: &Handle,
        looked: &mpsc::Sender<PreflightResult>,
    ) {
        let (command, starts) =
            (self.command(&pending.order), matches!(pending.order, RolloutCommand::Start { .. }));
        let allowed = self.may_order().and_then(|()| {
            let starting = self.comparing && starts;
            if starting {
                Err("a start that was ordered before is being prepared".to_owned())
            } else {
                Ok(())
            }
        });
        let allowed = allowed.and_then(|()| self.check(&command));
        let to = match &pending.order {
            RolloutCommand::Switch { to, .. } => *to,
            RolloutCommand::Start { .. } | RolloutCommand::Promote { .. } => self.rollout.state().candidate(),
            RolloutCommand::Pause
            | RolloutCommand::Resume
            | RolloutCommand::Rollback { .. }
            | RolloutCommand::Drain { .. } => {
                return self.carry_out(pending);
            }
        };
        let target = allowed.and_then(|()| {
            self.settings.backend(to).cloned().ok_or_else(|| format!("{} is not configured", to.as_str()))
        });
        let target = match target {
            Ok(target) => target,
            Err(why) => return drop(pending.reply.send(Err(why))),
        };
        self.comparing |= starts;
        let gated = match &pending.order {
            RolloutCommand::Start { .. } => self.settings.rollout.plan.parity_gate,
            RolloutCommand::Promote { .. } => self.rollout.is_gated(),
            RolloutCommand::Pause
            | RolloutCommand::Resume
            | RolloutCommand::Rollback { .. }
            | RolloutCommand::Switch { .. }
            | RolloutCommand::Drain { .. } => false,
        };
        let stable = self.settings.backend(self.rollout.state().stable).filter(|_| gated).cloned();
        let (timeout, looked) = (self.settings.health.timeout, looked.clone());
        let mut accepted = if starts { Vec::new() } else { self.accepted.clone() };
        accepted.extend_from_slice(pending.order.accept());
        let secrets = self.settings.secrets.clone();
        reader.spawn(async move {
            let looking = look(to, &target, timeout, &secrets).await;
            let names = looking.as_ref().map(|(_, names)| names.clone()).unwrap_or_default();
            let verdict = match (looking, stable) {
                (Err(why), _) => Err(why),
                (Ok((surface, _)), None) => Ok((surface, None)),
                (Ok((surface, _)), Some(stable)) => {
                    Ok((surface, Some(parity_check::compare(&stable, &target, &secrets, accepted).await)))
                }
            };
            let _ = looked.send(PreflightResult { at: to, pending, verdict, names }).await;
        });
    }

    /// The look that an order waited for has ended.
    pub(super) fn looked(&mut self, looked: PreflightResult) {
        let PreflightResult { at, mut pending, verdict, names } = looked;
        let (starts, forced) = match pending.order {
            RolloutCommand::Start { force, .. } => (true, force),
            RolloutCommand::Promote { force, .. } => (false, force),
            RolloutCommand::Pause
            | RolloutCommand::Resume
            | RolloutCommand::Rollback { .. }
            | RolloutCommand::Switch { .. }
            | RolloutCommand::Drain { .. } => (false, false),
        };
        self.comparing &= !starts;
        let (surface, outcome) = match verdict {
            Ok(seen) => seen,
            Err(why) => return drop(pending.reply.send(Err(why))),
        };
        if surface.tools == 0 && !matches!(pending.order, RolloutCommand::Switch { .. }) {
            let why = format!("{} is not healthy: it lists no tools", at.as_str());
            return drop(pending.reply.send(Err(why)));
        }
        if matches!(pending.order, RolloutCommand::Switch { .. }) {
            pending.notes.extend(self.lacks(at, &names));
        }
        // What a rollout starts with is what was seen just now, not what a probe saw seconds ago.
        self.handle(Event::Surface { slot: at, surface });
        if let Some(Comparison { compared, notes }) = outcome {
            if let Compared::Breaks(differences) = &compared {
                self.handle(Event::Differs(differences.clone()));
            }
            match (compared, forced) {
                (Compared::Holds, _) => pending.notes.extend(notes),
                (compared, true) => pending.notes.push(describe(&compared, &notes)),
                (compared, false) => {
                    return drop(pending.reply.send(Err(describe_refusal(&compared, &notes))));
                }
            }
        }
        self.carry_out(pending);
    }

    fn carry_out(&mut self, pending: PendingCommand) {
        let PendingCommand { order, who, reply, mut notes } = pending;
        let command = self.command(&order);
        if let Err(why) = self.may_order().and_then(|()| self.check(&command)) {
            return drop(reply.send(Err(why)));
        }
        self.accepted.extend_from_slice(order.accept());
        match self.handle(Event::Command { command, who }) {
            Some(transition) => {
                notes.extend(self.warnings());
                notes.extend(self.rollout.empty_share());
                answer(CommandResult { transition, notes }, self.progress(), reply);
            }
            None => drop(reply.send(Err("the order does not fit any more; see `rollout status`".to_owned()))),
        }
    }

    /// How many rollouts there have been: the number of the latest one.
    fn rollouts(&self) -> u64 {
        let number = |id: &str| id.strip_prefix('r')?.parse::<u64>().ok();
        let known = self.history.iter().filter_map(|transition| number(transition.rollout.as_deref()?));
        known.max().unwrap_or_default()
    }

    /// The tools that the serving slot lists and the target of a switch does not, as a sentence.
    fn lacks(&self, target: Slot, names: &[String]) -> Option<String> {
        let serves = self.rollout.state().stable;
        let listed = self.names[usize::from(serves == Slot::Green)].as_ref()?;
        let has: HashSet<&String> = names.iter().collect();
        let missing: Vec<&str> =
            listed.iter().filter(|name| !has.contains(name)).map(String::as_str).collect();
        let describe: Vec<String> = missing.iter().take(LACKING_TOLD_MAX).map(|name| safe(name)).collect();
        let more = missing.len().saturating_sub(describe.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!missing.is_empty()).then(|| {
            format!(
                "{} lacks {} of the {} tools that {} lists: {}{more}",
                target.as_str(),
                missing.len(),
                listed.len(),
                serves.as_str(),
                describe.join(", ")
            )
        })
    }

    fn check(&mut self, command: &Command) -> Result<(), String> {
        self.rollout.check(command, self.clock.now()).map_err(|refusal| refusal.to_string())
    }

    pub(super) fn may_order(&self) -> Result<(), String> {
        match &self.persistence {
            Persistence::ForeignOwner => {
                Err("another guard still owns the rollout's state (is one being replaced?)".to_owned())
            }
            Persistence::Opened(_) | Persistence::Active(_) | Persistence::Unavailable(_) => Ok(()),
        }
    }

    fn command(&self, order: &RolloutCommand) -> Command {
        match *order {
            RolloutCommand::Start { force, .. } => {
                let id = format!("r{}", self.rollouts() + 1);
                Command::Start { id, plan: Box::new(self.settings.rollout.plan.clone()), force }
            }
            RolloutCommand::Pause => Command::Pause,
            RolloutCommand::Resume => Command::Resume,
            RolloutCommand::Promote { force, .. } => Command::Promote { force },
            RolloutCommand::Rollback { to } => Command::Rollback { to },
            RolloutCommand::Switch { to, force } => Command::Switch { to, force },
            RolloutCommand::Drain { slot } => Command::Retire { slot },
        }
    }
}

/// Whether a backend answers right now.
async fn look(
    slot: Slot,
    backend: &Backend,
    timeout: Duration,
    secrets: &Secrets,
) -> Result<(ServerSurface, Vec<String>), String> {
    let mut prober = Prober::new(backend, timeout, secrets);
    let (found, done) = prober.probe().await;
    let names = done.names().unwrap_or_default();
    done.close().await;
    found.map(|surface| (surface, names)).map_err(|why| format!("{} is not healthy: {why}", slot.as_str()))
}
