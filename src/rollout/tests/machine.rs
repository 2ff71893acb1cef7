//! Commands, steps and what they do to the split.

use super::*;

#[test]
fn a_good_candidate_goes_through_every_stage_and_becomes_stable() {
    let mut drive = Drive::started(plan());
    let mut seen = vec![(drive.stage(), drive.weight())];
    let completed = loop {
        let transition = drive.good_minute().expect("a good minute is enough for a step");
        if transition.kind != TransitionKind::Advanced {
            break transition;
        }
        seen.push((drive.stage(), drive.weight()));
    };
    let expected = [
        (Stage::DualProtocol, 0),
        (Stage::Shadow, 0),
        (Stage::Canary, 5),
        (Stage::Progressive, 50),
        (Stage::CandidateOnly, 100),
        (Stage::Bake, 100),
    ];
    assert_eq!(seen, expected);
    assert_eq!((completed.kind, completed.to.stage), (TransitionKind::Completed, Stage::Complete));
    assert_eq!(completed.to_string(), "completed: stable is green now (was blue), analysis: pass");
    assert_eq!(drive.rollout.split(), crate::upstream::Split::all(GREEN));
    assert_eq!(completed.numbers.unwrap().candidate.requests, 30);
}

#[test]
fn the_weight_changes_with_the_step_only() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    let split = drive.rollout.split();
    drive.calls(GREEN, 19, CallResult::Completed);
    assert_eq!(drive.wait(600), None, "too few samples hold the step");
    assert_eq!(drive.rollout.split(), split);
    drive.calls(GREEN, 1, CallResult::Completed);
    assert_eq!(drive.wait(1).map(|t| t.kind), Some(TransitionKind::Advanced));
}

#[test]
fn a_call_that_began_before_the_rollout_is_not_the_candidates() {
    let mut drive = Drive::at(plan_of(vec![step(Stage::Canary, 5)]), Stage::Canary);
    drive.calls_taking(GREEN, 50, UNANSWERED, seconds(31));
    assert_eq!(drive.wait(10), None);
    assert_eq!(drive.rollout.numbers(drive.now).unwrap().candidate.requests, 0);
    drive.calls_taking(GREEN, 50, UNANSWERED, seconds(29));
    assert_eq!(drive.wait(1).map(|t| t.kind), Some(TransitionKind::RolledBack));
}

#[test]
fn a_step_holds_for_its_time_whatever_the_samples_say() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    drive.calls(GREEN, 1_000, CallResult::Completed);
    assert_eq!(drive.wait(59), None);
    assert_eq!(drive.wait(1).map(|t| t.to.stage), Some(Stage::Progressive));
}

#[test]
fn samples_of_one_step_do_not_count_for_the_next() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    drive.calls(GREEN, 1_000, CallResult::Completed);
    assert!(drive.wait(60).is_some());
    assert_eq!(drive.wait(120), None, "progressive waits for samples of its own");
}

#[test]
fn a_failed_step_goes_back_to_stable() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    drive.calls(GREEN, 93, CallResult::Completed);
    drive.calls(GREEN, 7, INTERNAL);
    let back = drive.wait(60).unwrap();
    assert_eq!((back.kind, back.to.stage), (TransitionKind::RolledBack, Stage::Stable));
    assert_eq!(
        back.to_string(),
        "rolled_back: canary 5 % -> stable, analysis: fail; candidate error rate 7.0 % above 5.0 %"
    );
    assert_eq!(drive.rollout.split(), crate::upstream::Split::all(BLUE));
}

#[test]
fn a_failed_step_may_pause_instead_and_says_so_once() {
    let mut plan = plan();
    plan.analysis.on_fail = crate::rollout::plan::triggers::Action::Pause;
    let mut drive = Drive::at(plan, Stage::Canary);
    drive.calls(GREEN, 93, CallResult::Completed);
    drive.calls(GREEN, 7, INTERNAL);
    assert_eq!(drive.wait(60).map(|t| t.kind), Some(TransitionKind::Paused));
    assert_eq!(drive.wait(3_000), None);
    assert!(drive.command(Command::Resume).is_some());
    assert_eq!(drive.wait(30), None, "an operator who resumes has seen it");
}

#[test]
fn a_manual_step_waits_for_a_person_and_does_not_stall() {
    let mut steps = plan().steps().to_vec();
    steps[2].advance = Advance::Manual;
    let mut drive = Drive::at(plan_of(steps), Stage::Canary);
    drive.calls(GREEN, 100, CallResult::Completed);
    assert_eq!(drive.wait(2 * 3_600), None);
    assert_eq!(
        drive.rollout.status(drive.now).run.unwrap().waits_for,
        "0 of the 20 answers of the candidate that a verdict needs"
    );
    drive.calls(GREEN, 100, CallResult::Completed);
    assert_eq!(drive.rollout.status(drive.now).run.unwrap().waits_for, "an operator: `rollout promote`");
    assert!(drive.command(Command::Promote { force: false }).is_some());
}

