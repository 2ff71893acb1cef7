//! Several guards, one rollout: one decides by what all have counted, the others observe and follow.

use super::*;
use crate::rollout::plan::triggers::Action;
use crate::rollout::triggers::{Fired, Trigger};
use crate::rollout::{Cause, Others, Withheld};

/// What another guard has counted at this step: calls of the candidate, of which so many failed.
fn elsewhere(drive: &Drive, good: u64, failed: u64) -> Others {
    let run = drive.rollout.state().run.clone().unwrap();
    let mut other = Drive::started(run.plan.clone());
    other.rollout.follow(drive.rollout.state().clone(), drive.now);
    other.now = drive.now;
    other.calls(GREEN, good, CallResult::Completed);
    other.calls(GREEN, failed, FAILED);
    Others { counted: other.rollout.tally(other.now), ..Others::default() }
}

#[test]
fn a_step_passes_by_the_calls_of_all_guards() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    drive.calls(GREEN, 5, CallResult::Completed);
    assert_eq!(drive.wait(90), None, "five calls are too few");
    let others = elsewhere(&drive, 15, 0);
    drive.rollout.consider(others, drive.now);
    let advanced = drive.wait(1).expect("twenty are enough");
    assert_eq!(advanced.kind, TransitionKind::Advanced);
    assert_eq!(advanced.numbers.unwrap().candidate.requests, 20);
    assert_eq!(
        drive.rollout.numbers(drive.now).unwrap().candidate.requests,
        0,
        "they were of the step before"
    );
}

#[test]
fn a_trigger_fires_by_the_calls_of_all_guards_and_no_guard_alone_would_have_seen_it() {
    let mut drive = Drive::at(plan(), Stage::Progressive);
    drive.calls(GREEN, 9, CallResult::Completed);
    drive.calls(GREEN, 4, FAILED);
    assert_eq!(drive.wait(1), None, "too few samples");
    assert_eq!(drive.rollout.own_failure(drive.now), None);
    let others = elsewhere(&drive, 9, 4);
    drive.rollout.consider(others, drive.now);
    let back = drive.wait(1).expect("8 of 26 fail");
    assert_eq!(back.kind, TransitionKind::RolledBack);
    assert_eq!(back.cause.code(), Trigger::ErrorRate.as_str());
}

#[test]
fn what_others_have_counted_is_no_failure_of_this_guard() {
    let mut drive = Drive::at(plan(), Stage::Progressive);
    drive.calls(GREEN, 30, CallResult::Completed);
    let others = elsewhere(&drive, 0, 100);
    drive.rollout.consider(others, drive.now);
    assert_eq!(drive.rollout.own_failure(drive.now), None);
    drive.calls(GREEN, 30, FAILED);
    assert_eq!(drive.rollout.own_failure(drive.now).map(|fired| fired.trigger), Some(Trigger::ErrorRate));
}

#[test]
fn a_fleet_that_waits_moves_nothing_forward_and_says_why() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    let hold = Others { hold: Some("b has another configuration".to_owned()), ..Others::default() };
    drive.rollout.consider(hold.clone(), drive.now);
    drive.calls(GREEN, 30, CallResult::Completed);
    drive.calls(BLUE, 30, CallResult::Completed);
    for _ in 0..60 {
        assert_eq!(drive.wait(60), None, "that the fleet waits is no stall of the step");
        drive.calls(GREEN, 30, CallResult::Completed);
        drive.rollout.consider(hold.clone(), drive.now);
    }
    let waits_for = drive.rollout.status(drive.now).run.unwrap().waits_for;
    assert_eq!(waits_for, "the fleet: b has another configuration");
    assert!(drive.command(Command::Rollback { to: None }).is_some(), "the way back is always free");
}

#[test]
fn what_fired_elsewhere_ends_the_rollout_with_its_words() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    let fired = Fired {
        trigger: Trigger::Memory,
        action: Action::Rollback,
        measured: 0.99,
        limit: 0.9,
        samples: 3,
        detail: "at guard-b: green uses 99 % of its memory".to_owned(),
    };
    drive.rollout.consider(Others { fired: vec![fired.clone()], ..Others::default() }, drive.now);
    let back = drive.wait(1).unwrap();
    assert_eq!((back.kind, back.cause), (TransitionKind::RolledBack, Cause::Trigger { fired }));
}

#[test]
fn a_guard_that_observes_decides_nothing_and_follows_everything() {
    let mut leads = Drive::at(plan(), Stage::Canary);
    let mut follows = Drive::idle();
    follows.rollout.follow(leads.rollout.state().clone(), follows.now);
    assert_eq!((follows.stage(), follows.weight()), (Stage::Canary, leads.weight()));
    let seq = follows.rollout.state().seq;
    for _ in 0..200 {
        follows.now = follows.now + seconds(1);
        let (slot, health) = (GREEN, Health::Unhealthy("connection refused".to_owned()));
        follows.rollout.observe(Event::Health { slot, health, answered: false }, follows.now);
        follows.rollout.observe(Event::Tick, follows.now);
        let command = Command::Rollback { to: None };
        follows.rollout.observe(Event::Command { command, who: "tests".to_owned() }, follows.now);
    }
    assert_eq!(follows.rollout.state().seq, seq);
    assert_eq!(follows.rollout.own_failure(follows.now).unwrap().trigger, Trigger::CandidateHealth);
    leads.command(Command::Rollback { to: None });
    follows.rollout.follow(leads.rollout.state().clone(), follows.now);
    assert_eq!(follows.rollout.state(), leads.rollout.state());
    assert_eq!(follows.rollout.own_failure(follows.now), None, "there is no candidate any more");
}

#[test]
fn a_candidate_is_withheld_whatever_its_share_is() {
    let mut drive = Drive::at(plan(), Stage::CandidateOnly);
    assert_eq!(drive.rollout.split().ejected(), None);
    for withheld in [Withheld::Fails, Withheld::NotCaughtUp] {
        drive.rollout.withhold(Some(withheld));
        assert_eq!(drive.rollout.split().ejected(), Some(GREEN), "{withheld:?}");
    }
    drive.sick(BLUE);
    assert_eq!(drive.rollout.split().ejected(), Some(GREEN), "it may act on an old state");
    drive.rollout.withhold(None);
    assert_eq!(drive.rollout.split().ejected(), Some(BLUE));
}

#[test]
fn a_route_under_another_state_leaves_the_decision_as_it_is() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    let before = drive.rollout.state().clone();
    drive.command(Command::Promote { force: true });
    let (split, _, stage) = drive.rollout.route_under(before);
    assert_eq!((split.candidate_weight().get(), stage), (5, Stage::Canary));
    assert_eq!((drive.weight(), drive.stage()), (50, Stage::Progressive));
}
