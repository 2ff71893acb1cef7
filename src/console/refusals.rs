//! What is logged of requests without a valid token, or without the role: seldom, and how many there were since.
//!
//! Pure: the caller says what time it is. Must not know a token.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::metrics::ConsoleRefusal;

const INTERVAL: Duration = Duration::from_secs(10);

/// The line that was logged last, and what came since.
#[derive(Default)]
pub(super) struct Refusals(Mutex<(Option<Instant>, u64)>);

impl Refusals {
    /// The line to log; none where one was logged a short time ago.
    pub(super) fn line(&self, now: Instant, refusal: ConsoleRefusal, peer: IpAddr) -> Option<String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (logged, more) = &mut *state;
        if logged.is_some_and(|logged| now.saturating_duration_since(logged) < INTERVAL) {
            *more += 1;
            return None;
        }
        *logged = Some(now);
        let since = match std::mem::take(more) {
            0 => String::new(),
            more => format!(", {more} more since the last such line"),
        };
        Some(format!("console: refused a request from={peer} reason={}{since}", refusal.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_logged_seldom_and_counted() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let at = |seconds| {
            refusals.line(
                now + Duration::from_secs(seconds),
                ConsoleRefusal::UnknownToken,
                [10, 0, 0, 1].into(),
            )
        };
        let first = "console: refused a request from=10.0.0.1 reason=unknown_token";
        assert_eq!(at(0).as_deref(), Some(first));
        assert_eq!((at(1), at(9)), (None, None));
        assert_eq!(at(10), Some(format!("{first}, 2 more since the last such line")));
        assert_eq!(at(20).as_deref(), Some(first));
    }
}