#[test]
fn pause_stops_the_steps_and_not_the_triggers() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    assert_eq!(drive.command(Command::Pause).unwrap().to.to_string(), "canary 5 % (paused)");
    assert_eq!(drive.good_minute(), None);
    assert_eq!(drive.weight(), 5, "the share stays");
    assert_eq!(drive.sick(GREEN).map(|t| t.kind), Some(TransitionKind::RolledBack));
}

#[test]
fn promote_goes_on_at_once_unless_the_analysis_fails() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    drive.calls(GREEN, 93, CallResult::Completed);
    drive.calls(GREEN, 7, INTERNAL);
    let refusal = drive.refusal(Command::Promote { force: false }).unwrap();
    assert!(refusal.to_string().contains("7.0 %"), "{refusal}");
    let promoted = drive.command(Command::Promote { force: true }).unwrap();
    assert_eq!((promoted.kind, drive.weight()), (TransitionKind::Promoted, 50));
}

#[test]
fn an_unhealthy_candidate_is_never_promoted() {
    let mut plan = plan();
    plan.triggers.candidate_health.action = crate::rollout::plan::triggers::Action::Notify;
    let mut drive = Drive::at(plan, Stage::Canary);
    drive.calls(GREEN, 100, CallResult::Completed);
    assert_eq!(drive.sick(GREEN).map(|t| t.kind), Some(TransitionKind::Noted));
    assert_eq!(drive.weight(), 0, "no new traffic");
    assert_eq!(
        drive.refusal(Command::Promote { force: true }).unwrap().to_string(),
        "green is not healthy: connection refused"
    );
    assert_eq!(drive.wait(100), None);
    assert_eq!(drive.stage(), Stage::Canary);
    assert_eq!(drive.probe(GREEN, Health::Healthy).map(|t| t.kind), Some(TransitionKind::Advanced));
}

#[test]
fn rollback_to_an_earlier_stage_waits_there() {
    let mut drive = Drive::at(plan(), Stage::CandidateOnly);
    let back = drive.command(Command::Rollback { to: Some(Stage::Canary) }).unwrap();
    assert_eq!((back.to.stage, back.to.paused, drive.weight()), (Stage::Canary, true, 5));
    assert_eq!(drive.good_minute(), None);
    let refusal = drive.refusal(Command::Rollback { to: Some(Stage::Bake) }).unwrap();
    assert_eq!(refusal.to_string(), "cannot roll back to `bake`: the rollout is at `canary`");
    drive.command(Command::Resume).unwrap();
    assert!(drive.good_minute().is_some());
    drive.command(Command::Rollback { to: Some(Stage::DualProtocol) }).unwrap();
    assert_eq!((drive.stage(), drive.weight()), (Stage::DualProtocol, 0));
    drive.command(Command::Rollback { to: Some(Stage::Stable) }).unwrap();
    assert!(drive.rollout.state().run.is_none());
}

// SPEC 9: "A rollback while nothing is in rollout says so and changes nothing."
#[test]
fn commands_without_a_rollout_say_so_and_change_nothing() {
    let mut drive = Drive::idle();
    let before = drive.rollout.state().clone();
    let commands =
        [Command::Rollback { to: None }, Command::Pause, Command::Resume, Command::Promote { force: true }];
    for command in commands {
        let refusal = drive.refusal(command).unwrap();
        assert_eq!(refusal.to_string(), "nothing is in rollout: blue serves all traffic");
    }
    assert_eq!(drive.rollout.state(), &before);
}

#[test]
fn a_rollout_needs_a_healthy_candidate_and_no_other_rollout() {
    let start = || Command::Start { id: "r2".to_owned(), plan: Box::new(plan()), force: false };
    let mut drive = Drive::idle();
    drive.sick(GREEN);
    let refusal = drive.refusal(start()).unwrap();
    assert_eq!(refusal.to_string(), "green is not healthy: connection refused");
    drive.rollout.configure(&[BLUE], crate::rollout::SplitContext::default());
    let refusal = drive.refusal(start()).unwrap();
    assert_eq!(refusal.to_string(), "green is not configured (hint: add [slots.green])");
    let mut drive = Drive::started(plan());
    let refusal = drive.refusal(start()).unwrap();
    assert!(refusal.to_string().starts_with("rollout `r1` is under way"), "{refusal}");
    let refusal = drive.refusal(Command::Switch { to: GREEN, force: true }).unwrap();
    assert!(refusal.to_string().starts_with("rollout `r1` is under way"), "{refusal}");
}

#[test]
fn a_switch_goes_there_and_back_by_the_same_command() {
    let mut drive = Drive::idle();
    let there = drive.command(Command::Switch { to: GREEN, force: false }).unwrap();
    assert_eq!(there.to_string(), "switched: stable is green now (was blue), by tests");
    assert_eq!(drive.rollout.split().fallback(GREEN), Some(BLUE), "the former stable stands by");
    assert_eq!(
        drive.refusal(Command::Switch { to: GREEN, force: true }),
        Some(Refusal::AlreadyStable(GREEN))
    );
    drive.sick(BLUE);
    let refusal = drive.refusal(Command::Switch { to: BLUE, force: true }).unwrap();
    assert_eq!(refusal.to_string(), "blue is not healthy: connection refused");
    drive.probe(BLUE, Health::Healthy);
    assert!(drive.command(Command::Switch { to: BLUE, force: false }).is_some());
    assert_eq!(drive.refusal(Command::Retire { slot: BLUE }), Some(Refusal::Serves(BLUE)));
    assert!(drive.command(Command::Retire { slot: GREEN }).is_some());
    assert_eq!(drive.rollout.split().fallback(BLUE), None);
}

