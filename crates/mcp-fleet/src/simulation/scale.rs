//! What a fleet asks of its store and of its leader, by its size and by the size of a guard's window.

use super::random::Random;
use super::schedule::{Demand, END, Event, Fault, SECOND, Schedule, Whom};
use super::traffic::Traffic;
use super::world::World;
use crate::rules::Rules;

/// What was measured with so many members.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Exchanges a second.
    operations: f64,
    /// Kilobytes a second.
    kilobytes: f64,
    /// The median and the longest way back, in milliseconds.
    way_back: (u64, u64),
    /// The leader's milliseconds a second.
    leader: f64,
}

/// With so many different latencies in the window of each member.
fn measure(nodes: usize, latencies: u64) -> Load {
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
        let mut world = World::with(schedule, Random::new(seed), Rules::default());
        for (index, node) in world.nodes.iter_mut().enumerate() {
            // Like those of a guard: rounded, so most of them are the same at all.
            let counted = |place: u64| (1_000_003 + place * 8_192, 100 + index as u64);
            node.counts.latencies = (0..latencies).map(counted).collect();
        }
        let watch = world.run();
        assert_eq!(watch.violation, None, "{nodes} members, seed {seed}");
        ways_back.extend(watch.ways_back);
        traffic.operations += watch.traffic.operations;
        traffic.bytes += watch.traffic.bytes;
        traffic.leader_nanos += watch.traffic.leader_nanos;
        seconds += END / SECOND;
    }
    ways_back.sort_unstable();
    let per_second = |count: u64| count as f64 / seconds as f64;
    Load {
        operations: per_second(traffic.operations),
        kilobytes: per_second(traffic.bytes) / 1e3,
        way_back: (ways_back[ways_back.len() / 2] / 1_000, ways_back[ways_back.len() - 1] / 1_000),
        leader: per_second(traffic.leader_nanos) / 1e6,
    }
}

/// Latencies in a usual window of 3 kB, and in the largest of 24 kB: four histograms of 256.
const USUAL: u64 = 160;
const LARGEST: u64 = 1_024;

// With FLEET_SCALE=largest the windows are the largest, with FLEET_SCALE=usual usual ones; `benches/compare/fleet_size.py` draws both.
#[test]
fn the_load_of_a_fleet_on_its_store_grows_with_its_members_and_no_faster() {
    let (latencies, sizes): (u64, &[usize]) = match std::env::var("FLEET_SCALE").as_deref() {
        Ok("usual") => (USUAL, &[1, 2, 5, 10, 20, 50, 100, 200]),
        Ok(_) => (LARGEST, &[1, 2, 5, 10, 20, 50, 100, 200]),
        Err(_) => (USUAL, &[1, 5, 20, 200]),
    };
    let mut before: Option<(f64, f64)> = None;
    for nodes in sizes.iter().copied() {
        let Load { operations, kilobytes, way_back: (median, last), leader } = measure(nodes, latencies);
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
