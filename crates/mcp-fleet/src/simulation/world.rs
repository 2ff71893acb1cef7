//! Time, network and store of a simulated fleet. One seed is one run, event for event.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::node::{Node, fleet};
use super::random::Random;
use super::rollout::State;
use super::schedule::{CALM, Demand, END, SECOND, Schedule};
use super::store::MemoryStore;
use super::traffic::cpu_nanos;
use super::watch::Watch;
use crate::envelope::{Envelope, Published};
use crate::member::{Input, Kept, Output};
use crate::request::{Carried, Reply, Request, RequestId};
use crate::rules::Rules;

/// What happens next.
#[derive(Debug)]
pub(super) enum Happening {
    Tick(usize, u64),
    Call(usize),
    /// No call comes yet.
    Wait(usize),
    Request(usize, Box<Request>),
    Reply(usize, u64, RequestId, Box<Reply>),
    FaultBegins(usize),
    FaultEnds(usize),
    Start(usize, Kept),
    Failover {
        age: u64,
        skew: i64,
    },
    Snapshot,
    Demand,
}

/// The world of one run.
#[derive(Debug)]
pub(crate) struct World {
    pub(super) now: u64,
    pub(super) random: Random,
    pub(super) rules: Rules,
    pub(super) schedule: Schedule,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    pub(super) nodes: Vec<Node>,
    pub(crate) store: MemoryStore,
    /// What the store would hold without attackers.
    pub(super) truth: Envelope,
    pub(super) snapshots: Vec<(u64, MemoryStore)>,
    /// How far the store's clock is ahead, in milliseconds.
    pub(super) store_skew: i64,
    pub(super) store_paused_until: u64,
    pub(super) lossy_until: u64,
    pub(super) all_fail: bool,
    /// Writes were lost at some time.
    pub(super) is_forgetful: bool,
    /// States that were written, for an attacker to repeat.
    pub(super) old: Vec<Published>,
    pub(crate) watch: Watch,
    pub(super) trace: bool,
}

impl World {
    /// The world of this seed, with these rules.
    pub(crate) fn new(seed: u64, rules: Rules) -> World {
        let mut random = Random::new(seed);
        let schedule = Schedule::new(&mut random);
        World::with(schedule, random, rules)
    }

    /// A world with a schedule of the caller's.
    pub(crate) fn with(schedule: Schedule, mut random: Random, rules: Rules) -> World {
        let (count, limit) = (schedule.nodes, schedule.limit);
        let nodes: Vec<Node> = (0..count)
            .map(|index| {
                let kept = Kept { followed: None, members: count as u64 };
                Node::start(index, kept, rules, schedule.limit, 0, &mut random)
            })
            .collect();
        let mut world = World {
            now: 0,
            random,
            rules,
            schedule,
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            nodes,
            store: MemoryStore::default(),
            truth: Envelope::default(),
            snapshots: Vec::new(),
            store_skew: 0,
            store_paused_until: 0,
            lossy_until: 0,
            all_fail: false,
            is_forgetful: false,
            old: Vec::new(),
            watch: Watch::new(limit),
            trace: std::env::var_os("FLEET_TRACE").is_some(),
        };
        for index in 0..count {
            world.move_demand(index);
            let (tick, call) = (world.random.below(SECOND / 10), world.random.below(SECOND / 10));
            let start = world.nodes[index].incarnation.get();
            world.at(tick, Happening::Tick(index, start));
            world.at(call, Happening::Call(index));
        }
        for index in 0..world.schedule.events.len() {
            let event = world.schedule.events[index];
            world.at(event.at, Happening::FaultBegins(index));
            world.at(event.ends, Happening::FaultEnds(index));
        }
        world.at(0, Happening::Snapshot);
        world.at(0, Happening::Demand);
        world
    }

    /// Runs to the end, or to the first violation.
    pub(crate) fn run(mut self) -> Watch {
        while let Some(Reverse((at, _, index))) = self.queue.pop() {
            if at > END || self.watch.violation.is_some() {
                break;
            }
            self.now = at;
            if let Some(happening) = self.happenings[index].take() {
                self.happen(happening);
            }
        }
        self.watch.end(self.now, &self.nodes, self.store.stamp);
        self.watch
    }

