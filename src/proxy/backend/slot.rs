//! One slot: where its backend is, what it receives, its connections, permits and held calls, and what is known of it.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::discover_cache::DiscoverCache;
use super::hold::HoldQueue;
use super::pool::{Connection, Pool, PoolSettings};
use crate::policy::SessionRequest;
use crate::policy::tools::Pattern;
use crate::proxy::fairness::semaphore::{Bounds, FairSemaphore};
use crate::upstream::{Backend, Slot};
use crate::wire::Kind;

/// Tool names that may become metric labels, per slot.
const TOOLS_MAX: usize = 512;
const TOOL_NAME_BYTES_MAX: usize = 128;

/// How long the first held call pauses between attempts: short at first, so that a quick restart costs little time.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The state of one slot under one configuration.
pub(crate) struct SlotState {
    pub(crate) slot: Slot,
    pub(crate) backend: Backend,
    pub(crate) pool: Arc<Pool>,
    pub(crate) calls: Arc<SlotCalls>,
    pub(crate) discover: Arc<DiscoverCache>,
    facts: Arc<BackendFacts>,
}

/// The calls of a slot: in flight, waiting and held.
pub(crate) struct SlotCalls {
    pub(crate) permits: FairSemaphore,
    /// For notifications and posted responses whose client gets none of those permits now: it can cancel calls that hang.
    pub(crate) reserve: FairSemaphore,
    pub(crate) hold: HoldQueue,
}

/// The bounds of every slot.
pub(crate) struct SlotBounds {
    pub(crate) permits: Bounds,
    pub(crate) reserve: Bounds,
    pub(crate) held_max: usize,
    pub(crate) connect_time: Duration,
    /// Threads that serve calls.
    pub(crate) workers: usize,
}

impl SlotCalls {
    fn new(bounds: &SlotBounds) -> SlotCalls {
        SlotCalls {
            permits: FairSemaphore::new(bounds.permits),
            reserve: FairSemaphore::new(bounds.reserve),
            hold: HoldQueue::new(bounds.held_max),
        }
    }

    /// Where a message of this kind gets its permit, if it has none at once.
    pub(crate) fn queue(&self, kind: Kind) -> &FairSemaphore {
        match kind {
            Kind::Request => &self.permits,
            Kind::Notification | Kind::Response => &self.reserve,
        }
    }

    fn set_bounds(&self, bounds: &SlotBounds) {
        self.permits.set_bounds(bounds.permits);
        self.reserve.set_bounds(bounds.reserve);
        self.hold.set_bound(bounds.held_max);
    }
}

/// What is known of the backend at an address.
#[derive(Default)]
struct BackendFacts {
    reachable: AtomicU8,
    tools: ArcSwap<HashSet<String>>,
    /// When tool names were last added.
    tools_added: Mutex<Option<Instant>>,
}

/// A list is parsed at most this often: parsing each one would cost more than relaying it.
const TOOLS_INTERVAL: Duration = Duration::from_secs(5);

const REACHABLE: u8 = 1;
const UNREACHABLE: u8 = 2;

impl SlotState {
    /// The state for this configuration. As long as the backend's address stays, the calls in flight and waiting, and what
    /// is known of the backend, outlive a reload; connections do if nothing changes for them.
    pub(crate) fn new(
        slot: Slot,
        backend: Backend,
        bounds: &SlotBounds,
        previous: Option<&SlotState>,
    ) -> SlotState {
        let settings = PoolSettings {
            address: backend.address.clone(),
            tls: backend.tls.clone(),
            workers: bounds.workers,
            idle_max: backend.pool,
            idle_time: backend.pool_idle,
            connect_time: bounds.connect_time,
        };
        let before = previous.map(|old| &old.pool).filter(|pool| pool.settings.address == settings.address);
        let pool = before.filter(|pool| pool.settings == settings).cloned();
        let pool = pool.unwrap_or_else(|| Arc::new(Pool::new(settings, before.map(Arc::as_ref))));
        let discover = previous.filter(|old| old.backend == backend).map(|old| old.discover.clone());
        let discover = discover.unwrap_or_default();
        let at_same_address = previous.filter(|old| old.backend.address == backend.address);
        let (calls, facts) = match at_same_address {
            Some(old) => (old.calls.clone(), old.facts.clone()),
            None => (Arc::new(SlotCalls::new(bounds)), Arc::default()),
        };
        calls.set_bounds(bounds);
        SlotState { slot, backend, pool, calls, discover, facts }
    }

