//! Builds the record of a request while it is served; it is counted and logged once, at the end.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::policy::{ClientId, Denial};
use crate::proxy::downstream::stream::Peer;
use crate::proxy::state::ProxyState;
use crate::proxy::state::snapshot::Snapshot;
use crate::telemetry::{Outcome, Record};
use crate::upstream::Slot;
use crate::wire::Method;

/// A [`Record`] in the making.
pub(crate) struct RecordBuilder {
    started: Instant,
    /// The same in time of day.
    wall: SystemTime,
    /// When it ended, if the time is known already.
    pub(crate) ended: Option<Instant>,
    pub(crate) client: Option<ClientId>,
    pub(crate) method: Option<Method>,
    /// The tool's label.
    pub(crate) tool: Option<String>,
    /// The name of the route that the request belongs to.
    pub(crate) route: Option<String>,
    /// The configured name of the route's caller.
    pub(crate) caller: Option<String>,
    /// Whether the response was a stream.
    pub(crate) streamed: bool,
    pub(crate) slot: Option<Slot>,
    pub(crate) status: Option<u16>,
    pub(crate) outcome: Outcome,
    pub(crate) denial: Option<Denial>,
    /// What the log adds to the denial.
    pub(crate) detail: Option<String>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) upstream: Option<Duration>,
}

impl RecordBuilder {
    pub(crate) fn new(started: Instant, wall: SystemTime) -> RecordBuilder {
        RecordBuilder {
            started,
            wall,
            ended: None,
            client: None,
            method: None,
            tool: None,
            route: None,
            caller: None,
            streamed: false,
            slot: None,
            status: None,
            outcome: Outcome::Ok,
            denial: None,
            detail: None,
            bytes_in: 0,
            bytes_out: 0,
            upstream: None,
        }
    }

    /// The client disconnected before the end.
    pub(crate) fn set_client_gone(&mut self) {
        self.outcome = Outcome::ClientGone;
    }

    /// The request gets a local reply: a denial, or none.
    pub(crate) fn deny(&mut self, denial: Option<Denial>) {
        self.denial = denial;
        if let Some(denial) = denial {
            self.outcome = Outcome::of_denial(denial);
        }
    }

    /// Counts and logs the request; returns when it ended.
    pub(crate) fn finish(
        self,
        state: &ProxyState,
        snapshot: &Snapshot,
        id: &str,
        peer: Option<Peer>,
    ) -> Instant {
        let ended = self.ended.unwrap_or_else(Instant::now);
        let total = ended.saturating_duration_since(self.started);
        let caller = self.caller.as_deref();
        let record = Record {
            request_id: id,
            peer: peer.as_ref().map(Peer::text),
            client: self.client.map(|client| snapshot.policy.clients().name(client)).or(caller),
            client_label: self
                .client
                .map_or(caller.unwrap_or_default(), |client| snapshot.client_label(client)),
            route: self.route.as_deref(),
            streamed: self.streamed,
            method: self.method,
            tool: self.tool.as_deref(),
            slot: self.slot,
            status: self.status,
            outcome: self.outcome,
            denial: self.denial,
            detail: self.detail.as_deref(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            total,
            upstream: self.upstream,
        };
        state.metrics.record(&record);
        state.log.request(&record, self.wall.checked_add(total).unwrap_or(self.wall));
        ended
    }
}
