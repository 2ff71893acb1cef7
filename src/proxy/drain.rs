//! The drain of the process: it counts open connections, wakes them when a phase begins, and waits for the last to close.
//!
//! Every connection holds a guard. A guard costs a lock when it is made and dropped, and one atomic load per check.

use std::net::IpAddr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::sync::{Arc, AtomicBool, AtomicU8, Condvar, Mutex, MutexGuard, Ordering, PoisonError};
use crate::proxy::fairness::eviction::{Activity, ConnectionState, choose_victim};
use crate::proxy::fairness::per_client::ClientKey;

/// How long idle connections wait for one more request once a drain has begun.
const IDLE_GRACE: Duration = Duration::from_millis(250);
/// The same where another process serves new connections already.
const IDLE_GRACE_WITH_SUCCESSOR: Duration = Duration::from_secs(5);

/// The phases of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving = 0,
    /// No new connections; calls finish, idle connections close.
    Draining = 1,
    /// The drain time is over: calls under way are denied now.
    Expired = 2,
}

/// Shared by every connection, the signal watch and the thread that waits for the end of the drain.
pub(crate) struct Drain {
    phase: AtomicU8,
    registry: Mutex<Registry>,
    /// Wakes the thread that waits.
    changed: Condvar,
    /// Wakes the task that waits for the drain to begin.
    begun: Notify,
    forced: AtomicBool,
    /// Another process accepts on the same listeners, so idle connections may stay open for longer.
    handed_over: AtomicBool,
    /// Another process has taken over, and this one may admit what that one refuses.
    refuses_requests: AtomicBool,
    made: Instant,
}

#[derive(Default)]
struct Registry {
    open: usize,
    /// Those of them that are evicted.
    evicted: usize,
    /// Listeners that may have accepted connections which are not counted yet.
    listeners: usize,
    connections: Vec<Option<OpenConnection>>,
    free: Vec<usize>,
}

struct OpenConnection {
    state: Arc<ConnectionState>,
    /// Wakes its task when the phase changes.
    waker: Option<Waker>,
}

impl Drain {
    pub(crate) fn new() -> Drain {
        Drain {
            phase: AtomicU8::new(Phase::Serving as u8),
            registry: Mutex::new(Registry::default()),
            changed: Condvar::new(),
            begun: Notify::new(),
            forced: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            refuses_requests: AtomicBool::new(false),
            made: Instant::now(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Expired,
        }
    }

    /// Open connections.
    pub(crate) fn open(&self) -> usize {
        self.lock().open
    }

    /// Starts the drain. A second call changes nothing.
    pub(crate) fn begin(&self) {
        self.advance(Phase::Draining);
        self.begun.notify_waiters();
    }

    /// Starts the drain of a process that another one has replaced.
    pub(crate) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
        self.begin();
    }

    /// Returns when another process has taken over.
    #[cfg(feature = "console")]
    pub(crate) async fn handed_over(&self) {
        self.begun().await;
        if !self.is_handed_over() {
            // A process that stops is not replaced any more.
            std::future::pending::<()>().await;
        }
    }

    /// Refuses every request that begins from now on.
    pub(crate) fn refuse_requests(&self) {
        self.refuses_requests.store(true, Ordering::Release);
    }

    /// Whether a request that begins now is refused.
    pub(crate) fn refuses_requests(&self) -> bool {
        self.refuses_requests.load(Ordering::Acquire)
    }

    /// Whether another process has taken over.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// How long idle connections wait for one more request once the drain has begun. Its response carries
    /// `Connection: close`, so a request that is already on its way is not lost.
    pub(crate) fn idle_grace(&self) -> Duration {
        if self.is_handed_over() { IDLE_GRACE_WITH_SUCCESSOR } else { IDLE_GRACE }
    }

    /// Counts a listener: the drain does not end before the last connection it accepted is counted.
    pub(crate) fn track_listener(self: &Arc<Drain>) -> ListenerGuard {
        self.lock().listeners += 1;
        ListenerGuard(self.clone())
    }

    /// Ends the wait for connections at once.
    pub(crate) fn force(&self) {
        self.forced.store(true, Ordering::Release);
        let _registry = self.lock();
        self.changed.notify_all();
    }

    fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        // After the store: a waker that is registered from now on sees the new phase.
        let wakers = |connections: &mut Vec<Option<OpenConnection>>| {
            connections.iter_mut().flatten().filter_map(|open| open.waker.take()).collect::<Vec<_>>()
        };
        let wakers = wakers(&mut self.lock().connections);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns when the drain has begun.
    pub(crate) async fn begun(&self) {
        let begun = self.begun.notified();
        if self.phase() == Phase::Serving {
            begun.await;
        }
    }

