//! The release that each slot starts from: read now and then apart from the console's thread, because a file system may hang.
//!
//! Must not know where releases are.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::upstream::Slot;

const INTERVAL: Duration = Duration::from_secs(2);
/// A read that takes longer is said to hang.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

type Read = dyn Fn() -> Result<BTreeMap<Slot, String>, String> + Send + Sync;

/// What was read last.
#[derive(Default)]
pub(super) struct Releases(RwLock<BTreeMap<Slot, String>>);

impl Releases {
    pub(super) fn last(&self) -> BTreeMap<Slot, String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads again and again. One read at a time: one that hangs is waited for.
    pub(super) async fn follow(&self, read: &Arc<Read>) {
        let mut failed = false;
        loop {
            let read = read.clone();
            let mut reading = tokio::task::spawn_blocking(move || read());
            let found = match tokio::time::timeout(READ_TIMEOUT, &mut reading).await {
                Ok(found) => found,
                Err(_late) => {
                    log_once(&mut failed, "the file system does not respond");
                    reading.await
                }
            };
            match found.map_err(|error| error.to_string()).and_then(|found| found) {
                Ok(found) => {
                    failed = false;
                    *self.0.write().unwrap_or_else(PoisonError::into_inner) = found;
                }
                Err(reason) => log_once(&mut failed, &reason),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

fn log_once(failed: &mut bool, reason: &str) {
    if !std::mem::replace(failed, true) {
        log::warn!("console: the releases of the slots cannot be read: {reason}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_that_fails_keeps_what_was_read_and_one_that_succeeds_replaces_it() {
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = reads.clone();
        let release = |name: &str| BTreeMap::from([(Slot::Blue, name.to_owned())]);
        let read: Arc<Read> = Arc::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(release("first")),
            1 => Err("gone".to_owned()),
            _ => Ok(release("second")),
        });
        let releases = Arc::new(Releases::default());
        let followed = releases.clone();
        let following = tokio::spawn(async move { followed.follow(&read).await });
        let release = |name: &str| BTreeMap::from([(Slot::Blue, name.to_owned())]);
        let mut seen = vec![BTreeMap::new()];
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while seen.len() < 3 && tokio::time::Instant::now() < deadline {
            let last = releases.last();
            if seen.last() != Some(&last) {
                seen.push(last);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        following.abort();
        assert_eq!(seen, [BTreeMap::new(), release("first"), release("second")]);
        assert!(reads.load(Ordering::SeqCst) >= 3);
    }
}
