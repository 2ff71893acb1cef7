//! Who gets which slot now: the one value that the control plane publishes, and the samples that go the other way.
//!
//! A call reads the route when its body is complete and looks again after every wait, until its first byte is sent: so a
//! rollback concerns calls that are waiting, too. Must not know why a route is what it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc};

use crate::rollout::sample::{CallResult, FinishedCall, SampleSource};
use crate::upstream::{Slot, Split};

/// Samples that may wait for the control plane, which looks once a second and more often when there are many; more are
/// dropped and counted.
const SAMPLES_MAX: usize = 128 * 1024;

/// Whether newer protocol versions are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    Open,
    /// A client that negotiated a newer version would not survive the way back.
    Closed,
}

/// The published value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) split: Split,
    pub(crate) fence: Fence,
}

/// Where the route is published.
pub(crate) struct Routes {
    current: ArcSwap<Route>,
    changed: Notify,
}

impl Routes {
    pub(crate) fn new(route: Route) -> Routes {
        Routes { current: ArcSwap::from_pointee(route), changed: Notify::new() }
    }

    /// The route of this moment.
    pub(crate) fn load(&self) -> Arc<Route> {
        self.current.load_full()
    }

    /// The route of this moment, if it is another one than this.
    pub(crate) fn newer_than(&self, known: &Arc<Route>) -> Option<Arc<Route>> {
        let current = self.current.load();
        (!Arc::ptr_eq(&current, known)).then(|| Arc::clone(&current))
    }

    /// Replaces the route. The next call goes by it, and those that wait look again.
    pub(crate) fn publish(&self, route: Route) {
        self.current.store(Arc::new(route));
        self.changed.notify_waiters();
    }

    /// Ends with the next `publish`, once enabled.
    pub(crate) fn change(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

/// The way of samples to the control plane: never waits, and wakes nobody.
pub(crate) struct Samples {
    sender: mpsc::Sender<FinishedCall>,
    receiver: Mutex<Option<mpsc::Receiver<FinishedCall>>>,
}

impl Samples {
    pub(crate) fn new() -> Samples {
        let (sender, receiver) = mpsc::channel(SAMPLES_MAX);
        Samples { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// The other end, for the one who asks first.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<FinishedCall>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A client's call ended on this slot now. False if the sample was dropped.
    pub(crate) fn ended(&self, slot: Slot, verdict: CallResult, latency: Duration, now: Instant) -> bool {
        self.take_note(FinishedCall { when: now, slot, verdict, latency, origin: SampleSource::Live })
    }

    /// The same of any call. False if the sample was dropped.
    pub(crate) fn take_note(&self, ended: FinishedCall) -> bool {
        // Closed is no loss: then there is no control plane.
        !matches!(self.sender.try_send(ended), Err(mpsc::error::TrySendError::Full(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(slot: Slot) -> Route {
        Route { split: Split::all(slot), fence: Fence::Open }
    }

    #[tokio::test]
    async fn whoever_waits_learns_of_a_new_route() {
        let routes = Routes::new(route(Slot::Blue));
        let known = routes.load();
        assert!(routes.newer_than(&known).is_none());
        let mut change = std::pin::pin!(routes.change());
        change.as_mut().enable();
        routes.publish(route(Slot::Green));
        change.await;
        assert_eq!(*routes.newer_than(&known).unwrap(), route(Slot::Green));
    }

    #[test]
    fn samples_beyond_the_bound_are_dropped_and_never_block() {
        let samples = Samples::new();
        let one = || samples.ended(Slot::Blue, CallResult::Completed, Duration::ZERO, Instant::now());
        assert_eq!((0..SAMPLES_MAX + 10).filter(|_| one()).count(), SAMPLES_MAX);
        assert!(samples.take().is_some());
        assert!(samples.take().is_none());
        assert!(one(), "nobody listens, nothing is lost");
    }
}
