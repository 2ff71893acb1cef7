//! Each trigger is driven to fire, and held just under it.

use super::*;
use crate::rollout::Cause;
use crate::rollout::plan::triggers::Action;
use crate::rollout::triggers::Trigger;

/// At 50 %, with the default triggers but for the step's own length.
fn drive() -> Drive {
    let mut steps = plan().steps().to_vec();
    steps[3].hold = seconds(100_000);
    Drive::at(plan_of(steps), Stage::Progressive)
}

#[track_caller]
fn check_fired(transition: Option<Transition>, trigger: Trigger) {
    let transition = transition.expect("the trigger fires");
    assert_eq!(transition.kind, TransitionKind::RolledBack);
    match transition.cause {
        Cause::Trigger { fired } => assert_eq!(fired.trigger, trigger, "{}", fired.detail),
        cause @ (Cause::Operator { .. } | Cause::Analysis { .. } | Cause::Parity { .. }) => panic!("{cause}"),
    }
}

/// Good calls of both slots, so that rates have something to stand on.
fn traffic(drive: &mut Drive, good: u64) {
    for slot in Slot::ALL {
        drive.calls(slot, good, CallResult::Completed);
    }
}

#[test]
fn candidate_health_fires_on_an_unhealthy_candidate() {
    check_fired(drive().sick(GREEN), Trigger::CandidateHealth);
}

#[test]
fn candidate_health_does_not_mind_stable_nor_a_candidate_not_yet_known() {
    let mut drive = drive();
    assert_eq!(drive.sick(BLUE), None);
    assert_eq!(drive.probe(GREEN, Health::Unknown), None);
}

#[test]
fn candidate_health_may_wait() {
    let mut steps = plan().steps().to_vec();
    steps[2].hold = seconds(100_000);
    let mut plan = plan_of(steps);
    plan.triggers.candidate_health.window = seconds(300);
    let mut drive = Drive::at(plan, Stage::Canary);
    drive.sick(GREEN);
    assert_eq!(drive.wait(299), None);
    drive.probe(GREEN, Health::Healthy);
    drive.sick(GREEN);
    assert_eq!(drive.wait(299), None, "it recovered in between");
    check_fired(drive.wait(1), Trigger::CandidateHealth);
}

#[test]
fn critical_check_fires_when_it_fails_twice_and_not_once() {
    let mut drive = drive();
    let database = |failure: Option<&str>| Event::Check {
        name: "database".to_owned(),
        failure: failure.map(str::to_owned),
    };
    assert_eq!(drive.handle(database(Some("refused"))), None);
    assert_eq!(drive.handle(database(None)), None);
    assert_eq!(drive.handle(database(Some("refused"))), None);
    check_fired(drive.handle(database(Some("refused"))), Trigger::CriticalCheck);
}

#[test]
fn breaker_open_fires_when_it_stays_open() {
    let mut drive = drive();
    drive.calls(GREEN, 5, UNANSWERED);
    assert_eq!(drive.wait(29), None, "not open for long enough");
    assert_eq!(drive.weight(), 0, "an open breaker takes no traffic");
    check_fired(drive.wait(1), Trigger::BreakerOpen);
}

#[test]
fn breaker_open_does_not_fire_when_a_response_closes_it_in_time() {
    let mut drive = drive();
    drive.calls(GREEN, 5, UNANSWERED);
    assert_eq!(drive.wait(29), None);
    drive.calls(GREEN, 1, CallResult::Completed);
    assert_eq!(drive.weight(), 50);
    drive.calls(GREEN, 4, UNANSWERED);
    assert_eq!(drive.wait(31), None);
}

#[test]
fn stage_stalled_fires_an_hour_after_the_hold() {
    let mut drive = stalling();
    busy(&mut drive, 60);
    assert_eq!(drive.wait(59), None);
    check_fired(drive.wait(1), Trigger::StageStalled);
}

/// A step that does not get on though there are calls enough: the candidate is not healthy, and that trigger is off.
fn stalling() -> Drive {
    let mut plan = plan();
    plan.triggers.candidate_health.action = Action::Off;
    let mut drive = Drive::at(plan, Stage::Canary);
    drive.sick(GREEN);
    drive
}

/// Minutes with calls, in which nothing happens.
fn busy(drive: &mut Drive, minutes: u64) {
    for _ in 0..minutes {
        traffic(drive, 20);
        assert_eq!(drive.wait(60), None);
    }
}

