//! The states of the dependencies that the control plane publishes, and what they mean to readiness.
//!
//! A dependency that is asked of a slot counts as far as that slot gets calls. Must not know how a dependency is checked.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::telemetry::metrics::{DependencyState, DependencyStatus};
use crate::upstream::{Slot, Split};

/// What one check of readiness leads to, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    Ok,
    Degraded,
    Unready,
}

/// One dependency, as `/ready` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadyCheck {
    pub(crate) name: String,
    pub(crate) state: DependencyState,
    pub(crate) effect: Effect,
}

/// The published states.
#[derive(Default)]
pub(crate) struct Dependencies {
    published: ArcSwap<Vec<DependencyStatus>>,
}

impl Dependencies {
    pub(crate) fn publish(&self, statuses: Vec<DependencyStatus>) {
        self.published.store(Arc::new(statuses));
    }

    pub(crate) fn statuses(&self) -> Vec<DependencyStatus> {
        self.published.load().to_vec()
    }

    /// Every dependency that calls reach under this split, in the order of the configuration.
    pub(crate) fn checks(&self, split: &Split) -> Vec<ReadyCheck> {
        let mut checks: Vec<ReadyCheck> = Vec::new();
        for status in self.published.load().iter() {
            let Some(check) = check(status, split) else { continue };
            match checks.iter_mut().find(|other| other.name == check.name) {
                Some(other) if other.effect < check.effect => *other = check,
                Some(_) => {}
                None => checks.push(check),
            }
        }
        checks
    }
}

fn check(status: &DependencyStatus, split: &Split) -> Option<ReadyCheck> {
    let share = status.slot.map_or(100, |slot| share(slot, split));
    if share == 0 {
        return None;
    }
    // With half of the calls or more, the slot is the one that serves.
    let is_needed = status.required && share >= 50;
    let effect = match status.state {
        DependencyState::Up => Effect::Ok,
        DependencyState::Unknown | DependencyState::Down if is_needed => Effect::Unready,
        DependencyState::Unknown => Effect::Ok,
        DependencyState::Down => Effect::Degraded,
    };
    Some(ReadyCheck { name: status.name.clone(), state: status.state, effect })
}

/// The share of the calls that a slot gets, in percent.
fn share(slot: Slot, split: &Split) -> u8 {
    let candidate = split.candidate_weight().get();
    match split.ejected() {
        Some(ejected) if split.fallback(ejected).is_some() => {
            if slot == ejected {
                0
            } else {
                100
            }
        }
        Some(_) | None if slot == split.stable() => 100 - candidate,
        Some(_) | None => candidate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Percent, Share};

    fn status(name: &str, slot: Option<Slot>, required: bool, state: DependencyState) -> DependencyStatus {
        let (since, checked, took_ms, reason) = (0, None, None, None);
        DependencyStatus { name: name.to_owned(), slot, required, state, since, checked, took_ms, reason }
    }

    #[track_caller]
    fn check(candidate: u8, statuses: &[DependencyStatus], expect: &[(&str, Effect)]) {
        let share = Share::new(Percent::new(candidate).unwrap(), "salt");
        check_under(&Split::all(Slot::Blue).with_share(share), statuses, expect);
    }

    #[track_caller]
    fn check_under(split: &Split, statuses: &[DependencyStatus], expect: &[(&str, Effect)]) {
        let dependencies = Dependencies::default();
        dependencies.publish(statuses.to_vec());
        let checks = dependencies.checks(split);
        let found: Vec<_> = checks.iter().map(|check| (check.name.as_str(), check.effect)).collect();
        assert_eq!(found, expect, "{split:?}");
    }

    #[test]
    fn a_dependency_counts_as_far_as_its_slot_gets_calls() {
        use DependencyState::{Down, Unknown, Up};
        let at_slots = |required| {
            [status("db", Some(Slot::Blue), required, Up), status("db", Some(Slot::Green), required, Down)]
        };
        check(0, &at_slots(true), &[("db", Effect::Ok)]);
        check(5, &at_slots(true), &[("db", Effect::Degraded)]);
        check(50, &at_slots(true), &[("db", Effect::Unready)]);
        check(100, &at_slots(true), &[("db", Effect::Unready)]);
        check(100, &at_slots(false), &[("db", Effect::Degraded)]);
        check(0, &[status("db", Some(Slot::Green), true, Down)], &[]);
        let stands_in = Split::all(Slot::Blue).with_standby().eject(Slot::Blue);
        check_under(&stands_in, &at_slots(true), &[("db", Effect::Unready)]);
        let others = [
            status("a", None, false, Down),
            status("b", None, true, Down),
            status("c", None, true, Unknown),
            status("d", None, false, Unknown),
        ];
        let expect =
            [("a", Effect::Degraded), ("b", Effect::Unready), ("c", Effect::Unready), ("d", Effect::Ok)];
        check(100, &others, &expect);
    }
}