#[test]
fn stable_is_relieved_only_by_a_candidate_that_serves() {
    let mut drive = Drive::idle();
    drive.sick(BLUE);
    assert_eq!(drive.rollout.split().pick(b"bot"), BLUE, "green has never been tried");
    drive.probe(BLUE, Health::Healthy);
    let mut drive = Drive::at(plan(), Stage::Canary);
    drive.sick(BLUE);
    assert_eq!(drive.rollout.split().pick(b"bot"), GREEN);
    assert_eq!(drive.rollout.split().ejected(), Some(BLUE));
    drive.sick(GREEN);
    assert_eq!(drive.rollout.split().ejected(), None, "the last healthy slot is never ejected");
}

#[test]
fn no_trigger_moves_all_clients_to_a_stable_that_is_down() {
    let mut drive = Drive::at(plan(), Stage::CandidateOnly);
    drive.sick(BLUE);
    drive.calls(GREEN, 50, CallResult::Completed);
    drive.calls(GREEN, 50, INTERNAL);
    let paused = drive.wait(1).unwrap();
    assert_eq!(
        (paused.kind, drive.weight()),
        (TransitionKind::Paused, 100),
        "half of the calls are better than none"
    );
    assert_eq!(drive.wait(30), None, "said once");
    let back = drive.probe(BLUE, Health::Healthy);
    assert_eq!(back.map(|t| t.kind), Some(TransitionKind::RolledBack), "as soon as there is a way back");
}

// SPEC 5, era fence.
#[test]
fn newer_versions_are_fenced_while_there_is_a_way_back_to_a_backend_without_them() {
    let mut drive = Drive::idle();
    drive.offers(BLUE, surface(false, 13));
    assert!(!drive.rollout.fenced(), "nothing is in rollout");
    let start = Command::Start { id: "r1".to_owned(), plan: Box::new(plan()), force: false };
    drive.command(start.clone()).unwrap();
    assert!(drive.rollout.fenced());
    drive.command(Command::Rollback { to: None }).unwrap();
    drive.command(start).unwrap();
    while drive.rollout.state().run.is_some() {
        assert!(drive.rollout.fenced(), "at {:?}", drive.stage());
        drive.command(Command::Promote { force: false }).unwrap();
    }
    assert!(!drive.rollout.fenced(), "it lifts when the rollout completes");
    let back = Command::Switch { to: BLUE, force: false };
    assert_eq!(drive.refusal(back), Some(Refusal::SpeaksLess { slot: BLUE }));
}

#[test]
fn after_a_switch_the_fence_stays_until_the_former_stable_is_retired() {
    let mut drive = Drive::idle();
    drive.offers(BLUE, surface(false, 13));
    drive.command(Command::Switch { to: GREEN, force: false }).unwrap();
    assert!(drive.rollout.fenced());
    assert!(drive.command(Command::Switch { to: BLUE, force: false }).is_some(), "so the way back is safe");
    drive.command(Command::Switch { to: GREEN, force: false }).unwrap();
    drive.command(Command::Retire { slot: BLUE }).unwrap();
    assert!(!drive.rollout.fenced());
}

#[test]
fn a_rollout_survives_a_restart_and_gathers_its_samples_again() {
    let mut drive = Drive::at(plan(), Stage::Canary);
    drive.calls(GREEN, 30, CallResult::Completed);
    let kept = serde_json::to_string(drive.rollout.state()).unwrap();
    let state: State = serde_json::from_str(&kept).unwrap();
    assert_eq!(&state, drive.rollout.state());
    assert!(state.is_legal());
    let split = drive.rollout.split();
    drive.now = drive.now + seconds(3 * 3_600);
    drive.rollout = Rollout::new(state, &Slot::ALL, &Plan::default(), drive.now);
    assert_eq!(drive.rollout.split(), split, "no client moves");
    assert_eq!(drive.wait(600), None, "neither passed nor stalled while it was down");
    drive.probe(GREEN, Health::Healthy);
    drive.calls(GREEN, 30, CallResult::Completed);
    assert_eq!(drive.wait(1).map(|t| t.kind), Some(TransitionKind::Advanced));
}

#[test]
fn transitions_are_numbered_without_a_gap() {
    let mut drive = Drive::started(plan());
    drive.command(Command::Pause).unwrap();
    drive.command(Command::Pause);
    drive.command(Command::Resume).unwrap();
    let back = drive.command(Command::Rollback { to: None }).unwrap();
    assert_eq!(back.seq, 4);
    assert_eq!(back.rollout.as_deref(), Some("r1"));
}
