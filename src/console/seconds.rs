//! Counts the seconds of the series: every one where a console listens, else those of rollouts, for the pictures in their records.
//!
//! On a thread without a runtime: a runtime's timer wakes its thread several times during a pause of a second, and an idle guard is
//! to wake as seldom as it can.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::feed::{lock, since_epoch};
use super::service::Service;
use crate::series::{self, Series};
use crate::telemetry::metrics::Totals;

/// Longer than the record waits for its last picture.
const AFTERMATH: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

/// Which seconds are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those of rollouts, and a moment after each.
    OfRollouts,
}

/// Whether a rollout is under way.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    is_rolling: Mutex<bool>,
    begun: Condvar,
}

impl Rolling {
    pub(super) fn set(&self, is_rolling: bool) {
        *lock(&self.is_rolling) = is_rolling;
        self.begun.notify_all();
    }

    fn is_rolling(&self) -> bool {
        *lock(&self.is_rolling)
    }

    /// Blocks until a rollout is under way.
    fn wait(&self) {
        let mut is_rolling = lock(&self.is_rolling);
        while !*is_rolling {
            is_rolling = self.begun.wait(is_rolling).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Starts the thread. It counts until another process has taken over; where it waits for a rollout, it ends with the process.
pub(super) fn start(
    which: Which,
    series: Arc<Mutex<Series>>,
    rolling: Arc<Rolling>,
    service: Service,
) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("seconds".to_owned());
    thread.spawn(move || match which {
        Which::All => count(&series, &service, &*service.totals, || true),
        Which::OfRollouts => of_rollouts(&series, &rolling, &service),
    })?;
    Ok(())
}

fn of_rollouts(series: &Mutex<Series>, rolling: &Rolling, service: &Service) {
    // No picture of a record has tools or clients.
    let totals = || Totals { tools: BTreeMap::new(), clients: BTreeMap::new(), ..(service.totals)() };
    while !(service.is_over)() {
        rolling.wait();
        // All calls of the time without counting would be in the first second.
        *lock(series) = Series::default();
        let mut last = Instant::now();
        count(series, service, totals, || {
            if rolling.is_rolling() {
                last = Instant::now();
            }
            last.elapsed() < AFTERMATH
        });
    }
}

/// Counts a second, and each one after it for as long as that is wanted.
fn count(
    series: &Mutex<Series>,
    service: &Service,
    totals: impl Fn() -> Totals,
    mut goes_on: impl FnMut() -> bool,
) {
    while !(service.is_over)() && goes_on() {
        let now = since_epoch();
        let totals = totals();
        lock(series).push(now.as_secs(), totals);
        std::thread::sleep(series::until_next(SECOND, now.subsec_millis().into()));
    }
}
