//! Waits that end: for a future, for a condition. A test fails where it waited, with what it waited for.

use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: generous, because two cores are shared by many.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Prints a measurement, also where the output of tests that succeed is kept back.
pub fn measured(what: &str) {
    let _ = writeln!(std::io::stderr(), "measured: {what}");
}

/// Awaits `future`, or fails the test.
#[track_caller]
pub fn in_time<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(TIMEOUT, future).await {
            Ok(output) => output,
            Err(_) => panic!("{what} did not happen within {TIMEOUT:?} ({place})"),
        }
    }
}

/// Evaluates `condition` again and again until it holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    in_time(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Evaluates `condition` again and again until it gives something; for tests without a runtime.
#[track_caller]
pub fn eventually_blocking<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen within {TIMEOUT:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
