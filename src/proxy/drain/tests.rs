//! Contract, section 13: the drain.

use std::future::poll_fn;

use super::*;

fn enter(drain: &Arc<Drain>, max: usize) -> Option<ConnectionGuard> {
    let (guard, _) = drain.enter(max, None)?;
    guard.served();
    Some(guard)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[test]
fn the_connection_limit_refuses_a_guard_until_one_is_dropped() {
    let drain = Arc::new(Drain::new());
    let first = enter(&drain, 1).unwrap();
    assert!(enter(&drain, 1).is_none());
    drop(first);
    assert!(enter(&drain, 1).is_some());
    assert_eq!(drain.open(), 0);
}

#[tokio::test]
async fn eviction_closes_an_idle_connection_and_not_one_that_is_served() {
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
    let (third, admission) = drain.enter(2, None).unwrap();
    third.served();
    assert_eq!(admission, Admission::Evicting);
    assert!(drain.enter(2, None).is_none(), "no other one waits");
    let idle = waiting.await.unwrap();
    // Its request arrived at the same moment: it is served, and the next new connection is refused.
    idle.served();
    drop(served);
    assert_eq!(drain.open(), 2);
    assert!(drain.enter(2, None).is_none());
    drop((idle, third));
    assert!(enter(&drain, 1).is_some());
}

#[tokio::test]
async fn drain_phases_wake_every_connection() {
    let drain = Arc::new(Drain::new());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let mut guard = enter(&drain, 9).unwrap();
            tokio::spawn(async move {
                poll_fn(|cx| guard.poll_phase(cx, Phase::Draining)).await;
                poll_fn(|cx| guard.poll_phase(cx, Phase::Expired)).await;
            })
        })
        .collect();
    tokio::task::yield_now().await;
    drain.begin();
    drain.begun().await;
    tokio::task::yield_now().await;
    assert_eq!(drain.open(), 3);
    drain.cut(Instant::now());
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(drain.wait_idle(soon()), Ok(()));
}

#[test]
fn drain_waits_for_connections_that_are_not_counted_yet() {
    let drain = Arc::new(Drain::new());
    let listener_guard = drain.track_listener();
    assert_eq!(drain.wait_idle(Instant::now()), Err(0));
    let guard = enter(&drain, 9).unwrap();
    drop(listener_guard);
    assert_eq!(drain.wait_idle(Instant::now()), Err(1));
    drop(guard);
    assert_eq!(drain.wait_idle(Instant::now()), Ok(()));
}

#[test]
fn drain_knows_when_the_last_listener_has_stopped_accepting() {
    let drain = Arc::new(Drain::new());
    let listeners = [drain.track_listener(), drain.track_listener()];
    drain.hand_over();
    assert_eq!(drain.wait_accepted(Instant::now()), Err(2));
    let waiter = std::thread::spawn({
        let drain = drain.clone();
        move || drain.wait_accepted(soon())
    });
    let connection = enter(&drain, 9).unwrap();
    drop(listeners);
    assert_eq!(waiter.join().unwrap(), Ok(()), "a connection that is open does not count");
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn drain_of_a_process_that_stops_is_no_hand_over() {
    let drain = Drain::new();
    let second = Duration::from_secs(1);
    assert!(tokio::time::timeout(second, drain.handed_over()).await.is_err());
    drain.begin();
    assert!(tokio::time::timeout(second, drain.handed_over()).await.is_err());
    let drain = Drain::new();
    drain.hand_over();
    drain.handed_over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_that_is_forced_to_end_waits_for_the_replies_of_calls_that_it_cuts() {
    let drain = Arc::new(Drain::new());
    let mut guard = enter(&drain, 9).unwrap();
    drain.begin();
    drain.force();
    assert_eq!(drain.wait_idle(soon()), Err(1), "the calls have no more time");
    let replying = tokio::spawn(async move { poll_fn(|cx| guard.poll_phase(cx, Phase::Expired)).await });
    let deadline = soon();
    drain.cut(deadline);
    assert!(Instant::now() < deadline && drain.open() == 0, "the reply ends the wait");
    replying.await.unwrap();
}

#[test]
fn drain_ends_with_the_last_connection() {
    let drain = Arc::new(Drain::new());
    let guard = enter(&drain, 9).unwrap();
    assert_eq!(drain.wait_idle(Instant::now()), Err(1));
    let waiter = std::thread::spawn({
        let drain = drain.clone();
        move || {
            drain.wait_begun();
            drain.wait_idle(soon())
        }
    });
    drain.begin();
    drop(guard);
    assert_eq!(waiter.join().unwrap(), Ok(()));
}
