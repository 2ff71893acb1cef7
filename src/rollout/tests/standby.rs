//! Who stands by for stable, where a rollback leads whatever the plan, and what a share without clients leads to.

use std::sync::Arc;

use super::*;
use crate::rollout::transition::Cause;
use crate::rollout::triggers::Trigger;
use crate::rollout::{Member, SplitContext};

fn split_context(standby: bool, clients: &[&str]) -> SplitContext {
    let member = |name: &&str| Member { name: (*name).to_owned(), key: (*name).to_owned() };
    SplitContext { standby, clients: clients.iter().map(member).collect::<Arc<[Member]>>() }
}

fn idle(standby: bool) -> Drive {
    let mut drive = Drive::idle();
    drive.rollout.configure(&Slot::ALL, split_context(standby, &[]));
    drive
}

impl Drive {
    fn serves(&self) -> Slot {
        self.rollout.split().pick(b"bot")
    }

    fn standby(&mut self) -> String {
        let now = self.now;
        self.rollout.status(now).standby
    }
}

// "A healthy second slot stands by for an unhealthy stable one when it has been stable before or `routing.standby = true` says so"
// and "(off by default: an unvetted candidate takes nobody's calls)."
#[test]
fn a_healthy_slot_stands_by_when_it_was_stable_or_the_configuration_says_so() {
    let mut unvetted = idle(false);
    unvetted.sick(BLUE);
    assert_eq!(unvetted.serves(), BLUE);
    assert!(unvetted.standby().contains("no slot stands by for blue: green has not been stable"));

    let mut allowed = idle(true);
    assert_eq!((allowed.serves(), allowed.standby().as_str()), (BLUE, "green stands by for blue"));
    allowed.sick(BLUE);
    assert_eq!(allowed.serves(), GREEN);
    assert!(allowed.standby().contains("green serves in place of blue"));
    allowed.probe(BLUE, Health::Healthy);
    assert_eq!(allowed.serves(), BLUE);
    allowed.sick(GREEN);
    assert!(allowed.standby().contains("green is not healthy"));

    let mut before = idle(false);
    for to in [GREEN, BLUE] {
        before.command(Command::Switch { to, force: false }).unwrap();
    }
    assert_eq!(before.standby(), "green stands by for blue");
    before.sick(BLUE);
    assert_eq!(before.serves(), GREEN);
}

#[test]
fn a_slot_taken_out_of_service_or_that_speaks_less_does_not_stand_by() {
    let mut retired = idle(true);
    let done = retired.command(Command::Retire { slot: GREEN }).unwrap();
    assert_eq!(done.slot, Some(GREEN));
    assert!(done.to_string().starts_with("retired: green takes no calls any more"), "{done}");
    assert!(retired.standby().contains("green was taken out of service"));
    retired.sick(BLUE);
    assert_eq!(retired.serves(), BLUE);

    let mut older = idle(true);
    older.offers(GREEN, surface(false, 13));
    assert!(older.standby().contains("green does not speak what blue speaks"));
    older.sick(BLUE);
    assert_eq!((older.serves(), older.rollout.fenced()), (BLUE, false));
}

// "`--to` accepts any stage name with any plan; traffic never stays on the candidate because a plan lacks a step."
#[test]
fn a_rollback_leads_to_the_stage_or_to_what_comes_before_it_whatever_the_plan() {
    let all = plan();
    for kept in 1_u32..(1 << all.steps().len()) {
        let steps: Vec<Step> = (0..all.steps().len())
            .filter(|number| kept & (1 << number) != 0)
            .map(|number| all.steps()[number].clone())
            .collect();
        for from in steps.iter().map(|step| step.stage) {
            for to in Stage::ALL {
                let mut drive = Drive::at(plan_of(steps.clone()), from);
                let before = drive.weight();
                let back = drive.command(Command::Rollback { to: Some(to) });
                if to >= from && to != Stage::Stable {
                    assert_eq!(back, None, "{from:?} -> {to:?} is no way back");
                    continue;
                }
                let at = back.expect("a way back").to;
                assert!(at.stage <= to && at.weight.get() <= before, "{from:?} -> {to:?}: {at:?}");
                assert_eq!(at.paused, to != Stage::Stable, "it waits");
                if to <= Stage::Shadow {
                    assert_eq!(drive.rollout.split().candidate_weight().get(), 0, "{from:?} -> {to:?}");
                }
                assert!(drive.rollout.state().is_legal());
                if to != Stage::Stable {
                    drive.command(Command::Resume).expect("it goes on");
                    drive.command(Command::Promote { force: true }).expect("and further");
                }
            }
        }
    }
}

