//! The end of a process's life: who is still here, who must be told, and who waits for the last one to leave.
//!
//! Every connection holds a ticket. A ticket costs a lock when it is made and dropped, and one atomic load when asked.

use std::net::IpAddr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::sync::{Arc, AtomicBool, AtomicU8, Condvar, Mutex, MutexGuard, Ordering, PoisonError};
use crate::proxy::fairness::eviction::{Doing, Seat, choose};
use crate::proxy::fairness::semaphore::Key;

/// How long idle connections wait for one more request when a drain begins.
const LAST_MOMENT: Duration = Duration::from_millis(250);
/// The same where new connections are served by another process already.
const LAST_MOMENT_WITH_SUCCESSOR: Duration = Duration::from_secs(5);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving = 0,
    /// No new connections; calls finish, idle connections close.
    Draining = 1,
    /// The time is up: calls are answered with a refusal now.
    Expired = 2,
}

/// Shared by every connection, the signal watch and the thread that waits for the end.
pub(crate) struct Drain {
    phase: AtomicU8,
    registry: Mutex<Registry>,
    /// For the thread that waits.
    changed: Condvar,
    /// For the task that waits for the signal to stop.
    begun: Notify,
    hurried: AtomicBool,
    /// Another process serves on: nobody is in a hurry to close idle connections.
    handed_over: AtomicBool,
    made: Instant,
}

#[derive(Default)]
struct Registry {
    open: usize,
    /// Those of them that have been told to make room.
    leaving: usize,
    /// Listeners that may have accepted connections which are not counted yet.
    doors: usize,
    wakers: Vec<Option<Waker>>,
    seats: Vec<Option<Arc<Seat>>>,
    free: Vec<usize>,
}

