//! What is known about a request when it is over: the one value that metrics and the request's log line are made of.
//!
//! Every text in it is from a closed set, from the configuration or made here. A client's words stand in `detail` only, which
//! `policy::detail` has escaped and cut.

use std::sync::Arc;
use std::time::Duration;

use super::trace::RequestTrace;
use crate::policy::{Denial, Subject};
use crate::upstream::Slot;
use crate::wire::Method;

/// How a request ended, as the operator counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// A result; or a response of the guard's own that refuses nothing (health, readiness).
    Ok,
    /// `result.isError` was true.
    ToolError,
    /// The backend responded with a JSON-RPC error.
    RpcError,
    /// The guard refused.
    Denied,
    /// A deadline passed.
    Timeout,
    /// The backend could not be reached, cut its response or did not speak JSON-RPC.
    Upstream,
    /// The client left before it had its response.
    ClientGone,
}

impl Outcome {
    /// The metric label and log field.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ToolError => "tool_error",
            Outcome::RpcError => "rpc_error",
            Outcome::Denied => "denied",
            Outcome::Timeout => "timeout",
            Outcome::Upstream => "upstream",
            Outcome::ClientGone => "client_gone",
        }
    }

    /// How a refusal counts: those that name the backend's state are the backend's outcome.
    pub(crate) fn of_denial(denial: Denial) -> Outcome {
        use Denial as D;
        match denial {
            D::Deadline => Outcome::Timeout,
            D::NoBackend
            | D::BackendRefused
            | D::BackendReset
            | D::BackendInvalid
            | D::BackendNoAnswer
            | D::CandidateInvalid
            | D::BackendStatus => Outcome::Upstream,
            D::Framing(_)
            | D::HeaderTimeout
            | D::BodyTimeout
            | D::BodyTooLarge
            | D::OauthMetadata
            | D::OauthRegister
            | D::MethodNotAllowed
            | D::OriginNotAllowed
            | D::HostNotAllowed
            | D::AuthorizationMissing
            | D::TokensNotConfigured
            | D::TokenInvalid(_)
            | D::TokenExpired(_)
            | D::JwtInvalid(_)
            | D::JwtExpired
            | D::InsufficientScope { .. }
            | D::JwtKeysUnavailable
            | D::TwoCredentials
            | D::PathNotFound
            | D::RepeatedField(_)
            | D::ContentType
            | D::ContentEncoding
            | D::RouteMethod
            | D::ApiKeyMissing
            | D::ApiKeyInvalid
            | D::Scan(_)
            | D::Era(_)
            | D::UnknownTool
            | D::UnknownMethod
            | D::RateLimited
            | D::ConcurrencyLimited
            | D::Overloaded
            | D::ClientShare
            | D::StreamsLimited
            | D::Draining => Outcome::Denied,
        }
    }
}

/// One request: made when its head has arrived, filled in while it is served, counted and logged once, at its end.
#[derive(Debug, Clone)]
pub(crate) struct Record<'a> {
    pub(crate) request_id: &'a str,
    /// The peer's address as text; `None` on a Unix socket.
    pub(crate) peer: Option<&'a str>,
    /// The configured name of the client, or of the caller of a route; `None` before the token matched.
    pub(crate) client: Option<&'a str>,
    /// Which of those that the client stands for.
    pub(crate) subject: Option<Arc<Subject>>,
    /// The client as a metric label: its name if it has a row of its own, `other`, or empty.
    pub(crate) client_label: &'a str,
    /// The MCP method; `None` when no body was judged.
    pub(crate) method: Option<Method>,
    /// The tool, if the slot is known to have one of this name.
    pub(crate) tool: Option<String>,
    /// The route that the request belongs to; `None` for everything at the endpoint.
    pub(crate) route: Option<&'a str>,
    /// Whether the response was a stream, whose length in time says nothing.
    pub(crate) streamed: bool,
    /// The slot that got the request.
    pub(crate) slot: Option<Slot>,
    /// The status sent; `None` when the client left before one was.
    pub(crate) status: Option<u16>,
    pub(crate) outcome: Outcome,
    pub(crate) denial: Option<Denial>,
    /// What the code does not say: escaped and cut where it holds a client's words.
    pub(crate) detail: Option<String>,
    /// Bytes of the request's body.
    pub(crate) bytes_in: u64,
    /// Bytes of the response's body.
    pub(crate) bytes_out: u64,
    /// From the head to the last byte of the response; `None` until it is known.
    pub(crate) total: Option<Duration>,
    /// From the first byte sent to a backend to the last one received.
    pub(crate) upstream: Option<Duration>,
    /// The trace that the request belongs to; none where traces are off.
    pub(crate) trace: Option<&'a RequestTrace>,
}

impl<'a> Record<'a> {
    pub(crate) fn new(request_id: &'a str, peer: Option<&'a str>) -> Record<'a> {
        Record {
            request_id,
            peer,
            client: None,
            subject: None,
            client_label: "",
            method: None,
            tool: None,
            route: None,
            streamed: false,
            slot: None,
            status: None,
            outcome: Outcome::Ok,
            denial: None,
            detail: None,
            bytes_in: 0,
            bytes_out: 0,
            total: None,
            upstream: None,
            trace: None,
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
}
