//! The body budget: never more than its size, and fair between clients.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn now(reservation: &mut Reservation<'_>, bytes: usize) -> Option<Result<(), Exceeded>> {
    match poll(std::pin::pin!(reservation.reserve(bytes))) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

const LONG: Duration = Duration::from_secs(60);
const DONE: Option<Result<(), Exceeded>> = Some(Ok(()));

#[test]
fn body_budget_is_bounded_and_reused_after_release() {
    let budget = BodyBudget::default();
    let (mut first, mut second) = (budget.reservation(1, 10, LONG), budget.reservation(2, 10, LONG));
    assert_eq!(now(&mut first, 6), DONE);
    assert_eq!(now(&mut second, 5), None, "it would wait");
    assert_eq!(now(&mut second, 4), DONE);
    drop(second);
    assert_eq!(now(&mut first, 4), DONE);
    assert_eq!(now(&mut first, usize::MAX), Some(Err(Exceeded::Own)));
    // A smaller budget after a reload: what is reserved stays.
    assert_eq!(now(&mut budget.reservation(1, 8, LONG), 1), None);
    drop(first);
    assert_eq!(now(&mut budget.reservation(1, 8, LONG), 8), DONE);
    assert_eq!(budget.lock().taken, 0);
    assert!(budget.lock().by_client.is_empty());
}

#[test]
fn body_budget_gives_a_client_no_more_than_it_leaves_free() {
    let budget = BodyBudget::default();
    let flood: Vec<_> = (0..16)
        .map(|_| {
            let mut reservation = budget.reservation(1, 16, LONG);
            now(&mut reservation, 1);
            reservation
        })
        .collect();
    assert_eq!(budget.lock().taken, 8, "half of it");
    let (mut other, mut third) = (budget.reservation(2, 16, LONG), budget.reservation(3, 16, LONG));
    assert_eq!(now(&mut other, 4), DONE);
    assert_eq!(now(&mut third, 2), DONE);
    assert_eq!(flood[15].reason(1), Exceeded::Own);
    drop(flood);
    assert_eq!(budget.lock().taken, 6);
}

#[test]
fn body_budget_gives_ahead_only_within_the_share_and_while_no_body_waits() {
    let budget = BodyBudget::default();
    let (mut first, mut second) = (budget.reservation(1, 16, LONG), budget.reservation(2, 16, LONG));
    assert!(!first.reserve_ahead(9), "its oldest body may take more than the share, but not ahead");
    assert!(first.reserve_ahead(4) && first.reserve_ahead(4));
    assert!(!second.reserve_ahead(5));
    let mut waiting = Box::pin(second.reserve(9));
    assert!(poll(waiting.as_mut()).is_pending());
    assert!(!budget.reservation(3, 16, LONG).reserve_ahead(1), "another body waits");
    drop(waiting);
    assert!(second.reserve_ahead(4));
    assert_eq!(budget.lock().taken, 12);
    drop((first, second));
    assert_eq!(budget.lock().taken, 0);
}

#[test]
fn body_budget_grants_released_bytes_to_those_that_wait() {
    let budget = BodyBudget::default();
    let mut first = budget.reservation(1, 10, LONG);
    assert_eq!(now(&mut first, 8), DONE);
    let (mut second, mut third) = (budget.reservation(2, 10, LONG), budget.reservation(3, 10, LONG));
    let mut waiting = Box::pin(second.reserve(5));
    let mut leaving = Box::pin(third.reserve(5));
    assert!(poll(waiting.as_mut()).is_pending() && poll(leaving.as_mut()).is_pending());
    drop(first);
    assert_eq!(budget.lock().taken, 10, "granted to both, and not yet noticed");
    drop(leaving);
    assert_eq!(budget.lock().taken, 5);
    assert!(poll(waiting.as_mut()).is_ready());
    drop(waiting);
    drop((second, third));
    assert_eq!(budget.lock().taken, 0);
}

#[test]
fn body_budget_never_lets_all_incomplete_bodies_wait() {
    let budget = BodyBudget::default();
    let (mut first, mut second) = (budget.reservation(1, 10, LONG), budget.reservation(2, 10, LONG));
    assert_eq!((now(&mut first, 5), now(&mut second, 5)), (DONE, DONE));
    let mut waiting = Box::pin(first.reserve(5));
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(now(&mut second, 5), Some(Err(Exceeded::All)), "it would be the last that does not wait");
    drop(second);
    assert!(poll(waiting.as_mut()).is_ready());
}

proptest! {
    /// Bodies of four clients that grow, end and stop waiting in any order: the counts are right, and none waits for bytes
    /// that are free for it.
    #[test]
    fn body_budget_keeps_count(
        steps in proptest::collection::vec((0_u8..6, 0_u32..4, 1_usize..7, 0_usize..16), 1..150),
    ) {
        const MAX: usize = 20;
        let budget = BodyBudget::default();
        // A body is idle between two pieces, or waits: then its future owns it.
        type Growing<'r> = Pin<Box<dyn Future<Output = (Reservation<'r>, Result<(), Exceeded>)> + 'r>>;
        let (mut idle, mut growing): (Vec<Reservation<'_>>, Vec<Growing<'_>>) = (Vec::new(), Vec::new());
        for (what, who, bytes, which) in steps {
            match what {
                0 => idle.push(budget.reservation(who, MAX, LONG)),
                1 | 2 if !idle.is_empty() => {
                    let mut reservation = idle.swap_remove(which % idle.len());
                    growing.push(Box::pin(async move {
                        let result = reservation.reserve(bytes).await;
                        (reservation, result)
                    }));
                }
                5 if !idle.is_empty() => {
                    let which = which % idle.len();
                    idle[which].reserve_ahead(bytes);
                }
                3 if !growing.is_empty() => drop(growing.swap_remove(which % growing.len())),
                _ if !idle.is_empty() => drop(idle.swap_remove(which % idle.len())),
                _ => {}
            }
            for _ in 0..2 {
                growing.retain_mut(|body| match poll(body.as_mut()) {
                    // A denied body ends.
                    Poll::Ready((reservation, result)) => {
                        if result.is_ok() {
                            idle.push(reservation);
                        }
                        false
                    }
                    Poll::Pending => true,
                });
            }
            let state = budget.lock();
            prop_assert!(state.taken <= MAX);
            prop_assert_eq!(state.taken, state.by_client.values().map(|own| own.bytes).sum::<usize>());
            prop_assert_eq!(state.holders, state.by_client.values().map(|own| own.bodies.len()).sum::<usize>());
            prop_assert_eq!(state.waiting.len(), growing.len());
            prop_assert!(state.waiting.iter().all(|waiter| !state.fits(waiter.growth)));
        }
        drop((idle, growing));
        let state = budget.lock();
        prop_assert_eq!((state.taken, state.holders, state.holders_waiting), (0, 0, 0));
        prop_assert!(state.by_client.is_empty() && state.waiting.is_empty());
    }
}
