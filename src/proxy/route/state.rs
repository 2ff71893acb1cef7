//! What is kept of each route from one request to the next: what was used of its rate, and who is in it now.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{Route, RouteTarget};
use crate::http1::RequestHead;
use crate::policy::rate::Meter;
use crate::policy::routes::{self, Caller, Entry, Match, Rule};
use crate::proxy::backend::request_head::Trust;
use crate::proxy::downstream::stream::Peer;
use crate::proxy::fairness::semaphore::{Key, most_of_one};
use crate::proxy::state::snapshot::{ProxyState, Snapshot};
use crate::telemetry::metrics::RouteGauges;
use crate::upstream::{Backend, Slot};

/// Every route of a configuration.
#[derive(Default)]
pub(crate) struct Routes {
    routes: Vec<Arc<RouteState>>,
}

/// One route. It outlives a reload that does not change it.
pub(crate) struct RouteState {
    pub(crate) config: Route,
    made: Instant,
    /// By the caller's name: as many as there are callers in the configuration.
    meters: Mutex<HashMap<String, Arc<Meter>>>,
    inside: Mutex<Inside>,
    streams: AtomicUsize,
    away: AtomicBool,
}

/// Why a request may not enter now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Its caller has used up the rate; the next request fits after this time.
    Rate(Duration),
    Full,
    /// Its visitor has all the places that one may have.
    OwnExcess,
}

/// Who is in a route.
#[derive(Default)]
struct Inside {
    all: usize,
    by_visitor: HashMap<Key, usize>,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visitor {
    pub(crate) key: Key,
    /// Whether there are others: then a part of the places is left to them.
    has_others: bool,
}

/// A request's place in its route.
pub(crate) struct Visit<'r> {
    route: &'r RouteState,
    who: Key,
}

/// The presence of a stream in the gauge of streams.
pub(crate) struct OpenStream<'r> {
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

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.routes.iter().map(|route| &route.config.rule)
    }

    /// The route that a request belongs to.
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

    /// Each route's name, requests and streams of this moment.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = RouteGauges<'_>> {
        self.routes.iter().map(|route| RouteGauges {
            name: route.name(),
            in_flight: route.inside().all,
            streams: route.streams.load(Ordering::Relaxed),
        })
    }
}

impl RouteState {
    fn new(config: Route) -> RouteState {
        RouteState {
            config,
            made: Instant::now(),
            meters: Mutex::default(),
            inside: Mutex::default(),
            streams: AtomicUsize::new(0),
            away: AtomicBool::new(false),
        }
    }

    /// The metric label and log field.
    pub(crate) fn name(&self) -> &str {
        &self.config.rule.name
    }

    /// Who calls, by the configured name.
    pub(crate) fn caller_name<'r>(&'r self, snapshot: &'r Snapshot, caller: Caller) -> Option<&'r str> {
        match (caller, &self.config.rule.entry) {
            (Caller::Client(client), _) => Some(snapshot.policy.clients().name(client)),
            (Caller::Key(index), Entry::ApiKey { keys, .. }) => keys.get(index).map(|key| key.name.as_str()),
            (Caller::Key(_) | Caller::Anyone, _) => None,
        }
    }

    /// Where the route leads now.
    pub(crate) fn backend<'r>(
        &'r self,
        state: &ProxyState,
        snapshot: &'r Snapshot,
    ) -> Option<(&'r Backend, Option<Slot>)> {
        let slot = match &self.config.target {
            RouteTarget::Own(backend) => return Some((backend, None)),
            RouteTarget::Slot(slot) => *slot,
            RouteTarget::Stable => state.routes.load().split.stable(),
        };
        snapshot.slot(slot).map(|state| (&state.backend, Some(slot)))
    }

    /// Takes a place, if the caller's rate and the route have one.
    pub(crate) fn enter(&self, caller: &str, who: Visitor) -> Result<Visit<'_>, Busy> {
        let metered = self.config.rate.map(|rate| (rate, self.meter(caller)));
        if let Some((rate, meter)) = &metered {
            meter.admit(rate, self.age_ns()).map_err(Busy::Rate)?;
        }
        let max = self.config.in_flight_max;
        let own_max = if who.has_others { most_of_one(max) } else { max };
        let mut inside = self.inside();
        let own = inside.by_visitor.get(&who.key).copied().unwrap_or_default();
        if inside.all < max && own < own_max {
            inside.all += 1;
            inside.by_visitor.insert(who.key, own + 1);
            return Ok(Visit { route: self, who: who.key });
        }
        let why = if inside.all < max { Busy::OwnExcess } else { Busy::Full };
        drop(inside);
        if let Some((rate, meter)) = metered {
            meter.give_back(&rate);
        }
        Err(why)
    }

    /// Whose request this is. Those that a route lets in without a name are told apart by their address, but not behind a
    /// proxy or a socket, which have one for all.
    pub(crate) fn visitor(&self, snapshot: &Snapshot, caller: Caller, peer: Option<Peer>) -> Visitor {
        let stranger = peer.filter(|_| snapshot.trust(peer) == Trust::Stranger);
        let hashed = |name: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            self.name().hash(&mut hasher);
            name(&mut hasher);
            // Above the numbers of clients.
            Key::try_from(hasher.finish() >> 33).unwrap_or_default() | 1 << 31
        };
        let (key, has_others) = match (caller, &self.config.rule.entry) {
            (Caller::Client(client), _) => (snapshot.key(client), snapshot.policy.clients().len() > 1),
            (Caller::Key(index), Entry::ApiKey { keys, .. }) => {
                (hashed(&|hasher| index.hash(hasher)), keys.len() > 1)
            }
            (Caller::Key(_) | Caller::Anyone, _) => {
                (hashed(&|hasher| stranger.map(|peer| peer.address).hash(hasher)), stranger.is_some())
            }
        };
        Visitor { key, has_others }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend cannot be reached. Said once for each time it goes away, not once for each request.
    pub(crate) fn missed(&self, kind: std::io::ErrorKind) {
        if !self.away.swap(true, Ordering::Relaxed) {
            log::warn!("route {}: cannot connect to the backend: {kind}", self.name());
        }
    }

    /// The backend has answered.
    pub(crate) fn reached(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            log::info!("route {}: the backend answers again", self.name());
        }
    }

    fn meter(&self, caller: &str) -> Arc<Meter> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(caller) {
            return meter.clone();
        }
        meters.entry(caller.to_owned()).or_default().clone()
    }

    fn age_ns(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl<'r> Visit<'r> {
    /// From now on the request is a stream.
    pub(crate) fn stream(&self) -> OpenStream<'r> {
        self.route.streams.fetch_add(1, Ordering::AcqRel);
        OpenStream { route: self.route }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut inside = self.route.inside();
        inside.all -= 1;
        if let Some(own) = inside.by_visitor.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                inside.by_visitor.remove(&self.who);
            }
        }
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.route.streams.fetch_sub(1, Ordering::AcqRel);
    }
}