    /// Blocks this thread until the drain has begun.
    pub(crate) fn wait_begun(&self) {
        let mut registry = self.lock();
        while self.phase() == Phase::Serving {
            registry = self.changed.wait(registry).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Blocks this thread until no connection is open. At the deadline, and when the end is forced, returns how many are.
    pub(crate) fn wait_idle(&self, deadline: Instant) -> Result<(), usize> {
        self.wait(deadline, Registry::unfinished, || self.forced.load(Ordering::Acquire))
    }

    /// Ends the time that calls under way have, and blocks this thread until their clients have the replies, at most until the
    /// deadline.
    pub(crate) fn cut(&self, deadline: Instant) {
        self.advance(Phase::Expired);
        // What has ended the wait before must not end this one: the replies would be lost.
        let _ = self.wait(deadline, Registry::unfinished, || false);
    }

    /// Blocks this thread while some are left. At the deadline, and when the wait ends early, returns how many.
    fn wait(
        &self,
        deadline: Instant,
        left_over: impl Fn(&Registry) -> Option<usize>,
        ends: impl Fn() -> bool,
    ) -> Result<(), usize> {
        let mut registry = self.lock();
        while let Some(count) = left_over(&registry) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || ends() {
                return Err(count);
            }
            registry = self.changed.wait_timeout(registry, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Blocks this thread until no listener accepts and every accepted connection is counted. At the deadline, returns
    /// how many do.
    pub(crate) fn wait_accepted(&self, deadline: Instant) -> Result<(), usize> {
        let accepting = |registry: &Registry| (registry.listeners > 0).then_some(registry.listeners);
        self.wait(deadline, accepting, || false)
    }

    /// A guard for a new connection. With `max` open, one that waits for its client is evicted; if none does, there is none.
    pub(crate) fn enter(
        self: &Arc<Drain>,
        max: usize,
        peer: Option<IpAddr>,
    ) -> Option<(ConnectionGuard, Admission)> {
        let now = self.millis(Instant::now());
        let mut registry = self.lock();
        let mut admission = Admission::WithinLimit;
        let mut evicted = Vec::new();
        while registry.open - registry.evicted >= max {
            admission = Admission::Evicting;
            if !registry.evict(max, now, &mut evicted) {
                drop(registry);
                evicted.into_iter().for_each(Waker::wake);
                return None;
            }
        }
        registry.open += 1;
        let index = registry.free.pop().unwrap_or_else(|| {
            registry.connections.push(None);
            registry.connections.len() - 1
        });
        let connection = Arc::new(ConnectionState::new(peer, now));
        if let Some(entry) = registry.connections.get_mut(index) {
            *entry = Some(OpenConnection { state: connection.clone(), waker: None });
        }
        drop(registry);
        evicted.into_iter().for_each(Waker::wake);
        Some((ConnectionGuard { drain: self.clone(), index, connection, registered: None }, admission))
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX >> 2)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether another connection was evicted for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    WithinLimit,
    Evicting,
}

impl Registry {
    /// How many connections are open, unless none is and none can come.
    fn unfinished(&self) -> Option<usize> {
        (self.open > 0 || self.listeners > 0).then_some(self.open)
    }

    /// Evicts one connection, if one can be, and adds its waker.
    fn evict(&mut self, max: usize, now: u64, wakers: &mut Vec<Waker>) -> bool {
        loop {
            let connections = self.connections.iter().enumerate();
            let connections = connections.filter_map(|(index, open)| Some((index, &*open.as_ref()?.state)));
            let Some(victim) = choose_victim(connections, max, now) else { return false };
            let Some(Some(open)) = self.connections.get(victim.index) else { return false };
            if open.state.evict(victim) {
                self.evicted += 1;
                // It stays registered: the connection may be served after all, and the drain must reach it.
                wakers.extend(open.waker.clone());
                return true;
            }
        }
    }
}

/// Counts one listener until it is dropped.
pub(crate) struct ListenerGuard(Arc<Drain>);

impl Drop for ListenerGuard {
    fn drop(&mut self) {
        self.0.lock().listeners -= 1;
        self.0.changed.notify_all();
    }
}

/// Counts one connection until it is dropped.
pub(crate) struct ConnectionGuard {
    drain: Arc<Drain>,
    index: usize,
    connection: Arc<ConnectionState>,
    registered: Option<Waker>,
}

impl ConnectionGuard {
    pub(crate) fn phase(&self) -> Phase {
        self.drain.phase()
    }

    /// Whether a request that begins now is refused.
    pub(crate) fn refuses_requests(&self) -> bool {
        self.drain.refuses_requests()
    }

    /// The connection waits for its next request since then.
    pub(crate) fn idle(&self, since: Instant) {
        self.connection.set_waiting(Activity::Idle, self.drain.millis(since));
    }

    /// The connection waits for more of what its client is sending.
    pub(crate) fn reading(&self) {
        self.connection.set_waiting(Activity::Reading, self.drain.millis(Instant::now()));
    }

    /// The connection is served from now on. That cancels an eviction.
    pub(crate) fn served(&self) {
        if self.connection.set_served() {
            self.drain.lock().evicted -= 1;
        }
    }

    /// Sets the client behind the connection.
    pub(crate) fn set_client(&self, who: ClientKey) {
        self.connection.set_client(who);
    }

    /// Whether the connection is to be closed for another one.
    pub(crate) fn is_evicted(&self) -> bool {
        self.connection.is_evicted()
    }

    /// Ready once the phase has come; otherwise the task is woken when the phase changes.
    pub(crate) fn poll_phase(&mut self, cx: &Context<'_>, phase: Phase) -> Poll<()> {
        if self.drain.phase() >= phase {
            return Poll::Ready(());
        }
        // A task's waker stays the same, so this happens once a connection and once a phase.
        let known = self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !known || self.drain.phase() != Phase::Serving {
            self.registered = Some(cx.waker().clone());
            if let Some(Some(open)) = self.drain.lock().connections.get_mut(self.index) {
                open.waker = Some(cx.waker().clone());
            }
            if self.drain.phase() >= phase {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut registry = self.drain.lock();
        registry.open -= 1;
        registry.evicted -= usize::from(self.connection.set_served());
        if let Some(connection) = registry.connections.get_mut(self.index) {
            *connection = None;
        }
        registry.free.push(self.index);
        drop(registry);
        self.drain.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
