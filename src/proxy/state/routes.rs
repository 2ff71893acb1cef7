//! The state of each route between requests: its rate limiters and its requests in flight.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{Route, RouteTarget};
use crate::http1::RequestHead;
use crate::policy::Denial;
use crate::policy::rate::RateLimiter;
use crate::policy::routes::{self, Match, RouteRule};
use crate::proxy::backend::dial::Dialer;
use crate::proxy::fairness::per_client::{ClientKey, Exceeded, PerClient};
use crate::proxy::fairness::semaphore::most_of_one;
use crate::proxy::state::route_meters::{Counted, RouteMeters};
use crate::proxy::state::subjects::SubjectState;
use crate::telemetry::metrics::RouteGauges;

/// Every route of a configuration.
#[derive(Default)]
pub(crate) struct Routes {
    routes: Vec<Arc<RouteState>>,
}

/// One route. A reload that does not change it keeps it.
pub(crate) struct RouteState {
    pub(crate) config: Route,
    /// How its own backend is reached.
    pub(crate) dialer: Option<Arc<Dialer>>,
    created: Instant,
    meters: RouteMeters,
    in_flight: Mutex<PerClient>,
    streams: AtomicUsize,
    unreachable: AtomicBool,
}

/// The caller whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallerKey {
    pub(crate) key: ClientKey,
    /// Whether other callers exist: a part of the bound is left to them.
    pub(crate) has_others: bool,
}

/// Counts a request in flight until it drops.
pub(crate) struct InFlightGuard<'r> {
    route: &'r RouteState,
    key: ClientKey,
}

/// Counts an open stream until it drops.
pub(crate) struct StreamGuard<'r> {
    route: &'r RouteState,
}

impl Routes {
    pub(crate) fn new(routes: Vec<Route>, previous: Option<&Routes>) -> Routes {
        let state = |config: Route| {
            let kept = previous.and_then(|old| old.routes.iter().find(|route| route.config == config));
            kept.cloned().unwrap_or_else(|| Arc::new(RouteState::new(config)))
        };
        Routes { routes: routes.into_iter().map(state).collect() }
    }

    fn rules(&self) -> impl Iterator<Item = &RouteRule> {
        self.routes.iter().map(|route| &route.config.rule)
    }

    /// Finds the route of a request.
    pub(crate) fn find(&self, head: &RequestHead<'_>) -> Match {
        if self.routes.is_empty() { Match::None } else { routes::find(self.rules(), head) }
    }

    /// Whether a route at this path takes the method.
    pub(crate) fn takes(&self, path: &[u8], method: &[u8]) -> bool {
        routes::takes(self.rules(), path, method)
    }

    /// The methods that are taken at this path.
    pub(crate) fn allow(&self, path: &[u8]) -> String {
        routes::allow(self.rules(), path)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&RouteState> {
        self.routes.get(index).map(Arc::as_ref)
    }

    /// How the routes' own backends are reached.
    pub(crate) fn dialers(&self) -> impl Iterator<Item = &Arc<Dialer>> {
        self.routes.iter().filter_map(|route| route.dialer.as_ref())
    }

    /// When the certificates expire that the routes' own backends are shown.
    pub(crate) fn certificates_end(&self) -> impl Iterator<Item = u64> {
        self.routes.iter().filter_map(|route| match &route.config.target {
            RouteTarget::Own(backend) => backend.tls.as_ref()?.not_after(),
            RouteTarget::Slot(_) | RouteTarget::Stable => None,
        })
    }

    /// The gauges of all routes.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = RouteGauges<'_>> {
        self.routes.iter().map(|route| RouteGauges {
            name: route.name(),
            in_flight: route.in_flight().all(),
            streams: route.streams.load(Ordering::Relaxed),
        })
    }
}

impl RouteState {
    fn new(config: Route) -> RouteState {
        let dialer = match &config.target {
            RouteTarget::Own(backend) => {
                Some(Arc::new(Dialer::new(backend.address.clone(), backend.tls.clone())))
            }
            RouteTarget::Slot(_) | RouteTarget::Stable => None,
        };
        RouteState {
            config,
            dialer,
            created: Instant::now(),
            meters: RouteMeters::default(),
            in_flight: Mutex::default(),
            streams: AtomicUsize::new(0),
            unreachable: AtomicBool::new(false),
        }
    }

    /// The name in metrics and logs.
    pub(crate) fn name(&self) -> &str {
        &self.config.rule.name
    }

    /// Counts a request in flight, within the rate of those who are counted together. Or the refusal, and how long until the next one is allowed.
    pub(crate) fn acquire(
        &self,
        counted: Counted<'_>,
        subject: Option<&SubjectState>,
        who: CallerKey,
    ) -> Result<InFlightGuard<'_>, (Denial, Option<Duration>)> {
        let now_ns = self.age_ns();
        let metered = self.config.rate.map(|rate| (rate, self.meter(counted, subject, now_ns)));
        if let Some((rate, meter)) = &metered {
            meter.admit(rate, now_ns).map_err(|wait| (Denial::RateLimited, Some(wait)))?;
        }
        let max = self.config.in_flight_max;
        let own_max = if who.has_others { most_of_one(max) } else { max };
        let added = self.in_flight().add(who.key, max, own_max);
        let denial = match added {
            Ok(()) => return Ok(InFlightGuard { route: self, key: who.key }),
            Err(Exceeded::Own) => Denial::ClientShare,
            Err(Exceeded::All) => Denial::Overloaded,
        };
        if let Some((rate, meter)) = metered {
            meter.refund(&rate);
        }
        Err((denial, None))
    }

    fn in_flight(&self) -> MutexGuard<'_, PerClient> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs once for each outage that the backend cannot be reached.
    pub(crate) fn mark_unreachable(&self, cause: &str) {
        if !self.unreachable.swap(true, Ordering::Relaxed) {
            log::warn!("route {}: cannot connect to the backend: {cause}", self.name());
        }
    }

    /// Logs that the backend responds again.
    pub(crate) fn mark_reachable(&self) {
        if self.unreachable.load(Ordering::Relaxed) && self.unreachable.swap(false, Ordering::Relaxed) {
            log::info!("route {}: the backend answers again", self.name());
        }
    }

    /// A caller that stands for many is counted by its subjects.
    fn meter(&self, counted: Counted<'_>, subject: Option<&SubjectState>, now_ns: u64) -> Arc<RateLimiter> {
        match (counted, subject) {
            (Counted::Caller(_), Some(subject)) => subject.route_meter(self.name(), self.created),
            (Counted::Caller(_) | Counted::Address(_), _) => self.meters.of(counted, now_ns),
        }
    }

    fn age_ns(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl<'r> InFlightGuard<'r> {
    /// Counts the request as a stream.
    pub(crate) fn stream(&self) -> StreamGuard<'r> {
        self.route.streams.fetch_add(1, Ordering::AcqRel);
        StreamGuard { route: self.route }
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.route.in_flight().remove(self.key);
    }
}

impl Drop for StreamGuard<'_> {
    fn drop(&mut self) {
        self.route.streams.fetch_sub(1, Ordering::AcqRel);
    }
}
