//! Room for bodies: never more than there is, and fair between clients.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn now(share: &mut Share<'_>, bytes: usize) -> Option<Result<(), Full>> {
    match poll(std::pin::pin!(share.grow(bytes))) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

const LONG: Duration = Duration::from_secs(60);
const DONE: Option<Result<(), Full>> = Some(Ok(()));

#[test]
fn there_is_room_for_so_much_and_again_when_it_is_given_back() {
    let room = Room::default();
    let (mut first, mut second) = (room.share(1, 10, LONG), room.share(2, 10, LONG));
    assert_eq!(now(&mut first, 6), DONE);
    assert_eq!(now(&mut second, 5), None, "it would wait");
    assert_eq!(now(&mut second, 4), DONE);
    drop(second);
    assert_eq!(now(&mut first, 4), DONE);
    assert_eq!(now(&mut first, usize::MAX), Some(Err(Full::OwnExcess)));
    // A smaller room, after a reload: what is in it stays.
    assert_eq!(now(&mut room.share(1, 8, LONG), 1), None);
    drop(first);
    assert_eq!(now(&mut room.share(1, 8, LONG), 8), DONE);
    assert_eq!(room.lock().taken, 0);
    assert!(room.lock().by_client.is_empty());
}

#[test]
fn a_client_has_no_more_of_the_room_than_it_leaves_to_others() {
    let room = Room::default();
    let flood: Vec<_> = (0..16)
        .map(|_| {
            let mut share = room.share(1, 16, LONG);
            now(&mut share, 1);
            share
        })
        .collect();
    assert_eq!(room.lock().taken, 8, "half of it");
    let (mut other, mut third) = (room.share(2, 16, LONG), room.share(3, 16, LONG));
    assert_eq!(now(&mut other, 4), DONE);
    assert_eq!(now(&mut third, 2), DONE);
    assert_eq!(flood[15].reason(1), Full::OwnExcess);
    drop(flood);
    assert_eq!(room.lock().taken, 6);
}

#[test]
fn what_waits_gets_the_room_that_is_given_back_and_what_gives_up_gets_none() {
    let room = Room::default();
    let mut first = room.share(1, 10, LONG);
    assert_eq!(now(&mut first, 8), DONE);
    let (mut second, mut third) = (room.share(2, 10, LONG), room.share(3, 10, LONG));
    let mut waiting = Box::pin(second.grow(5));
    let mut leaving = Box::pin(third.grow(5));
    assert!(poll(waiting.as_mut()).is_pending() && poll(leaving.as_mut()).is_pending());
    drop(first);
    assert_eq!(room.lock().taken, 10, "granted to both, and not yet noticed");
    drop(leaving);
    assert_eq!(room.lock().taken, 5);
    assert!(poll(waiting.as_mut()).is_ready());
    drop(waiting);
    drop((second, third));
    assert_eq!(room.lock().taken, 0);
}

#[test]
fn bodies_that_are_half_there_do_not_all_wait_for_each_other() {
    let room = Room::default();
    let (mut first, mut second) = (room.share(1, 10, LONG), room.share(2, 10, LONG));
    assert_eq!((now(&mut first, 5), now(&mut second, 5)), (DONE, DONE));
    let mut waiting = Box::pin(first.grow(5));
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(now(&mut second, 5), Some(Err(Full::All)), "it would be the last that does not wait");
    drop(second);
    assert!(poll(waiting.as_mut()).is_ready());
}

proptest! {
    /// Bodies of four clients that grow, end and give up in any order: the counts are right, and none waits beside room that
    /// would be for it.
    #[test]
    fn the_room_keeps_count(
        steps in proptest::collection::vec((0_u8..5, 0_u32..4, 1_usize..7, 0_usize..16), 1..150),
    ) {
        const MAX: usize = 20;
        let room = Room::default();
        // A body is idle between two pieces, or waits: then its future owns it.
        type Growing<'r> = Pin<Box<dyn Future<Output = (Share<'r>, Result<(), Full>)> + 'r>>;
        let (mut idle, mut growing): (Vec<Share<'_>>, Vec<Growing<'_>>) = (Vec::new(), Vec::new());
        for (what, who, bytes, which) in steps {
            match what {
                0 => idle.push(room.share(who, MAX, LONG)),
                1 | 2 if !idle.is_empty() => {
                    let mut share = idle.swap_remove(which % idle.len());
                    growing.push(Box::pin(async move {
                        let result = share.grow(bytes).await;
                        (share, result)
                    }));
                }
                3 if !growing.is_empty() => drop(growing.swap_remove(which % growing.len())),
                _ if !idle.is_empty() => drop(idle.swap_remove(which % idle.len())),
                _ => {}
            }
            for _ in 0..2 {
                growing.retain_mut(|body| match poll(body.as_mut()) {
                    // A refused body ends.
                    Poll::Ready((share, result)) => {
                        if result.is_ok() {
                            idle.push(share);
                        }
                        false
                    }
                    Poll::Pending => true,
                });
            }
            let state = room.lock();
            prop_assert!(state.taken <= MAX);
            prop_assert_eq!(state.taken, state.by_client.values().map(|own| own.bytes).sum::<usize>());
            prop_assert_eq!(state.holders, state.by_client.values().map(|own| own.bodies.len()).sum::<usize>());
            prop_assert_eq!(state.waiting.len(), growing.len());
            prop_assert!(state.waiting.iter().all(|waiter| !state.fits(waiter.wish)));
        }
        drop((idle, growing));
        let state = room.lock();
        prop_assert_eq!((state.taken, state.holders, state.holders_waiting), (0, 0, 0));
        prop_assert!(state.by_client.is_empty() && state.waiting.is_empty());
    }
}
