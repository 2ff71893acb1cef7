//! What must hold whatever happens in whatever order.

use proptest::prelude::*;

use super::*;
use crate::upstream::Split;

/// One thing that may happen.
#[derive(Debug, Clone)]
enum Happening {
    Wait(u64),
    Calls(Slot, u64, CallResult),
    Copies(u64, bool),
    Probe(Slot, Health),
    Offers(Slot, usize),
    Memory(u64),
    Check(bool),
    Command(Command),
}

fn happening() -> impl Strategy<Value = Happening> {
    let slot = || prop_oneof![Just(BLUE), Just(GREEN)];
    let verdict = prop_oneof![
        6 => Just(CallResult::Completed),
        1 => Just(CallResult::ToolError),
        1 => Just(FAILED),
        1 => Just(UNANSWERED),
        1 => Just(INTERNAL),
    ];
    let health = prop_oneof![
        4 => Just(Health::Healthy),
        1 => Just(Health::Unknown),
        1 => Just(Health::Unhealthy("no".to_owned())),
    ];
    let stage = prop::option::of(prop::sample::select(Stage::ALL.to_vec()));
    let start = Command::Start { id: "r9".to_owned(), plan: Box::new(plan()), force: false };
    let command = prop_oneof![
        3 => Just(start),
        1 => Just(Command::Pause),
        2 => Just(Command::Resume),
        3 => any::<bool>().prop_map(|force| Command::Promote { force }),
        1 => stage.prop_map(|to| Command::Rollback { to }),
        1 => (slot(), any::<bool>()).prop_map(|(to, force)| Command::Switch { to, force }),
        1 => slot().prop_map(|slot| Command::Retire { slot }),
    ];
    prop_oneof![
        4 => (1u64..120).prop_map(Happening::Wait),
        6 => (slot(), 1u64..40, verdict).prop_map(|(slot, times, verdict)| Happening::Calls(slot, times, verdict)),
        2 => (1u64..40, any::<bool>()).prop_map(|(times, matched)| Happening::Copies(times, matched)),
        3 => (slot(), health).prop_map(|(slot, health)| Happening::Probe(slot, health)),
        1 => (slot(), 12usize..14).prop_map(|(slot, tools)| Happening::Offers(slot, tools)),
        1 => (800u64..1_000).prop_map(Happening::Memory),
        1 => any::<bool>().prop_map(Happening::Check),
        6 => command.prop_map(Happening::Command),
    ]
}

/// Lets it happen, checking every transition on the way.
fn happen(drive: &mut Drive, happening: Happening) {
    match happening {
        Happening::Wait(time) => {
            for _ in 0..time {
                drive.now = drive.now + seconds(1);
                step_checked(drive, Event::Tick);
            }
        }
        Happening::Calls(slot, times, verdict) => drive.calls(slot, times, verdict),
        Happening::Copies(times, matched) => drive.copies(times, matched),
        Happening::Probe(slot, health) => {
            let answered = health == Health::Healthy;
            step_checked(drive, Event::Health { slot, health, answered });
        }
        Happening::Offers(slot, tools) => {
            step_checked(drive, Event::Surface { slot, surface: surface(true, tools) });
        }
        Happening::Memory(used) => step_checked(drive, Event::Memory { slot: GREEN, used, limit: 1_000 }),
        Happening::Check(good) => {
            let failure = (!good).then(|| "refused".to_owned());
            step_checked(drive, Event::Check { name: "database".to_owned(), failure });
        }
        Happening::Command(command) => {
            let allowed = drive.rollout.check(&command, drive.now).is_ok();
            let event = Event::Command { command, who: "tests".to_owned() };
            let before = drive.rollout.state().clone();
            step_checked(drive, event);
            if !allowed {
                assert_eq!(drive.rollout.state(), &before, "a refused command changes nothing");
            }
        }
    }
}

/// One event: the state changes exactly as the transition says, or not at all.
fn step_checked(drive: &mut Drive, event: Event) {
    let before = drive.rollout.state().clone();
    let unclear = drive.rollout.conclusion(drive.now).is_some_and(|c| c.as_str() == "inconclusive");
    let by_command = matches!(event, Event::Command { .. });
    let transition = drive.rollout.handle(event, drive.now);
    let after = drive.rollout.state();
    assert!(after.is_legal());
    let Some(transition) = transition else {
        // What the candidate offers may be learnt late; nothing else changes without a transition.
        let pinned = after.run.as_ref().and_then(|run| run.pinned.clone());
        let mut expected = before;
        if let Some(run) = &mut expected.run {
            run.pinned = pinned;
        }
        assert_eq!(after, &expected, "nothing changes without a transition");
        return;
    };
    assert_eq!(transition.seq, before.seq + 1, "one transition at a time");
    assert_eq!(transition.from, before.position());
    if unclear && !by_command {
        assert!(
            transition.to.weight <= transition.from.weight,
            "no more traffic on an unclear verdict: {transition}"
        );
    }
    match transition.kind {
        TransitionKind::RolledBack if after.run.is_none() => {
            assert_eq!(after.stable, before.stable);
            assert_eq!(drive.rollout.split(), Split::all(before.stable), "all traffic on stable");
        }
        TransitionKind::RolledBack => {
            assert!(transition.to.stage < transition.from.stage && transition.to.paused)
        }
        TransitionKind::Advanced | TransitionKind::Promoted => {
            assert!(transition.to.weight >= transition.from.weight)
        }
        TransitionKind::Completed => {
            assert_eq!((after.stable, after.run.is_none()), (before.stable.other(), true))
        }
        TransitionKind::Switched => assert!(by_command && after.stable == before.stable.other()),
        TransitionKind::Started
        | TransitionKind::Paused
        | TransitionKind::Resumed
        | TransitionKind::Retired
        | TransitionKind::Noted => {
            assert_eq!(after.stable, before.stable);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_keeps_its_promises_whatever_happens(happenings in prop::collection::vec(happening(), 1..60)) {
        let mut drive = Drive::idle();
        for one in happenings {
            happen(&mut drive, one);
        }
    }

    #[test]
    fn a_rollback_from_any_stage_puts_all_clients_on_stable(promotions in 0usize..6, key in ".*") {
        let mut drive = Drive::started(plan());
        for _ in 0..promotions {
            drive.command(Command::Promote { force: false }).unwrap();
        }
        drive.command(Command::Rollback { to: None }).unwrap();
        prop_assert_eq!(drive.rollout.split().pick(key.as_bytes()), BLUE);
        prop_assert_eq!(drive.rollout.split(), Split::all(BLUE));
    }

    #[test]
    fn a_state_file_brings_back_the_same_split(happenings in prop::collection::vec(happening(), 1..40)) {
        let mut drive = Drive::idle();
        for one in happenings {
            happen(&mut drive, one);
        }
        let kept = serde_json::to_vec(drive.rollout.state()).unwrap();
        let state: State = serde_json::from_slice(&kept).unwrap();
        prop_assert_eq!(&state, drive.rollout.state());
        // Health is not kept: the guard finds out again. The split is otherwise the same.
        let fresh = Rollout::new(state.clone(), &Slot::ALL, &Plan::default(), drive.now);
        let known = Rollout::new(drive.rollout.state().clone(), &Slot::ALL, &Plan::default(), drive.now);
        prop_assert_eq!(fresh.split(), known.split());
    }
}
