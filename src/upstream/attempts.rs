//! How the time for a connection is shared between the addresses of a name.

use std::time::Duration;

/// A TLS handshake with another continent takes this long: with less, an attempt that would succeed is given up.
const ATTEMPT_TIME_MIN: Duration = Duration::from_millis(400);

/// The time of the next of `attempts` attempts when this much is left: an equal part, but enough for one to succeed.
pub fn attempt_time(left: Duration, attempts: usize) -> Duration {
    let parts = u32::try_from(attempts.max(1)).unwrap_or(u32::MAX);
    (left / parts).max(ATTEMPT_TIME_MIN).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: u64, attempts: usize, expect: u64) {
        let time = attempt_time(Duration::from_millis(left), attempts);
        assert_eq!(time, Duration::from_millis(expect), "{left} ms for {attempts}");
    }

    #[test]
    fn the_connect_time_is_shared_between_addresses_but_each_gets_enough_for_tls() {
        check(1000, 1, 1000);
        check(1000, 2, 500);
        check(1000, 16, 400);
        check(5000, 2, 2500);
        check(600, 15, 400);
        check(200, 3, 200);
        check(0, 3, 0);
        check(1000, 0, 1000);
    }
}
