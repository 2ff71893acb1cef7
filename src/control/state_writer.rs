//! Saves states on a thread of its own, so that a slow or full disk never delays a rollback.
//!
//! Only the newest state matters, so at most one waits. A save that fails is repeated until it succeeds. Must not know what
//! a state means.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::control::state_file::{Saved, Store};

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Progress of the writer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Number of the newest state on the disk.
    pub(super) seq: u64,
    /// Why the newest state is not on the disk.
    pub(super) problem: Option<String>,
}

/// A handle on the thread. After a drop, the thread saves what waits and ends.
pub(super) struct StateWriter {
    mailbox: Arc<Mailbox>,
    progress: watch::Receiver<Progress>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Mailbox {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Option<Arc<Saved>>,
    closed: bool,
}

impl StateWriter {
    /// Starts the thread. `seq` is the number of the state that the directory holds now.
    pub(super) fn start(store: Store, seq: u64) -> io::Result<StateWriter> {
        let mailbox = Arc::new(Mailbox::default());
        let (sender, progress) = watch::channel(Progress { seq, problem: None });
        let of_thread = mailbox.clone();
        let thread = std::thread::Builder::new().name("state".to_owned());
        let thread = Some(thread.spawn(move || of_thread.write_all(&store, &sender))?);
        Ok(StateWriter { mailbox, progress, thread })
    }

    /// Queues the newest state; returns at once.
    pub(super) fn save(&self, saved: Saved) {
        self.mailbox.lock().waiting = Some(Arc::new(saved));
        self.mailbox.filled.notify_one();
    }

    /// Saves what waits, releases the directory and returns the progress. Takes as long as the disk does.
    pub(super) fn close(mut self) -> Progress {
        let (thread, progress) = (self.thread.take(), self.progress());
        drop(self);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that saves the rollout's state has failed");
        }
        progress.borrow().clone()
    }

    /// The progress, now and later.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        self.mailbox.lock().closed = true;
        self.mailbox.filled.notify_one();
    }
}

impl Mailbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, store: &Store, progress: &watch::Sender<Progress>) {
        while let Some(saved) = self.next() {
            let seq = saved.state.seq;
            match store.save(&saved) {
                Ok(()) => {
                    if progress.borrow().problem.is_some() {
                        log::info!("the rollout's state can be saved again");
                    }
                    progress.send_replace(Progress { seq, problem: None });
                }
                Err(error) => {
                    let problem = Some(error.to_string());
                    if progress.borrow().problem != problem {
                        log::error!("the rollout's state is not saved: {error}; trying again");
                    }
                    progress.send_modify(|progress| progress.problem = problem);
                    if !self.requeue(saved) {
                        return;
                    }
                }
            }
        }
    }

    /// The next state to save; none once closed and empty.
    fn next(&self) -> Option<Arc<Saved>> {
        let mut state = self.lock();
        loop {
            if let Some(saved) = state.waiting.take() {
                return Some(saved);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits, then keeps the state for the next try unless a newer one has come. False once the writer is closed.
    fn requeue(&self, saved: Arc<Saved>) -> bool {
        let state = self.lock();
        if state.closed {
            return false;
        }
        let mut state =
            self.filled.wait_timeout(state, RETRY_AFTER).unwrap_or_else(PoisonError::into_inner).0;
        state.waiting.get_or_insert(saved);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::state_file::load;
    use crate::upstream::Slot;

    fn saved(seq: u64) -> Saved {
        let mut state = crate::rollout::State::new(Slot::Blue);
        state.seq = seq;
        Saved::new(state)
    }

    async fn until(writer: &StateWriter, reached: impl FnMut(&Progress) -> bool) {
        let mut progress = writer.progress();
        let waiting = progress.wait_for(reached);
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_newest_state_ends_up_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let writer = StateWriter::start(Store::open(folder.path()).unwrap().unwrap(), 0).unwrap();
        for seq in 1..=50 {
            writer.save(saved(seq));
        }
        until(&writer, |progress| progress.seq == 50).await;
        assert_eq!(load(folder.path()).unwrap(), Some(saved(50)));
    }

    #[test]
    fn closing_the_state_writer_saves_what_waits_and_releases_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let writer = StateWriter::start(Store::open(folder.path()).unwrap().unwrap(), 0).unwrap();
        assert!(Store::open(folder.path()).unwrap().is_none());
        writer.save(saved(1));
        assert_eq!(writer.close(), Progress { seq: 1, problem: None });
        assert!(Store::open(folder.path()).unwrap().is_some());
        assert_eq!(load(folder.path()).unwrap(), Some(saved(1)));
    }

    #[tokio::test]
    async fn a_save_of_the_state_that_fails_is_reported_and_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let writer = StateWriter::start(Store::open(folder.path()).unwrap().unwrap(), 0).unwrap();
        let obstacle = folder.path().join("rollout.state.new");
        std::fs::create_dir(&obstacle).unwrap();
        writer.save(saved(1));
        until(&writer, |progress| progress.problem.is_some()).await;
        std::fs::remove_dir(&obstacle).unwrap();
        until(&writer, |progress| *progress == Progress { seq: 1, problem: None }).await;
        assert_eq!(load(folder.path()).unwrap(), Some(saved(1)));
    }
}
