//! The invariants: what must hold in every run, checked against the truth of the simulated world.

use std::collections::{BTreeMap, BTreeSet};

use super::node::Node;
use super::rollout::{CALLS_MIN, Phase, State};
use super::schedule::SECOND;
use super::traffic::Traffic;
use crate::envelope::{Envelope, OrderId, Stamp};
use crate::names::{Incarnation, MemberId};
use crate::request::{Request, Write};

/// The bound from a written rollback to the last candidate admission on nodes that reach the store.
const FOLLOW_BOUND: u64 = SECOND;

/// What a run has shown.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) violation: Option<String>,
    /// The states that a leader has written, by stamp.
    written: BTreeMap<Stamp, Vec<u8>>,
    latest_write: u64,
    writers: BTreeMap<u64, Incarnation>,
    /// Calls to the candidate under each stamp, on all nodes.
    candidate_calls: BTreeMap<Stamp, u64>,
    /// Nodes that have followed each stamp.
    followers: BTreeMap<Stamp, BTreeSet<MemberId>>,
    done: BTreeMap<OrderId, Stamp>,
    /// Calls above the limit's rate: the fill of a leaky bucket.
    level: f64,
    drained: u64,
    pub(crate) restarts: u64,
    /// When a guard has joined last.
    pub(crate) joined: Option<u64>,
    /// Until then a guard is cut off that has not seen another one join, and divides the limit by too few.
    pub(crate) uneven_until: u64,
    /// Rollbacks that all nodes must follow by a time.
    deadlines: Vec<(u64, u64, Stamp)>,
    /// Microseconds from a trigger until the last node follows the way back: none admits calls to the candidate then.
    pub(crate) ways_back: Vec<u64>,
    pub(crate) trigger: Option<(u64, u64)>,
    last_followed: u64,
    pub(crate) limit: (u32, u32),
    /// Calls that were admitted in each second.
    pub(crate) admitted: Vec<u64>,
    pub(crate) traffic: Traffic,
    pub(crate) forward: u64,
    pub(crate) back: u64,
}

impl Watch {
    /// Watches a fleet with this limit.
    pub(crate) fn new(limit: (u32, u32)) -> Watch {
        Watch { limit, ..Watch::default() }
    }

    fn violated(&mut self, at: u64, what: String) {
        self.violation.get_or_insert(format!("{:.3} s: {what}", at as f64 / SECOND as f64));
    }

    /// Whether a leader has written this.
    pub(crate) fn was_written(&self, stamp: Stamp) -> bool {
        self.written.contains_key(&stamp)
    }

    /// A request has written a state.
    pub(crate) fn wrote(
        &mut self,
        at: u64,
        request: &Request,
        (before, new): (&Envelope, &Envelope),
        (epoch, nodes): (u64, &[Node]),
        is_forgetful: bool,
    ) {
        self.latest_write = at;
        let Write::Publish { epoch: written_under, .. } = &request.write else {
            // An offer brings back what was written before.
            if !self.written.contains_key(&new.stamp) {
                self.violated(
                    at,
                    format!("{} offered {:?}, which no leader has written", request.member, new.stamp),
                );
            }
            return;
        };
        if *written_under != epoch || new.stamp.epoch != epoch {
            self.violated(at, format!("a state of epoch {} was written in epoch {epoch}", new.stamp.epoch));
        }
        let writer = *self.writers.entry(epoch).or_insert(new.stamp.writer);
        if writer != new.stamp.writer && !is_forgetful {
            self.violated(at, format!("two leaders have written in epoch {epoch}"));
        }
        let (old_state, state) = (State::decode(&before.state), State::decode(&new.state));
        for done in new.done.iter().filter(|done| !before.done.iter().any(|old| old.order == done.order)) {
            let first = self.done.insert(done.order, new.stamp);
            if first.is_some() && !is_forgetful {
                self.violated(at, format!("{:?} was carried out twice", done.order));
            }
        }
        if state.run > old_state.run + 1 && !is_forgetful {
            self.violated(at, format!("{old_state:?} became {state:?}"));
        }
        if state.is_forward_of(old_state) {
            self.forward += 1;
            self.check_forward(at, before.stamp, (old_state, state), nodes);
        } else if state.phase == Phase::Back && old_state.phase == Phase::Running {
            self.back += 1;
            self.deadlines.push((at, at + FOLLOW_BOUND, new.stamp));
        }
        if state.phase == Phase::Running {
            self.check_not_lost(at, state, nodes);
        }
        self.written.insert(new.stamp, new.state.clone());
    }

    fn check_forward(&mut self, at: u64, before: Stamp, (old, new): (State, State), nodes: &[Node]) {
        let members: Vec<&Node> = nodes.iter().filter(|node| !node.left).collect();
        let followers = self.followers.get(&before).map_or(0, BTreeSet::len);
        if before.generation > 0 && followers * 2 <= members.len() {
            self.violated(
                at,
                format!("{new:?} with {followers} of {} members under {before:?}", members.len()),
            );
        }
        let calls = self.candidate_calls.get(&before).copied().unwrap_or_default();
        if old.phase == Phase::Running && old.run == new.run && calls < CALLS_MIN {
            self.violated(at, format!("{new:?} with {calls} calls under {before:?}"));
        }
        let quiet: Vec<&&Node> = members.iter().filter(|node| is_quiet(node, at, 2 * SECOND)).collect();
        if quiet.iter().any(|node| quiet[0].digest != node.digest) {
            self.violated(at, format!("{new:?} while configurations differ"));
        }
    }

