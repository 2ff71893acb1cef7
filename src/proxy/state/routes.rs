//! The state of each route between requests: its rate limiters and its requests in flight.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{RateKey, Route, RouteTarget};
use crate::http1::RequestHead;
use crate::policy::Denial;
use crate::policy::rate::RateLimiter;
use crate::policy::routes::{self, Match, RouteRule};
use crate::policy::shared_rates::{RateOf, SharedRates};
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
    /// Where guards count the rates of callers together.
    shared: Option<Arc<dyn SharedRates>>,
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
    pub(crate) fn new(
        routes: Vec<Route>,
        shared: Option<&Arc<dyn SharedRates>>,
        previous: Option<&Routes>,
    ) -> Routes {
        let state = |config: Route| {
            let kept = previous.and_then(|old| old.routes.iter().find(|route| route.config == config));
            kept.cloned().unwrap_or_else(|| Arc::new(RouteState::new(config, shared)))
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
    fn new(config: Route, shared: Option<&Arc<dyn SharedRates>>) -> RouteState {
        let dialer = match &config.target {
            RouteTarget::Own(backend) => {
                Some(Arc::new(Dialer::new(backend.address.clone(), backend.tls.clone())))
            }
            RouteTarget::Slot(_) | RouteTarget::Stable => None,
        };
        // An address is one guard's matter: a flood of them would fill the store.
        let shared = shared.filter(|_| config.rate_key == RateKey::Caller).cloned();
        RouteState {
            config,
            dialer,
            created: Instant::now(),
            meters: RouteMeters::default(),
            shared,
            in_flight: Mutex::default(),
            streams: AtomicUsize::new(0),
            unreachable: AtomicBool::new(false),
        }
    }

    /// The name in metrics and logs.
    pub(crate) fn name(&self) -> &str {
        &self.config.rule.name
    }

    /// Counts a request in flight, within the rate of those who are counted together, by the clock of rates. Or the refusal, and
    /// how long until the next one is allowed.
    pub(crate) fn acquire(
        &self,
        counted: Counted<'_>,
        subject: Option<&SubjectState>,
        who: CallerKey,
        now_ns: u64,
    ) -> Result<InFlightGuard<'_>, (Denial, Option<Duration>)> {
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
            meter.refund(&rate, now_ns);
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
        let (route, shared) = (self.name(), self.shared.as_deref());
        match (counted, subject) {
            (Counted::Caller(grant), Some(subject)) => {
                let of = RateOf::RouteUser(route, grant, subject.user());
                subject.route_meter(route, self.created, || of.limiter(shared))
            }
            (Counted::Caller(caller), None) => {
                self.meters.of(counted, now_ns, || RateOf::Route(route, caller).limiter(shared))
            }
            (Counted::Address(_), _) => self.meters.of(counted, now_ns, RateLimiter::default),
        }
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

#[cfg(test)]
#[cfg(feature = "fleet")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Environment};

    const ROUTES: &str = "[[route]]\nname = \"by-name\"\nprefix = \"/a\"\naddress = \"127.0.0.1:9\"\nauth = \"none\"\nrate = \"1/h\"\n\
                          [[route]]\nname = \"by-address\"\nprefix = \"/b\"\naddress = \"127.0.0.1:9\"\nauth = \"none\"\nrate = \"1/h\"\n\
                          rate_key = \"address\"\n";

    fn routes(shared: &Arc<dyn SharedRates>) -> Routes {
        let nothing = Environment { variable: &|_| None, now: 1_800_000_000, shown_pairs: None };
        let text = format!("[slots.blue]\naddress = \"127.0.0.1:9\"\n{ROUTES}");
        let loaded = config::build(Path::new("/etc/guard/guard.toml"), &text, &nothing);
        let routes = loaded.map_err(|found| found.problems).unwrap().config.routes;
        assert_eq!(routes.len(), 2);
        Routes::new(routes, Some(shared), None)
    }

    #[test]
    fn the_rate_of_a_caller_is_counted_with_other_guards_and_that_of_an_address_is_not() {
        let rates = crate::fuzzing::shared_rates();
        let guards = [routes(&rates), routes(&rates)];
        let who = CallerKey { key: 1, has_others: false };
        let passes = |guard: usize, name: &str, counted: Counted<'_>| {
            let found = guards[guard].routes.iter().find(|route| route.name() == name).unwrap();
            found.acquire(counted, None, who, 0).is_ok()
        };
        assert!(passes(0, "by-name", Counted::Caller("bot")));
        assert!(!passes(1, "by-name", Counted::Caller("bot")), "the other guard knows of the request");
        assert!(passes(1, "by-name", Counted::Caller("other")));
        for guard in [0, 1] {
            for counted in [Counted::Address([192, 0, 2, 7].into()), Counted::Caller("")] {
                assert!(passes(guard, "by-address", counted));
                assert!(!passes(guard, "by-address", counted));
            }
        }
    }
}