#[test]
fn stage_stalled_does_not_count_the_hold_nor_a_pause() {
    let mut drive = stalling();
    drive.command(Command::Pause).unwrap();
    assert_eq!(drive.wait(5_000), None);
    drive.command(Command::Resume).unwrap();
    busy(&mut drive, 59);
    assert_eq!(drive.wait(59), None);
    check_fired(drive.wait(1), Trigger::StageStalled);
}

#[test]
fn error_rate_fires_above_ten_percent_and_not_at_ten() {
    let mut drive = drive();
    traffic(&mut drive, 90);
    drive.calls(GREEN, 10, INTERNAL);
    assert_eq!(drive.wait(1), None);
    drive.calls(GREEN, 1, INTERNAL);
    check_fired(drive.wait(1), Trigger::ErrorRate);
}

#[test]
fn error_rate_needs_twenty_samples_of_the_last_minute() {
    let mut drive = drive();
    drive.calls(GREEN, 19, INTERNAL);
    assert_eq!(drive.wait(61), None);
    drive.calls(GREEN, 19, INTERNAL);
    assert_eq!(drive.wait(1), None, "those of the minute before have left the window");
    drive.calls(GREEN, 1, INTERNAL);
    check_fired(drive.wait(1), Trigger::ErrorRate);
}

#[test]
fn error_rate_does_not_mind_client_errors_nor_tool_errors_as_usual() {
    let mut drive = drive();
    drive.calls(BLUE, 50, CallResult::Completed);
    drive.calls(BLUE, 50, CallResult::ToolError);
    drive.calls(GREEN, 50, CallResult::Completed);
    drive.calls(GREEN, 55, CallResult::ToolError);
    assert_eq!(drive.wait(1), None);
    drive.calls(GREEN, 50, CallResult::ToolError);
    check_fired(drive.wait(1), Trigger::ErrorRate);
}

#[test]
fn error_rate_does_not_blame_the_candidate_for_what_stable_suffers_too() {
    let mut drive = drive();
    for slot in Slot::ALL {
        drive.calls(slot, 50, CallResult::Completed);
        drive.calls(slot, 50, INTERNAL);
    }
    assert_eq!(drive.wait(10), None);
    drive.calls(GREEN, 10, INTERNAL);
    check_fired(drive.wait(1), Trigger::ErrorRate);
}

#[test]
fn error_rate_sustained_fires_above_five_percent_for_five_minutes() {
    let mut drive = drive();
    let mut fired = None;
    for second in 0..=300 {
        traffic(&mut drive, 93);
        drive.calls(GREEN, 7, INTERNAL);
        fired = drive.wait(1);
        if fired.is_some() {
            assert_eq!(second, 299, "not before five minutes have been watched");
            break;
        }
    }
    check_fired(fired, Trigger::ErrorRateSustained);
}

#[test]
fn error_rate_sustained_does_not_fire_at_five_percent_nor_on_a_burst() {
    let mut drive = drive();
    for _ in 0..400 {
        traffic(&mut drive, 95);
        drive.calls(GREEN, 5, INTERNAL);
        assert_eq!(drive.wait(1), None);
    }
    let mut drive = drive_after_a_burst();
    for _ in 0..400 {
        traffic(&mut drive, 93);
        assert_eq!(drive.wait(1), None);
    }
}

/// Eight percent for a minute.
fn drive_after_a_burst() -> Drive {
    let mut drive = drive();
    for _ in 0..60 {
        traffic(&mut drive, 92);
        drive.calls(GREEN, 8, INTERNAL);
        assert_eq!(drive.wait(1), None);
    }
    drive
}

#[test]
fn latency_fires_above_five_seconds_and_not_below() {
    let mut drive = drive();
    traffic(&mut drive, 100);
    drive.calls_taking(GREEN, 5, CallResult::Completed, seconds(20));
    assert_eq!(drive.wait(1), None, "95 of 100 are quick");
    drive.calls_taking(GREEN, 100, CallResult::Completed, Duration::from_millis(4_900));
    drive.calls_taking(GREEN, 2, CallResult::Completed, seconds(20));
    assert_eq!(drive.wait(1), None);
    drive.calls_taking(GREEN, 20, CallResult::Completed, Duration::from_millis(5_200));
    check_fired(drive.wait(1), Trigger::LatencyP95);
}

