//! The state machine as an operator sees it: driven by calls, probes, commands and time.

mod fleet;
mod gate;
mod machine;
mod properties;
mod standby;
mod triggers;

use std::collections::BTreeSet;
use std::time::Duration;

use super::plan::analysis::Analysis;
use super::plan::triggers::Triggers;
use super::plan::{Advance, Plan, Step};
use super::sample::{CallResult, Failure, Sample, SampleSource};
use super::state::ServerSurface;
use super::transition::{Transition, TransitionKind};
use super::{Command, Event, Health, Refusal, Rollout, Stage, State, Timestamp};
use crate::upstream::{Percent, Slot};

const BLUE: Slot = Slot::Blue;
const GREEN: Slot = Slot::Green;
const FAILED: CallResult = CallResult::Failed(Failure::Status);
const UNANSWERED: CallResult = CallResult::Failed(Failure::Timeout);
const INTERNAL: CallResult = CallResult::Failed(Failure::Internal);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn step(stage: Stage, weight: u8) -> Step {
    let weight = Percent::new(weight).unwrap();
    Step { stage, weight, hold: seconds(60), min_samples: 20, advance: Advance::Automatic }
}

/// Every stage once, a minute each.
fn plan() -> Plan {
    plan_of(vec![
        step(Stage::DualProtocol, 0),
        step(Stage::Shadow, 0),
        step(Stage::Canary, 5),
        step(Stage::Progressive, 50),
        step(Stage::CandidateOnly, 100),
        step(Stage::Bake, 100),
    ])
}

fn plan_of(steps: Vec<Step>) -> Plan {
    Plan::new(steps, Analysis::default(), Triggers::default(), BTreeSet::new(), BTreeSet::new(), false)
        .unwrap()
}

fn surface(modern: bool, tools: usize) -> ServerSurface {
    ServerSurface { modern, legacy: true, tools, fingerprint: format!("{tools} tools") }
}

/// A rollout, and the time.
struct Drive {
    rollout: Rollout,
    now: Timestamp,
}

impl Drive {
    /// Blue is stable; both are healthy and speak everything.
    fn idle() -> Drive {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let rollout = Rollout::new(State::new(BLUE), &Slot::ALL, &Plan::default(), now);
        let mut drive = Drive { rollout, now };
        for slot in Slot::ALL {
            drive.probe(slot, Health::Healthy);
            drive.offers(slot, surface(true, 13));
        }
        drive
    }

    /// A rollout of this plan, just started.
    fn started(plan: Plan) -> Drive {
        let mut drive = Drive::idle();
        let started =
            drive.command(Command::Start { id: "r1".to_owned(), plan: Box::new(plan), force: false });
        assert_eq!(started.map(|transition| transition.kind), Some(TransitionKind::Started));
        // Long enough that the calls of the tests have begun within the rollout.
        drive.now = drive.now + seconds(30);
        drive
    }

    /// A rollout that has been promoted to this stage.
    fn at(plan: Plan, stage: Stage) -> Drive {
        let mut drive = Drive::started(plan);
        while drive.stage() != stage {
            assert!(drive.command(Command::Promote { force: false }).is_some(), "no such stage");
        }
        drive
    }

    fn handle(&mut self, event: Event) -> Option<Transition> {
        self.rollout.handle(event, self.now)
    }

    fn command(&mut self, command: Command) -> Option<Transition> {
        self.handle(Event::Command { command, who: "tests".to_owned() })
    }

    fn refusal(&mut self, command: Command) -> Option<Refusal> {
        let refusal = self.rollout.check(&command, self.now).err();
        assert_eq!(refusal.is_some(), self.command(command).is_none(), "check and handle disagree");
        refusal
    }

    fn probe(&mut self, slot: Slot, health: Health) -> Option<Transition> {
        let answered = health == Health::Healthy;
        self.handle(Event::Health { slot, health, answered })
    }

    fn sick(&mut self, slot: Slot) -> Option<Transition> {
        self.probe(slot, Health::Unhealthy("connection refused".to_owned()))
    }

    fn offers(&mut self, slot: Slot, surface: ServerSurface) -> Option<Transition> {
        self.handle(Event::Surface { slot, surface })
    }

    fn calls(&mut self, slot: Slot, times: u64, verdict: CallResult) {
        self.calls_taking(slot, times, verdict, Duration::from_millis(10));
    }

    fn calls_taking(&mut self, slot: Slot, times: u64, verdict: CallResult, latency: Duration) {
        for _ in 0..times {
            let sample = Sample { slot, at: self.now, verdict, latency, origin: SampleSource::Live };
            assert_eq!(self.handle(Event::Sample(sample)), None, "a sample alone decides nothing");
        }
    }

    fn copies(&mut self, times: u64, matched: bool) {
        let (slot, verdict, latency) = (GREEN, CallResult::Completed, Duration::from_millis(10));
        for _ in 0..times {
            let origin = SampleSource::Shadow { matched };
            self.handle(Event::Sample(Sample { slot, at: self.now, verdict, latency, origin }));
        }
    }

    /// What both slots need to pass a minute's step.
    fn good_minute(&mut self) -> Option<Transition> {
        for slot in Slot::ALL {
            self.calls(slot, 30, CallResult::Completed);
        }
        self.copies(30, true);
        self.wait(60)
    }

    /// Lets time pass second by second until something happens.
    fn wait(&mut self, seconds: u64) -> Option<Transition> {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            let transition = self.handle(Event::Tick);
            if transition.is_some() {
                return transition;
            }
        }
        None
    }

    fn stage(&self) -> Stage {
        self.rollout.state().position().stage
    }

    fn weight(&self) -> u8 {
        self.rollout.split().candidate_weight().get()
    }
}
