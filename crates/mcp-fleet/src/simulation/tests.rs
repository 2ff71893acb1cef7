//! Thousands of schedules, and what they find when a rule is broken.
//!
//! `FLEET_SEED=n` replays one schedule, `FLEET_TRACE=1` prints what happens in it, `FLEET_SCHEDULES=n` runs so many,
//! from `FLEET_FIRST=n` on.

use super::store::MemoryStore;
use super::world::World;
use crate::request::{Carried, Request, ShareRequest, WHOLE};
use crate::rules::{Rule, Rules};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Schedules that have found a fault, beyond the first.
const HAVE_FOUND: &[u64] =
    &[7_688, 12_569, 17_480, 18_734, 19_517, 24_929, 32_366, 49_069, 50_198, 56_714, 62_278, 82_596, 89_582];

#[test]
fn every_schedule_keeps_the_invariants_of_a_fleet() {
    if let Some(seed) = number("FLEET_SEED") {
        let watch = World::new(seed, Rules::default()).run();
        assert_eq!(watch.violation, None, "FLEET_SEED={seed}");
        return;
    }
    let start = std::time::Instant::now();
    let (mut forward, mut back, mut ways_back) = (0, 0, Vec::new());
    let first = number("FLEET_FIRST").unwrap_or(0);
    let schedules = first..first + number("FLEET_SCHEDULES").unwrap_or(2_000);
    for seed in schedules.chain(HAVE_FOUND.iter().copied()) {
        let watch = World::new(seed, Rules::default()).run();
        assert_eq!(watch.violation, None, "replay with FLEET_SEED={seed}");
        let late = watch.ways_back.iter().find(|micros| **micros >= 1_000_000);
        assert_eq!(late, None, "microseconds of a way back; replay with FLEET_SEED={seed}");
        forward += watch.forward;
        back += watch.back;
        ways_back.extend(watch.ways_back);
    }
    // A simulation in which nothing happens would prove nothing.
    assert!(forward > 1_000 && back > 100, "{forward} steps forward, {back} back");
    ways_back.sort_unstable();
    let (median, last) = (ways_back[ways_back.len() / 2], ways_back[ways_back.len() - 1]);
    println!(
        "{forward} steps forward, {back} back; {} triggers, to the last candidate admission {median} us at the median, at most {last} us",
        ways_back.len()
    );
    println!("{:?}", start.elapsed());
    assert!(median < 250_000 && last < 1_000_000, "median {median} us, at most {last} us");
}

#[test]
fn a_refused_order_that_has_waited_does_not_undo_a_rollback() {
    let watch = World::new(32_366, Rules::without(Rule::MadeFrom)).run();
    assert!(watch.violation.is_some(), "the rollback is undone");
    assert_eq!(World::new(32_366, Rules::default()).run().violation, None);
}

#[test]
fn a_broken_rule_of_the_fleet_is_found() {
    let mut missed = Vec::new();
    for rule in Rule::ALL {
        let mut schedules = 0..number("FLEET_SCHEDULES").unwrap_or(3_000);
        let found = schedules.find_map(|seed| {
            let violation = World::new(seed, Rules::without(rule)).run().violation?;
            Some((seed, violation))
        });
        match found {
            Some((seed, violation)) => println!("{rule:?}: seed {seed}: {violation}"),
            None => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "no schedule shows that these rules are needed: {missed:?}");
}

// Its member has used more since: others would be given what it still holds.
#[test]
fn a_late_request_does_not_lower_what_the_store_counts() {
    let request = |member: &str, id, holds| {
        let share = ShareRequest { limit: "calls".to_owned(), rate: 1_000, demand: 2_000, holds };
        Request::bare(member, id, vec![share])
    };
    let granted_to_another = |rules: Rules| {
        let mut store = MemoryStore::empty(1);
        assert_eq!(store.exchange(&request("one", 1, 0), 1_000, rules).shares, [WHOLE]);
        store.exchange(&request("one", 3, WHOLE), 1_100, rules);
        assert_eq!(store.exchange(&request("two", 1, 0), 1_120, rules).shares, [0]);
        let mut late = request("one", 2, 0);
        late.shares[0].demand = 1;
        let carried = store.exchange(&late, 1_150, rules).carried;
        (carried, store.exchange(&request("two", 2, 0), 1_200, rules).shares[0])
    };
    assert_eq!(granted_to_another(Rules::default()), (Carried::Late, 0));
    let (carried, granted) = granted_to_another(Rules::without(Rule::RequestOrder));
    assert!(carried == Carried::Out && granted > 0, "{granted}");
}
