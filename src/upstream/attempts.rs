//! The attempts to reach one name at its addresses: how many are tried, how the time is shared between them, and which failure is
//! reported.

use std::io;
use std::time::Duration;

/// Addresses of one name that are tried.
pub(crate) const ADDRESSES_MAX: usize = 16;

/// A TLS handshake with another continent takes this long: with less, an attempt that would succeed is given up.
const ATTEMPT_TIME_MIN: Duration = Duration::from_millis(400);

/// The time of the next of `attempts` attempts when this much is left: an equal part, but enough for one to succeed.
pub fn attempt_time(left: Duration, attempts: usize) -> Duration {
    let parts = u32::try_from(attempts.max(1)).unwrap_or(u32::MAX);
    (left / parts).max(ATTEMPT_TIME_MIN).min(left)
}

/// The failure that is reported after one more attempt has failed: the newest, but a refused certificate says more than a refused
/// connection.
pub(crate) fn telling(before: Option<io::Error>, newest: io::Error) -> io::Error {
    match before {
        Some(before) if is_of_tls(&before) && !is_of_tls(&newest) => before,
        Some(_) | None => newest,
    }
}

/// Whether TLS failed, and not the connection.
fn is_of_tls(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
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

    #[test]
    fn a_failure_of_tls_is_reported_before_one_of_the_connection() {
        let (tls, refused) = (io::ErrorKind::InvalidData, io::ErrorKind::ConnectionRefused);
        let cases = [
            (None, refused, refused),
            (Some(tls), refused, tls),
            (Some(refused), tls, tls),
            (Some(refused), refused, refused),
        ];
        for (before, newest, expect) in cases {
            assert_eq!(
                telling(before.map(io::Error::from), newest.into()).kind(),
                expect,
                "{before:?} {newest:?}"
            );
        }
    }
}
