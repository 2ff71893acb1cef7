//! Requests that the store has not yet responded to.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::moment::Moment;
use crate::request::{RequestId, ShareRequest};

/// Most requests that an ordinary tick leaves unanswered, and that urgent matters do.
const IN_FLIGHT_MAX: usize = 4;
const IN_FLIGHT_URGENT_MAX: usize = 8;

/// What is known of a request.
#[derive(Debug)]
pub(crate) struct Sent {
    /// When.
    pub(crate) at: Moment,
    /// Whether it carried the member's record.
    pub(crate) record: bool,
    /// The shares that it asked for.
    pub(crate) shares: Vec<ShareRequest>,
}

/// The requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    last: u64,
    sent: BTreeMap<RequestId, Sent>,
}

impl Pending {
    /// The number of the next request.
    pub(crate) fn next_id(&mut self) -> RequestId {
        self.last += 1;
        RequestId(self.last)
    }

    /// Notes a request down.
    pub(crate) fn insert(&mut self, id: RequestId, sent: Sent) {
        self.sent.insert(id, sent);
    }

    /// The request that has ended; none if it is not known or has ended before.
    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Sent> {
        self.sent.remove(&id)
    }

    /// Takes out those that are older than this.
    pub(crate) fn expire(&mut self, timeout: Duration, now: Moment) -> Vec<Sent> {
        let old = |sent: &Sent| now.since(sent.at) >= timeout;
        let ids: Vec<RequestId> = self.sent.iter().filter(|(_, sent)| old(sent)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.sent.remove(&id)).collect()
    }

    /// Whether one more may be sent.
    pub(crate) fn has_room(&self, urgent: bool) -> bool {
        self.sent.len() < if urgent { IN_FLIGHT_URGENT_MAX } else { IN_FLIGHT_MAX }
    }

    /// The shares that were asked for will not be used, whatever the store grants.
    pub(crate) fn forget_shares(&mut self) {
        self.sent.values_mut().for_each(|sent| sent.shares.clear());
    }

    /// Whether no request for shares is in flight: two at a time could not be told apart by what they hold.
    pub(crate) fn may_ask_for_shares(&self) -> bool {
        self.sent.values().all(|sent| sent.shares.is_empty())
    }
}
