//! The time of day, for token expiry and the `Date` of responses. Deadlines never use it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

/// Formats the date at most once a second.
pub(crate) struct Clock {
    formatted: ArcSwap<(u64, String)>,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { formatted: ArcSwap::from_pointee((0, String::new())) }
    }

    /// The time of day.
    pub(crate) fn time(&self) -> SystemTime {
        SystemTime::now()
    }

    /// The time of day in seconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        seconds(self.time())
    }

    /// Appends `Date: …` and its line end, for this time in seconds since the epoch.
    pub(crate) fn append_date(&self, now: u64, out: &mut Vec<u8>) {
        let mut formatted = self.formatted.load();
        if formatted.0 != now {
            self.formatted.store(Arc::new((now, format(now))));
            formatted = self.formatted.load();
        }
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(formatted.1.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// A time of day in seconds since the epoch.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// RFC 9110, 5.6.7: IMF-fixdate.
fn format(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .and_then(|time| jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok())
        .unwrap_or_else(|| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdate() {
        assert_eq!(format(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut out = Vec::new();
        Clock::new().append_date(784_111_777, &mut out);
        assert_eq!(out, b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    }
}
