//! The models: what a few actors do with one shared value, and what must hold in every order of their steps.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mcp_guard::rollout::Stage;
use mcp_guard::upstream::{Slot, Split};
use shuttle::future::block_on;
use shuttle::thread;

use crate::proxy::backend::hold::HoldQueue;
use crate::proxy::backend::idle_connections::IdleConnections;
use crate::proxy::drain::{Drain, Phase};
use crate::proxy::fairness::body_budget::BodyBudget;
use crate::proxy::fairness::open_streams::{OpenStreams, StreamBounds};
use crate::proxy::fairness::per_client::Exceeded;
use crate::proxy::fairness::semaphore::{AcquireError, Bounds, FairSemaphore, Joined, Priority};
use crate::proxy::state::traffic_split::{SplitCell, TrafficSplit, VersionCap};
use crate::{How, Model};

pub(super) const ALL: [Model; 15] = [
    Model { name: "a permit passes from one call to the next", how: How::Every, run: a_permit_passes_on },
    Model { name: "a wait is dropped while its permit is granted", how: How::Every, run: a_wait_is_dropped },
    Model { name: "calls of three clients take turns", how: How::Random, run: three_clients_take_turns },
    Model { name: "in a full queue a call is evicted", how: How::Random, run: a_full_queue_evicts },
    Model { name: "two bodies do not wait for each other for ever", how: How::Every, run: two_bodies },
    Model { name: "bodies of three clients", how: How::Random, run: three_bodies },
    Model { name: "a held call is evicted", how: How::Every, run: a_held_call_is_evicted },
    Model { name: "streams are counted", how: How::Every, run: streams_are_counted },
    Model { name: "the drain reaches a connection", how: How::Every, run: the_drain_reaches },
    Model { name: "a connection is evicted or served", how: How::Every, run: a_connection_is_evicted },
    Model {
        name: "the last of three connections ends the drain",
        how: How::Random,
        run: the_last_ends_the_drain,
    },
    Model { name: "nothing of before is taken again", how: How::Every, run: nothing_retired_is_taken },
    Model {
        name: "nothing of before is taken from another worker",
        how: How::Every,
        run: nothing_retired_is_taken_over,
    },
    Model { name: "two workers never have one connection", how: How::Every, run: one_worker_takes_over },
    Model { name: "a call that waits sees the new split", how: How::Every, run: a_new_split_is_seen },
];

/// Runs these, each as an actor of its own, to their ends.
fn together(actors: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = actors.into_iter().map(|actor| thread::spawn(actor)).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Takes a permit as soon as there is one.
fn enter(semaphore: &FairSemaphore, who: u32, inside: &AtomicUsize, max: usize) -> Result<(), AcquireError> {
    let permit = match semaphore.join(who, Priority::Normal)? {
        Joined::In(permit) => permit,
        Joined::Waiting(waiting) => block_on(waiting.granted())?,
    };
    assert!(inside.fetch_add(1, Ordering::SeqCst) < max, "more are in than there are permits");
    thread::yield_now();
    inside.fetch_sub(1, Ordering::SeqCst);
    drop(permit);
    Ok(())
}

fn is_empty(semaphore: &FairSemaphore) -> bool {
    semaphore.in_flight() == 0 && semaphore.waiting() == 0
}

fn callers(bounds: Bounds, callers: &[u32]) -> Arc<FairSemaphore> {
    let semaphore = Arc::new(FairSemaphore::new(bounds));
    let inside = Arc::new(AtomicUsize::new(0));
    let actor = |who: u32| -> Box<dyn FnOnce() + Send> {
        let (semaphore, inside) = (semaphore.clone(), inside.clone());
        Box::new(move || enter(&semaphore, who, &inside, bounds.max).unwrap())
    };
    together(callers.iter().map(|who| actor(*who)).collect());
    assert!(is_empty(&semaphore));
    semaphore
}

fn a_permit_passes_on() {
    callers(Bounds::of_one(1, 8), &[1, 2]);
}

fn three_clients_take_turns() {
    callers(Bounds { max: 2, own_max: 1, waiting_max: 8 }, &[1, 1, 2, 2, 3]);
}

fn a_wait_is_dropped() {
    let semaphore = Arc::new(FairSemaphore::new(Bounds::of_one(1, 8)));
    let leaving = semaphore.clone();
    let staying = semaphore.clone();
    let actors: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(move || match leaving.join(1, Priority::Normal).unwrap() {
            Joined::In(permit) => drop(permit),
            Joined::Waiting(waiting) => {
                let mut waiting = pin!(waiting.granted());
                let _ = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                thread::yield_now();
            }
        }),
        Box::new(move || enter(&staying, 2, &AtomicUsize::new(0), 1).unwrap()),
    ];
    together(actors);
    assert!(is_empty(&semaphore));
}

