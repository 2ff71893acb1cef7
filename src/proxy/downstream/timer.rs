//! The timer of a client's connection, which lives as long as that. Must not know what it bounds.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

/// A timer that would fire earlier than this before its time is moved when a connection begins to idle, so that it does
/// not fire at all.
const TIMER_SLACK: Duration = Duration::from_secs(30);

/// One timer for the life of the connection. It is moved only when it would fire too late; when it fires too early it is
/// set again. On a busy connection, whose deadlines only move forward, that is rare and not once per request.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    pub(super) due: Instant,
    /// What the timer wakes when it fires. Until then it need not be asked again.
    armed: Option<Waker>,
}

impl Timer {
    pub(super) fn new() -> Timer {
        let now = Instant::now();
        Timer { sleep: Box::pin(tokio::time::sleep_until(now)), due: now, armed: None }
    }

    pub(super) fn push_back_if_early(&mut self) {
        if self.due > self.sleep.deadline() + TIMER_SLACK {
            self.move_to_due();
        }
    }

    /// It may have fired in the meantime, so it is asked again.
    fn move_to_due(&mut self) {
        self.sleep.as_mut().reset(self.due);
        self.armed = None;
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.due < self.sleep.deadline() {
            self.move_to_due();
        }
        let is_armed = self.armed.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_armed && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        // Outside the task's budget: without budget it would not take the waker, and is not asked again.
        while pin!(unconstrained(self.sleep.as_mut())).poll(cx).is_ready() {
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.due);
        }
        if !is_armed {
            self.armed = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_asked_by_a_task_without_budget_fires() {
        let mut timer = Timer::new();
        timer.due = Instant::now() + Duration::from_secs(5);
        poll_fn(|cx| {
            while has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(cx);
            }
            assert!(timer.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        tokio::task::yield_now().await;
        let fired = tokio::time::timeout(Duration::from_secs(60), poll_fn(|cx| timer.poll(cx))).await;
        assert!(fired.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_moved_after_it_had_fired_fires_again() {
        let mut timer = Timer::new();
        timer.due = Instant::now() + Duration::from_secs(5);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        tokio::time::sleep(Duration::from_secs(10)).await;
        // It has fired, and was not asked since.
        timer.due = Instant::now() + Duration::from_secs(100);
        timer.push_back_if_early();
        let asked = Instant::now();
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(asked.elapsed(), Duration::from_secs(100));
        // One that is due earlier than it would fire is moved as well.
        timer.due = Instant::now() + Duration::from_secs(50);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        timer.due = Instant::now() + Duration::from_secs(1);
        let asked = Instant::now();
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(asked.elapsed(), Duration::from_secs(1));
    }
}
