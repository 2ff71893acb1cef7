//! Saves states on a thread of its own: a slow or full disk never holds up a rollback.
//!
//! Only the newest state matters, so one is kept waiting at most. A save that fails is tried again until it succeeds. Must
//! not know what a state means.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::control::state_file::{Saved, Store};

const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How far saving has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The newest state that is on the disk, by its number.
    pub(super) seq: u64,
    /// Why the newest one is not.
    pub(super) problem: Option<String>,
}

/// The thread, seen from outside. Dropping this lets it end once everything is saved.
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
    /// Starts the thread. What lies in the directory now was saved under this number.
    pub(super) fn start(store: Store, seq: u64) -> io::Result<StateWriter> {
        let mailbox = Arc::new(Mailbox::default());
        let (sender, progress) = watch::channel(Progress { seq, problem: None });
        let theirs = mailbox.clone();
        let thread = std::thread::Builder::new().name("state".to_owned());
        let thread = Some(thread.spawn(move || theirs.work(&store, &sender))?);
        Ok(StateWriter { mailbox, progress, thread })
    }

    /// Hands over the newest state; returns at once.
    pub(super) fn save(&self, saved: Saved) {
        self.mailbox.lock().waiting = Some(Arc::new(saved));
        self.mailbox.filled.notify_one();
    }

    /// Saves what waits, lets go of the directory and returns how far it has come. Takes as long as the disk does.
    pub(super) fn close(mut self) -> Progress {
        let (thread, progress) = (self.thread.take(), self.progress());
        drop(self);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that saves the rollout's state has failed");
        }
        progress.borrow().clone()
    }

    /// How far it has come, now and later.
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

    fn work(&self, store: &Store, progress: &watch::Sender<Progress>) {
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
                    if !self.put_back(saved) {
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

    /// Waits a while, and keeps the state for the next try unless there is a newer one. False if nobody waits any more.
    fn put_back(&self, saved: Arc<Saved>) -> bool {
        let state = self.lock();
        if state.closed {
            return false;
        }
        let mut state =
            self.filled.wait_timeout(state, AGAIN_AFTER).unwrap_or_else(PoisonError::into_inner).0;
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
        Saved { state, history: Vec::new(), accepted: Vec::new() }
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
    fn closing_saves_what_waits_and_lets_go_of_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let writer = StateWriter::start(Store::open(folder.path()).unwrap().unwrap(), 0).unwrap();
        assert!(Store::open(folder.path()).unwrap().is_none());
        writer.save(saved(1));
        assert_eq!(writer.close(), Progress { seq: 1, problem: None });
        assert!(Store::open(folder.path()).unwrap().is_some());
        assert_eq!(load(folder.path()).unwrap(), Some(saved(1)));
    }

    #[tokio::test]
    async fn a_save_that_fails_is_told_and_tried_again() {
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
