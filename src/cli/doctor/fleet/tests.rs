//! What the doctor says of a fleet.

use super::*;
use crate::control::fleet_report::MemberReport;

fn member(name: &str) -> MemberReport {
    MemberReport {
        member: name.to_owned(),
        version: "0.1.0".to_owned(),
        configuration: "plan=1".to_owned(),
        generation: 3,
        silent_ms: 100,
        slots: Vec::new(),
        ejected: None,
        clock_off_ms: Some(4),
    }
}

fn report(members: Vec<MemberReport>) -> FleetReport {
    FleetReport {
        name: "prod".to_owned(),
        member: "a".to_owned(),
        store_silent_ms: Some(50),
        store_away: false,
        store_problem: None,
        generation: 3,
        leader: Some("a".to_owned()),
        live: 2,
        known: 2,
        candidate: CandidateState::Open,
        holds: Vec::new(),
        members,
    }
}

fn found(report: &FleetReport) -> Vec<(State, String)> {
    of_members(report).into_iter().map(|diagnosis| (diagnosis.state, diagnosis.found)).collect()
}

#[test]
fn a_fleet_whose_members_agree_is_one_line() {
    let expected = (State::Ok, "2 of 2 members live, a leads".to_owned());
    assert_eq!(found(&report(vec![member("a"), member("b")])), [expected]);
}

#[test]
fn everything_that_is_wrong_with_a_member_of_a_fleet_is_a_warning() {
    let mut other = member("b");
    other.version = "0.2.0".to_owned();
    other.configuration = "plan=2".to_owned();
    other.silent_ms = 9_000;
    other.clock_off_ms = Some(-7_000);
    other.ejected = Some("it fails".to_owned());
    let mut report = report(vec![member("a"), other]);
    report.candidate = CandidateState::CatchingUp;
    report.holds = vec!["members disagree".to_owned()];
    report.leader = None;
    report.store_away = true;
    report.store_problem = Some("no connection in time".to_owned());
    let found = found(&report);
    assert!(found.iter().all(|(state, _)| *state == State::Warn), "{found:?}");
    for says in [
        "no guard leads",
        "cannot reach the store: no connection in time",
        "candidate: no calls from this guard",
        "b differs: version 0.2.0 (here 0.1.0); configuration of plan",
        "b is silent for 9.0 s",
        "the clock of b is -7000 ms off the store's",
        "b has ejected its candidate: it fails",
        "holds: members disagree",
    ] {
        assert!(found.iter().any(|(_, found)| found.contains(says)), "{says}: {found:?}");
    }
}
