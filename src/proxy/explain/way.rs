//! What becomes of a call at the slot that it is assigned to: whether that has a backend, takes the request, and has room for it.
//!
//! Goes by the rules that dispatch a call. Must not know why it is that slot.

use super::limits;
use super::report::{LimitReport, LimitResult};
use super::surroundings::Surroundings;
use crate::policy::explain::JudgedCall;
use crate::proxy::call::fallback::takes_over;
use crate::upstream::Slot;

/// The way of a call from one assignment.
pub(super) struct Way {
    /// The slot that gets it, or would.
    pub(super) slot: Slot,
    pub(super) end: End,
    /// The permits that it needs, in order.
    pub(super) permits: Vec<LimitReport>,
    pub(super) note: Option<String>,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Passes,
    Waits,
    /// There is no room for it.
    Full,
    /// The slot takes no request of a session but calls.
    NoSessions,
    NoBackend,
}

impl End {
    pub(super) fn refuses(self) -> bool {
        matches!(self, End::Full | End::NoSessions | End::NoBackend)
    }
}

/// The way of a call that the split assigns to `slot`.
pub(super) fn of(around: &Surroundings<'_>, call: &JudgedCall<'_>, slot: Slot) -> Way {
    let first = at(around, call, slot);
    let split = &around.traffic.split;
    let stable = takes_over(split, slot, (call.to.method, call.kind)).filter(|_| first.end == End::Full);
    let Some(stable) = stable else { return first };
    let note = format!("there is no room for it on {}: {} takes a read over", slot.as_str(), stable.as_str());
    let then = at(around, call, stable);
    Way { permits: [first.permits, then.permits].concat(), note: Some(note), ..then }
}

fn at(around: &Surroundings<'_>, call: &JudgedCall<'_>, slot: Slot) -> Way {
    let without = |slot: Slot, end: End| Way { slot, end, permits: Vec::new(), note: None };
    let Some(state) = around.snapshot.serving(&around.traffic.split, slot) else {
        return without(slot, End::NoBackend);
    };
    if !state.takes(call.session) {
        return without(state.slot, End::NoSessions);
    }
    let permit = limits::in_flight(around, call, state);
    let end = match permit.result {
        LimitResult::Passes | LimitResult::Unknown => End::Passes,
        LimitResult::Waits => End::Waits,
        LimitResult::Refuses => End::Full,
    };
    Way { slot: state.slot, end, permits: vec![permit], note: None }
}
