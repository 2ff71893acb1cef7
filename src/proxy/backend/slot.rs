//! One slot: where its backend is, what it receives, its connections, permits and held calls, and what is known of it.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::discover_cache::DiscoverCache;
use super::hold::HoldQueue;
use super::pool::{Connection, Pool};
use crate::policy::{Limits, Timeouts};
use crate::proxy::fairness::semaphore::{Bounds, FairSemaphore, reserve_of};
use crate::upstream::{Backend, Slot};

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
    pub(crate) places: Arc<FairSemaphore>,
    /// For notifications and posted responses whose client gets none of those permits now: it can cancel calls that hang.
    pub(crate) reserve: Arc<FairSemaphore>,
    pub(crate) hold: Arc<HoldQueue>,
    pub(crate) discover: Arc<DiscoverCache>,
    connect_time: Duration,
    facts: Arc<BackendFacts>,
}

/// What is known of the backend at an address.
struct BackendFacts {
    reachable: AtomicU8,
    tools: ArcSwap<HashSet<String>>,
    /// Milliseconds since `made` at which tool names were last added, plus one; 0 is never.
    tools_added: AtomicU64,
    made: Instant,
}

/// A list is parsed at most this often: parsing each one would cost more than relaying it.
const TOOLS_INTERVAL: Duration = Duration::from_secs(5);

const UNKNOWN: u8 = 0;
const REACHABLE: u8 = 1;
const UNREACHABLE: u8 = 2;

impl SlotState {
    /// The state for this configuration. As long as the backend's address stays, the calls in flight and waiting, and what
    /// is known of the backend, outlive a reload; connections do if nothing changes for them.
    pub(crate) fn new(
        slot: Slot,
        backend: Backend,
        limits: &Limits,
        timeouts: &Timeouts,
        shares: fn(usize, usize) -> Bounds,
        previous: Option<&SlotState>,
    ) -> SlotState {
        let previous = previous.filter(|previous| previous.backend.address == backend.address);
        let connect_time = timeouts.connect;
        let bounds = shares(limits.in_flight_max, limits.waiting_max);
        let reserve_bounds = shares(reserve_of(limits.in_flight_max), limits.waiting_max);
        let same_pool = |old: &&SlotState| {
            (old.backend.pool, old.backend.pool_idle, old.connect_time)
                == (backend.pool, backend.pool_idle, connect_time)
        };
        let pool = previous.filter(same_pool).map(|previous| previous.pool.clone());
        let pool = pool.unwrap_or_else(|| {
            Arc::new(Pool::new(backend.address.clone(), backend.pool, backend.pool_idle, connect_time))
        });
        let discover = previous.filter(|old| old.backend == backend).map(|old| old.discover.clone());
        let discover = discover.unwrap_or_default();
        if let Some(SlotState { places, reserve, hold, facts, .. }) = previous {
            places.set_bounds(bounds);
            reserve.set_bounds(reserve_bounds);
            hold.set_bound(limits.held_max);
            let (places, reserve) = (places.clone(), reserve.clone());
            let (hold, facts) = (hold.clone(), facts.clone());
            return SlotState { slot, backend, pool, places, reserve, hold, discover, connect_time, facts };
        }
        let places = Arc::new(FairSemaphore::new(bounds));
        let reserve = Arc::new(FairSemaphore::new(reserve_bounds));
        let hold = Arc::new(HoldQueue::new(limits.held_max));
        let facts = Arc::new(BackendFacts {
            reachable: AtomicU8::new(UNKNOWN),
            tools: ArcSwap::from_pointee(HashSet::new()),
            tools_added: AtomicU64::new(0),
            made: Instant::now(),
        });
        SlotState { slot, backend, pool, places, reserve, hold, discover, connect_time, facts }
    }

    /// Calls and other messages that hold a permit.
    pub(crate) fn in_flight(&self) -> usize {
        self.places.in_flight() + self.reserve.in_flight()
    }

    /// Calls and other messages that wait for one.
    pub(crate) fn waiting(&self) -> usize {
        self.places.waiting() + self.reserve.waiting()
    }

    /// Opens a connection and remembers whether that worked.
    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        let result = self.pool.connect().await;
        match &result {
            Ok(_) => self.mark_reachable(),
            Err(cause) => self.mark_unreachable(cause),
        }
        result
    }

    /// Ends when the backend can be reached. Of the calls that wait, the first one tries.
    pub(crate) async fn wait_reachable(&self) {
        let _lead = self.hold.lead().await;
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
                return self.pool.put(connection, Instant::now().into());
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
            self.pool.invalidate();
        }
    }

    /// The backend's address as the configuration writes it.
    pub(crate) fn address(&self) -> String {
        self.backend.address.to_string()
    }

    /// The label for a tool's name: the name itself if the slot has listed it.
    pub(crate) fn tool_label(&self, name: &str) -> String {
        if self.facts.tools.load().contains(name) { name.to_owned() } else { "other".to_owned() }
    }

    /// Whether the next `tools/list` response is to be parsed for names.
    pub(crate) fn needs_tool_names(&self) -> bool {
        let last = self.facts.tools_added.load(Ordering::Relaxed);
        last == 0 || self.age().saturating_sub(last) > millis(TOOLS_INTERVAL)
    }

    fn age(&self) -> u64 {
        millis(self.facts.made.elapsed()) + 1
    }

    /// Adds the names of a `tools/list` response. Names beyond the bounds stay `other`.
    pub(crate) fn add_tool_names(&self, names: HashSet<String>) {
        let acceptable = names.into_iter().filter(|name| name.len() <= TOOL_NAME_BYTES_MAX);
        self.facts.tools_added.store(self.age(), Ordering::Relaxed);
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
