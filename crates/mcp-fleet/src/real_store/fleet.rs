//! Five members over one real server: a leader killed, the store paused and restarted without data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::server::Server;
use crate::courier::Courier;
use crate::envelope::Stamp;
use crate::limits::Limits;
use crate::member::{Direction, Identity, Input, Kept, Member, Output, Proposal};
use crate::moment::Moment;
use crate::names::{Incarnation, MemberId};
use crate::redis::RedisStore;
use crate::settings::Settings;
use crate::simulation::{Counts, fleet};

/// What a member tells the test.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Leads(usize, bool),
    Followed(usize, Stamp, Instant),
}

struct Guard {
    inputs: UnboundedSender<Input<Counts>>,
    task: JoinHandle<()>,
}

fn guard(index: usize, store: RedisStore, told: UnboundedSender<Told>) -> Guard {
    let (inputs, arrivals) = unbounded_channel();
    let task = tokio::spawn(run(index, store, arrivals, told));
    Guard { inputs, task }
}

/// What a guard does with its member.
async fn run(
    index: usize,
    store: RedisStore,
    mut inputs: UnboundedReceiver<Input<Counts>>,
    told: UnboundedSender<Told>,
) {
    let (name, key) = fleet();
    let start = Instant::now();
    let now = || Moment::after_start(start.elapsed());
    let identity = Identity {
        fleet: name,
        key,
        member: MemberId::new(&format!("n{index}")).unwrap(),
        incarnation: Incarnation::new(1_000 + index as u64),
        version: "1".to_owned(),
        digest: "a".to_owned(),
    };
    let settings = Settings::default();
    let mut ticks = tokio::time::interval(settings.sync_interval);
    let mut member = Member::new(settings, identity, Kept::default(), Limits::new(0, now()), now());
    let (courier, mut responses) = Courier::new(Arc::new(store));
    let mut leads = false;
    loop {
        let input = tokio::select! {
            _ = ticks.tick() => Input::Tick,
            Some(response) = responses.recv() => response.into_input(),
            Some(input) = inputs.recv() => input,
        };
        let window = Input::Window {
            stamp: member.followed().map(|envelope| envelope.stamp).unwrap_or_default(),
            window: Counts { calls: 1, ..Counts::default() },
        };
        let mut outputs = member.handle(window, now());
        outputs.extend(member.handle(input, now()));
        for output in outputs {
            match output {
                Output::Send(request) => courier.send(*request),
                Output::Follow(envelope) => {
                    drop(told.send(Told::Followed(index, envelope.stamp, Instant::now())));
                }
                Output::Candidate(_)
                | Output::Decide { .. }
                | Output::OrderTaken(_)
                | Output::OrderDone(_)
                | Output::Event(_) => {}
            }
        }
        if leads != member.leads(now()).is_some() {
            leads = !leads;
            drop(told.send(Told::Leads(index, leads)));
        }
    }
}

/// Five guards on one store.
pub(super) struct Fleet {
    guards: Vec<Guard>,
    told: UnboundedReceiver<Told>,
    pub(super) leader: Option<usize>,
    followed: Vec<Stamp>,
}

impl Fleet {
    pub(super) fn start(store: impl Fn() -> RedisStore) -> Fleet {
        let (sender, told) = unbounded_channel();
        let guards = (0..5).map(|index| guard(index, store(), sender.clone())).collect();
        Fleet { guards, told, leader: None, followed: vec![Stamp::default(); 5] }
    }

    /// Waits until this holds.
    pub(super) async fn until(&mut self, what: &str, holds: impl Fn(&Fleet) -> bool) -> Duration {
        let start = Instant::now();
        while !holds(self) {
            let left = Duration::from_secs(60).saturating_sub(start.elapsed());
            let told = tokio::time::timeout(left, self.told.recv()).await;
            match told.unwrap_or_else(|_| panic!("{what}: not within 60 s")).unwrap() {
                Told::Leads(index, true) => self.leader = Some(index),
                Told::Leads(index, false) if self.leader == Some(index) => self.leader = None,
                Told::Leads(..) => {}
                Told::Followed(index, stamp, _) => {
                    assert!(stamp.generation > self.followed[index].generation, "never back");
                    self.followed[index] = stamp;
                }
            }
        }
        start.elapsed()
    }

    /// The highest generation that a member follows.
    pub(super) fn highest(&self) -> u64 {
        self.followed.iter().map(|stamp| stamp.generation).max().unwrap()
    }

    /// The leader writes a state; how long it takes until all that live follow it.
    pub(super) async fn publish(&mut self) -> Duration {
        self.until("a leader", |fleet| fleet.leader.is_some()).await;
        let leader = self.leader.unwrap();
        let before = self.highest();
        let proposal = Proposal { state: b"state".to_vec(), direction: Direction::Back, done: Vec::new() };
        self.guards[leader].inputs.send(Input::Propose(proposal)).unwrap();
        let follows = move |fleet: &Fleet| {
            let living = |(_, guard): &(usize, &Guard)| !guard.task.is_finished();
            let mut living = fleet.guards.iter().enumerate().filter(living);
            living.all(|(index, _)| fleet.followed[index].generation > before)
        };
        self.until("a state", follows).await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.guards.iter().for_each(|guard| guard.task.abort());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_members_agree_over_a_real_store_that_is_killed_paused_and_emptied() {
    let mut server = Server::start();
    let mut fleet = Fleet::start(|| server.store());
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..20 {
        times.push(fleet.publish().await);
    }
    times.sort_unstable();
    println!("a state reaches five members in {:?} at the median, at most {:?}", times[10], times[19]);

    println!("{}", server.statistics());

    let leader = fleet.leader.take().unwrap();
    fleet.guards[leader].task.abort();
    let took = fleet.until("another leader", |fleet| fleet.leader.is_some_and(|other| other != leader)).await;
    println!("another leader after {took:?}");
    fleet.publish().await;

    server.signal("STOP");
    fleet.until("no leader while the store is paused", |fleet| fleet.leader.is_none()).await;
    server.signal("CONT");
    println!("a state {:?} after the pause", fleet.publish().await);

    let before = fleet.highest();
    server.restart_empty();
    let start = Instant::now();
    fleet.until("no leader of an empty store", |fleet| fleet.leader.is_none()).await;
    fleet.publish().await;
    println!("a state {:?} after a restart without data", start.elapsed());
    assert!(
        fleet.followed.iter().all(|stamp| stamp.generation >= before || *stamp == fleet.followed[leader])
    );
}
