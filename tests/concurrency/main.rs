//! What connections share, run through other interleavings than a machine would: every one of two actors, many of more.
//!
//! The files of `src/proxy/` are compiled here once more, against the locks of Shuttle in `sync.rs`. An actor that waits for
//! ever is found as a deadlock, a wrong count by an assertion; the schedule is printed and can be replayed.
//! An example and not a test, because the unit tests of these files must not be compiled with them:
//! `cargo run --example concurrency`, as `make test` does.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a model fails by panicking and says what it has run"
)]
#![expect(dead_code, reason = "no model uses all of these files")]

mod models;

/// The files under test, at the paths by which they name each other.
#[path = "../../src/proxy"]
mod proxy {
    pub(crate) mod drain;
    #[path = "../../tests/concurrency/sync.rs"]
    pub(crate) mod sync;

    pub(crate) mod backend {
        pub(crate) mod hold;
        pub(crate) mod idle_connections;
    }

    pub(crate) mod fairness {
        pub(crate) mod body_budget;
        pub(crate) mod eviction;
        pub(crate) mod open_streams;
        pub(crate) mod per_client;
        pub(crate) mod semaphore;
    }

    pub(crate) mod state {
        pub(crate) mod traffic_split;
    }
}

#[path = "../../src/worker.rs"]
mod worker;

/// What the files above name by way of their own crate.
mod rollout {
    pub(crate) mod stage {
        pub(crate) use mcp_guard::rollout::Stage;
    }
}

/// The same.
mod upstream {
    pub(crate) use mcp_guard::upstream::{Slot, Split};
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Schedules of a model with more than two actors.
const RANDOM: usize = 3000;
/// The most schedules of one with two; none of them has as many.
const EVERY: usize = 400_000;

/// A model of something that connections share.
struct Model {
    name: &'static str,
    how: How,
    run: fn(),
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// Every interleaving.
    Every,
    Random,
}

fn main() {
    for Model { name, how, run } in models::ALL {
        let begun = Instant::now();
        let schedules = match how {
            How::Every => {
                let counted = Arc::new(AtomicUsize::new(0));
                let counting = counted.clone();
                let run = move || {
                    counting.fetch_add(1, Ordering::Relaxed);
                    run();
                };
                shuttle::check_dfs(run, Some(EVERY));
                let schedules = counted.load(Ordering::Relaxed);
                assert!(schedules < EVERY, "{name}: not every schedule was run");
                schedules
            }
            How::Random => {
                shuttle::check_random(run, RANDOM);
                shuttle::check_pct(run, RANDOM, 3);
                2 * RANDOM
            }
        };
        println!("{name}: {schedules} schedules, {:.1} s", begun.elapsed().as_secs_f64());
    }
}
