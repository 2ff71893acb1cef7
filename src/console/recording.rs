//! Counts the seconds of rollouts where no console listens: for the pictures in their records.
//!
//! Sleeps while no rollout is under way, so that an idle guard stays idle.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::feed::{INTERVAL, lock, now};
use super::service::Service;
use crate::series::Series;

/// Longer than the record waits for its last picture.
const AFTERMATH: Duration = Duration::from_secs(20);

/// Counts while a rollout is under way and for a moment after it, until another process has taken over.
pub(super) async fn of_rollouts(
    series: &Mutex<Series>,
    service: &Service,
    mut running: watch::Receiver<bool>,
) {
    while running.wait_for(|is_running| *is_running).await.is_ok() {
        // All calls of the time without counting would be in the first second.
        *lock(series) = Series::default();
        let (mut last, mut second) = (Instant::now(), 0);
        while last.elapsed() < AFTERMATH {
            if (service.is_over)() {
                return;
            }
            if *running.borrow() {
                last = Instant::now();
            }
            if second != now() {
                second = now();
                let mut totals = (service.totals)();
                totals.tools.clear();
                totals.clients.clear();
                lock(series).push(second, totals);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
