//! Begins and ends the faults of a schedule.

use super::node::Node;
use super::schedule::{Attack, Fault, SECOND, Whom};
use super::store::MemoryStore;
use super::world::{Happening, World};
use crate::envelope::{Envelope, Published, Stamp};
use crate::key::FleetKey;
use crate::member::{Input, Kept};
use crate::names::Incarnation;

/// A member learns of another one by its next two exchanges.
const UNHEARD: u64 = SECOND / 5;

impl World {
    pub(super) fn begin(&mut self, number: usize) {
        let event = self.schedule.events[number];
        let ends = event.ends;
        if self.trace {
            println!("{:.3} {event:?}", self.now as f64 / SECOND as f64);
        }
        match event.fault {
            Fault::Cut { whom, requests, replies } => {
                let node = self.disturb(whom, ends);
                if requests {
                    node.cut_requests_until = node.cut_requests_until.max(ends);
                }
                if replies {
                    node.cut_replies_until = node.cut_replies_until.max(ends);
                }
                // One that has joined just before is not known to it either.
                if self.watch.joined.is_some_and(|joined| self.now < joined + UNHEARD) {
                    self.watch.uneven_until = self.watch.uneven_until.max(ends + 3 * SECOND);
                }
            }
            Fault::Pause { whom } => {
                let node = self.disturb(whom, ends);
                node.paused_until = node.paused_until.max(ends);
            }
            Fault::Kill { whom, keeps } => self.kill(whom, keeps, ends),
            Fault::Leave { whom } => self.leave(whom, ends),
            Fault::Lossy => {
                self.lossy_until = self.lossy_until.max(ends);
                self.disturb_all(ends);
            }
            Fault::StorePause => {
                self.store_paused_until = self.store_paused_until.max(ends);
                self.disturb_all(ends);
            }
            Fault::Failover { age, skew } => self.fail_over(age, skew),
            Fault::StoreEmpty => self.empty(true),
            Fault::CandidateFails { whom } => self.candidate_fails(whom),
            Fault::CallsFail => self.all_fail = true,
            Fault::Configure { whom } => self.configure(whom, "b"),
            Fault::Order { whom, back } => {
                let index = self.index(whom);
                let text: &[u8] = if back { b"back" } else { b"start" };
                self.input(index, Input::Order(text.to_vec()));
            }
            Fault::Demand => (0..self.nodes.len()).for_each(|index| self.move_demand(index)),
            Fault::Attack(attack) => self.attack(attack),
        }
    }

    pub(super) fn end_fault(&mut self, number: usize) {
        match self.schedule.events[number].fault {
            Fault::CallsFail => self.all_fail = false,
            Fault::Configure { .. } => {
                (0..self.nodes.len()).for_each(|index| self.configure(Whom::Node(index), "a"));
            }
            Fault::Cut { .. }
            | Fault::Pause { .. }
            | Fault::Kill { .. }
            | Fault::Leave { .. }
            | Fault::Lossy
            | Fault::StorePause
            | Fault::Failover { .. }
            | Fault::StoreEmpty
            | Fault::CandidateFails { .. }
            | Fault::Order { .. }
            | Fault::Demand
            | Fault::Attack(_) => {}
        }
    }

    fn index(&self, whom: Whom) -> usize {
        match whom {
            Whom::Node(index) => index,
            Whom::Leader => self.nodes.iter().position(|node| node.leads(self.now)).unwrap_or(0),
        }
    }

    fn disturb(&mut self, whom: Whom, ends: u64) -> &mut Node {
        let index = self.index(whom);
        let node = &mut self.nodes[index];
        node.disturbed_until = node.disturbed_until.max(ends);
        node
    }

    fn disturb_all(&mut self, ends: u64) {
        self.nodes.iter_mut().for_each(|node| node.disturbed_until = node.disturbed_until.max(ends));
    }

    pub(super) fn input(&mut self, index: usize, input: Input<super::rollout::Counts>) {
        if self.nodes[index].runs(self.now) {
            let outputs = self.nodes[index].feed(input, self.now);
            self.carry_out(index, outputs);
        }
    }

    fn kill(&mut self, whom: Whom, keeps: bool, ends: u64) {
        let index = self.index(whom);
        if !self.nodes[index].alive {
            return;
        }
        self.disturb(Whom::Node(index), ends);
        self.nodes[index].alive = false;
        let mut kept = self.nodes[index].kept(self.now);
        if !keeps {
            kept.followed = None;
        }
        self.at(ends.max(self.now + SECOND / 10), Happening::Start(index, kept));
    }

    fn leave(&mut self, whom: Whom, ends: u64) {
        let index = self.index(whom);
        if !self.nodes[index].runs(self.now) {
            return;
        }
        self.input(index, Input::Leave);
        let kept = self.nodes[index].kept(self.now);
        let node = &mut self.nodes[index];
        (node.alive, node.left) = (false, true);
        node.disturbed_until = ends;
        self.at(ends.max(self.now + SECOND / 10), Happening::Start(index, kept));
    }