#[test]
fn latency_needs_twenty_samples_and_does_not_blame_the_candidate_alone() {
    let mut drive = drive();
    drive.calls_taking(GREEN, 19, CallResult::Completed, seconds(9));
    assert_eq!(drive.wait(1), None);
    drive.calls_taking(BLUE, 50, CallResult::Completed, seconds(8));
    drive.calls_taking(GREEN, 50, CallResult::Completed, seconds(9));
    assert_eq!(drive.wait(1), None, "stable is as slow");
    drive.calls_taking(GREEN, 50, CallResult::Completed, seconds(17));
    check_fired(drive.wait(1), Trigger::LatencyP95);
}

#[test]
fn memory_fires_above_ninety_percent_that_last() {
    let mut drive = drive();
    let reading = |used| Event::Memory { slot: GREEN, used, limit: 1_000 };
    for _ in 0..100 {
        assert_eq!(drive.handle(reading(900)), None);
        assert_eq!(drive.wait(5), None);
    }
    assert_eq!(drive.handle(reading(901)), None);
    assert_eq!(drive.wait(5), None);
    assert_eq!(drive.handle(reading(899)), None, "below again");
    assert_eq!(drive.handle(reading(950)), None);
    assert_eq!(drive.wait(5), None);
    assert_eq!(drive.handle(reading(950)), None);
    assert_eq!(drive.wait(5), None, "two readings are not three");
    check_fired(drive.handle(reading(950)), Trigger::Memory);
}

#[test]
fn memory_without_a_limit_or_of_stable_trips_no_trigger() {
    let mut drive = drive();
    for _ in 0..10 {
        assert_eq!(drive.handle(Event::Memory { slot: GREEN, used: u64::MAX, limit: 0 }), None);
        assert_eq!(drive.handle(Event::Memory { slot: BLUE, used: 99, limit: 100 }), None);
        assert_eq!(drive.wait(5), None);
    }
}

#[test]
fn protocol_fires_when_the_candidate_offers_something_else_twice() {
    let changes = [
        surface(false, 13),
        surface(true, 12),
        ServerSurface { fingerprint: "retyped".to_owned(), ..surface(true, 13) },
    ];
    for changed in changes {
        let mut drive = drive();
        assert_eq!(drive.offers(GREEN, changed.clone()), None);
        assert_eq!(drive.offers(GREEN, surface(true, 13)), None, "as at the start");
        assert_eq!(drive.offers(GREEN, changed.clone()), None);
        check_fired(drive.offers(GREEN, changed), Trigger::Protocol);
    }
}

#[test]
fn protocol_does_not_mind_a_change_before_the_rollout_or_of_stable() {
    let mut drive = Drive::idle();
    drive.offers(GREEN, surface(true, 45));
    drive.command(Command::Start { id: "r1".to_owned(), plan: Box::new(plan()), force: false }).unwrap();
    for _ in 0..3 {
        assert_eq!(drive.offers(GREEN, surface(true, 45)), None);
        assert_eq!(drive.offers(BLUE, surface(true, 7)), None);
    }
}

#[test]
fn each_action_does_what_it_says_and_once() {
    let with = |action| {
        let mut plan = plan();
        plan.triggers.protocol.action = action;
        plan.triggers.protocol.min_samples = 1;
        let mut drive = Drive::at(plan, Stage::Canary);
        let kind = drive.offers(GREEN, surface(true, 1)).map(|t| t.kind);
        assert!(drive.offers(GREEN, surface(true, 1)).is_none(), "told once");
        (kind, drive.rollout.state().run.is_some())
    };
    assert_eq!(with(Action::Rollback), (Some(TransitionKind::RolledBack), false));
    assert_eq!(with(Action::Pause), (Some(TransitionKind::Paused), true));
    assert_eq!(with(Action::Notify), (Some(TransitionKind::Noted), true));
    assert_eq!(with(Action::Off), (None, true));
}

#[test]
fn a_trigger_that_ceased_is_reported_again() {
    let mut plan = plan();
    plan.triggers.protocol.action = Action::Notify;
    plan.triggers.protocol.min_samples = 1;
    let mut drive = Drive::at(plan, Stage::Canary);
    assert!(drive.offers(GREEN, surface(true, 1)).is_some());
    assert!(drive.offers(GREEN, surface(true, 13)).is_none());
    assert!(drive.offers(GREEN, surface(true, 1)).is_some());
}

#[test]
fn the_gravest_action_comes_first() {
    let mut plan = plan();
    plan.triggers.candidate_health.action = Action::Notify;
    plan.triggers.error_rate.action = Action::Rollback;
    let mut drive = Drive::at(plan, Stage::Canary);
    drive.calls(GREEN, 100, INTERNAL);
    check_fired(drive.sick(GREEN), Trigger::ErrorRate);
}
