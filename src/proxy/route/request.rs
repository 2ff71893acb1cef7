//! One admitted request on its way through a route, and the guard's own replies to it.

use super::pingora::exchange::UpstreamError;
use super::state::{InFlightGuard, RouteState};
use crate::policy::Denial;
use crate::policy::reply;
use crate::policy::routes::RoutePermit;
use crate::proxy::downstream::local_reply::KeepAlive;
use crate::proxy::downstream::record::RecordBuilder;
use crate::proxy::downstream::request::Request;
use crate::proxy::downstream::stream::{Downstream, Interrupt};

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
        record: &mut RecordBuilder,
    ) -> KeepAlive {
        self.request.reply(downstream, &reply::route_reply(denial, None), Some(denial), record).await
    }

    /// Sends the guard's own reply in place of a response that failed.
    pub(super) async fn upstream_denial(
        &self,
        downstream: &mut Downstream,
        error: UpstreamError,
        record: &mut RecordBuilder,
    ) -> KeepAlive {
        let denial = match error {
            UpstreamError::Interrupted(Interrupt::ClientGone) => {
                record.set_client_gone();
                return KeepAlive::Close;
            }
            UpstreamError::Interrupted(Interrupt::Deadline) => Denial::Deadline,
            UpstreamError::Interrupted(Interrupt::Draining) => Denial::Draining,
            UpstreamError::Unreachable(kind) => {
                self.route.mark_unreachable(kind);
                Denial::BackendRefused
            }
            UpstreamError::Closed => Denial::BackendReset,
            UpstreamError::Invalid(error) => self.malformed(&error),
            UpstreamError::Unparsable(error) => self.malformed(&error),
        };
        self.deny(downstream, denial, record).await
    }

    fn malformed(&self, error: &dyn std::fmt::Display) -> Denial {
        log::warn!("route {}: the backend's answer is malformed: {error}", self.route.name());
        Denial::BackendInvalid
    }
}