    /// A rollback that a node follows, which reached the store all the time, is not undone.
    fn check_not_lost(&mut self, at: u64, state: State, nodes: &[Node]) {
        let knows = |node: &&Node| {
            is_quiet(node, at, 4 * SECOND)
                && node.state() == State { phase: Phase::Back, ..node.state() }
                && node.state().run == state.run
        };
        if let Some(node) = nodes.iter().find(knows) {
            self.violated(at, format!("{state:?} was written, and {} follows its rollback", node.id));
        }
    }

    /// A node follows a state.
    pub(crate) fn followed(&mut self, at: u64, node: &MemberId, before: Stamp, new: &Envelope) {
        if new.stamp.generation <= before.generation {
            self.violated(at, format!("{node} went from {before:?} to {:?}", new.stamp));
        }
        if self.written.get(&new.stamp) != Some(&new.state) {
            self.violated(at, format!("{node} follows {:?}, which no leader has written", new.stamp));
        }
        let state = State::decode(&new.state);
        // One that follows the way back already sends its candidate no calls: a further state of it is none of the way.
        let old = self.written.get(&before).map(|old| State::decode(old));
        let is_back = |state: State| {
            state.phase == Phase::Back && self.trigger.is_some_and(|(_, run)| run == state.run)
        };
        if is_back(state) && !old.is_some_and(is_back) {
            self.last_followed = at;
        }
        self.followers.entry(new.stamp).or_default().insert(node.clone());
    }

    /// A call was made.
    pub(crate) fn called(&mut self, at: u64, node: &Node, call: super::node::Call, nodes: usize) {
        if call.admitted {
            let second = (at / SECOND) as usize;
            self.admitted.resize(self.admitted.len().max(second + 1), 0);
            self.admitted[second] += 1;
            // The one that has joined adds at most its even part: one of two.
            let joined = if at < self.uneven_until { 0.5 } else { 0.0 };
            let rate = f64::from(self.limit.0) * (1.05 + joined);
            let drained = (at - self.drained) as f64 / SECOND as f64 * rate;
            self.level = (self.level - drained).max(0.0) + 1.0;
            self.drained = at;
            // One burst, a call for each node but one, and one for each process that was started again.
            let most = f64::from(self.limit.1) + (nodes - 1) as f64 + self.restarts as f64 + 0.5;
            if self.level > most {
                self.violated(at, format!("{:.1} calls above the limit's rate", self.level));
            }
        }
        if call.candidate {
            *self.candidate_calls.entry(node.stamp()).or_default() += 1;
            if node.failing.is_some() && node.failing == Some(node.state().run) {
                self.violated(at, format!("{} sends calls to its failing candidate", node.id));
            }
            if !node.replied {
                self.violated(
                    at,
                    format!("{} sends calls to its candidate before it has caught up", node.id),
                );
            }
        }
    }

    /// Time passes: deadlines, and no two leaders.
    pub(crate) fn tick(&mut self, at: u64, nodes: &[Node]) {
        let leaders: Vec<&Node> = nodes.iter().filter(|node| node.leads(at)).collect();
        if leaders.len() > 1 {
            self.violated(at, format!("{} and {} lead", leaders[0].id, leaders[1].id));
        }
        let (due, later) = self.deadlines.iter().partition(|(_, by, _)| *by <= at);
        self.deadlines = later;
        let due: Vec<(u64, u64, Stamp)> = due;
        for (began, by, stamp) in due {
            for node in nodes.iter().filter(|node| node.alive && node.disturbed_until <= began) {
                if node.stamp().generation < stamp.generation {
                    self.violated(by, format!("{} still follows {:?}, not {stamp:?}", node.id, node.stamp()));
                }
            }
            if let Some((trigger, _)) = self.trigger.take()
                && nodes.iter().all(|node| node.disturbed_until <= trigger)
            {
                self.ways_back.push(self.last_followed.saturating_sub(trigger));
            }
        }
    }

    /// The end of a run, long after the last fault.
    pub(crate) fn end(&mut self, at: u64, nodes: &[Node], store: Stamp) {
        let alive: Vec<&Node> = nodes.iter().filter(|node| node.alive).collect();
        if !alive.iter().any(|node| node.member.leads(node.clock(at)).is_some()) {
            self.violated(at, "there is no leader".to_owned());
        }
        for node in alive {
            // What was written just now may still be on its way.
            let is_new = self.latest_write + FOLLOW_BOUND > at;
            if node.stamp() != store && !is_new {
                self.violated(at, format!("{} follows {:?}, the store has {store:?}", node.id, node.stamp()));
            }
            if node.stamp() != Stamp::default()
                && node.member.candidate() == crate::member::CandidateGate::NotCaughtUp
            {
                self.violated(at, format!("{} has not caught up", node.id));
            }
        }
    }
}

/// Whether the node ran and reached the store for so long.
fn is_quiet(node: &Node, at: u64, span: u64) -> bool {
    node.alive && node.disturbed_until + span <= at
}
