//! One guard of the simulated fleet: the real member, with a clock of its own, a candidate and a small decider.

use std::sync::Arc;
use std::time::Duration;

use super::random::Random;
use super::rollout::{Counts, Phase, State, carry_out, decide};
use crate::envelope::{Envelope, Stamp};
use crate::key::FleetKey;
use crate::limits::{Admission, Limit, Limits, Share};
use crate::member::{CandidateGate, Identity, Input, Kept, Member, Output};
use crate::moment::Moment;
use crate::names::{FleetName, Incarnation, MemberId};
use crate::rules::Rules;
use crate::settings::Settings;

/// A guard.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: MemberId,
    pub(crate) incarnation: Incarnation,
    pub(crate) member: Member<Counts>,
    pub(crate) share: Arc<Share>,
    pub(crate) digest: String,
    /// Parts per million that the clock runs fast, and where it began.
    drift: i64,
    began: u64,
    pub(crate) alive: bool,
    pub(crate) left: bool,
    pub(crate) paused_until: u64,
    /// Something disturbed the node's way to the store up to this time.
    pub(crate) disturbed_until: u64,
    pub(crate) cut_requests_until: u64,
    pub(crate) cut_replies_until: u64,
    /// Calls a second.
    pub(crate) demand: f64,
    /// The run whose candidate fails here.
    pub(crate) failing: Option<u64>,
    pub(crate) counts: Counts,
    calls: u64,
    /// Whether a reply has come since the start.
    pub(crate) replied: bool,
    followed_at: Moment,
    /// What the world has last seen it follow.
    pub(crate) previous: Stamp,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// It was within the limit.
    pub(crate) admitted: bool,
    /// It went to the candidate.
    pub(crate) candidate: bool,
}

/// The fleet of all simulations.
pub(crate) fn fleet() -> (FleetName, FleetKey) {
    (FleetName::new("sim").expect("a name"), FleetKey::new(&[9; 32]).expect("long enough"))
}

impl Node {
    /// Starts a node at this time of the world.
    pub(crate) fn start(
        index: usize,
        kept: Kept,
        rules: Rules,
        (calls, burst): (u32, u32),
        world: u64,
        random: &mut Random,
    ) -> Node {
        let (fleet, key) = fleet();
        let id = MemberId::new(&format!("n{index}")).expect("a name");
        let incarnation = Incarnation::new(world + 1_000_000 + index as u64);
        let digest = "a".to_owned();
        let identity = Identity {
            fleet,
            key,
            member: id.clone(),
            incarnation,
            version: "1".to_owned(),
            digest: digest.clone(),
        };
        let drift = random.below(1_000) as i64 - 500;
        let now = Moment::default();
        let limits = Limits::new(kept.members, now);
        let mut member = Member::new(Settings::default(), identity, kept, limits, now);
        member.break_rules(rules);
        let limit = Limit::new(calls, Duration::from_secs(1), burst).expect("a limit");
        Node {
            share: member.limits().share("calls", limit, now),
            id,
            incarnation,
            member,
            digest,
            drift,
            began: world,
            alive: true,
            left: false,
            paused_until: 0,
            disturbed_until: world,
            cut_requests_until: 0,
            cut_replies_until: 0,
            demand: 0.0,
            failing: None,
            counts: Counts::default(),
            calls: 0,
            replied: false,
            followed_at: now,
            previous: Stamp::default(),
        }
    }

    /// The node's clock.
    pub(crate) fn clock(&self, world: u64) -> Moment {
        let elapsed = world - self.began;
        let drifted = elapsed as i64 + elapsed as i64 / 1_000_000 * self.drift;
        Moment::after_start(Duration::from_micros(drifted.max(0) as u64))
    }

    /// Whether its process runs and leads.
    pub(crate) fn leads(&self, at: u64) -> bool {
        self.runs(at) && self.member.leads(self.clock(at)).is_some()
    }

