//! The gauges of the control plane. Must not change anything else.

use super::Controller;
use crate::control::persistence::Persistence;

impl Controller {
    pub(super) fn update_gauges(&mut self) {
        let now = self.clock.now();
        let position = self.rollout.state().position();
        self.metrics.set_stage(position.stage, position.paused);
        let saved = match &self.persistence {
            Persistence::Active(writer) => writer.progress().borrow().problem.is_none(),
            Persistence::ForeignOwner => true,
            Persistence::Unavailable(_) => false,
        };
        self.metrics.set_state_saved(saved);
        if let (Some(seat), Some((_, metrics))) = (&self.seat, &self.fleet) {
            metrics.set(seat.gauges());
        }
        let status = self.rollout.status(now);
        for slot in status.slots.iter().filter(|slot| slot.configured) {
            let p95 = slot.summary.p95_ms.map(|millis| millis / 1_000.0);
            self.metrics.set_summary(slot.slot, slot.summary.error_rate, p95);
        }
        let overdue = self.rollout.state().run.as_ref().filter(|run| run.paused.is_none()).and_then(|run| {
            let over = run.since + run.step()?.hold;
            Some(now.since(over).as_secs_f64())
        });
        self.metrics.set_overdue(overdue.unwrap_or(0.0));
    }
}
