//! The verdict on a call that passes checks 1 to 14: its limits, in the order in which it meets them, and its slot.
//!
//! Must not know how they are shown.

use super::limits;
use super::report::{
    CheckReport, ExplainedOutcome, Explanation, LimitReport, LimitResult, SlotChoice, VerdictReport,
};
use super::way::{self, End, Way};
use super::{Asked, slot, words};
use crate::policy::explain::{Addressed, JudgedCall};
use crate::policy::{Denial, OrderCheck};
use crate::wire::Era;

/// What a verdict on such a call goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decider {
    /// The last check, or none.
    Checks,
    Slot,
}

impl Asked<'_> {
    /// A call that passes what it is judged by: its limits and its slot.
    pub(super) fn passed(&self, call: &JudgedCall<'_>) -> Explanation {
        self.trace.came_to(OrderCheck::Limits);
        let around = &self.around;
        let chosen = slot::of(around, call);
        let ways: Vec<Way> = chosen.possible.iter().map(|slot| way::of(around, call, *slot)).collect();
        let mut limits = limits::of(around, call);
        let (verdict, decider) = self.verdict(call, &chosen.report, &limits, &ways);
        let mut explanation = self.explanation(verdict);
        if decider == Decider::Slot {
            explanation.checks.iter_mut().for_each(CheckReport::pass);
        }
        explanation.notes.extend(self.notes(call, &limits, &ways));
        if let Some(session) = call.session {
            explanation.method = Some(format!("{} of a session", session.as_str()));
        }
        explanation.era = Some(if call.to.era == Era::Modern { "modern" } else { "legacy" }.to_owned());
        for permit in ways.into_iter().flat_map(|way| way.permits) {
            if !limits.contains(&permit) {
                limits.push(permit);
            }
        }
        limits.push(limits::time(around, call));
        (explanation.limits, explanation.slot) = (limits, Some(chosen.report));
        explanation
    }

    fn verdict(
        &self,
        call: &JudgedCall<'_>,
        slot: &SlotChoice,
        quotas: &[LimitReport],
        ways: &[Way],
    ) -> (VerdictReport, Decider) {
        let full = quotas.iter().find(|limit| limit.result == LimitResult::Refuses);
        // A discover goes on without its quotas.
        if let Some(full) = full.filter(|_| !call.is_discover()) {
            return (self.full(call, full), Decider::Checks);
        }
        let by_slot = |denial: Denial, why: String| {
            (self.refusal(denial, Addressed::Call(call.to), why), Decider::Slot)
        };
        let no_backend = || {
            by_slot(
                Denial::NoBackend,
                "no backend is configured in that slot, and none may stand in".to_owned(),
            )
        };
        // Where it is open which slot it is, one that refuses does not decide.
        let Some(best) = ways.iter().min_by_key(|way| way.end) else { return no_backend() };
        let permit = best.permits.last();
        match (best.end, permit) {
            (End::NoBackend, _) => return no_backend(),
            (End::NoSessions, _) => {
                let why = format!("{} has no `sessions`: it takes only POST", best.slot.as_str());
                return by_slot(Denial::MethodNotAllowed, why);
            }
            (End::Full, Some(permit)) => return (self.full(call, permit), Decider::Checks),
            (End::Full | End::Waits | End::Passes, _) => {}
        }
        let place = if ways.len() > 1 { "a slot" } else { best.slot.as_str() };
        let waits = |limit: &&LimitReport| limit.result == LimitResult::Waits;
        if let Some(waits) = quotas.iter().find(waits).or(permit.filter(waits)) {
            let time = self.around.snapshot.timeouts.waiting.as_secs_f64();
            let why =
                format!("it waits up to {time} s for {} of {}, then goes to {place}", waits.limit, waits.of);
            return (VerdictReport::of(ExplainedOutcome::Waits, why), Decider::Checks);
        }
        if slot.reachable == Some(false) && slot.slot == Some(best.slot) {
            let time = self.around.snapshot.timeouts.hold.as_secs_f64();
            let why = match slot.fallback {
                Some(other) => format!("{place} could not be reached last: {} is tried next", other.as_str()),
                None => format!("{place} could not be reached last: the call is held up to {time} s"),
            };
            return (VerdictReport::of(ExplainedOutcome::Waits, why), Decider::Checks);
        }
        let why = format!("it goes to {place}");
        (VerdictReport::of(ExplainedOutcome::Forwarded, why), Decider::Checks)
    }

    /// The refusal by a limit.
    fn full(&self, call: &JudgedCall<'_>, full: &LimitReport) -> VerdictReport {
        let why = format!("the limit {} of {} is used up ({})", full.limit, full.of, full.allows);
        let refusal = self.refusal(words::denial_of(&full.limit), Addressed::Call(call.to), why);
        VerdictReport { retry_after_ms: full.retry_after_ms, ..refusal }
    }

    fn notes(&self, call: &JudgedCall<'_>, quotas: &[LimitReport], ways: &[Way]) -> Vec<String> {
        let mut notes = Vec::new();
        if call.is_discover() && quotas.iter().any(|limit| limit.result == LimitResult::Refuses) {
            notes.push(
                "a discover is not refused for a limit: it gets the backend's last response, if there is one"
                    .to_owned(),
            );
        }
        let refuses = ways.iter().filter(|way| ways.len() > 1 && way.end.refuses());
        notes.extend(refuses.map(|way| {
            let why = match way.end {
                End::NoBackend => "has no backend",
                End::NoSessions => "has no `sessions`",
                End::Full | End::Waits | End::Passes => "has no room for it",
            };
            format!("it is refused if it is assigned to {}, which {why}", way.slot.as_str())
        }));
        notes.extend(ways.iter().filter_map(|way| way.note.clone()));
        if !self.around.knows_user(call) {
            notes.push(
                "only a token leads to a user of this client: what one has used of limits and shares is not known"
                    .to_owned(),
            );
        }
        notes
    }
}
