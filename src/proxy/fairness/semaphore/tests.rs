//! The fair semaphore: bounds, turns, and that no permit is lost when a wait is cancelled.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// Calls that wait, each a task that reports its number when it has a permit and releases it at once.
struct Waiters {
    semaphore: Arc<FairSemaphore>,
    order: tokio::sync::mpsc::UnboundedSender<(ClientKey, u32)>,
    served: tokio::sync::mpsc::UnboundedReceiver<(ClientKey, u32)>,
}

impl Waiters {
    fn of(semaphore: FairSemaphore) -> Waiters {
        let (order, served) = tokio::sync::mpsc::unbounded_channel();
        Waiters { semaphore: Arc::new(semaphore), order, served }
    }

    /// Returns when the call is in the queue.
    async fn add(&self, who: ClientKey, number: u32) -> tokio::task::JoinHandle<Result<(), AcquireError>> {
        let (semaphore, order, before) =
            (self.semaphore.clone(), self.order.clone(), self.semaphore.waiting());
        let task = tokio::spawn(async move {
            let _permit = semaphore.acquire(who, Priority::Normal, LONG).await?;
            order.send((who, number)).unwrap();
            Ok(())
        });
        while self.semaphore.waiting() == before && !task.is_finished() {
            tokio::task::yield_now().await;
        }
        task
    }

    async fn served(&mut self, count: usize) -> Vec<(ClientKey, u32)> {
        let mut served = Vec::new();
        while served.len() < count {
            served.push(self.served.recv().await.unwrap());
        }
        served
    }
}

#[tokio::test]
async fn permits_are_bounded_and_the_queue_of_a_client_is_first_come_first_served() {
    let mut waiters = Waiters::of(FairSemaphore::new(Bounds::of_one(1, 2)));
    let semaphore = waiters.semaphore.clone();
    let first = semaphore.acquire(1, Priority::Normal, LONG).await.unwrap();
    let tasks = [waiters.add(1, 1).await, waiters.add(1, 2).await];
    assert_eq!(semaphore.acquire(1, Priority::Normal, LONG).await.unwrap_err(), AcquireError::QueueFull);
    assert_eq!((semaphore.in_flight(), semaphore.waiting()), (1, 2));
    drop(first);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(waiters.served(2).await, [(1, 1), (1, 2)]);
    assert_eq!((semaphore.in_flight(), semaphore.waiting()), (0, 0));
}

#[tokio::test]
async fn clients_take_turns_however_many_calls_one_of_them_has_in_the_queue() {
    let mut waiters = Waiters::of(FairSemaphore::new(Bounds::of_one(1, 10)));
    let semaphore = waiters.semaphore.clone();
    let first = semaphore.acquire(1, Priority::Normal, LONG).await.unwrap();
    for number in 1..=5 {
        waiters.add(1, number).await;
    }
    waiters.add(2, 1).await;
    waiters.add(2, 2).await;
    waiters.add(3, 1).await;
    drop(first);
    let served = waiters.served(8).await;
    assert_eq!(served, [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (1, 3), (1, 4), (1, 5)]);
}

#[tokio::test]
async fn in_a_full_queue_a_call_of_the_client_with_the_most_is_evicted() {
    let mut waiters = Waiters::of(FairSemaphore::new(Bounds::of_one(1, 4)));
    let semaphore = waiters.semaphore.clone();
    let first = semaphore.acquire(1, Priority::Normal, LONG).await.unwrap();
    let mut flood = Vec::new();
    for number in 1..=4 {
        flood.push(waiters.add(1, number).await);
    }
    // What is looked at is what then happens: the queue is full to the one, and has room for the other.
    let [own, others] = [1, 2].map(|who| semaphore.standing(who));
    assert!(!own.has_room_to_wait && others.has_room_to_wait && !others.has_permit());
    assert!(!semaphore.standing_within(2, Bounds::of_one(1, 4)).has_permit());
    assert!(semaphore.standing_within(1, Bounds::of_one(2, 4)).has_permit(), "bounds that a call would set");
    let other = tokio::spawn({
        let semaphore = semaphore.clone();
        async move { semaphore.acquire(2, Priority::Normal, LONG).await.map(drop) }
    });
    assert_eq!(flood.pop().unwrap().await.unwrap().unwrap_err(), AcquireError::QueueFull, "its latest");
    assert_eq!(semaphore.waiting(), 4);
    assert_eq!(semaphore.acquire(1, Priority::Normal, LONG).await.unwrap_err(), AcquireError::QueueFull);
    drop(first);
    other.await.unwrap().unwrap();
    assert_eq!(waiters.served(3).await, [(1, 1), (1, 2), (1, 3)]);
}

