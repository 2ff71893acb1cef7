//! Orders of operators in a fleet: any guard takes one, the guard that leads decides on it, and the result comes back with
//! the state that carries it out.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::needs_whole_fleet;
use crate::control::commands::{CommandResult, OrderId, PendingCommand, RolloutCommand};
use crate::control::controller::Controller;
use crate::control::controller::seat::LeaveReply;
use crate::control::fleet::{FleetInput, FleetOrder, OrderResult};
use crate::control::fleet_report::{FleetReport, NO_FLEET};
use crate::control::persistence::reply_when_saved;
use crate::rollout::plan::triggers::Action;
use crate::rollout::triggers::{Fired, Trigger};
use crate::rollout::{Others, Withheld};
use crate::telemetry::metrics::FleetGauges;

/// How long an order waits for guards that have still to follow the present state or to count under it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an operator's look waits for the store.
const LOOK_MAX: Duration = Duration::from_secs(1);

impl Controller {
    /// An order of this guard's operator: the guard that leads decides on it, also if that is this one.
    pub(in crate::control::controller) fn order_in_fleet(&mut self, pending: PendingCommand) {
        let Some(seat) = &mut self.seat else { return };
        if seat.fleet.is_away() {
            let why = self.refusal_without_store(&pending);
            return pending.refuse(why);
        }
        let order = FleetOrder { command: pending.command.clone(), who: pending.who.clone() };
        seat.unnamed = Some(pending);
        self.tell_fleet(FleetInput::Order(order));
        self.refuse_unnamed();
    }

    /// Without the store no order can be carried out; the order to go back at least holds on this guard.
    fn refusal_without_store(&mut self, pending: &PendingCommand) -> String {
        let why = "the store of the fleet does not respond, so that no order can be carried out";
        let run = self.rollout.state().run.as_ref().map(|run| run.id.clone());
        match (&pending.command, run) {
            (RolloutCommand::Rollback { to: None }, Some(run)) => {
                let detail = format!("ordered by {} while the store was away", pending.who);
                let (trigger, action) = (Trigger::CriticalCheck, Action::Rollback);
                let fired = Fired { trigger, action, measured: 0.0, limit: 0.0, samples: 0, detail };
                self.fail_candidate(run, fired);
                format!(
                    "{why}; but this guard sends its candidate no calls any more, and the fleet goes back once the store is \
                     there again (hint: give the order at the other guards as well)"
                )
            }
            _ => format!("{why} (see mcp-guard fleet status)"),
        }
    }

    pub(super) fn name_order(&mut self, id: OrderId) {
        let Some(seat) = &mut self.seat else { return };
        if let Some(pending) = seat.unnamed.take() {
            seat.ordered.insert(id, pending);
        }
    }

    pub(super) fn refuse_unnamed(&mut self) {
        let unnamed = self.seat.as_mut().and_then(|seat| seat.unnamed.take());
        if let Some(pending) = unnamed {
            pending.refuse(
                "too many orders wait, or this one is too large; see mcp-guard fleet status".to_owned(),
            );
        }
    }

    /// This guard leads, and an order waits. It may be put forward more than once.
    pub(super) fn on_fleet_order(&mut self, id: OrderId, order: FleetOrder) {
        let Some(seat) = &mut self.seat else { return };
        if seat.deciding.contains_key(&id) {
            return;
        }
        seat.deciding.insert(id, Instant::now());
        let FleetOrder { command, who } = order;
        log::info!("fleet: order `{}` by {who}", command.as_str());
        let (reply, response) = oneshot::channel();
        let refusals = self.refusals.0.clone();
        tokio::spawn(async move {
            // The result of an order that is carried out goes with the state.
            if let Ok(Err(why)) = response.await {
                let _ = refusals.send((id, why)).await;
            }
        });
        let pending = PendingCommand { command, who, reply, notes: Vec::new(), order: Some(id) };
        seat.waiting.push_back(pending);
    }

    /// An order was refused by this guard, which leads.
    pub(in crate::control::controller) fn on_refused_order(&mut self, id: OrderId, why: String) {
        if let Some(seat) = &mut self.seat {
            seat.refusals.push_back((id, why));
        }
        self.decide_on_waiting_orders();
    }

    /// Puts an order off until the fleet has taken the decision before over, and for a while until all guards count under
    /// the present state; returns it if it can be decided on now.
    pub(in crate::control::controller) fn put_off(
        &mut self,
        pending: PendingCommand,
    ) -> Option<PendingCommand> {
        let command = self.rollout_command(&pending.command);
        let Some((id, seat)) = pending.order.zip(self.seat.as_mut()) else { return Some(pending) };
        if !seat.leads {
            // The guard that leads now decides on it.
            seat.deciding.remove(&id);
            return None;
        }
        // It was prepared, or waited for the fleet, while a later one was carried out, which it would undo.
        if seat.deciding.get(&id).zip(seat.carried_out).is_some_and(|(since, later)| *since < later) {
            pending.refuse("a later order was carried out before it".to_owned());
            return None;
        }
        let is_early = seat.deciding.get(&id).is_some_and(|since| since.elapsed() < PATIENCE);
        let is_held = seat.is_held_briefly && is_early && needs_whole_fleet(&command);
        if seat.proposed.is_some() || is_held {
            seat.waiting.push_back(pending);
            return None;
        }
        Some(pending)
    }

