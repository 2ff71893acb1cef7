//! What follows a hand-off, on the same channel, while the old process finishes its calls: the new one sends each change, and
//! goes on once it holds in the old process.
//!
//! The closed channel is a message as well: a change could not reach the old process any more, and to the new one it means
//! that the old one has ended. Must not know what a change is.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

use super::channel::{HandoffError, Seen, look, read, receive};

const CHANGED: &str = "changed ";
const DONE: &str = "done";
/// Between two looks at whether the old process has ended.
const POLL: Duration = Duration::from_millis(50);

/// The old process's end.
#[derive(Debug)]
pub struct ChangeReceiver {
    channel: UnixStream,
}

impl ChangeReceiver {
    pub(super) fn new(channel: UnixStream) -> ChangeReceiver {
        ChangeReceiver { channel }
    }

    /// Waits for the next change. `None` if none can come any more.
    pub fn wait(&mut self) -> Option<String> {
        let message = self.channel.set_read_timeout(None).and_then(|()| read(&self.channel)).ok()?;
        String::from_utf8(message).ok()?.strip_prefix(CHANGED).map(str::to_owned)
    }

    /// The change holds in this process, too.
    pub fn done(&mut self) {
        // If the new process has gone, the next wait says so.
        let _ = self.channel.write_all(DONE.as_bytes());
    }

    /// No change follows any more. The channel stays open for as long as this process lives: its end is a message, too.
    pub fn keep_open(self) {
        std::mem::forget(self.channel);
    }
}

/// The old process while it finishes its calls, seen from the new one.
#[derive(Debug)]
pub struct Finishing {
    channel: UnixStream,
    /// No change follows any more, so nothing waits for a response.
    has_ended_changes: Arc<AtomicBool>,
}

impl Finishing {
    pub(super) fn new(channel: UnixStream) -> Finishing {
        Finishing { channel, has_ended_changes: Arc::default() }
    }

    /// Sends a change, and waits until it holds in the old process. False once that has ended.
    pub fn follow(&mut self, change: &str, time_max: Duration) -> Result<bool, HandoffError> {
        if self.channel.write_all(format!("{CHANGED}{change}").as_bytes()).is_err() {
            return Ok(false);
        }
        match receive(&self.channel, time_max)? {
            Some(message) if message == DONE => Ok(true),
            Some(_) => Err(HandoffError::Garbled),
            None => Ok(false),
        }
    }

    /// Tells the old process that no change will reach it any more.
    pub fn end_changes(&self) {
        self.has_ended_changes.store(true, Ordering::Release);
        // If it has ended, there is no need.
        let _ = self.channel.shutdown(Shutdown::Write);
    }

    /// What waits for its end. Changes may follow meanwhile.
    pub fn watch(&self) -> io::Result<Watch> {
        let has_ended_changes = self.has_ended_changes.clone();
        Ok(Watch { channel: self.channel.try_clone()?, has_ended_changes })
    }
}

/// Waits for the end of the old process.
#[derive(Debug)]
pub struct Watch {
    channel: UnixStream,
    has_ended_changes: Arc<AtomicBool>,
}

impl Watch {
    /// Whether the old process has ended before the deadline. Looks no further once `is_given_up` says so.
    pub fn wait_ended(&self, deadline: Instant, is_given_up: impl Fn() -> bool) -> bool {
        while !self.has_ended() {
            if is_given_up() || deadline <= Instant::now() {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    fn has_ended(&self) -> bool {
        // A message is for the change that waits for it. A late one, that nothing waits for any more, would hide the end.
        let flags =
            if self.has_ended_changes.load(Ordering::Acquire) { RecvFlags::empty() } else { RecvFlags::PEEK };
        look(&self.channel, flags) == Seen::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::channel::channel;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn ends() -> (ChangeReceiver, Finishing) {
        let (old, new) = channel().unwrap();
        (ChangeReceiver::new(old), Finishing::new(new))
    }

    #[test]
    fn a_change_after_the_hand_off_holds_in_both_before_the_new_process_goes_on() {
        let (mut changes, mut finishing) = ends();
        let old = std::thread::spawn(move || {
            let mut followed = Vec::new();
            while let Some(change) = changes.wait() {
                followed.push(change);
                changes.done();
            }
            followed
        });
        assert!(finishing.follow("one", PATIENCE).unwrap() && finishing.follow("another", PATIENCE).unwrap());
        drop(finishing);
        assert_eq!(old.join().unwrap(), ["one", "another"]);
    }

    #[test]
    fn an_old_process_that_has_gone_or_hangs_delays_the_new_one_for_a_bounded_time() {
        let (changes, mut finishing) = ends();
        assert!(finishing.follow("c", Duration::from_millis(20)).is_err(), "it hangs");
        drop(changes);
        assert!(!finishing.follow("c", PATIENCE).unwrap());
    }

    #[test]
    fn the_end_of_the_changes_is_not_the_end_of_the_old_process() {
        let (mut changes, finishing) = ends();
        let watch = finishing.watch().unwrap();
        finishing.end_changes();
        assert_eq!(changes.wait(), None);
        assert!(!watch.wait_ended(Instant::now(), || false));
        assert!(!watch.wait_ended(Instant::now() + PATIENCE, || true), "given up");
        drop(changes);
        assert!(watch.wait_ended(Instant::now() + PATIENCE, || false));
    }

    #[test]
    fn the_wait_for_the_end_ends_though_a_response_came_too_late_for_its_change() {
        let (mut changes, mut finishing) = ends();
        let watch = finishing.watch().unwrap();
        assert!(finishing.follow("c", Duration::from_millis(20)).is_err(), "it hangs");
        finishing.end_changes();
        changes.done();
        assert!(!watch.wait_ended(Instant::now(), || false));
        drop(changes);
        assert!(watch.wait_ended(Instant::now() + PATIENCE, || false));
    }

    #[test]
    fn the_wait_for_the_end_takes_no_response_of_a_change_away() {
        let (mut changes, mut finishing) = ends();
        let watch = finishing.watch().unwrap();
        changes.done();
        assert!(!watch.wait_ended(Instant::now(), || false));
        assert!(finishing.follow("c", PATIENCE).unwrap());
    }
}