#[tokio::test(start_paused = true)]
async fn no_waiter_waits_longer_than_the_timeout() {
    let semaphore = FairSemaphore::new(Bounds::of_one(1, 2));
    let _busy = semaphore.acquire(1, Priority::Normal, LONG).await.unwrap();
    let timeout = Duration::from_secs(2);
    assert_eq!(semaphore.acquire(1, Priority::Normal, timeout).await.unwrap_err(), AcquireError::Timeout);
    assert_eq!(semaphore.waiting(), 0);
}

#[tokio::test]
async fn a_wait_that_is_dropped_leaves_the_queue() {
    let semaphore = FairSemaphore::new(Bounds::of_one(1, 1));
    let busy = semaphore.acquire(1, Priority::Normal, LONG).await.unwrap();
    tokio::select! {
        biased;
        _ = semaphore.acquire(1, Priority::Normal, LONG) => unreachable!("the permit is taken"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(semaphore.waiting(), 0);
    drop(busy);
    let _permit = semaphore.acquire(1, Priority::Normal, LONG).await.unwrap();
}

#[tokio::test]
async fn a_permit_granted_to_a_waiter_that_left_goes_to_the_next() {
    let semaphore = FairSemaphore::new(Bounds::of_one(1, 2));
    let busy = semaphore.acquire(1, Priority::Normal, LONG).await.unwrap();
    let mut leaving = Box::pin(semaphore.acquire(2, Priority::Normal, LONG));
    assert!(futures_poll(leaving.as_mut()).is_pending());
    drop(busy);
    assert_eq!(semaphore.in_flight(), 1, "granted, and not yet noticed");
    drop(leaving);
    assert_eq!((semaphore.in_flight(), semaphore.waiting()), (0, 0));
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn new_bounds_admit_waiters_and_evict_none() {
    let mut waiters = Waiters::of(FairSemaphore::new(Bounds::of_one(1, 8)));
    let semaphore = waiters.semaphore.clone();
    let first = semaphore.acquire(1, Priority::Normal, LONG).await.unwrap();
    waiters.add(1, 1).await;
    semaphore.set_bounds(Bounds::of_one(2, 8));
    assert_eq!(waiters.served(1).await, [(1, 1)]);
    semaphore.set_bounds(Bounds::of_one(1, 0));
    assert_eq!(semaphore.acquire(1, Priority::Normal, LONG).await.unwrap_err(), AcquireError::QueueFull);
    let privileged = tokio::spawn({
        let semaphore = semaphore.clone();
        async move { semaphore.acquire(1, Priority::High, LONG).await.map(drop) }
    });
    while semaphore.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    drop(first);
    privileged.await.unwrap().unwrap();
}

#[tokio::test]
async fn every_permit_that_becomes_free_finds_its_waiter_beside_clients_at_their_bound() {
    let semaphore = FairSemaphore::new(Bounds { max: 3, own_max: 2, waiting_max: 8 });
    let _own: Vec<_> = (0..2).map(|_| semaphore.try_acquire(1).unwrap()).collect();
    let _other = semaphore.try_acquire(3).unwrap();
    let mut at_its_bound = Box::pin(semaphore.acquire(1, Priority::Normal, LONG));
    assert!(futures_poll(at_its_bound.as_mut()).is_pending());
    let mut waiting: Vec<_> =
        (0..2).map(|_| Box::pin(semaphore.acquire(2, Priority::Normal, LONG))).collect();
    assert!(waiting.iter_mut().all(|call| futures_poll(call.as_mut()).is_pending()));
    semaphore.set_bounds(Bounds { max: 5, own_max: 2, waiting_max: 8 });
    assert!(waiting.iter_mut().all(|call| futures_poll(call.as_mut()).is_ready()));
    assert!(futures_poll(at_its_bound.as_mut()).is_pending());
}

#[tokio::test(start_paused = true)]
async fn the_expected_wait_follows_how_long_permits_are_held() {
    let semaphore = FairSemaphore::new(Bounds::of_one(2, 8));
    assert_eq!(semaphore.expected_wait(), None);
    for _ in 0..20 {
        let _permit = semaphore.acquire(1, Priority::Normal, LONG).await.unwrap();
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let expected = semaphore.expected_wait().unwrap().as_millis();
    assert!((49..=51).contains(&expected), "{expected}");
}

#[test]
fn of_four_permits_or_more_the_last_is_left_to_other_clients() {
    for max in 4..100 {
        let share = most_of_one(max);
        assert!(share >= max / 2 && share < max && most_of_one(reserve_of(max)) < reserve_of(max), "{max}");
    }
    assert_eq!([1, 2, 3, 4, 8, 32].map(most_of_one), [1, 2, 3, 3, 6, 24]);
}

#[tokio::test]
async fn a_quarter_of_the_permits_is_left_to_other_clients() {
    let semaphore = FairSemaphore::new(Bounds::shared(8, 8));
    let mut flood: Vec<_> = (0..6).map(|_| semaphore.try_acquire(1).unwrap()).collect();
    assert!(semaphore.try_acquire(1).is_none(), "two are free, and not for this client");
    let mut waiting = Box::pin(semaphore.acquire(1, Priority::Normal, LONG));
    assert!(futures_poll(waiting.as_mut()).is_pending());
    let (second, third) = (semaphore.try_acquire(2).unwrap(), semaphore.try_acquire(3).unwrap());
    drop(second);
    assert!(
        futures_poll(waiting.as_mut()).is_pending(),
        "a permit that another one left is not for it either"
    );
    flood.pop();
    assert!(futures_poll(waiting.as_mut()).is_ready(), "one of its own is");
    drop(third);
}

#[tokio::test]
async fn calls_that_must_not_be_refused_do_not_count_in_the_queue() {
    let semaphore = FairSemaphore::new(Bounds::of_one(1, 2));
    let busy = semaphore.try_acquire(1).unwrap();
    let mut privileged: Vec<_> =
        (0..9).map(|_| Box::pin(semaphore.acquire(1, Priority::High, LONG))).collect();
    assert!(privileged.iter_mut().all(|waiting| futures_poll(waiting.as_mut()).is_pending()));
    let mut other = Box::pin(semaphore.acquire(2, Priority::Normal, LONG));
    assert!(futures_poll(other.as_mut()).is_pending(), "there is room for two");
    drop(busy);
    assert!(futures_poll(privileged[0].as_mut()).is_ready());
    assert!(futures_poll(other.as_mut()).is_ready(), "its turn is the next");
}

proptest! {
    /// Calls join, leave and stop waiting in any order: the counts are right and no call waits beside a free permit.
    #[test]
    fn the_queue_keeps_count(steps in proptest::collection::vec((0_u8..4, 0_u32..3, 0_usize..8), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let semaphore = FairSemaphore::new(Bounds { max: 4, own_max: 2, waiting_max: 3 });
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for (what, who, which) in steps {
            match what {
                0 | 1 => outside.push(Box::pin(semaphore.acquire(who, Priority::Normal, LONG))),
                2 if !inside.is_empty() => drop(inside.swap_remove(which % inside.len())),
                _ if !outside.is_empty() => drop(outside.swap_remove(which % outside.len())),
                _ => {}
            }
            // Each call that was granted a permit, refused or evicted is polled: a new call changes the state of others.
            for _ in 0..2 {
                outside.retain_mut(|waiting| match futures_poll(waiting.as_mut()) {
                    std::task::Poll::Ready(Ok(permit)) => {
                        inside.push(permit);
                        false
                    }
                    std::task::Poll::Ready(Err(refused)) => {
                        assert_eq!(refused, AcquireError::QueueFull);
                        false
                    }
                    std::task::Poll::Pending => true,
                });
            }
            prop_assert_eq!(semaphore.in_flight(), inside.len());
            prop_assert_eq!(semaphore.waiting(), outside.len());
            prop_assert!(outside.len() <= 3);
            let own = |who: u32| inside.iter().filter(|permit| permit.who == who).count();
            prop_assert!((0..3).all(|who| own(who) <= 2));
            // No call waits beside a permit that would be for it.
            let waits = |who: u32| semaphore.lock().queues.contains_key(&who);
            prop_assert!((0..3).all(|who| !waits(who) || inside.len() == 4 || own(who) == 2));
        }
    }
}