#[test]
fn a_rollback_to_dual_protocol_with_the_built_in_plan_keeps_the_rollout_and_moves_all_traffic() {
    let mut drive = Drive::at(Plan::default(), Stage::CandidateOnly);
    let back = drive.command(Command::Rollback { to: Stage::parse("shadow_mode") }).unwrap();
    assert_eq!((back.to.stage, back.to.weight.get(), back.to.paused), (Stage::DualProtocol, 0, true));
    assert_eq!(drive.serves(), BLUE);
    drive.command(Command::Resume).unwrap();
    assert_eq!(drive.wait(100_000), None, "an operator ends it");
    drive.command(Command::Promote { force: false }).unwrap();
    assert_eq!(drive.stage(), Stage::Canary);
}

fn empty_share() -> Drive {
    let mut drive = Drive::started(Plan::default());
    drive
        .rollout
        .configure(&Slot::ALL, split_context(false, &["panda-bot", "testbed-bot", "watchdog", "claude"]));
    drive
}

#[test]
fn a_share_that_holds_no_client_is_reported_while_it_lasts() {
    let mut drive = empty_share();
    assert_eq!(drive.weight(), 5);
    let now = drive.now;
    let waits = drive.rollout.status(now).run.unwrap().waits_for;
    assert!(
        waits.contains("none of the 4 clients is in this share; name some under [clients] candidate"),
        "{waits}"
    );
    while drive.weight() < 100 {
        drive.command(Command::Promote { force: true }).unwrap();
    }
    assert_eq!(drive.rollout.empty_share(), None, "all clients are in it");

    let mut plan = Plan::default();
    plan.candidate_clients.insert("watchdog".to_owned());
    let mut named = Drive::started(plan);
    named.rollout.configure(&Slot::ALL, split_context(false, &["panda-bot", "watchdog"]));
    assert_eq!(named.rollout.empty_share(), None);
}

// "Lack of calls alone never rolls back."
#[test]
fn a_step_that_lacks_nothing_but_calls_pauses_and_never_rolls_back() {
    for stage in [Stage::Canary, Stage::Progressive, Stage::CandidateOnly, Stage::Bake] {
        let mut drive = empty_share();
        while drive.stage() != stage {
            drive.command(Command::Promote { force: true }).unwrap();
        }
        let mut stopped = None;
        for _ in 0..60 {
            stopped = stopped.or(drive.wait(3_600));
        }
        let stopped = stopped.expect("it is told");
        let stalled =
            matches!(&stopped.cause, Cause::Trigger { fired } if fired.trigger == Trigger::StageStalled);
        assert!(stalled && stopped.kind == TransitionKind::Paused, "{stage:?}: {stopped}");
        assert!(drive.rollout.state().run.is_some());
    }
}

// "A slot without tools is not healthy", and a switch to it wants `--force`.
#[test]
fn a_switch_to_a_slot_that_lists_nothing_needs_force() {
    let mut drive = idle(false);
    drive.offers(GREEN, surface(true, 0));
    drive.probe(GREEN, Health::Unhealthy("it lists no tools".to_owned()));
    let refusal = drive.refusal(Command::Switch { to: GREEN, force: false });
    assert_eq!(refusal, Some(Refusal::ListsNothing(GREEN)));
    drive.command(Command::Switch { to: GREEN, force: true }).expect("an operator may have a reason");
}