    pub(super) fn at(&mut self, at: u64, happening: Happening) {
        let index = self.happenings.len();
        self.queue.push(Reverse((at, index as u64, index)));
        self.happenings.push(Some(happening));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick(index, start) => self.tick(index, start),
            Happening::Call(index) => self.call(index),
            Happening::Wait(index) => self.next_call(index),
            Happening::Request(index, request) => self.serve(index, request),
            Happening::Reply(index, start, id, reply) => self.deliver(index, start, id, *reply),
            Happening::FaultBegins(index) => self.begin(index),
            Happening::FaultEnds(index) => self.end_fault(index),
            Happening::Start(index, kept) => self.start(index, kept),
            Happening::Failover { age, skew } => self.fail_over(age, skew),
            Happening::Demand => self.change_demand(),
            Happening::Snapshot => {
                self.snapshots.push((self.now, self.store.clone()));
                if self.snapshots.len() > 20 {
                    self.snapshots.remove(0);
                }
                self.at(self.now + SECOND / 10, Happening::Snapshot);
            }
        }
    }

    fn tick(&mut self, index: usize, start: u64) {
        let node = &mut self.nodes[index];
        if !node.alive || start != node.incarnation.get() {
            return;
        }
        if self.now < node.paused_until {
            let resumes = node.paused_until;
            return self.at(resumes, Happening::Tick(index, start));
        }
        let begins = cpu_nanos();
        let outputs = node.tick(self.now);
        if node.member.leads(node.clock(self.now)).is_some() {
            self.watch.traffic.leader_nanos += cpu_nanos() - begins;
        }
        self.carry_out(index, outputs);
        self.watch.tick(self.now, &self.nodes);
        let jitter = self.random.below(SECOND / 500);
        self.at(self.now + SECOND / 10 + jitter, Happening::Tick(index, start));
    }

    fn call(&mut self, index: usize) {
        let count = self.nodes.len();
        for _ in 0..self.schedule.demand.at_once() {
            let node = &mut self.nodes[index];
            if node.runs(self.now) {
                let call = node.call(self.now, self.all_fail, &mut self.random);
                self.watch.called(self.now, &self.nodes[index], call, count);
            }
        }
        self.next_call(index);
    }

    fn next_call(&mut self, index: usize) {
        // Demand may change before the next call: looked at again within a fifth of a second.
        let gap = self.random.gap(self.nodes[index].demand);
        let next = if gap > SECOND / 5 { Happening::Wait(index) } else { Happening::Call(index) };
        self.at(self.now + gap.min(SECOND / 5), next);
    }

    fn serve(&mut self, index: usize, request: Box<Request>) {
        if self.now < self.store_paused_until {
            let resumes = self.store_paused_until;
            return self.at(resumes, Happening::Request(index, request));
        }
        let clock = (self.now / 1_000 + 10_000).saturating_add_signed(self.store_skew);
        let stamp = self.store.stamp;
        let reply = self.store.exchange(&request, clock, self.rules);
        self.watch.traffic.count(&request, &reply);
        if self.store.stamp != stamp {
            let new = self.stored();
            let before = std::mem::replace(&mut self.truth, new.clone());
            let truth = (reply.epoch, &self.nodes[..]);
            self.watch.wrote(self.now, &request, (&before, &new), truth, self.is_forgetful);
            self.after_write(&before, &new);
        }
        if self.trace && !request.shares.is_empty() {
            println!(
                "{:.3} n{index} {:?} -> {:?}",
                self.now as f64 / SECOND as f64,
                request.shares,
                reply.shares
            );
        }
        let start = request.incarnation.get();
        let id = request.id;
        if self.nodes[index].cut_replies_until > self.now || self.is_lost() {
            return;
        }
        let delay = self.delay();
        if self.is_doubled() {
            let again = delay + self.delay();
            self.at(self.now + again, Happening::Reply(index, start, id, Box::new(reply.clone())));
        }
        self.at(self.now + delay, Happening::Reply(index, start, id, Box::new(reply)));
    }

    fn after_write(&mut self, before: &Envelope, new: &Envelope) {
        self.old.push(Published { stamp: self.store.stamp, sealed: self.store.sealed.clone() });
        let (old, state) = (State::decode(&before.state), State::decode(&new.state));
        let is_back = old.weight() > 0 && state.weight() == 0;
        if let Some(delay) = self.schedule.forgets_back.filter(|_| is_back && self.now < CALM) {
            self.schedule.forgets_back = None;
            self.at(self.now + delay, Happening::Failover { age: 250 + delay / 1_000, skew: 0 });
        }
    }

    /// What the store holds, opened.
    pub(super) fn stored(&self) -> Envelope {
        let (fleet, key) = fleet();
        let published = Published { stamp: self.store.stamp, sealed: self.store.sealed.clone() };
        let bad = Envelope { stamp: self.store.stamp, ..Envelope::default() };
        Envelope::open(&published, &key, &fleet).unwrap_or(bad)
    }

    fn deliver(&mut self, index: usize, start: u64, id: RequestId, reply: Reply) {
        let node = &mut self.nodes[index];
        if !node.alive || node.incarnation.get() != start {
            return;
        }
        if self.now < node.paused_until {
            let resumes = node.paused_until;
            return self.at(resumes, Happening::Reply(index, start, id, Box::new(reply)));
        }
        node.replied |= reply.carried != Carried::Late;
        node.left &= !node.replied;
        let begins = cpu_nanos();
        let mut outputs = node.feed(Input::Reply { request: id, reply: Box::new(reply) }, self.now);
        let now = node.clock(self.now);
        outputs.extend(node.decide(self.now, now));
        if node.member.leads(now).is_some() {
            self.watch.traffic.leader_nanos += cpu_nanos() - begins;
        }
        self.carry_out(index, outputs);
    }

    pub(super) fn carry_out(&mut self, index: usize, outputs: Vec<Output>) {
        let mut before = self.nodes[index].previous;
        for output in outputs {
            if self.trace && !matches!(output, Output::Send(_)) {
                self.print(index, &output);
            }
            match output {
                Output::Send(request) => self.send(index, request),
                Output::Follow(envelope) => {
                    self.watch.followed(self.now, &self.nodes[index].id, before, &envelope);
                    before = envelope.stamp;
                }
                Output::Candidate(_)
                | Output::Decide { .. }
                | Output::OrderTaken(_)
                | Output::OrderDone(_)
                | Output::Event(_) => {}
            }
        }
        self.nodes[index].previous = before;
    }

    fn print(&self, index: usize, output: &Output) {
        println!("{:.3} n{index} {output:?}", self.now as f64 / SECOND as f64);
    }

    fn send(&mut self, index: usize, request: Box<Request>) {
        if self.nodes[index].cut_requests_until > self.now || self.is_lost() {
            return;
        }
        let delay = self.delay();
        if self.is_doubled() {
            let again = delay + self.delay();
            self.at(self.now + again, Happening::Request(index, request.clone()));
        }
        self.at(self.now + delay, Happening::Request(index, request));
    }

    fn is_lossy(&self) -> bool {
        self.now < self.lossy_until
    }

    fn is_lost(&mut self) -> bool {
        self.is_lossy() && self.random.percent(15)
    }

    fn is_doubled(&mut self) -> bool {
        self.is_lossy() && self.random.percent(15)
    }

    fn delay(&mut self) -> u64 {
        let usual = self.random.between(200, 3_000);
        if self.is_lossy() && self.random.percent(40) { self.random.below(SECOND / 2) } else { usual }
    }

    pub(super) fn move_demand(&mut self, index: usize) {
        // More calls than the limit lets through.
        let (calls, count) = (f64::from(self.schedule.limit.0), self.nodes.len());
        let one = |busy: usize, rest: f64| if busy == index { calls * 2.0 } else { rest };
        let alike = calls * 3.0 / count as f64;
        self.nodes[index].demand = match self.schedule.demand {
            Demand::Uneven | Demand::Restless if self.random.percent(50) => calls * 2.0,
            Demand::Uneven | Demand::Restless => calls * 0.2,
            Demand::One(period) => one((self.now / period) as usize % count, 0.01),
            Demand::All => alike,
            Demand::Bursts(at_once) => alike / f64::from(at_once),
            Demand::Gathers { at, rest } if self.now >= at => one(0, calls * rest / 100.0),
            Demand::Scatters { at } if self.now < at => one(0, 0.01),
            Demand::Gathers { .. } | Demand::Scatters { .. } => alike,
        };
    }

    fn change_demand(&mut self) {
        match self.schedule.demand {
            Demand::Restless | Demand::One(_) | Demand::Gathers { .. } | Demand::Scatters { .. } => {
                (0..self.nodes.len()).for_each(|index| self.move_demand(index));
                self.at(self.now + SECOND, Happening::Demand);
            }
            Demand::Uneven | Demand::All | Demand::Bursts(_) => {}
        }
    }
}
