//! The release that each slot starts from: read when it is asked for, apart from the console's thread, because a file system may hang.
//!
//! Must not know where releases are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::upstream::Slot;

/// What was read is good for so long.
const FRESH: Duration = Duration::from_secs(2);
/// A read that takes longer is said to hang: what was read before is shown until it ends.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

type Found = Result<BTreeMap<Slot, String>, String>;
type Read = dyn Fn() -> Found + Send + Sync;

/// What was read last, and the read under way.
#[derive(Default)]
pub(super) struct Releases {
    last: Mutex<Known>,
    /// One read at a time.
    reading: tokio::sync::Mutex<Option<Reading>>,
}

struct Reading {
    task: JoinHandle<Found>,
    begun: Instant,
}

#[derive(Default)]
struct Known {
    releases: BTreeMap<Slot, String>,
    /// When a read last ended or was given up; none before the first.
    at: Option<Instant>,
    has_failed: bool,
}

impl Releases {
    /// The releases: read now, unless they were a moment ago, or the file system does not respond.
    pub(super) async fn current(&self, read: &Arc<Read>) -> BTreeMap<Slot, String> {
        if let Some(fresh) = self.fresh() {
            return fresh;
        }
        let mut reading = self.reading.lock().await;
        if let Some(fresh) = self.fresh() {
            return fresh;
        }
        // What one found that hung is old by now.
        reading.take_if(|reading| reading.task.is_finished() && reading.begun.elapsed() >= FRESH);
        let Reading { task, begun } = reading.get_or_insert_with(|| {
            let read = read.clone();
            Reading { task: tokio::task::spawn_blocking(move || read()), begun: Instant::now() }
        });
        // One that hangs is waited for once, by however many.
        let time = READ_TIMEOUT.saturating_sub(begun.elapsed());
        let found = match tokio::time::timeout(time, task).await {
            Ok(found) => {
                *reading = None;
                found.map_err(|error| error.to_string()).and_then(|found| found)
            }
            Err(_late) => Err("the file system does not respond".to_owned()),
        };
        self.lock().take(found)
    }

    fn fresh(&self) -> Option<BTreeMap<Slot, String>> {
        let known = self.lock();
        known.at.is_some_and(|at| at.elapsed() < FRESH).then(|| known.releases.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Takes what was found, and returns what is known then. The first of several failures is logged.
    fn take(&mut self, found: Found) -> BTreeMap<Slot, String> {
        // Also after a failure: a file system that hangs is not waited for again at once.
        self.at = Some(Instant::now());
        match found {
            Ok(releases) => (self.releases, self.has_failed) = (releases, false),
            Err(reason) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    log::warn!("console: the releases of the slots cannot be read: {reason}");
                }
            }
        }
        self.releases.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn release(name: &str) -> BTreeMap<Slot, String> {
        BTreeMap::from([(Slot::Blue, name.to_owned())])
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_fails_keeps_what_was_read_and_one_that_succeeds_replaces_it() {
        let reads = AtomicUsize::new(0);
        let read: Arc<Read> = Arc::new(move || match reads.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(release("first")),
            1 => Err("gone".to_owned()),
            _ => Ok(release("second")),
        });
        let releases = Releases::default();
        for expected in ["first", "first", "second"] {
            assert_eq!(releases.current(&read).await, release(expected));
            // What is fresh is not read again.
            assert_eq!(releases.current(&read).await, release(expected));
            tokio::time::advance(FRESH).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_waited_for_once_and_what_it_found_is_not_taken_for_new() {
        let (goes_on, waits) = mpsc::channel::<()>();
        let waits = Mutex::new(waits);
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = reads.clone();
        let read: Arc<Read> = Arc::new(move || {
            if counted.fetch_add(1, Ordering::SeqCst) > 0 {
                return Ok(release("new"));
            }
            let _ = waits.lock().unwrap().recv();
            Ok(release("late"))
        });
        let releases = Releases::default();
        // The clock does not move by itself while a blocking task runs.
        let (found, ()) = tokio::join!(releases.current(&read), tokio::time::advance(READ_TIMEOUT));
        assert_eq!(found, BTreeMap::new());
        tokio::time::advance(FRESH).await;
        let little = Duration::from_millis(10);
        let (found, ()) = tokio::join!(releases.current(&read), tokio::time::advance(little));
        assert_eq!(found, BTreeMap::new(), "it is not waited for again");
        goes_on.send(()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !releases.reading.lock().await.as_ref().is_some_and(|reading| reading.task.is_finished()) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        tokio::time::advance(FRESH).await;
        assert_eq!(releases.current(&read).await, release("new"));
        assert_eq!(reads.load(Ordering::SeqCst), 2);
    }
}