    /// Decides on orders, one at a time.
    pub(super) fn decide_on_waiting_orders(&mut self) {
        // One that is put off again waits for the next time.
        let mut looked_at = 0..self.seat.as_ref().map_or(0, |seat| seat.refusals.len() + seat.waiting.len());
        while let Some(seat) = self.seat.as_mut().filter(|seat| seat.proposed.is_none()) {
            if looked_at.next().is_none() {
                return;
            }
            if !seat.leads {
                let waiting = seat.waiting.drain(..).filter_map(|pending| pending.order);
                let refused = seat.refusals.drain(..).map(|(id, _)| id);
                for id in waiting.chain(refused) {
                    seat.deciding.remove(&id);
                }
                return;
            }
            if let Some((id, why)) = seat.refusals.pop_front() {
                let state = self.rollout.state().clone();
                self.propose(None, state, Some((id, OrderResult::Refused(why))));
            } else if let Some(pending) = seat.waiting.pop_front() {
                self.on_command(pending);
            } else {
                return;
            }
        }
    }

    /// The next transition carries this order out.
    pub(in crate::control::controller) fn carries_out(&mut self, id: OrderId, notes: Vec<String>) {
        if let Some(seat) = &mut self.seat {
            seat.carries_out = Some((id, notes));
        }
    }

    pub(in crate::control::controller) fn carries_out_nothing(&mut self) {
        if let Some(seat) = &mut self.seat {
            seat.carries_out = None;
        }
    }

    pub(super) fn on_order_done(&mut self, id: OrderId, result: OrderResult) {
        let pending = self.seat.as_mut().and_then(|seat| seat.ordered.remove(&id));
        let Some(pending) = pending else { return };
        match result {
            OrderResult::Refused(why) => pending.refuse(why),
            OrderResult::Done(seq, notes) => {
                match self.history.iter().rev().find(|transition| transition.seq == seq).cloned() {
                    Some(transition) => {
                        reply_when_saved(CommandResult { transition, notes }, self.progress(), pending.reply);
                    }
                    None => pending.refuse("it was carried out; see `rollout history`".to_owned()),
                }
            }
        }
    }

    pub(super) fn on_order_expired(&mut self, id: OrderId) {
        let pending = self.seat.as_mut().and_then(|seat| seat.ordered.remove(&id));
        if let Some(pending) = pending {
            pending.refuse(
                "no guard of the fleet has decided on it in time; it may still be carried out (see `rollout status` and \
                 `mcp-guard fleet status`)"
                    .to_owned(),
            );
        }
    }

    /// An operator looks at the fleet.
    pub(in crate::control::controller) fn on_look(&mut self, reply: oneshot::Sender<Option<FleetReport>>) {
        match &mut self.seat {
            None => drop(reply.send(None)),
            Some(seat) => {
                seat.looks.push((Instant::now(), reply));
                self.tell_fleet(FleetInput::Look);
                self.respond_to_looks();
            }
        }
    }

    /// Sends the report once it is known, or what is known when it takes too long.
    pub(super) fn respond_to_looks(&mut self) {
        let Some(seat) = self.seat.as_mut().filter(|seat| !seat.looks.is_empty()) else { return };
        let is_complete = seat.fleet.has_members();
        let is_due = |since: &Instant| is_complete || since.elapsed() >= LOOK_MAX;
        let (due, left): (Vec<_>, Vec<_>) = seat.looks.drain(..).partition(|(since, _)| is_due(since));
        seat.looks = left;
        for (_, reply) in due {
            let _ = reply.send(Some(seat.fleet.report()));
        }
    }

    /// An operator takes this guard out of the fleet, or it ends.
    pub(in crate::control::controller) fn on_leave(&mut self, reply: LeaveReply) {
        match &mut self.seat {
            None => drop(reply.send(Err(NO_FLEET.to_owned()))),
            Some(seat) => {
                seat.leaving = Some(reply);
                self.tell_fleet(FleetInput::Leave);
            }
        }
    }

    pub(super) fn on_left(&mut self) {
        let leaving = self.seat.as_mut().and_then(|seat| seat.leaving.take());
        self.give_up_seat();
        self.rollout.consider(Others::default(), self.clock.now());
        self.rollout.withhold(None::<Withheld>);
        self.publish();
        log::info!("fleet: this guard has left; it goes on by itself until it is started again");
        if let Some((_, metrics)) = &self.fleet {
            metrics.set(FleetGauges::default());
        }
        if let Some(reply) = leaving {
            let _ = reply.send(Ok(()));
        }
    }
}
