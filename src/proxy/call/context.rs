//! One call while it is served: what every stage of its way reads.

use std::time::Duration;

use crate::policy::reply::{ErrorContext, Executed};
use crate::policy::{Call, SessionRequest};
use crate::proxy::backend::request_head::ForwardedFrom;
use crate::proxy::downstream::request::Request;
use crate::proxy::fairness::open_streams::StreamGuard;
use crate::proxy::state::call_limits::Who;
use crate::wire::{Kind, Method};

/// A call, and the request that carries it.
#[derive(Clone, Copy)]
pub(crate) struct CallContext<'c> {
    pub(crate) request: &'c Request<'c>,
    pub(crate) call: &'c Call<'c>,
    pub(crate) body: &'c [u8],
    pub(crate) who: Who<'c>,
}

impl<'c> CallContext<'c> {
    pub(crate) fn is_discover(&self) -> bool {
        self.call.method() == Method::Discover && self.call.kind() == Kind::Request
    }

    /// Whether the response has no end of its own.
    pub(crate) fn is_stream(&self) -> bool {
        self.call.method() == Method::SubscriptionsListen || self.is_session_stream()
    }

    /// Whether the response is what a server sends outside of calls: it may end behind any event.
    pub(crate) fn is_session_stream(&self) -> bool {
        self.call.session() == Some(SessionRequest::Stream)
    }

    /// Counts the call among the streams; none if its client has no stream left.
    pub(crate) fn open_stream(&self) -> Option<StreamGuard<'c>> {
        let Request { state, snapshot, .. } = *self.request;
        state.streams.open(self.who.key, snapshot.stream_bounds())
    }

    /// Where the call comes from, as a backend receives it.
    pub(crate) fn forwarded_from(&self) -> ForwardedFrom<'_> {
        let client = self.request.snapshot.policy.clients().name(self.call.client());
        self.request.forwarded_from(Some(client), self.call.subject())
    }
}

/// What an error says besides its denial.
pub(crate) fn error_context<'r>(
    request: &'r Request<'_>,
    executed: Executed,
    retry_after: Option<Duration>,
) -> ErrorContext<'r> {
    // Rounded up: a client that comes back a moment too early is refused again.
    let milliseconds = |time: Duration| time.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX);
    let retry_after_ms = retry_after.map(milliseconds);
    ErrorContext { request_id: request.id, executed, retry_after_ms, mode: request.snapshot.error_mode }
}
