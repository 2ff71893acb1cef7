//! Places in flight, the waiting line before them, and the line of calls held while no backend can be reached.
//!
//! All three are bounded, and first come is first served. Must not know what a call is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};

/// A place in flight; leaving it lets the next one in.
pub(super) type Place<'p> = SemaphorePermit<'p>;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    LineFull,
    WaitedTooLong,
}

/// The places of one slot.
pub(super) struct Places {
    semaphore: Semaphore,
    max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    patience: Duration,
}

impl Places {
    pub(super) fn new(max: usize, waiting_max: usize, patience: Duration) -> Places {
        let max = max.min(Semaphore::MAX_PERMITS);
        Places { semaphore: Semaphore::new(max), max, waiting: AtomicUsize::new(0), waiting_max, patience }
    }

    /// Takes a place, or waits in the line for one.
    pub(super) async fn enter(&self) -> Result<Place<'_>, NoPlace> {
        if let Ok(place) = self.semaphore.try_acquire() {
            return Ok(place);
        }
        let _waiting = Counted::enter(&self.waiting, self.waiting_max).ok_or(NoPlace::LineFull)?;
        self.wait(self.patience).await
    }

    /// Takes a place again for a call that was held: it has waited its turn, so the line's bound does not apply.
    pub(super) async fn enter_again(&self, patience: Duration) -> Result<Place<'_>, NoPlace> {
        self.wait(patience).await
    }

    async fn wait(&self, patience: Duration) -> Result<Place<'_>, NoPlace> {
        // The semaphore is never closed, so the only other end is the patience's.
        match tokio::time::timeout(patience, self.semaphore.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(NoPlace::WaitedTooLong),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.max.saturating_sub(self.semaphore.available_permits())
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// The line of held calls of one slot. Its first one tries the backend; the others wait for their turn.
pub(super) struct HoldLine {
    held: AtomicUsize,
    held_max: usize,
    turn: Mutex<()>,
}

impl HoldLine {
    pub(super) fn new(held_max: usize) -> HoldLine {
        HoldLine { held: AtomicUsize::new(0), held_max, turn: Mutex::new(()) }
    }

    /// Joins the line, unless it is full.
    pub(super) fn join(&self) -> Option<Held<'_>> {
        Some(Held { _count: Counted::enter(&self.held, self.held_max)? })
    }

    /// Waits until the caller is the first of the line. The turn passes on when the guard is dropped.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// A call in the line; leaving the line is dropping this.
pub(super) struct Held<'l> {
    _count: Counted<'l>,
}

/// One of a bounded number.
struct Counted<'c>(&'c AtomicUsize);

impl<'c> Counted<'c> {
    fn enter(count: &'c AtomicUsize, max: usize) -> Option<Counted<'c>> {
        let entered = count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < max).then_some(count + 1));
        // Lazily: a guard that is made and dropped for a refused one would count down.
        entered.is_ok().then(|| Counted(count))
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn places_are_bounded_and_the_line_is_first_come_first_served() {
        let places = Arc::new(Places::new(1, 2, LONG));
        let first = places.enter().await.unwrap();
        let (order, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
        let waiting: Vec<_> = (0..2)
            .map(|number| {
                let (places, order) = (places.clone(), order.clone());
                tokio::spawn(async move {
                    let _place = places.enter().await.unwrap();
                    order.send(number).unwrap();
                })
            })
            .collect();
        while places.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(places.enter().await.unwrap_err(), NoPlace::LineFull);
        assert_eq!(places.in_flight(), 1);
        drop(first);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!((arrivals.recv().await, arrivals.recv().await), (Some(0), Some(1)));
        assert_eq!((places.in_flight(), places.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_patience() {
        let places = Places::new(1, 2, Duration::from_secs(2));
        let _busy = places.enter().await.unwrap();
        assert_eq!(places.enter().await.unwrap_err(), NoPlace::WaitedTooLong);
        assert_eq!(places.waiting(), 0);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_leaves_the_line() {
        let places = Places::new(1, 1, LONG);
        let busy = places.enter().await.unwrap();
        tokio::select! {
            biased;
            _ = places.enter() => unreachable!("the place is taken"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(places.waiting(), 0);
        drop(busy);
        let _place = places.enter().await.unwrap();
    }

    #[tokio::test]
    async fn the_hold_line_is_bounded_and_gives_turns() {
        let line = HoldLine::new(2);
        let (first, second) = (line.join().unwrap(), line.join().unwrap());
        assert!(line.join().is_none());
        let turn = line.turn().await;
        tokio::select! {
            biased;
            _ = line.turn() => unreachable!("the first still has its turn"),
            () = std::future::ready(()) => {}
        }
        drop(turn);
        let _turn = line.turn().await;
        drop((first, second));
    }
}