    pub(super) fn start(&mut self, index: usize, kept: Kept) {
        let old = &self.nodes[index];
        let (failing, demand, cut) =
            (old.failing, old.demand, (old.cut_requests_until, old.cut_replies_until));
        let left = old.left;
        let previous = kept.followed.as_ref().map(|envelope| envelope.stamp).unwrap_or_default();
        let mut node = Node::start(index, kept, self.rules, self.schedule.limit, self.now, &mut self.random);
        (node.demand, node.disturbed_until, node.previous) = (demand, self.now + SECOND, previous);
        // One that has left is no member before the store has seen it again.
        node.left = left;
        (node.cut_requests_until, node.cut_replies_until) = cut;
        node.disturbed_until = node.disturbed_until.max(cut.0).max(cut.1);
        self.nodes[index] = node;
        self.watch.restarts += 1;
        if left {
            self.watch.joined = Some(self.now);
            let cut_until = |node: &Node| node.cut_requests_until.max(node.cut_replies_until);
            // Or it is the one that joins, and the store does not know it yet.
            let cut = self.nodes.iter().map(cut_until).filter(|until| *until > self.now).max();
            // It takes a share's time until what it held has ended.
            self.watch.uneven_until = self.watch.uneven_until.max(cut.map_or(0, |until| until + 3 * SECOND));
        }
        if let Some(run) = failing {
            self.nodes[index].failing = Some(run);
            self.input(index, Input::Eject { why: "probe failed".to_owned() });
        }
        let start = self.nodes[index].incarnation.get();
        self.at(self.now, Happening::Tick(index, start));
    }

    pub(super) fn fail_over(&mut self, age: u64, skew: i64) {
        let until = self.now.saturating_sub(age * 1_000);
        let copy = self.snapshots.iter().rev().find(|(at, _)| *at <= until).or(self.snapshots.first());
        let run = self.store.run + 1;
        let mut store = copy.map(|(_, copy)| copy.clone()).unwrap_or_default();
        store.run = run;
        self.store = store;
        self.store_skew = skew;
        self.is_forgetful = true;
        self.forget_truth();
        self.snapshots.clear();
        self.disturb_all(self.now + 3 * SECOND);
    }

    fn empty(&mut self, restarts: bool) {
        let run = self.store.run + u64::from(restarts);
        self.store = MemoryStore::empty(run);
        self.is_forgetful = true;
        self.forget_truth();
        self.snapshots.clear();
        self.disturb_all(self.now + 3 * SECOND);
    }

    /// What the store lost is lost, but what an attacker wrote never was the fleet's.
    fn forget_truth(&mut self) {
        if self.store.stamp == Stamp::default() || self.watch.was_written(self.store.stamp) {
            self.truth = self.stored();
        }
    }

    fn candidate_fails(&mut self, whom: Whom) {
        let index = self.index(whom);
        let run = self.nodes[index].state().run;
        if self.nodes[index].state().weight() == 0 || !self.nodes[index].runs(self.now) {
            return;
        }
        self.nodes[index].failing = Some(run);
        // Without a leader the way back waits for one, which has a bound of its own.
        if self.nodes.iter().any(|node| node.leads(self.now)) {
            self.watch.trigger = Some((self.now, run));
        }
        self.input(index, Input::Eject { why: "probe failed".to_owned() });
    }

    fn configure(&mut self, whom: Whom, digest: &str) {
        let index = self.index(whom);
        // A process that does not run loads nothing.
        if !self.nodes[index].runs(self.now) {
            return;
        }
        self.nodes[index].digest = digest.to_owned();
        self.nodes[index].disturbed_until = self.nodes[index].disturbed_until.max(self.now);
        self.input(index, Input::Configured { digest: digest.to_owned() });
    }

    fn attack(&mut self, attack: Attack) {
        match attack {
            Attack::Forge => {
                let key = FleetKey::new(&[1; 32]).expect("long enough");
                let writer = Incarnation::new(7);
                let stamp = Stamp { generation: self.store.stamp.generation + 5, epoch: 1, writer };
                let state = super::rollout::State { run: 99, phase: super::rollout::Phase::Running, step: 4 };
                let forged = Envelope { stamp, done: Vec::new(), state: state.encode() };
                let published = forged.seal(&key, &super::node::fleet().0);
                (self.store.stamp, self.store.sealed) = (published.stamp, published.sealed);
            }
            Attack::Replay => {
                let old = self.old.len().saturating_sub(2);
                if let Some(Published { stamp, sealed }) = self.old.get(old).cloned() {
                    (self.store.stamp, self.store.sealed) = (stamp, sealed);
                }
            }
            Attack::Erase => self.empty(false),
            Attack::Records => {
                for (_, sealed) in self.store.records.values_mut() {
                    if let Some(byte) = sealed.last_mut() {
                        *byte ^= 1;
                    }
                }
            }
        }
        self.disturb_all(self.now + 3 * SECOND);
    }
}
