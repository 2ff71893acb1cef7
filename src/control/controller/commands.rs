//! Orders of an operator's: refused, carried out at once, or after a fresh look at their target.
//!
//! The look, and the comparison that may follow it, go on beside everything else; what has changed meanwhile is judged again.

use std::collections::HashSet;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Reply, Task};
use crate::control::commands::{Done, Order};
use crate::control::parity_check;
use crate::control::parity_check::{Outcome, refused, told};
use crate::control::persistence::{Keeping, answer};
use crate::control::probe::Prober;
use crate::parity::render::safe;
use crate::rollout::state::Surface;
use crate::rollout::{Command, Compared, Event};
use crate::upstream::{Backend, Secrets, Slot};
/// Names of lacking tools that are told one by one.
const LACKING_TOLD_MAX: usize = 10;

/// An order on its way.
pub(super) struct Pending {
    pub(super) order: Order,
    pub(super) who: String,
    pub(super) reply: Reply,
    pub(super) notes: Vec<String>,
}

/// What a fresh look at the target of an order showed: why it does not answer, which nobody can force; else the
/// comparison, where one is asked for.
pub(super) struct Looked {
    pub(super) at: Slot,
    pub(super) pending: Pending,
    pub(super) verdict: Result<(Surface, Option<Outcome>), String>,
    /// The names of its tools.
    pub(super) names: Vec<String>,
}

impl Task {
    /// An order that sends more traffic to a slot waits for a fresh look at it: the last probe may be seconds old. The look
    /// goes on beside everything else; any other order is carried out at once.
    pub(super) fn take(&mut self, pending: Pending, reader: &Handle, looked: &mpsc::Sender<Looked>) {
        let (command, starts) = (self.command(&pending.order), matches!(pending.order, Order::Start { .. }));
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
            Order::Switch { to, .. } => *to,
            Order::Start { .. } | Order::Promote { .. } => self.rollout.state().candidate(),
            Order::Pause | Order::Resume | Order::Rollback { .. } | Order::Drain { .. } => {
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
            Order::Start { .. } => self.settings.rollout.plan.parity_gate,
            Order::Promote { .. } => self.rollout.is_gated(),
            Order::Pause
            | Order::Resume
            | Order::Rollback { .. }
            | Order::Switch { .. }
            | Order::Drain { .. } => false,
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
            let _ = looked.send(Looked { at: to, pending, verdict, names }).await;
        });
    }

    /// The look that an order waited for has ended.
    pub(super) fn looked(&mut self, looked: Looked) {
        let Looked { at, mut pending, verdict, names } = looked;
        let (starts, forced) = match pending.order {
            Order::Start { force, .. } => (true, force),
            Order::Promote { force, .. } => (false, force),
            Order::Pause
            | Order::Resume
            | Order::Rollback { .. }
            | Order::Switch { .. }
            | Order::Drain { .. } => (false, false),
        };
        self.comparing &= !starts;
        let (surface, outcome) = match verdict {
            Ok(seen) => seen,
            Err(why) => return drop(pending.reply.send(Err(why))),
        };
        if surface.tools == 0 && !matches!(pending.order, Order::Switch { .. }) {
            let why = format!("{} is not healthy: it lists no tools", at.as_str());
            return drop(pending.reply.send(Err(why)));
        }
        if matches!(pending.order, Order::Switch { .. }) {
            pending.notes.extend(self.lacks(at, &names));
        }
        // What a rollout starts with is what was seen just now, not what a probe saw seconds ago.
        self.handle(Event::Surface { slot: at, surface });
        if let Some(Outcome { compared, notes }) = outcome {
            if let Compared::Breaks(differences) = &compared {
                self.handle(Event::Differs(differences.clone()));
            }
            match (compared, forced) {
                (Compared::Holds, _) => pending.notes.extend(notes),
                (compared, true) => pending.notes.push(told(&compared, &notes)),
                (compared, false) => return drop(pending.reply.send(Err(refused(&compared, &notes)))),
            }
        }
        self.carry_out(pending);
    }

    fn carry_out(&mut self, pending: Pending) {
        let Pending { order, who, reply, mut notes } = pending;
        let command = self.command(&order);
        if let Err(why) = self.may_order().and_then(|()| self.check(&command)) {
            return drop(reply.send(Err(why)));
        }
        self.accepted.extend_from_slice(order.accept());
        match self.handle(Event::Command { command, who }) {
            Some(transition) => {
                notes.extend(self.warnings());
                notes.extend(self.rollout.empty_share());
                answer(Done { transition, notes }, self.progress(), reply);
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
        let told: Vec<String> = missing.iter().take(LACKING_TOLD_MAX).map(|name| safe(name)).collect();
        let more = missing.len().saturating_sub(told.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!missing.is_empty()).then(|| {
            format!(
                "{} lacks {} of the {} tools that {} lists: {}{more}",
                target.as_str(),
                missing.len(),
                listed.len(),
                serves.as_str(),
                told.join(", ")
            )
        })
    }

    fn check(&mut self, command: &Command) -> Result<(), String> {
        self.rollout.check(command, self.clock.now()).map_err(|refusal| refusal.to_string())
    }

    pub(super) fn may_order(&self) -> Result<(), String> {
        match &self.keeping {
            Keeping::Theirs => {
                Err("another guard still owns the rollout's state (is one being replaced?)".to_owned())
            }
            Keeping::Ours(_) | Keeping::Kept(_) | Keeping::Lost(_) => Ok(()),
        }
    }

    fn command(&self, order: &Order) -> Command {
        match *order {
            Order::Start { force, .. } => {
                let id = format!("r{}", self.rollouts() + 1);
                Command::Start { id, plan: Box::new(self.settings.rollout.plan.clone()), force }
            }
            Order::Pause => Command::Pause,
            Order::Resume => Command::Resume,
            Order::Promote { force, .. } => Command::Promote { force },
            Order::Rollback { to } => Command::Rollback { to },
            Order::Switch { to, force } => Command::Switch { to, force },
            Order::Drain { slot } => Command::Retire { slot },
        }
    }
}

/// Whether a backend answers right now.
async fn look(
    slot: Slot,
    backend: &Backend,
    timeout: Duration,
    secrets: &Secrets,
) -> Result<(Surface, Vec<String>), String> {
    let mut prober = Prober::new(backend, timeout, secrets);
    let (found, done) = prober.probe().await;
    let names = done.names().unwrap_or_default();
    done.close().await;
    found.map(|surface| (surface, names)).map_err(|why| format!("{} is not healthy: {why}", slot.as_str()))
}
