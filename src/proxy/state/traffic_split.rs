//! The traffic split that the control plane publishes, and the cell that calls read it from.
//!
//! A call reads the split when its body is complete and checks for a newer one after every wait, until its first byte is
//! sent: so a rollback also reroutes calls that wait. Must not know why a split is what it is.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::rollout::stage::Stage;
use crate::upstream::{Slot, Split};
use crate::worker::PerWorker;

/// Whether newer protocol versions are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionCap {
    None,
    /// Legacy versions only: a session in a newer version would not survive a rollback.
    Legacy,
}

/// The published value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrafficSplit {
    pub(crate) split: Split,
    pub(crate) version_cap: VersionCap,
    /// Where the rollout stands: for traces.
    pub(crate) stage: Stage,
}

/// The cell in which the split is published: a copy for each worker, because every call counts a reference to its split.
pub(crate) struct SplitCell {
    current: PerWorker<ArcSwap<TrafficSplit>>,
    changed: Notify,
}

impl SplitCell {
    pub(crate) fn new(workers: usize, split: &TrafficSplit) -> SplitCell {
        let copy = |_| ArcSwap::from_pointee(split.clone());
        SplitCell { current: PerWorker::new(workers, copy), changed: Notify::new() }
    }

    /// The current split.
    pub(crate) fn load(&self) -> Arc<TrafficSplit> {
        self.current.own().load_full()
    }

    /// The slot that is stable now.
    pub(crate) fn stable(&self) -> Slot {
        self.current.own().load().split.stable()
    }

    /// The current split, if it is not the known one.
    pub(crate) fn changed_since(&self, known: &Arc<TrafficSplit>) -> Option<Arc<TrafficSplit>> {
        let current = self.current.own().load();
        (!Arc::ptr_eq(&current, known)).then(|| Arc::clone(&current))
    }

    /// Replaces the split. The next call follows it, and those that wait check again.
    pub(crate) fn publish(&self, split: &TrafficSplit) {
        for current in self.current.iter() {
            current.store(Arc::new(split.clone()));
        }
        self.changed.notify_waiters();
    }

    /// Completes with the next `publish`, once enabled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(slot: Slot) -> TrafficSplit {
        TrafficSplit { split: Split::all(slot), version_cap: VersionCap::None, stage: Stage::Stable }
    }

    #[tokio::test]
    async fn a_waiting_call_sees_a_new_traffic_split() {
        let cell = SplitCell::new(2, &split(Slot::Blue));
        let known = cell.load();
        assert!(cell.changed_since(&known).is_none());
        let mut changed = std::pin::pin!(cell.changed());
        changed.as_mut().enable();
        cell.publish(&split(Slot::Green));
        changed.await;
        assert_eq!(*cell.changed_since(&known).unwrap(), split(Slot::Green));
    }
}
