//! Faults step by step, where all depends on milliseconds: random schedules find each once in thousands.

use std::time::Duration;

use super::node::fleet;
use super::rollout::Counts;
use super::store::MemoryStore;
use crate::envelope::{Done, Envelope, OrderId, Stamp};
use crate::key::FleetKey;
use crate::limits::Limits;
use crate::member::{Direction, Identity, Input, Kept, Member, Output, Proposal};
use crate::moment::Moment;
use crate::names::{Incarnation, MemberId};
use crate::request::Request;
use crate::rules::{Rule, Rules};
use crate::settings::Settings;

/// Two members and their store.
struct Pair {
    members: [Member<Counts>; 2],
    store: MemoryStore,
    now: u64,
    rules: Rules,
}

impl Pair {
    /// The first one leads.
    fn new(rules: Rules) -> Pair {
        let members = [1, 2].map(|number| {
            let (fleet, key) = fleet();
            let identity = Identity {
                fleet,
                key,
                member: MemberId::new(&format!("n{number}")).unwrap(),
                incarnation: Incarnation::new(number),
                version: "1".to_owned(),
                digest: "a".to_owned(),
            };
            let limits = Limits::new(0, Moment::default());
            let mut member =
                Member::new(Settings::default(), identity, Kept::default(), limits, Moment::default());
            member.break_rules(rules);
            member
        });
        let mut pair = Pair { members, store: MemoryStore::empty(1), now: 0, rules };
        pair.run(30, &[0, 1]);
        assert!(pair.members[0].leads(pair.clock()).is_some());
        pair
    }

    fn clock(&self) -> Moment {
        Moment::after_start(Duration::from_millis(self.now))
    }

    /// An input, and every request that follows from it; the responses arrive or are lost.
    fn input(&mut self, index: usize, input: Input<Counts>, arrive: bool) {
        let mut outputs = self.members[index].handle(input, self.clock());
        while !outputs.is_empty() {
            let sent = outputs.drain(..).filter_map(|output| match output {
                Output::Send(request) => Some(*request),
                Output::Follow(_)
                | Output::Candidate(_)
                | Output::Decide { .. }
                | Output::OrderTaken(_)
                | Output::OrderDone(_)
                | Output::Event(_) => None,
            });
            for request in sent.collect::<Vec<Request>>() {
                self.now += 1;
                let reply = Box::new(self.store.exchange(&request, 10_000 + self.now, self.rules));
                if arrive {
                    let reply = Input::Reply { request: request.id, reply };
                    outputs.extend(self.members[index].handle(reply, self.clock()));
                }
            }
        }
    }

    /// So many ticks of these members, in this order.
    fn run(&mut self, ticks: usize, members: &[usize]) {
        for _ in 0..ticks {
            self.now += 100;
            members.iter().for_each(|index| self.input(*index, Input::Tick, true));
        }
    }

    fn propose(&mut self, state: &[u8], order: u64, arrive: bool) {
        let order = OrderId { incarnation: Incarnation::new(1), number: order };
        let done = vec![Done { order, outcome: String::new() }];
        let proposal = Proposal { state: state.to_vec(), direction: Direction::Back, done };
        self.input(0, Input::Propose(proposal), arrive);
    }

    /// Replaces the state, without the fleet's key.
    fn forge(&mut self) {
        let key = FleetKey::new(&[1; 32]).unwrap();
        let stamp = Stamp { generation: 90, epoch: 1, writer: Incarnation::new(7) };
        let forged = Envelope { stamp, done: Vec::new(), state: b"forged".to_vec() }.seal(&key, &fleet().0);
        (self.store.stamp, self.store.sealed) = (forged.stamp, forged.sealed);
    }

    /// What both follow, and how many orders it has carried out.
    #[track_caller]
    fn agreed(&self) -> (String, usize) {
        let [one, other] =
            self.members.each_ref().map(|member| member.followed().cloned().unwrap_or_default());
        assert_eq!(one, other);
        (String::from_utf8(one.state).unwrap(), one.done.len())
    }
}

// The store does not take a rollback back that has a lower generation than a forged state, and the member that leads then was
// cut off when the rollback was written.
#[test]
fn a_rollback_that_one_member_follows_outlives_a_forged_state() {
    let agreed = |rules| {
        let mut pair = Pair::new(rules);
        pair.propose(b"running", 1, true);
        pair.run(2, &[0, 1]);
        assert_eq!(pair.agreed(), ("running".to_owned(), 1));
        pair.propose(b"back", 2, true);
        pair.forge();
        pair.store.run += 1;
        pair.run(90, &[1, 0]);
        pair.agreed()
    };
    assert_eq!(agreed(Rules::default()), ("back".to_owned(), 2));
    assert_eq!(agreed(Rules::without(Rule::Yield)), ("running".to_owned(), 1));
}

// The leader does not know that its state was written; the other member follows it.
#[test]
fn a_written_state_outlives_a_lost_response_and_a_forged_state() {
    let agreed = |rules| {
        let mut pair = Pair::new(rules);
        pair.propose(b"before", 1, true);
        pair.propose(b"running", 2, false);
        pair.run(1, &[1]);
        pair.forge();
        pair.run(20, &[0, 1]);
        pair.agreed()
    };
    assert_eq!(agreed(Rules::default()), ("running".to_owned(), 2));
    assert_eq!(agreed(Rules::without(Rule::PutBack)), ("before".to_owned(), 1));
}

// The member that leads then follows what the store has; the other one brings the rollback back before.
#[test]
fn a_rollback_that_one_member_follows_outlives_a_failover_that_has_lost_it() {
    let agreed = |rules| {
        let mut pair = Pair::new(rules);
        pair.propose(b"running", 1, true);
        pair.run(2, &[0, 1]);
        let copy = pair.store.clone();
        pair.propose(b"back", 2, true);
        pair.store = copy;
        pair.store.run += 1;
        pair.run(60, &[1, 0]);
        pair.agreed()
    };
    assert_eq!(agreed(Rules::default()), ("back".to_owned(), 2));
    assert_eq!(agreed(Rules::without(Rule::Offer)), ("running".to_owned(), 1));
}
