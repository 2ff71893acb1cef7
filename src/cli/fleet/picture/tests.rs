//! Pictures of a fleet: in order, with members that differ, and with hostile texts.

use super::*;
use crate::control::fleet_report::MemberSlot;

fn member(name: &str) -> MemberReport {
    let slot = |slot, health: &str| MemberSlot { slot, health: health.to_owned() };
    MemberReport {
        member: name.to_owned(),
        version: "0.1.0".to_owned(),
        configuration: "plan=1a slots=2b clients=3c limits=4d".to_owned(),
        generation: 12,
        silent_ms: 140,
        slots: vec![slot(Slot::Blue, "healthy"), slot(Slot::Green, "not healthy: no connection")],
        ejected: None,
        clock_off_ms: Some(-3),
    }
}

fn report(members: Vec<MemberReport>) -> FleetReport {
    FleetReport {
        name: "prod".to_owned(),
        member: "a".to_owned(),
        store_silent_ms: Some(90),
        store_away: false,
        store_problem: None,
        generation: 12,
        leader: Some("b".to_owned()),
        live: members.len() as u64,
        known: members.len() as u64,
        candidate: CandidateState::Open,
        holds: Vec::new(),
        members,
    }
}

#[test]
fn a_fleet_in_which_nothing_differs_has_a_table_without_marks_or_remarks() {
    let report = report(vec![member("a"), member("b")]);
    assert_eq!(head(&report)[0], "fleet prod: b leads, 2 of 2 members live, generation 12");
    assert_eq!(head(&report)[2], "store       responded 0.0 s ago");
    let expected = ["b", "leader", "0.1.0", "same", "12", "0.1 s", "healthy", "not healthy", "-3 ms"];
    assert_eq!(rows(&report)[1], expected.map(str::to_owned));
    let unhealthy = ["a", "b"].map(|name| format!("{name}: green is not healthy: no connection"));
    assert_eq!(remarks(&report), unhealthy);
}

#[test]
fn a_member_of_the_fleet_that_differs_is_marked_and_what_differs_is_named() {
    let mut old = member("b");
    old.version = "0.0.9".to_owned();
    old.configuration = "plan=1a slots=9f clients=3c".to_owned();
    old.generation = 11;
    let report = report(vec![member("a"), old]);
    let [row, ..] = &rows(&report)[1..] else { panic!() };
    assert_eq!(row[2..5], ["0.0.9 !", "differs !", "11 !"].map(str::to_owned));
    let expected =
        "b differs: version 0.0.9 (here 0.1.0); configuration of limits, slots; generation 11 (here 12)";
    assert_eq!(remarks(&report)[0], expected);
}

#[test]
fn silent_and_ejected_members_of_the_fleet_are_named_and_foreign_text_is_made_safe() {
    let mut silent = member("b");
    silent.silent_ms = 12_340;
    silent.ejected = Some("green\u{1b}[2J failed\n".to_owned());
    silent.slots.clear();
    let mut own = member("a");
    own.slots.clear();
    let report = report(vec![own, silent]);
    assert_eq!(rows(&report)[1][5], "12.3 s !");
    let [first, second] = &remarks(&report)[..] else { panic!() };
    assert!(first.starts_with("b is silent for 12.3 s"), "{first}");
    assert_eq!(second, "b has ejected its candidate: green\\u{1b}[2J failed\\n");
}

#[test]
fn the_store_of_the_fleet_and_why_a_rollout_holds_are_shown() {
    let mut report = report(Vec::new());
    report.store_away = true;
    report.store_silent_ms = Some(4_200);
    report.store_problem = Some("the store does not respond".to_owned());
    report.leader = None;
    report.holds = vec!["b follows generation 11".to_owned(), "c is silent".to_owned()];
    let lines = head(&report);
    assert!(lines[0].starts_with("fleet prod: no leader, 0 of 0 members live"), "{}", lines[0]);
    assert_eq!(lines[2], "store       AWAY for 4.2 s: the store does not respond");
    assert_eq!(lines[4..], ["holds       b follows generation 11", "            c is silent"]);
    report.candidate = CandidateState::Ejected;
    let line = "prod  (no leader, 0 of 0 members live, store AWAY for 4.2 s: the store does not respond; candidate EJECTED here)";
    assert_eq!(in_a_line(&report), line);
    report.store_silent_ms = None;
    assert_eq!(head(&report)[2], "store       AWAY since the start: the store does not respond");
}
