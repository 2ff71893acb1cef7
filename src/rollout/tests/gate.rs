//! The parity gate before each step.

use super::*;
use crate::rollout::comparison::{Compared, Difference};
use crate::rollout::transition::Cause;

fn gated() -> Drive {
    let steps = vec![step(Stage::Canary, 5), step(Stage::Progressive, 50)];
    let (analysis, triggers) = (Analysis::default(), Triggers::default());
    let plan = Plan::new(steps, analysis, triggers, BTreeSet::new(), BTreeSet::new(), true).unwrap();
    let mut drive = Drive::started(plan);
    drive.calls(GREEN, 20, CallResult::Completed);
    drive
}

fn difference() -> Difference {
    Difference {
        check: "schemas".to_owned(),
        subject: Some("panda_list_jobs".to_owned()),
        path: "days".to_owned(),
        change: "default changed".to_owned(),
        live: Some("7".to_owned()),
        candidate: None,
    }
}

impl Drive {
    /// The step has passed: the comparison is requested, once.
    fn comes_to_the_gate(&mut self) {
        assert_eq!(self.rollout.wants_comparison(), None, "not before the step has passed");
        self.now = self.now + seconds(60);
        assert_eq!(self.handle(Event::Tick), None, "the step waits for the gate");
        assert_eq!(self.rollout.wants_comparison(), Some(0));
        assert_eq!(self.handle(Event::Tick), None);
        assert_eq!(self.rollout.wants_comparison(), None, "one comparison at a time");
    }

    fn compared(&mut self, compared: Compared) -> Option<Transition> {
        self.handle(Event::Gate { step: 0, compared })
    }
}

#[test]
fn a_step_is_left_once_the_backends_have_been_compared() {
    let mut drive = gated();
    drive.comes_to_the_gate();
    let waits = drive.rollout.status(drive.now).run.unwrap().waits_for;
    assert_eq!(waits, "the parity gate: both slots are being compared");
    assert_eq!(drive.compared(Compared::Holds).unwrap().kind, TransitionKind::Advanced);
    assert_eq!(drive.compared(Compared::Breaks(vec![difference()])), None, "an answer to another question");
}

#[test]
fn a_break_stops_the_rollout_and_a_resume_compares_again() {
    let mut drive = gated();
    drive.comes_to_the_gate();
    let stopped = drive.compared(Compared::Breaks(vec![difference()])).unwrap();
    assert_eq!(
        (stopped.kind, stopped.to.stage, stopped.to.paused),
        (TransitionKind::Paused, Stage::Canary, true)
    );
    assert!(matches!(&stopped.cause, Cause::Parity { differences } if differences.len() == 1));
    assert_eq!(
        stopped.to_string(),
        "paused: canary 5 % -> canary 5 % (paused), the candidate does not match stable: \
         schemas: panda_list_jobs days - default changed (live 7, candidate nothing)"
    );
    drive.now = drive.now + seconds(600);
    assert_eq!((drive.handle(Event::Tick), drive.rollout.wants_comparison()), (None, None), "it waits");
    assert!(drive.command(Command::Resume).is_some());
    drive.calls(GREEN, 20, CallResult::Completed);
    assert_eq!(drive.handle(Event::Tick), None);
    assert_eq!(drive.rollout.wants_comparison(), Some(0));
    assert_eq!(drive.compared(Compared::Holds).unwrap().kind, TransitionKind::Advanced);
}

#[test]
fn a_comparison_that_cannot_be_made_is_made_again_and_never_passes() {
    let mut drive = gated();
    drive.comes_to_the_gate();
    assert_eq!(drive.compared(Compared::Unknown("stable does not answer".to_owned())), None);
    let waits = drive.rollout.status(drive.now).run.unwrap().waits_for;
    assert_eq!(waits, "the parity gate: stable does not answer");
    assert_eq!((drive.handle(Event::Tick), drive.rollout.wants_comparison()), (None, None));
    drive.now = drive.now + seconds(5);
    assert_eq!((drive.handle(Event::Tick), drive.rollout.wants_comparison()), (None, Some(0)));
}

#[test]
fn nothing_passes_for_a_sick_candidate_nor_while_a_person_is_waited_for() {
    let mut drive = gated();
    drive.comes_to_the_gate();
    drive.sick(GREEN);
    assert!(drive.rollout.state().run.is_none(), "the health trigger is quicker");
    let mut drive = gated();
    drive.comes_to_the_gate();
    assert!(drive.command(Command::Pause).is_some());
    assert_eq!(drive.compared(Compared::Holds), None, "nothing passes while it waits for a person");
}
