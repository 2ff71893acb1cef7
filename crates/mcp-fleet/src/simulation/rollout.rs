//! A rollout in small: five steps, evidence before each, back at a failure. What the guard's state machine is to a fleet.

use std::collections::BTreeMap;

use crate::encoding::{Reader, Writer};
use crate::envelope::Done;
use crate::member::{Direction, Proposal, View};
use crate::record::{Order, Window};

/// Percent of the calls that each step sends to the candidate.
pub(crate) const WEIGHTS: [u64; 5] = [10, 25, 50, 75, 100];
/// Calls that a step needs before it is judged.
pub(crate) const CALLS_MIN: u64 = 12;

/// Where a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    #[default]
    Idle,
    Running,
    Back,
    Complete,
}

/// The state that the fleet shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    pub(crate) run: u64,
    pub(crate) phase: Phase,
    pub(crate) step: u64,
}

/// Calls to the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    /// How many calls took so many microseconds, written as a guard writes it.
    pub(crate) latencies: BTreeMap<u64, u64>,
}

impl Window for Counts {
    fn merge(&mut self, other: &Counts) {
        self.calls += other.calls;
        self.failures += other.failures;
        for (micros, count) in &other.latencies {
            *self.latencies.entry(*micros).or_default() += count;
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.calls).number(self.failures);
        let latencies = serde_json::to_vec(&self.latencies).expect("plain data");
        writer.optional(Some(&latencies[..]).filter(|_| !self.latencies.is_empty()));
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Option<Counts> {
        let mut reader = Reader::new(bytes);
        let (calls, failures) = (reader.number()?, reader.number()?);
        let latencies = reader.optional(bytes.len())?.map(serde_json::from_slice);
        let counts = Counts { calls, failures, latencies: latencies.transpose().ok()?.unwrap_or_default() };
        reader.end()?;
        Some(counts)
    }
}

impl State {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.run).number(self.phase as u64).number(self.step);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> State {
        let mut reader = Reader::new(bytes);
        let mut next = || reader.number().unwrap_or_default();
        let (run, phase, step) = (next(), next(), next());
        let phase = [Phase::Idle, Phase::Running, Phase::Back, Phase::Complete][phase.min(3) as usize];
        State { run, phase, step }
    }

    /// Percent of the calls that go to the candidate.
    pub(crate) fn weight(self) -> u64 {
        match self.phase {
            Phase::Running => WEIGHTS[self.step.min(4) as usize],
            Phase::Idle | Phase::Back | Phase::Complete => 0,
        }
    }

    /// Whether this exposes more calls to the candidate than the state before it.
    pub(crate) fn is_forward_of(self, before: State) -> bool {
        let progress = |state: State| match state.phase {
            Phase::Idle | Phase::Back => 0,
            Phase::Running => state.step + 1,
            Phase::Complete => 100,
        };
        (self.run, progress(self)) > (before.run, progress(before)) && progress(self) > 0
    }
}

/// What the leader's decider does about this state, seen like this, after the step has held for so many milliseconds.
pub(crate) fn decide(state: State, own: &Counts, view: &View<'_, Counts>, held: u64) -> Option<Proposal> {
    if state.phase != Phase::Running {
        return None;
    }
    let back = |done| Proposal {
        state: State { phase: Phase::Back, ..state }.encode(),
        direction: Direction::Back,
        done,
    };
    let ejected =
        view.peers.values().filter_map(|peer| peer.record.as_ref()).any(|record| record.ejected.is_some());
    let (calls, failures) = (own.calls + view.others.calls, own.failures + view.others.failures);
    if ejected || (calls >= CALLS_MIN && failures * 10 > calls) {
        return Some(back(Vec::new()));
    }
    let evidence = view.evidence.clone().filter(|_| calls >= CALLS_MIN && held >= 600)?;
    let next = if state.step as usize + 1 < WEIGHTS.len() {
        State { step: state.step + 1, ..state }
    } else {
        State { phase: Phase::Complete, ..state }
    };
    Some(Proposal { state: next.encode(), direction: Direction::Forward(evidence), done: Vec::new() })
}

/// What it does about an operator's order; none if it waits for evidence.
pub(crate) fn carry_out(state: State, order: &Order, view: &View<'_, Counts>) -> Option<Proposal> {
    let done = |outcome: &str| vec![Done { order: order.id, outcome: outcome.to_owned() }];
    let refuse = Proposal { state: state.encode(), direction: Direction::Back, done: done("refused") };
    match (order.text.as_slice(), state.phase) {
        (b"start", Phase::Idle | Phase::Back | Phase::Complete) => {
            let started = State { run: state.run + 1, phase: Phase::Running, step: 0 };
            let direction = Direction::Forward(view.evidence.clone()?);
            Some(Proposal { state: started.encode(), direction, done: done("started") })
        }
        (b"back", Phase::Running) => {
            let back = State { phase: Phase::Back, ..state };
            Some(Proposal { state: back.encode(), direction: Direction::Back, done: done("back") })
        }
        _ => Some(refuse),
    }
}