    /// Whether the process runs now.
    pub(crate) fn runs(&self, world: u64) -> bool {
        self.alive && world >= self.paused_until
    }

    /// What it follows.
    pub(crate) fn state(&self) -> State {
        self.member.followed().map(|envelope| State::decode(&envelope.state)).unwrap_or_default()
    }

    /// The stamp of that.
    pub(crate) fn stamp(&self) -> Stamp {
        self.member.followed().map(|envelope| envelope.stamp).unwrap_or_default()
    }

    /// What it would have on its disk.
    pub(crate) fn kept(&self, world: u64) -> Kept {
        let members = self.member.fleet(self.clock(world)).known;
        Kept { followed: self.member.followed().cloned(), members }
    }

    /// One call of a client.
    pub(crate) fn call(&mut self, world: u64, all_fail: bool, random: &mut Random) -> Call {
        let now = self.clock(world);
        let mut admitted = self.share.admit(now) == Admission::Admit;
        self.calls += 1;
        // Another limit of the guard refuses a part of the calls.
        if admitted && self.calls.is_multiple_of(8) {
            self.share.refund(now);
            admitted = false;
        }
        let state = self.state();
        let chosen = self.calls * 37 % 100 < state.weight();
        let candidate = chosen && self.member.candidate() == CandidateGate::Open;
        if candidate {
            self.counts.calls += 1;
            let fails = self.failing == Some(state.run) || (all_fail && random.percent(33));
            self.counts.failures += u64::from(fails);
        }
        Call { admitted, candidate }
    }

    /// Feeds an input and all that follows from it at once; what is left for the world comes back.
    pub(crate) fn feed(&mut self, input: Input<Counts>, world: u64) -> Vec<Output> {
        let now = self.clock(world);
        let mut outputs = self.member.handle(input, now);
        let mut done = 0;
        while done < outputs.len() {
            let more = match outputs[done].clone() {
                Output::Follow(envelope) => self.follow(&envelope, now),
                Output::Decide { order, .. } => {
                    let proposal =
                        self.member.view(now).and_then(|view| carry_out(self.state(), &order, &view));
                    proposal
                        .map(|proposal| self.member.handle(Input::Propose(proposal), now))
                        .unwrap_or_default()
                }
                Output::Send(_)
                | Output::Candidate(_)
                | Output::OrderTaken(_)
                | Output::OrderDone(_)
                | Output::Event(_) => Vec::new(),
            };
            outputs.extend(more);
            done += 1;
        }
        outputs
    }

    /// One tick: window, heartbeat, and the decider if this node leads.
    pub(crate) fn tick(&mut self, world: u64) -> Vec<Output> {
        let now = self.clock(world);
        let window = Input::Window { stamp: self.stamp(), window: self.counts.clone() };
        let mut outputs = self.feed(window, world);
        outputs.extend(self.feed(Input::Tick, world));
        outputs.extend(self.decide(world, now));
        outputs
    }

    /// The decider, after every change.
    pub(crate) fn decide(&mut self, world: u64, now: Moment) -> Vec<Output> {
        let Some(view) = self.member.view(now) else { return Vec::new() };
        let held = now.since(self.followed_at).as_millis() as u64;
        match decide(self.state(), &self.counts, &view, held) {
            Some(proposal) => self.feed(Input::Propose(proposal), world),
            None => Vec::new(),
        }
    }

    fn follow(&mut self, envelope: &Envelope, now: Moment) -> Vec<Output> {
        self.counts = Counts { latencies: std::mem::take(&mut self.counts.latencies), ..Counts::default() };
        self.followed_at = now;
        let state = State::decode(&envelope.state);
        // A new run has a candidate of its own.
        if self.failing.is_some_and(|run| state.phase == Phase::Running && run != state.run) {
            self.failing = None;
            return self.member.handle(Input::Restore, now);
        }
        Vec::new()
    }
}
