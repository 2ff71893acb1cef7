//! A bounded queue to a consumer that takes its receiver once: sending never waits, and wakes no task.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc::{self, error::TrySendError};

/// The sending side, with the receiver until it is taken.
pub(crate) struct Queue<T> {
    sender: mpsc::Sender<T>,
    receiver: Mutex<Option<mpsc::Receiver<T>>>,
}

impl<T> Queue<T> {
    pub(crate) fn new(max: usize) -> Queue<T> {
        let (sender, receiver) = mpsc::channel(max);
        Queue { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// The receiver; `None` once it is taken.
    pub(crate) fn take_receiver(&self) -> Option<mpsc::Receiver<T>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.sender.try_send(item)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_bound_of_a_queue_is_dropped_and_never_blocks() {
        let queue = Queue::new(8);
        assert_eq!((0..18).filter(|number| queue.send(*number).is_ok()).count(), 8);
        assert_eq!(queue.waiting(), 8);
        assert!(queue.take_receiver().is_some());
        assert!(queue.take_receiver().is_none());
        assert_eq!(queue.send(0), Err(TrySendError::Closed(0)), "told apart from a full queue");
    }
}
