//! A short run of every fuzz target, the same each time: `fuzz/` runs them for longer.

#[path = "../fuzz/src/lib.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a crate of its own there"
)]
mod targets;

use targets::{chunked, head, outcome, path, replay, scan};

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
    replay::run(outcome::target, outcome::SEEDS, RUNS);
}

#[test]
fn any_scanned_body_holds() {
    replay::run(scan::target, scan::SEEDS, RUNS);
}

#[test]
#[should_panic(expected = "a target that never holds")]
fn a_failing_target_fails_the_run() {
    replay::run(|data| assert!(data.is_empty(), "a target that never holds"), &[b"x"], 0);
}
