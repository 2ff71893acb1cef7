//! What a fleet asks of its store, by its size: operations and bytes a second, and how long a way back takes.

use super::random::Random;
use super::schedule::{Demand, END, Event, Fault, SECOND, Schedule, Whom};
use super::traffic::Traffic;
use super::world::World;
use crate::rules::Rules;

/// Operations and kilobytes a second, the median and the longest way back in milliseconds, the leader's milliseconds a second.
fn measure(nodes: usize) -> (f64, f64, u64, u64, f64) {
    let (mut ways_back, mut traffic, mut seconds) = (Vec::new(), Traffic::default(), 0);
    // One run of many members shows as much as some of few.
    for seed in 0..if nodes < 100 { 4 } else { 1 } {
        let order = Fault::Order { whom: Whom::Node(0), back: false };
        let fails = Fault::CandidateFails { whom: Whom::Node(nodes / 2) };
        let at = 5 * SECOND + seed * SECOND / 13;
        let events =
            vec![Event { at: 13 * SECOND / 4, ends: 0, fault: order }, Event { at, ends: 0, fault: fails }];
        let limit = (1_000, 200);
        let schedule = Schedule { nodes, events, demand: Demand::All, limit, forgets_back: None };
        let watch = World::with(schedule, Random::new(seed), Rules::default()).run();
        assert_eq!(watch.violation, None, "{nodes} members, seed {seed}");
        ways_back.extend(watch.ways_back);
        traffic.operations += watch.traffic.operations;
        traffic.bytes += watch.traffic.bytes;
        traffic.leader_nanos += watch.traffic.leader_nanos;
        seconds += END / SECOND;
    }
    ways_back.sort_unstable();
    let per_second = |count: u64| count as f64 / seconds as f64;
    let (median, last) = (ways_back[ways_back.len() / 2] / 1_000, ways_back[ways_back.len() - 1] / 1_000);
    let leader = per_second(traffic.leader_nanos) / 1e6;
    (per_second(traffic.operations), per_second(traffic.bytes) / 1e3, median, last, leader)
}

#[test]
fn the_load_of_a_fleet_on_its_store_grows_with_its_members_and_no_faster() {
    let mut before: Option<(f64, f64)> = None;
    for nodes in [1, 5, 20, 50, 200] {
        let (operations, kilobytes, median, last, leader) = measure(nodes);
        println!("| {nodes} | {operations:.0} | {kilobytes:.0} | {median} | {last} | {leader:.1} |");
        let each = (operations / nodes as f64, kilobytes / nodes as f64);
        let most = before.get_or_insert(each);
        assert!(
            each.0 < most.0 * 1.2 && each.1 < most.1 * 1.5,
            "{nodes} members: {each:?} each, {most:?} alone"
        );
        assert!(median < 250 && last < 1_000, "{nodes} members: {median} ms, at most {last} ms");
    }
}
