//! What is gathered about a request while it is served; recorded once, at its end.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::front::Ending;
use super::runtime::{Runtime, Shared};
use crate::policy::{ClientId, Denial};
use crate::telemetry::{Outcome, Record};
use crate::upstream::Slot;
use crate::wire::Method;

/// The makings of a [`Record`].
pub(super) struct Report {
    pub(super) started: Instant,
    pub(super) client: Option<ClientId>,
    pub(super) method: Option<Method>,
    /// The tool's label.
    pub(super) tool: Option<String>,
    /// The name of the route that the request belongs to.
    pub(super) route: Option<String>,
    /// Who uses the route, by the configured name.
    pub(super) caller: Option<String>,
    /// Whether the answer was a stream.
    pub(super) streamed: bool,
    pub(super) slot: Option<Slot>,
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    pub(super) denial: Option<Denial>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) upstream: Option<Duration>,
}

impl Report {
    pub(super) fn new(started: Instant) -> Report {
        Report {
            started,
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
            bytes_in: 0,
            bytes_out: 0,
            upstream: None,
        }
    }

    /// The client left; nothing more can be done for it.
    pub(super) fn client_gone(&mut self) -> Ending {
        self.outcome = Outcome::ClientGone;
        Ending::Close
    }

    /// Counts and logs the request.
    pub(super) fn record(self, shared: &Shared, runtime: &Runtime, id: &str, peer: Option<IpAddr>) {
        let caller = self.caller.as_deref();
        let record = Record {
            request_id: id,
            peer,
            client: self.client.map(|client| runtime.policy.clients().name(client)).or(caller),
            client_label: self
                .client
                .map_or(caller.unwrap_or_default(), |client| runtime.client_label(client)),
            route: self.route.as_deref(),
            streamed: self.streamed,
            method: self.method,
            tool: self.tool.as_deref(),
            slot: self.slot,
            status: self.status,
            outcome: self.outcome,
            denial: self.denial,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            total: self.started.elapsed(),
            upstream: self.upstream,
        };
        shared.metrics.record(&record);
        shared.log.request(&record);
    }
}
