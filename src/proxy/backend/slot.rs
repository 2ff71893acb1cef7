//! One slot as the data path sees it: where its backend is, what it receives, and everything that is counted per slot.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::hold::HoldLine;
use super::pool::{Connection, Pool};
use crate::policy::{Limits, Timeouts};
use crate::proxy::call::discover::Discover;
use crate::proxy::fairness::semaphore::{Bounds, Places, reserve_of};
use crate::upstream::{Address, Backend, Slot};

/// Tool names that may become metric labels, per slot.
const TOOLS_MAX: usize = 512;
const TOOL_NAME_BYTES_MAX: usize = 128;

/// How long the first held call pauses between attempts: short at first, so that a quick restart is hardly noticed.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The state of one slot under one configuration.
pub(crate) struct SlotState {
    pub(crate) slot: Slot,
    pub(crate) backend: Backend,
    pub(crate) pool: Arc<Pool>,
    pub(crate) places: Arc<Places>,
    /// For notifications and posted responses whose client gets none of those places now: it can cancel calls that hang.
    pub(crate) reserve: Arc<Places>,
    pub(crate) hold: Arc<HoldLine>,
    pub(crate) discover: Arc<Discover>,
    connect_time: Duration,
    known: Arc<Known>,
}

/// What was learnt of the backend at an address.
struct Known {
    reachable: AtomicU8,
    tools: ArcSwap<HashSet<String>>,
    /// Milliseconds since this was made at which tools were last learned, plus one; 0 is never.
    learned: AtomicU64,
    made: Instant,
}

/// A list is learned from at most this often: parsing each one would cost more than relaying it.
const LEARN_EVERY: Duration = Duration::from_secs(5);

const UNKNOWN: u8 = 0;
const REACHABLE: u8 = 1;
const UNREACHABLE: u8 = 2;

impl SlotState {
    /// The state for this configuration. As long as the backend stays where it is, the calls in flight and in line, and
    /// what is known of it, outlive a reload; connections do if nothing changes for them.
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
        if let Some(SlotState { places, reserve, hold, known, .. }) = previous {
            places.set_bounds(bounds);
            reserve.set_bounds(reserve_bounds);
            hold.set_bound(limits.held_max);
            let (places, reserve) = (places.clone(), reserve.clone());
            let (hold, known) = (hold.clone(), known.clone());
            return SlotState { slot, backend, pool, places, reserve, hold, discover, connect_time, known };
        }
        let places = Arc::new(Places::new(bounds));
        let reserve = Arc::new(Places::new(reserve_bounds));
        let hold = Arc::new(HoldLine::new(limits.held_max));
        let known = Arc::new(Known {
            reachable: AtomicU8::new(UNKNOWN),
            tools: ArcSwap::from_pointee(HashSet::new()),
            learned: AtomicU64::new(0),
            made: Instant::now(),
        });
        SlotState { slot, backend, pool, places, reserve, hold, discover, connect_time, known }
    }

    /// Calls and other messages that hold a place.
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
            Ok(_) => self.reached(),
            Err(cause) => self.missed(cause),
        }
        result
    }

    /// Ends when the backend can be reached (again). Of those who wait, the first one tries.
    pub(crate) async fn come_back(&self) {
        let _turn = self.hold.turn().await;
        // Whoever had the turn before may have found it.
        if self.reachable() != Some(true) {
            self.connect_patiently().await;
        }
    }

    /// Tries until the backend can be reached, leaves the connection in the pool and returns. Never gives up by itself.
    async fn connect_patiently(&self) {
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
        match self.known.reachable.load(Ordering::Relaxed) {
            REACHABLE => Some(true),
            UNREACHABLE => Some(false),
            _ => None,
        }
    }

    fn reached(&self) {
        if self.known.reachable.swap(REACHABLE, Ordering::Relaxed) == UNREACHABLE {
            log::info!("slot {}: the backend at {} answers again", self.slot.as_str(), self.address());
        }
    }

    fn missed(&self, cause: &io::Error) {
        // Once for each time it goes away, not once for each call.
        if self.known.reachable.swap(UNREACHABLE, Ordering::Relaxed) != UNREACHABLE {
            let (slot, address) = (self.slot.as_str(), self.address());
            log::warn!("slot {slot}: cannot connect to {address}: {cause}; calls are held until it answers");
            self.pool.retire();
        }
    }

    /// The backend's address for people.
    pub(crate) fn address(&self) -> String {
        show(&self.backend.address)
    }

    /// The label for a tool's name: the name itself if the slot has listed it.
    pub(crate) fn tool_label(&self, name: &str) -> String {
        if self.known.tools.load().contains(name) { name.to_owned() } else { "other".to_owned() }
    }

    /// Whether the next `tools/list` answer is worth learning from.
    pub(crate) fn wants_listing(&self) -> bool {
        let last = self.known.learned.load(Ordering::Relaxed);
        last == 0 || self.age().saturating_sub(last) > millis(LEARN_EVERY)
    }

    fn age(&self) -> u64 {
        millis(self.known.made.elapsed()) + 1
    }

    /// Takes over the names of a `tools/list` answer. Names beyond the bounds stay `other`.
    pub(crate) fn learn_tools(&self, names: HashSet<String>) {
        let acceptable = names.into_iter().filter(|name| name.len() <= TOOL_NAME_BYTES_MAX);
        self.known.learned.store(self.age(), Ordering::Relaxed);
        // A page of a longer list adds to what is known.
        let mut known = HashSet::clone(&self.known.tools.load());
        for name in acceptable {
            if known.len() < TOOLS_MAX {
                known.insert(name);
            }
        }
        if known.len() != self.known.tools.load().len() {
            self.known.tools.store(Arc::new(known));
        }
    }
}

/// An address as the configuration writes it.
pub(crate) fn show(address: &Address) -> String {
    match address {
        Address::Unix(path) => format!("unix:{}", path.display()),
        Address::Tcp(address) => address.to_string(),
    }
}

/// What is left until `end`.
pub(crate) fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
