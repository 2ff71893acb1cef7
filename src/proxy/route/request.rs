//! One admitted request on its way through a route, and the guard's own replies to it.

use crate::policy::Denial;
use crate::policy::reply;
use crate::policy::routes::RoutePermit;
use crate::proxy::backend::pingora::exchange::UpstreamError;
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::request::Request;
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::state::routes::{InFlightGuard, RouteState};
use crate::telemetry::Record;

/// Why a request of a route got no response, or no complete one.
pub(super) enum RouteError {
    /// The client's side ended the exchange.
    Interrupted(Interrupt),
    Upstream(UpstreamError),
}

impl From<Interrupt> for RouteError {
    fn from(interrupt: Interrupt) -> RouteError {
        RouteError::Interrupted(interrupt)
    }
}

impl From<UpstreamError> for RouteError {
    fn from(error: UpstreamError) -> RouteError {
        RouteError::Upstream(error)
    }
}

pub(super) struct RouteRequest<'r> {
    pub(super) request: &'r Request<'r>,
    pub(super) route: &'r RouteState,
    pub(super) permit: RoutePermit,
    /// The caller's configured name.
    pub(super) caller: Option<&'r str>,
    /// Counts the request until it ends.
    pub(super) guard: InFlightGuard<'r>,
}

impl RouteRequest<'_> {
    /// Sends the guard's own reply.
    pub(super) async fn deny(
        &self,
        downstream: &mut Downstream,
        denial: Denial,
        record: &mut Record<'_>,
    ) -> KeepAlive {
        self.request.reply(downstream, &reply::route_reply(denial, None), Some(denial), record).await
    }

    /// Sends the guard's own reply in place of a response that failed.
    pub(super) async fn upstream_denial(
        &self,
        downstream: &mut Downstream,
        error: RouteError,
        record: &mut Record<'_>,
    ) -> KeepAlive {
        let denial = match error {
            RouteError::Interrupted(Interrupt::ClientGone) => {
                record.set_client_gone();
                return KeepAlive::Close;
            }
            RouteError::Interrupted(Interrupt::Deadline) => Denial::Deadline,
            RouteError::Interrupted(Interrupt::Draining) => Denial::Draining,
            RouteError::Upstream(UpstreamError::Unreachable(cause)) => {
                self.route.mark_unreachable(&cause);
                Denial::BackendRefused
            }
            RouteError::Upstream(UpstreamError::Closed) => Denial::BackendReset,
            RouteError::Upstream(UpstreamError::Invalid(error)) => self.malformed(&error),
            RouteError::Upstream(UpstreamError::Unparsable(error)) => self.malformed(&error),
        };
        self.deny(downstream, denial, record).await
    }

    fn malformed(&self, error: &dyn std::fmt::Display) -> Denial {
        log::warn!("route {}: the backend's answer is malformed: {error}", self.route.name());
        Denial::BackendInvalid
    }
}
