//! A short run of every fuzz target, the same each time: `scripts/fuzz` runs them for longer.

use mcp_guard_fuzz::{
    admin, catalogue, chunked, config, front, head, path, replay, response_scan, scan, state, tokens,
};

const RUNS: u64 = 4000;

#[test]
fn any_head_holds() {
    replay::run(head::target, head::SEEDS, RUNS);
}

#[test]
fn any_path_holds() {
    replay::run(path::target, path::SEEDS, RUNS);
}

#[test]
fn any_chunked_body_holds() {
    replay::run(chunked::target, chunked::SEEDS, RUNS);
}

#[test]
fn any_outcome_holds() {
    replay::run(response_scan::target, response_scan::SEEDS, RUNS);
}

#[test]
fn any_scanned_body_holds() {
    replay::run(scan::target, scan::SEEDS, RUNS);
}

#[test]
fn any_connection_holds() {
    replay::run(front::target, front::SEEDS, RUNS / 4);
}

#[test]
fn the_seeds_of_connections_reach_the_backend() {
    let calls: Vec<usize> = front::SEEDS.iter().map(|seed| front::hold(seed)).collect();
    assert_eq!(calls, [1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn any_configuration_holds() {
    replay::run(config::target, config::SEEDS, RUNS / 4);
}

#[test]
fn any_token_file_holds() {
    replay::run(tokens::target, tokens::SEEDS, RUNS);
}

#[test]
fn any_catalogue_holds() {
    replay::run(catalogue::target, catalogue::SEEDS, RUNS / 4);
}

#[test]
fn any_admin_frame_holds() {
    replay::run(admin::target, admin::SEEDS, RUNS);
}

#[test]
fn any_state_file_holds() {
    replay::run(state::target, state::SEEDS, RUNS);
}

#[test]
#[should_panic(expected = "a target that never holds")]
fn a_failing_target_fails_the_run() {
    replay::run(|data| assert!(data.is_empty(), "a target that never holds"), &[b"x"], 0);
}