fn a_full_queue_evicts() {
    let semaphore = Arc::new(FairSemaphore::new(Bounds::of_one(1, 2)));
    let (served, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let inside = Arc::new(AtomicUsize::new(0));
    let actor = |who: u32| -> Box<dyn FnOnce() + Send> {
        let (semaphore, inside, served, refused) =
            (semaphore.clone(), inside.clone(), served.clone(), refused.clone());
        Box::new(move || match enter(&semaphore, who, &inside, 1) {
            Ok(()) => drop(served.fetch_add(1, Ordering::SeqCst)),
            Err(why) => {
                assert_eq!(
                    (who, why),
                    (1, AcquireError::QueueFull),
                    "only the client with the most calls gives way"
                );
                refused.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    together([1, 1, 1, 1, 2].map(actor).into());
    assert_eq!(served.load(Ordering::SeqCst) + refused.load(Ordering::SeqCst), 5);
    assert!(is_empty(&semaphore));
}

/// A body that comes in two pieces.
fn body(budget: &BodyBudget, who: u32, pieces: [usize; 2], bytes_max: usize) -> Result<(), Exceeded> {
    let mut reservation = budget.reservation(who, bytes_max, Duration::MAX);
    for piece in pieces {
        block_on(reservation.reserve(piece))?;
    }
    Ok(())
}

fn bodies(of: &[u32], pieces: [usize; 2], bytes_max: usize) -> usize {
    let (budget, done) = (Arc::new(BodyBudget::default()), Arc::new(AtomicUsize::new(0)));
    let actor = |who: u32| -> Box<dyn FnOnce() + Send> {
        let (budget, done) = (budget.clone(), done.clone());
        Box::new(move || {
            done.fetch_add(usize::from(body(&budget, who, pieces, bytes_max).is_ok()), Ordering::SeqCst);
        })
    };
    together(of.iter().map(|who| actor(*who)).collect());
    let mut whole = budget.reservation(9, bytes_max, Duration::MAX);
    assert_eq!(block_on(whole.reserve(bytes_max)), Ok(()), "all of it is given back");
    done.load(Ordering::SeqCst)
}

fn two_bodies() {
    assert!(bodies(&[1, 2], [5, 5], 10) >= 1, "one of them comes to its end");
}

fn three_bodies() {
    assert!(bodies(&[1, 1, 2, 3], [4, 3], 10) >= 1);
}

fn a_held_call_is_evicted() {
    let line = Arc::new(HoldQueue::new(2));
    let (first, second) = (line.clone(), line.clone());
    let actors: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(move || {
            let held: Vec<_> = (0..2).filter_map(|_| first.join(1).ok()).collect();
            assert!(!held.is_empty());
        }),
        Box::new(move || drop(second.join(2).expect("it has none in the line"))),
    ];
    together(actors);
    assert_eq!(line.held(), 0);
}

fn streams_are_counted() {
    let streams = Arc::new(OpenStreams::default());
    let bounds = StreamBounds { all_max: 1, per_client_max: 1 };
    let opened = Arc::new(AtomicUsize::new(0));
    let actor = |who: u32| -> Box<dyn FnOnce() + Send> {
        let (streams, opened) = (streams.clone(), opened.clone());
        Box::new(move || {
            let open = streams.open(who, bounds);
            assert!(streams.count() <= 1);
            opened.fetch_add(usize::from(open.is_some()), Ordering::SeqCst);
        })
    };
    together(vec![actor(1), actor(2)]);
    assert!(opened.load(Ordering::SeqCst) >= 1);
    assert_eq!(streams.count(), 0);
}

const NEVER: Duration = Duration::from_secs(3600);

fn the_drain_reaches() {
    let drain = Arc::new(Drain::new());
    let (mut guard, _) = drain.enter(1, None).unwrap();
    let actors: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(move || block_on(poll_fn(|cx| guard.poll_phase(cx, Phase::Draining)))),
        Box::new({
            let drain = drain.clone();
            move || drain.begin()
        }),
    ];
    together(actors);
    assert_eq!(drain.wait_idle(Instant::now() + NEVER), Ok(()));
}

fn the_last_ends_the_drain() {
    let drain = Arc::new(Drain::new());
    let connection = |_: usize| -> Box<dyn FnOnce() + Send> {
        let (mut guard, _) = drain.enter(3, None).unwrap();
        Box::new(move || block_on(poll_fn(|cx| guard.poll_phase(cx, Phase::Draining))))
    };
    let mut actors: Vec<_> = (0..3).map(connection).collect();
    let (waiting, beginning) = (drain.clone(), drain.clone());
    actors.push(Box::new(move || {
        waiting.wait_begun();
        assert_eq!(waiting.wait_idle(Instant::now() + NEVER), Ok(()));
    }));
    actors.push(Box::new(move || beginning.begin()));
    together(actors);
    assert_eq!(drain.open(), 0);
}

/// A new connection comes when a request arrives on the only one, which idles.
fn a_connection_is_evicted() {
    let drain = Arc::new(Drain::new());
    let (mut idle, _) = drain.enter(1, None).unwrap();
    idle.idle(Instant::now());
    let coming = drain.clone();
    let actors: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(move || {
            // It idles until a request is there: here, at once.
            let evicted = block_on(poll_fn(|cx| match idle.poll_phase(cx, Phase::Draining) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => Poll::Ready(idle.is_evicted()),
            }));
            if !evicted {
                idle.served();
                assert!(!idle.is_evicted(), "what is served is not told to go");
            }
            drop(idle);
        }),
        Box::new(move || drop(coming.enter(1, None))),
    ];
    together(actors);
    assert_eq!(drain.open(), 0);
    let (_guard, _) = drain.enter(1, None).expect("every connection has left");
}

/// A call puts its connection back, and takes one, while the backend is replaced. Each connection is its generation.
fn nothing_retired_is_taken() {
    let shelf = Arc::new(IdleConnections::new(1, 1, NEVER));
    shelf.put(0, 0, 0, Instant::now());
    let (calling, replacing) = (shelf.clone(), shelf.clone());
    let actors: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(move || {
            let own = calling.take(0, Instant::now(), |_| true).unwrap_or_else(|| calling.generation());
            calling.put(0, own, own, Instant::now());
            assert!(calling.idle() <= 1);
        }),
        Box::new(move || {
            replacing.invalidate();
            let taken = replacing.take(0, Instant::now(), |_| true);
            assert_eq!(taken.unwrap_or(1), 1, "it was made before");
        }),
    ];
    together(actors);
    assert_eq!(shelf.take(0, Instant::now(), |_| true).unwrap_or(1), 1, "it was made before");
}