impl Drain {
    pub(crate) fn new() -> Drain {
        Drain {
            phase: AtomicU8::new(Phase::Serving as u8),
            registry: Mutex::new(Registry::default()),
            changed: Condvar::new(),
            begun: Notify::new(),
            hurried: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
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

    /// Whether another process has taken over.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// How long idle connections wait for one more request once the drain has begun: a client in the middle of its work
    /// is told to go with that answer, and does not lose a request that crosses the closing on its way.
    pub(crate) fn last_moment(&self) -> Duration {
        if self.is_handed_over() { LAST_MOMENT_WITH_SUCCESSOR } else { LAST_MOMENT }
    }

    /// The presence of a listener: the process does not end before the last connection it accepted is counted.
    pub(crate) fn open_door(self: &Arc<Drain>) -> Door {
        self.lock().doors += 1;
        Door(self.clone())
    }

    /// Ends the patience with calls under way.
    pub(crate) fn expire(&self) {
        self.advance(Phase::Expired);
    }

    /// Ends the waiting for connections at once.
    pub(crate) fn hurry(&self) {
        self.hurried.store(true, Ordering::Release);
        let _registry = self.lock();
        self.changed.notify_all();
    }

    fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        // After the store: who registers from now on sees the new phase.
        let wakers: Vec<Waker> = self.lock().wakers.iter_mut().filter_map(Option::take).collect();
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

    /// Blocks this thread until no connection is open; at the deadline, or when somebody is in a hurry, returns how many
    /// still are.
    pub(crate) fn wait_idle(&self, deadline: Instant) -> Result<(), usize> {
        let mut registry = self.lock();
        while registry.open > 0 || registry.doors > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.hurried.load(Ordering::Acquire) {
                return Err(registry.open);
            }
            registry = self.changed.wait_timeout(registry, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// A ticket for a new connection, unless `max` are open and none of them waits for its client: one that does makes room.
    pub(crate) fn enter(self: &Arc<Drain>, max: usize, peer: Option<IpAddr>) -> Option<(Ticket, Room)> {
        let now = self.millis(Instant::now());
        let mut registry = self.lock();
        let mut room = Room::Free;
        let mut evicted: Vec<Option<Waker>> = Vec::new();
        while registry.open - registry.leaving >= max {
            room = Room::Made;
            let Some(waker) = registry.evict(max, now) else {
                drop(registry);
                evicted.into_iter().flatten().for_each(Waker::wake);
                return None;
            };
            evicted.push(waker);
        }
        registry.open += 1;
        let place = registry.free.pop().unwrap_or_else(|| {
            registry.wakers.push(None);
            registry.seats.push(None);
            registry.wakers.len() - 1
        });
        let seat = Arc::new(Seat::new(peer, now));
        if let Some(of_place) = registry.seats.get_mut(place) {
            *of_place = Some(seat.clone());
        }
        drop(registry);
        evicted.into_iter().flatten().for_each(Waker::wake);
        Some((Ticket { drain: self.clone(), place, seat, registered: None }, room))
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX >> 2)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether another connection had to make room for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    Made,
}

impl Registry {
    /// Tells one connection to make room, and returns what wakes it up.
    fn evict(&mut self, max: usize, now: u64) -> Option<Option<Waker>> {
        loop {
            let seats = self.seats.iter().enumerate();
            let seats = seats.filter_map(|(place, seat)| Some((place, seat.as_deref()?)));
            let chosen = choose(seats, max, now)?;
            if self.seats.get(chosen.place)?.as_ref()?.evict(chosen) {
                self.leaving += 1;
                // It stays registered: the connection may be served after all, and the drain must reach it.
                return Some(self.wakers.get(chosen.place).and_then(Option::clone));
            }
        }
    }
}

/// The presence of one listener.
pub(crate) struct Door(Arc<Drain>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.lock().doors -= 1;
        self.0.changed.notify_all();
    }
}

/// The presence of one connection.
pub(crate) struct Ticket {
    drain: Arc<Drain>,
    place: usize,
    seat: Arc<Seat>,
    registered: Option<Waker>,
}

impl Ticket {
    pub(crate) fn phase(&self) -> Phase {
        self.drain.phase()
    }

    /// The connection waits for its next request since then.
    pub(crate) fn idle(&self, since: Instant) {
        self.seat.wait(Doing::Idle, self.drain.millis(since));
    }

    /// The connection waits for more of what its client is sending.
    pub(crate) fn reading(&self) {
        self.seat.wait(Doing::Reading, self.drain.millis(Instant::now()));
    }

    /// The connection is served: it makes no room, even if it was told to a moment ago.
    pub(crate) fn served(&self) {
        if self.seat.serve() {
            self.drain.lock().leaving -= 1;
        }
    }

    /// The client behind the connection.
    pub(crate) fn set_client(&self, who: Key) {
        self.seat.set_client(who);
    }

    /// Whether the connection has to make room for another one.
    pub(crate) fn is_evicted(&self) -> bool {
        self.seat.is_evicted()
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
            if let Some(place) = self.drain.lock().wakers.get_mut(self.place) {
                *place = Some(cx.waker().clone());
            }
            if self.drain.phase() >= phase {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut registry = self.drain.lock();
        registry.open -= 1;
        registry.leaving -= usize::from(self.seat.serve());
        if let Some(seat) = registry.seats.get_mut(self.place) {
            *seat = None;
        }
        if let Some(place) = registry.wakers.get_mut(self.place) {
            *place = None;
        }
        registry.free.push(self.place);
        drop(registry);
        self.drain.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn enter(drain: &Arc<Drain>, max: usize) -> Option<Ticket> {
        let (ticket, _) = drain.enter(max, None)?;
        ticket.served();
        Some(ticket)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn a_ticket_is_refused_beyond_the_limit_and_returned_on_drop() {
        let drain = Arc::new(Drain::new());
        let first = enter(&drain, 1).unwrap();
        assert!(enter(&drain, 1).is_none());
        drop(first);
        assert!(enter(&drain, 1).is_some());
        assert_eq!(drain.open(), 0);
    }

    #[tokio::test]
    async fn an_idle_connection_makes_room_and_one_that_is_served_does_not() {
        let drain = Arc::new(Drain::new());
        let (mut idle, _) = drain.enter(2, None).unwrap();
        idle.idle(Instant::now());
        let served = enter(&drain, 2).unwrap();
        let waiting = tokio::spawn(async move {
            poll_fn(|cx| match idle.poll_phase(cx, Phase::Draining) {
                Poll::Pending if !idle.is_evicted() => Poll::Pending,
                Poll::Ready(()) | Poll::Pending => Poll::Ready(()),
            })
            .await;
            idle
        });
        tokio::task::yield_now().await;
        let (third, room) = drain.enter(2, None).unwrap();
        third.served();
        assert_eq!(room, Room::Made);
        assert!(drain.enter(2, None).is_none(), "there is no other one that waits");
        let idle = waiting.await.unwrap();
        // Its request arrived at the same moment: it is served, and the next new connection finds no room.
        idle.served();
        drop(served);
        assert_eq!(drain.open(), 2);
        assert!(drain.enter(2, None).is_none());
        drop((idle, third));
        assert!(enter(&drain, 1).is_some());
    }

    #[tokio::test]
    async fn each_phase_wakes_every_connection() {
        let drain = Arc::new(Drain::new());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let mut ticket = enter(&drain, 9).unwrap();
                tokio::spawn(async move {
                    poll_fn(|cx| ticket.poll_phase(cx, Phase::Draining)).await;
                    poll_fn(|cx| ticket.poll_phase(cx, Phase::Expired)).await;
                })
            })
            .collect();
        tokio::task::yield_now().await;
        drain.begin();
        drain.begun().await;
        tokio::task::yield_now().await;
        assert_eq!(drain.open(), 3);
        drain.expire();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(drain.wait_idle(soon()), Ok(()));
    }

    #[test]
    fn the_waiting_thread_waits_for_connections_that_are_not_counted_yet() {
        let drain = Arc::new(Drain::new());
        let door = drain.open_door();
        assert_eq!(drain.wait_idle(Instant::now()), Err(0));
        let ticket = enter(&drain, 9).unwrap();
        drop(door);
        assert_eq!(drain.wait_idle(Instant::now()), Err(1));
        drop(ticket);
        assert_eq!(drain.wait_idle(Instant::now()), Ok(()));
    }

    #[test]
    fn the_waiting_thread_leaves_with_the_last_connection() {
        let drain = Arc::new(Drain::new());
        let ticket = enter(&drain, 9).unwrap();
        assert_eq!(drain.wait_idle(Instant::now()), Err(1));
        let waiter = std::thread::spawn({
            let drain = drain.clone();
            move || {
                drain.wait_begun();
                drain.wait_idle(soon())
            }
        });
        drain.begin();
        drop(ticket);
        assert_eq!(waiter.join().unwrap(), Ok(()));
    }
}
