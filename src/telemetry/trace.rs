//! The part of one request in a trace: its place, the exchanges with backends, and what its record does not say.
//!
//! Filled in while the request is served; spans are made of it at the end. Must not know how.

#![cfg_attr(
    not(feature = "traces"),
    expect(dead_code, reason = "without the export of spans nothing reads or makes it")
)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use mcp_traces::{Ids, Link, SpanId, TraceContext};
use tokio::time::Instant;

use crate::upstream::{Address, Backend, Slot};
use crate::wire::ProtocolVersion;

/// The trace of one request.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    pub(crate) context: TraceContext,
    /// The caller's `tracestate`; none where there is none, or it is not passed on.
    pub(crate) state: Option<String>,
    /// The trace that a refused caller has named: the refusal is no part of it.
    pub(crate) link: Option<Link>,
    /// When the request began.
    pub(crate) started: Instant,
    facts: Mutex<TraceFacts>,
}

/// What a recorded request has gathered.
#[derive(Debug, Default)]
pub(crate) struct TraceFacts {
    pub(crate) exchanges: Vec<Exchange>,
    /// The version of MCP, if it is a published one.
    pub(crate) version: Option<ProtocolVersion>,
    /// The id of JSON-RPC, where spans show it.
    pub(crate) rpc_id: Option<String>,
    /// The code of a JSON-RPC error of the backend.
    pub(crate) rpc_code: Option<i64>,
    /// Where the rollout stands.
    pub(crate) stage: Option<&'static str>,
    /// The method of HTTP, of a request that is no call.
    pub(crate) http_method: Option<&'static str>,
}

/// One request on one connection to a backend.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: SpanId,
    pub(crate) slot: Option<Slot>,
    pub(crate) server: ServerAddress,
    pub(crate) begun: Instant,
    /// When it failed, and why; none of one whose response was relayed.
    pub(crate) failed: Option<(Instant, &'static str)>,
}

/// Where a backend listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    Unix(String),
    Tcp { host: String, port: u16 },
}

impl ServerAddress {
    fn of(backend: &Backend) -> ServerAddress {
        match &backend.address {
            Address::Unix(path) => ServerAddress::Unix(path.to_string_lossy().into_owned()),
            Address::Tcp(address) => {
                ServerAddress::Tcp { host: address.ip().to_string(), port: address.port() }
            }
            Address::Name { host, port } => ServerAddress::Tcp { host: host.clone(), port: *port },
        }
    }
}

impl RequestTrace {
    pub(crate) fn new(
        context: TraceContext,
        state: Option<String>,
        link: Option<Link>,
        started: Instant,
    ) -> RequestTrace {
        RequestTrace { context, state, link, started, facts: Mutex::default() }
    }

    /// What has been gathered; none of a request that is not recorded.
    pub(crate) fn facts(&self) -> Option<MutexGuard<'_, TraceFacts>> {
        self.context.is_recorded().then(|| self.facts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The request is sent to this backend now.
    pub(crate) fn begin_exchange(&self, ids: &Ids, slot: Option<Slot>, backend: &Backend, begun: Instant) {
        if let Some(mut facts) = self.facts() {
            let server = ServerAddress::of(backend);
            facts.exchanges.push(Exchange { id: ids.span(), slot, server, begun, failed: None });
        }
    }

    /// The last exchange failed, unless it already has. `why` is of a closed set.
    pub(crate) fn fail_exchange(&self, why: &'static str) {
        if let Some(mut facts) = self.facts()
            && let Some(exchange) = facts.exchanges.last_mut()
        {
            exchange.failed.get_or_insert_with(|| (Instant::now(), why));
        }
    }

    /// The backend responded with a JSON-RPC error.
    pub(crate) fn set_rpc_code(&self, code: i64) {
        if let Some(mut facts) = self.facts() {
            facts.rpc_code = Some(code);
        }
    }

    /// The span that a backend sees as its caller's.
    pub(crate) fn sender(&self) -> SpanId {
        let exchange = self.facts().and_then(|facts| facts.exchanges.last().map(|exchange| exchange.id));
        exchange.unwrap_or(self.context.span)
    }
}
