//! The queue of samples to the control plane: sending never waits, and wakes no task.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::rollout::sample::FinishedCall;

/// Samples that may wait for the control plane, which reads them once a second and more often when there are many. More
/// are dropped and counted.
const SAMPLES_MAX: usize = 128 * 1024;

/// The sending side, with the receiver until it is taken.
pub(crate) struct SampleSender {
    sender: mpsc::Sender<FinishedCall>,
    receiver: Mutex<Option<mpsc::Receiver<FinishedCall>>>,
}

impl SampleSender {
    pub(crate) fn new() -> SampleSender {
        let (sender, receiver) = mpsc::channel(SAMPLES_MAX);
        SampleSender { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// The receiver; `None` once it is taken.
    pub(crate) fn take_receiver(&self) -> Option<mpsc::Receiver<FinishedCall>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sends a sample. False if it was dropped.
    pub(crate) fn send(&self, ended: FinishedCall) -> bool {
        // A closed queue is no loss: then there is no control plane.
        !matches!(self.sender.try_send(ended), Err(mpsc::error::TrySendError::Full(_)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::rollout::sample::{CallResult, SampleSource};
    use crate::upstream::Slot;

    #[test]
    fn samples_beyond_the_bound_are_dropped_and_never_block() {
        let samples = SampleSender::new();
        let (verdict, latency, origin) = (CallResult::Completed, Duration::ZERO, SampleSource::Live);
        let ended = FinishedCall { when: Instant::now(), slot: Slot::Blue, verdict, latency, origin };
        assert_eq!((0..SAMPLES_MAX + 10).filter(|_| samples.send(ended)).count(), SAMPLES_MAX);
        assert!(samples.take_receiver().is_some());
        assert!(samples.take_receiver().is_none());
        assert!(samples.send(ended), "without a receiver, nothing is lost");
    }
}