/// The same with two workers: the call of the second puts its connection back, and the first takes what it finds.
fn nothing_retired_is_taken_over() {
    let shelf = Arc::new(IdleConnections::new(2, 2, NEVER));
    let (calling, replacing) = (shelf.clone(), shelf.clone());
    let actors: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(move || calling.put(1, 0, 0, Instant::now())),
        Box::new(move || {
            replacing.invalidate();
            assert_eq!(replacing.take(0, Instant::now(), |_| true), None, "it was made before");
        }),
    ];
    together(actors);
    assert_eq!(shelf.take(1, Instant::now(), |_| true), None, "it was made before");
}

/// Two workers want the connection of the first.
fn one_worker_takes_over() {
    let shelf = Arc::new(IdleConnections::new(2, 2, NEVER));
    shelf.put(0, 7, 0, Instant::now());
    let taken = Arc::new(AtomicUsize::new(0));
    let take = |worker| -> Box<dyn FnOnce() + Send> {
        let (shelf, taken) = (shelf.clone(), taken.clone());
        Box::new(move || {
            if shelf.take(worker, Instant::now(), |_| true).is_some() {
                taken.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    together(vec![take(0), take(1)]);
    assert_eq!((taken.load(Ordering::SeqCst), shelf.idle()), (1, 0));
}

fn a_new_split_is_seen() {
    let split =
        |slot| TrafficSplit { split: Split::all(slot), version_cap: VersionCap::None, stage: Stage::Stable };
    let cell = Arc::new(SplitCell::new(2, &split(Slot::Blue)));
    let known = cell.load();
    let publishing = cell.clone();
    let actors: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(move || {
            thread::yield_now();
            let mut changed = pin!(cell.changed());
            thread::yield_now();
            changed.as_mut().enable();
            thread::yield_now();
            if cell.changed_since(&known).is_none() {
                block_on(changed);
                assert!(cell.changed_since(&known).is_some());
            }
        }),
        Box::new(move || {
            thread::yield_now();
            publishing.publish(&split(Slot::Green));
        }),
    ];
    together(actors);
}