    /// Whether the slot takes such a request: without `sessions` it takes only POST.
    pub(crate) fn takes(&self, session: Option<SessionRequest>) -> bool {
        session.is_none() || self.backend.sessions
    }

    /// Calls and other messages that hold a permit.
    pub(crate) fn in_flight(&self) -> usize {
        self.calls.permits.in_flight() + self.calls.reserve.in_flight()
    }

    /// Calls and other messages that wait for one.
    pub(crate) fn waiting(&self) -> usize {
        self.calls.permits.waiting() + self.calls.reserve.waiting()
    }

    /// Opens a connection and remembers whether that worked.
    pub(crate) async fn connect(&self) -> io::Result<Box<Connection>> {
        let result = self.pool.connect().await;
        match &result {
            Ok(_) => self.mark_reachable(),
            Err(cause) => self.mark_unreachable(cause),
        }
        result
    }

    /// Ends when the backend can be reached. Of the calls that wait, the first one tries.
    pub(crate) async fn wait_reachable(&self) {
        let _lead = self.calls.hold.lead().await;
        // The previous leader may have reached it.
        if self.reachable() != Some(true) {
            self.connect_with_backoff().await;
        }
    }

    /// Tries until the backend can be reached, and puts the connection into the pool. Has no end of its own.
    async fn connect_with_backoff(&self) {
        let mut pause = PAUSE_FIRST;
        loop {
            if let Ok(connection) = self.connect().await {
                return self.pool.put(connection, Instant::now());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Whether the last attempt to reach the backend succeeded.
    pub(crate) fn reachable(&self) -> Option<bool> {
        match self.facts.reachable.load(Ordering::Relaxed) {
            REACHABLE => Some(true),
            UNREACHABLE => Some(false),
            _ => None,
        }
    }

    fn mark_reachable(&self) {
        if self.facts.reachable.swap(REACHABLE, Ordering::Relaxed) == UNREACHABLE {
            log::info!("slot {}: the backend at {} answers again", self.slot.as_str(), self.address());
        }
    }

    fn mark_unreachable(&self, cause: &io::Error) {
        // Logged once for each outage, not once for each call.
        if self.facts.reachable.swap(UNREACHABLE, Ordering::Relaxed) != UNREACHABLE {
            let (slot, address) = (self.slot.as_str(), self.address());
            log::warn!("slot {slot}: cannot connect to {address}: {cause}; calls are held until it answers");
            self.pool.idle.invalidate();
        }
    }

    /// The backend's address as the configuration writes it.
    pub(crate) fn address(&self) -> String {
        self.backend.place()
    }

    /// The label for a tool's name: the name itself if the slot has listed it.
    pub(crate) fn tool_label(&self, name: &str) -> String {
        if self.facts.tools.load().contains(name) { name.to_owned() } else { "other".to_owned() }
    }

    /// Whether the slot has listed a tool whose name matches.
    pub(crate) fn lists_a_tool(&self, pattern: &Pattern) -> bool {
        self.facts.tools.load().iter().any(|name| pattern.matches(name))
    }

    /// Whether the next `tools/list` response is to be parsed for names.
    pub(crate) fn needs_tool_names(&self) -> bool {
        self.tools_added().is_none_or(|last| last.elapsed() > TOOLS_INTERVAL)
    }

    fn tools_added(&self) -> MutexGuard<'_, Option<Instant>> {
        self.facts.tools_added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the names of a `tools/list` response. Names beyond the bounds stay `other`.
    pub(crate) fn add_tool_names(&self, names: HashSet<String>) {
        let acceptable = names.into_iter().filter(|name| name.len() <= TOOL_NAME_BYTES_MAX);
        *self.tools_added() = Some(Instant::now());
        // A page of a longer list adds to what is known.
        let mut known = HashSet::clone(&self.facts.tools.load());
        for name in acceptable {
            if known.len() < TOOLS_MAX {
                known.insert(name);
            }
        }
        if known.len() != self.facts.tools.load().len() {
            self.facts.tools.store(Arc::new(known));
        }
    }
}

/// The time that remains until `deadline`.
pub(crate) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
