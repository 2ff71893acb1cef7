//! A short run of every fuzz target, the same each time: the kept inputs of `fuzz/corpus`, the seeds, and mutations of the seeds.
//! `scripts/fuzz` makes more mutations.

use std::path::Path;

use mcp_guard_fuzz::{find, front, replay};

const RUNS: u64 = 4000;

#[track_caller]
fn check(name: &str, runs: u64) {
    let named = find(name).expect("a target of this name");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    replay::files(&kept, named.target).expect("the kept inputs can be read");
    replay::run(named.target, named.seeds, runs);
}

#[test]
fn any_head_holds() {
    check("head", RUNS);
}

#[test]
fn any_path_holds() {
    check("path", RUNS);
}

#[test]
fn any_chunked_body_holds() {
    check("chunked", RUNS);
}

#[test]
fn any_outcome_holds() {
    check("outcome", RUNS);
}

#[test]
fn any_scanned_body_holds() {
    check("scan", RUNS);
}

#[test]
fn any_connection_holds() {
    check("front", RUNS / 4);
}

#[test]
fn the_seeds_of_connections_reach_the_backend() {
    let calls: Vec<usize> = front::SEEDS.iter().map(|seed| front::hold(seed)).collect();
    assert_eq!(calls, [1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn any_configuration_holds() {
    check("config", RUNS / 4);
}

#[test]
fn any_signed_token_holds() {
    check("signed_token", RUNS);
}

#[test]
fn any_token_file_holds() {
    check("tokens", RUNS);
}

#[test]
fn any_catalogue_holds() {
    check("catalogue", RUNS / 4);
}

#[test]
fn any_admin_frame_holds() {
    check("admin", RUNS);
}

#[test]
fn any_state_file_holds() {
    check("state", RUNS);
}

#[test]
#[should_panic(expected = "a target that never holds")]
fn a_failing_target_fails_the_run() {
    replay::run(|data| assert!(data.is_empty(), "a target that never holds"), &[b"x"], 0);
}
