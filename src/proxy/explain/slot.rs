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

/// A slot, and every slot that may be it.
pub(super) struct Chosen {
    pub(super) report: SlotChoice,
    /// Two where it is open to which of them the call is assigned.
    pub(super) possible: Vec<Slot>,
}

/// Why a call has no point on the circle that is known now.
#[derive(Clone, Copy)]
enum Open {
    EachRequest,
    /// The client stands for many, and which of them calls is not said.
    EachSubject,
}

/// The slot of a call under the split of this moment.
pub(super) fn of(around: &Surroundings<'_>, call: &JudgedCall<'_>) -> Chosen {
    let (snapshot, split) = (around.snapshot, &around.traffic.split);
    let subject = call.subject.as_deref();
    let choice = snapshot.choose(split, (call.client, subject), "");
    let open = open(around, call).filter(|_| point(choice.reason).is_some());
    let possible = match open {
        None => vec![choice.slot],
        Some(_) => {
            let mut both =
                [split.stable(), split.stable().other()].map(|slot| split.instead_of(slot)).to_vec();
            both.dedup();
            both
        }
    };
    let assigned = <[Slot; 1]>::try_from(possible.as_slice()).ok().map(|[slot]| slot);
    let state = assigned.and_then(|slot| snapshot.serving(split, slot));
    let key = snapshot.policy.clients().split_key(call.client, subject);
    let mut why = open.map_or_else(|| why(split, choice, key), |open| why_open(split, open));
    if let (Some(assigned), Some(state)) = (assigned, state)
        && assigned != state.slot
    {
        let (assigned, other) = (assigned.as_str(), state.slot.as_str());
        why += &format!("; but no backend is configured in {assigned}, and {other} stands in");
    }
    let by_key = snapshot.split_key() == SplitKey::Client && open.is_none();
    let report = SlotChoice {
        slot: state.map(|state| state.slot).or(assigned),
        why,
        stable: split.stable(),
        key: by_key.then(|| key.to_owned()),
        point: point(choice.reason).filter(|_| open.is_none()),
        candidate_weight: split.candidate_weight().get(),
        ejected: split.ejected(),
        fallback: state
            .and_then(|state| snapshot.fallback(split, state.slot, call.session))
            .map(|state| state.slot),
        shadow: split.shadow(),
        address: state.map(|state| state.backend.place()),
        reachable: state.and_then(|state| state.reachable()).filter(|_| around.live.is_some()),
    };
    Chosen { report, possible }
}

fn open(around: &Surroundings<'_>, call: &JudgedCall<'_>) -> Option<Open> {
    let clients = around.snapshot.policy.clients();
    match around.snapshot.split_key() {
        SplitKey::Request => Some(Open::EachRequest),
        SplitKey::Client if call.subject.is_none() && clients.is_split_by_subject(call.client) => {
            Some(Open::EachSubject)
        }
        SplitKey::Client => None,
    }
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

fn why_open(split: &Split, open: Open) -> String {
    let (stable, candidate) = (split.stable().as_str(), split.stable().other().as_str());
    let share = split.planned_weight().get();
    let by = match open {
        Open::EachRequest => "`routing.key` is `request`: each call is assigned by an id of its own",
        Open::EachSubject => "it depends on the subject (--subject): the client stands for many",
    };
    let reason = format!("{by}, {share} % to {candidate} and the others to {stable}");
    with_ejected(split, reason, &[split.stable(), split.stable().other()])
}

/// The reason, with the slot that is ejected of those that it leads to.
fn with_ejected(split: &Split, reason: String, wanted: &[Slot]) -> String {
    let Some(ejected) = split.ejected().filter(|ejected| wanted.contains(ejected)) else { return reason };
    let instead = split.instead_of(ejected);
    if instead == ejected {
        return format!("{reason}; {} is ejected, and no slot may stand in", ejected.as_str());
    }
    format!("{reason}; but {} is ejected, and {} stands in", ejected.as_str(), instead.as_str())
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
    with_ejected(split, reason, &[choice.wanted])
}
