//! The slot that a call would go to, and why, in words.
//!
//! Must not know how a split is made.

use super::report::SlotChoice;
use super::surroundings::Surroundings;
use crate::config::SplitKey;
use crate::policy::explain::JudgedCall;
use crate::upstream::{Choice, Reason, Slot, Split};

/// The points of a circle, as a split places keys on it.
const CIRCLE: f64 = 4_294_967_296.0;

/// The slot of a call under the split of this moment.
pub(super) fn of(around: &Surroundings<'_>, call: &JudgedCall<'_>) -> SlotChoice {
    let (snapshot, split) = (around.snapshot, &around.traffic.split);
    let subject = call.subject.as_deref();
    let choice = snapshot.choose(split, (call.client, subject), "");
    let each = snapshot.split_key() == SplitKey::Request && is_by_key(choice.reason);
    let key = snapshot.policy.clients().split_key(call.client, subject);
    let slot = (!each).then_some(choice.slot);
    let state = slot.and_then(|slot| snapshot.slot(slot));
    SlotChoice {
        slot,
        why: if each { each_request(split) } else { why(split, choice, key) },
        stable: split.stable(),
        key: (snapshot.split_key() == SplitKey::Client).then(|| key.to_owned()),
        point: point(choice.reason).filter(|_| !each),
        candidate_weight: split.candidate_weight().get(),
        ejected: split.ejected(),
        fallback: split.fallback(choice.slot).filter(|slot| !each && snapshot.slot(*slot).is_some()),
        shadow: split.shadow(),
        address: state.map(|state| state.backend.place()),
        reachable: state.and_then(|state| state.reachable()).filter(|_| around.live.is_some()),
    }
}

fn is_by_key(reason: Reason) -> bool {
    point(reason).is_some()
}

/// Where the key lies, in percent of the circle.
fn point(reason: Reason) -> Option<f64> {
    match reason {
        Reason::Below(point) | Reason::NotBelow(point) => {
            Some((point as f64 / CIRCLE * 10_000.0).round() / 100.0)
        }
        Reason::NoShare | Reason::Everything | Reason::StableList | Reason::CandidateList => None,
    }
}

fn each_request(split: &Split) -> String {
    let (stable, candidate) = (split.stable().as_str(), split.stable().other().as_str());
    let weight = split.candidate_weight().get();
    format!(
        "`routing.key` is `request`: each call is assigned by an id of its own, {weight} % to {candidate} and the others to {stable}"
    )
}

fn why(split: &Split, choice: Choice, key: &str) -> String {
    let (stable, candidate) = (split.stable().as_str(), split.stable().other().as_str());
    let share = split.planned_weight().get();
    let point = point(choice.reason).unwrap_or_default();
    let reason = match choice.reason {
        Reason::NoShare => format!("{stable} is stable, and no other slot has a share of the calls"),
        Reason::Everything => format!("{candidate} is the candidate and has all calls"),
        Reason::StableList => format!("`[clients] stable` of the plan keeps this client on {stable}"),
        Reason::CandidateList => format!("`[clients] candidate` of the plan puts this client on {candidate}"),
        Reason::Below(_) => format!(
            "the key {key:?} lies at {point:.2} % of the circle, below the {share} % that {candidate} has: it stays there while the share grows"
        ),
        Reason::NotBelow(_) => format!(
            "the key {key:?} lies at {point:.2} % of the circle, not below the {share} % that {candidate} has"
        ),
    };
    let wanted = choice.wanted.as_str();
    match (split.ejected(), choice.slot == choice.wanted) {
        (Some(ejected), false) => {
            format!("{reason}; but {} is ejected, and {} stands in", ejected.as_str(), choice.slot.as_str())
        }
        (Some(ejected), true) if ejected == choice.wanted => {
            format!("{reason}; {wanted} is ejected, and no slot may stand in")
        }
        (Some(_) | None, _) => reason,
    }
}

/// What is said where the slot has no backend.
pub(super) fn lacks_backend(around: &Surroundings<'_>, slot: Option<Slot>) -> bool {
    slot.is_some_and(|slot| {
        let fallback = around.traffic.split.fallback(slot);
        around.snapshot.slot(slot).is_none()
            && fallback.is_none_or(|slot| around.snapshot.slot(slot).is_none())
    })
}
