//! Limits on a healthy store: the fleet admits what one guard would, wherever the calls come.

use super::random::Random;
use super::schedule::{CALM, Demand, Event, Fault, SECOND, Schedule, Whom};
use super::world::World;
use crate::rules::Rules;

/// Runs, and gives the percentage of the limit that was admitted between these seconds.
#[track_caller]
fn percent(nodes: usize, limit: (u32, u32), demand: Demand, events: Vec<Event>, span: (usize, usize)) -> f64 {
    percent_of(7, nodes, limit, demand, events, span)
}

#[track_caller]
fn percent_of(
    seed: u64,
    nodes: usize,
    limit: (u32, u32),
    demand: Demand,
    events: Vec<Event>,
    (from, to): (usize, usize),
) -> f64 {
    let schedule = Schedule { nodes, events, demand, limit, forgets_back: None };
    let watch = World::with(schedule, Random::new(seed), Rules::default()).run();
    assert_eq!(watch.violation, None);
    let admitted: u64 = watch.admitted.iter().take(to).skip(from).sum();
    admitted as f64 * 100.0 / (f64::from(limit.0) * (to - from) as f64)
}

/// The seconds in which the store has settled and the first bursts are over.
const STEADY: (usize, usize) = (5, 17);

#[track_caller]
fn check(nodes: usize, limit: (u32, u32), demand: Demand, least: f64) {
    let percent = percent(nodes, limit, demand, Vec::new(), STEADY);
    println!("{nodes} guards, {limit:?}, {demand:?}: {percent:.1} % of the limit");
    assert!((least..=105.0).contains(&percent), "{nodes} guards, {limit:?}, {demand:?}: {percent:.1} %");
}

#[test]
fn a_shared_limit_is_used_up_wherever_the_calls_come() {
    for limit in [(20, 8), (200, 20), (1_000, 200)] {
        check(1, limit, Demand::All, 95.0);
        check(5, limit, Demand::One(60 * SECOND), 95.0);
        check(5, limit, Demand::All, 95.0);
        check(5, limit, Demand::Uneven, 95.0);
    }
    check(20, (200, 20), Demand::All, 95.0);
    check(20, (1_000, 200), Demand::All, 95.0);
    check(5, (100, 50), Demand::One(6 * SECOND), 95.0);
    check(5, (100, 50), Demand::Restless, 95.0);
}

// A guard cannot save up parts of a call that others need: with less than two calls of burst for each guard, calls that come
// at random find an empty bucket while another guard's is full.
#[test]
fn a_shared_limit_with_a_small_burst_is_not_used_up() {
    check(5, (50, 2), Demand::All, 80.0);
    check(20, (20, 8), Demand::All, 80.0);
    check(20, (50, 2), Demand::All, 70.0);
}

#[test]
fn a_shared_limit_is_used_up_while_members_leave_and_join() {
    let leave =
        |index, at| Event { at, ends: at + 3 * SECOND, fault: Fault::Leave { whom: Whom::Node(index) } };
    let events = vec![leave(1, 5 * SECOND), leave(2, 6 * SECOND), leave(3, 7 * SECOND)];
    let percent = percent(5, (100, 20), Demand::All, events, (5, 17));
    // The calls of a member that is away do not come: those of the other two are a fifth more than the limit.
    assert!((95.0..=105.0).contains(&percent), "{percent:.1} %");
}

#[test]
fn without_the_store_the_members_of_a_fleet_divide_the_limit() {
    let pause = Event { at: 4 * SECOND, ends: CALM, fault: Fault::StorePause };
    let percent = percent(5, (100, 20), Demand::All, vec![pause], (7, 11));
    assert!((93.0..=105.0).contains(&percent), "{percent:.1} %");
}

/// As before, the mean of some runs.
#[track_caller]
fn check_mean(nodes: usize, limit: (u32, u32), demand: Demand, span: (usize, usize), least: f64) {
    let runs = 6;
    let sum: f64 = (0..runs).map(|seed| percent_of(seed, nodes, limit, demand, Vec::new(), span)).sum();
    let mean = sum / runs as f64;
    println!("{nodes} guards, {limit:?}, {demand:?}, seconds {span:?}: {mean:.1} % of the limit");
    assert!(mean >= least, "{nodes} guards, {limit:?}, {demand:?}, seconds {span:?}: {mean:.1} %");
}

// The parts of guards whose calls have moved away go to the one that has them now.
#[test]
fn a_shared_limit_is_used_up_soon_after_all_calls_have_moved_to_one_guard() {
    let at = 8 * SECOND;
    for limit in [(50, 25), (50, 10), (200, 20), (1_000, 200)] {
        for rest in [0.0, 5.0] {
            let gathers = Demand::Gathers { at, rest };
            check_mean(5, limit, gathers, (8, 9), 68.0);
            check_mean(5, limit, gathers, (9, 13), 97.0);
        }
        check_mean(5, limit, Demand::Scatters { at }, (8, 9), 90.0);
        check_mean(5, limit, Demand::Scatters { at }, (9, 13), 97.0);
    }
}

// A share does not leave a guard between two bursts of its clients.
#[test]
fn a_shared_limit_is_used_up_by_bursts_that_the_parts_hold() {
    check_mean(5, (50, 50), Demand::Bursts(5), STEADY, 90.0);
    check_mean(5, (1_000, 200), Demand::Bursts(5), STEADY, 97.0);
}
