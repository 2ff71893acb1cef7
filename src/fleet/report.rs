//! The fleet for operators: every member with what it follows, how it is, and how it differs.

use std::time::Duration;

use mcp_fleet::{CandidateGate, Member, MemberId, Moment, Peer};

use super::tally_window::TallyWindow;
use super::words;
use crate::control::fleet::MemberFacts;
use crate::control::fleet_report::{CandidateState, FleetReport, MemberReport, MemberSlot};

/// A member that was silent for so long says nothing about the present.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(2);

/// What one guard knows of its fleet.
pub(super) struct Seen<'s> {
    pub(super) name: &'s str,
    pub(super) id: &'s MemberId,
    pub(super) member: &'s Member<TallyWindow>,
    /// Of the guard's own configuration.
    pub(super) digest: &'s str,
    pub(super) problem: Option<String>,
    pub(super) now: Moment,
}

/// The fleet as this guard sees it.
pub(super) fn report(seen: &Seen<'_>) -> FleetReport {
    let now = seen.now;
    let fleet = seen.member.fleet(now);
    let hold = seen.member.view(now).as_ref().and_then(|view| words::hold(view, seen.digest));
    let members = seen.member.roster().map(|roster| {
        let of = |(id, peer): (&MemberId, &Peer<TallyWindow>)| member(id, peer);
        roster.members().iter().map(of).collect()
    });
    FleetReport {
        name: seen.name.to_owned(),
        member: seen.id.as_str().to_owned(),
        store_silent_ms: fleet.silent.map(millis),
        store_away: fleet.away,
        store_problem: seen.problem.clone(),
        generation: seen.member.followed().map_or(0, |envelope| envelope.stamp.generation),
        leader: seen.member.leader().map(|leader| leader.as_str().to_owned()),
        live: fleet.live,
        known: fleet.known,
        candidate: match seen.member.candidate() {
            CandidateGate::Open => CandidateState::Open,
            CandidateGate::NotCaughtUp => CandidateState::CatchingUp,
            CandidateGate::Ejected => CandidateState::Ejected,
        },
        holds: hold.into_iter().map(|hold| hold.why).collect(),
        members: members.unwrap_or_default(),
    }
}

fn member(id: &MemberId, peer: &Peer<TallyWindow>) -> MemberReport {
    let record = peer.record.as_ref();
    let facts: MemberFacts =
        record.and_then(|record| serde_json::from_slice(&record.facts).ok()).unwrap_or_default();
    let slots = facts.slots.iter().map(|(slot, why)| {
        let health = why.as_ref().map_or_else(|| "healthy".to_owned(), |why| format!("not healthy: {why}"));
        MemberSlot { slot: *slot, health }
    });
    MemberReport {
        member: id.as_str().to_owned(),
        version: record.map_or_else(String::new, |record| record.version.clone()),
        configuration: record.map_or_else(String::new, |record| record.digest.clone()),
        generation: record.map_or(0, |record| record.followed.generation),
        silent_ms: millis(peer.silent),
        slots: slots.collect(),
        ejected: record.and_then(|record| record.ejected.clone()),
        clock_off_ms: facts.clock_off_ms,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
