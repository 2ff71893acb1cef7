//! One exchange with a route's backend: where the request goes, and how the exchange ended. Must not know Pingora.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::http1::FramingError;
use crate::proxy::backend::dial::Dialer;

/// Why a backend gave no response, or no complete one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UpstreamError {
    /// No connection to the backend: why, in words for the log.
    Unreachable(Arc<str>),
    /// The connection ended before the response did.
    Closed,
    /// The response violates HTTP.
    Invalid(FramingError),
    /// Pingora cannot parse the response: the name of its error. Its text may quote the response.
    Unparsable(&'static str),
}

/// One request and its outcome, shared by pingora-proxy's side and the client's side.
#[derive(Debug)]
pub(crate) struct BridgeExchange {
    pub(crate) backend: Arc<Dialer>,
    pub(crate) connect_timeout: Duration,
    /// Whether the request asks for a WebSocket.
    pub(crate) is_upgrade: bool,
    outcome: OnceLock<Result<(), UpstreamError>>,
}

impl BridgeExchange {
    pub(crate) fn new(backend: Arc<Dialer>, connect_timeout: Duration, is_upgrade: bool) -> BridgeExchange {
        BridgeExchange { backend, connect_timeout, is_upgrade, outcome: OnceLock::new() }
    }

    /// Records why the exchange fails. The first error counts: it causes the others.
    pub(crate) fn fail(&self, error: UpstreamError) {
        let _ = self.outcome.set(Err(error));
    }

    /// Records that the response is complete.
    pub(crate) fn complete(&self) {
        let _ = self.outcome.set(Ok(()));
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.outcome.get(), Some(Ok(())))
    }

    /// The recorded error. An exchange that ended without one lost its connection.
    pub(crate) fn error(&self) -> UpstreamError {
        match self.outcome.get() {
            Some(Err(error)) => error.clone(),
            Some(Ok(())) | None => UpstreamError::Closed,
        }
    }
}
