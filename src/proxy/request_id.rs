//! The id of a request: in every response, log line and denial, and in what the backend receives.

use std::sync::atomic::{AtomicU64, Ordering};

use mcp_traces::mix;

use crate::worker::PerWorker;

const LENGTH_MAX: usize = 64;

/// A request's id: 1 to 64 letters, digits and `-_.@`, so that it is safe in a header, in JSON and in a log.
///
/// At the beginning of a word, where the standard library reads text by words instead of by bytes.
#[derive(Debug, Clone, Copy)]
#[repr(align(8))]
pub(crate) struct RequestId {
    bytes: [u8; LENGTH_MAX],
    length: u8,
}

impl RequestId {
    /// The id a trusted proxy sent, if it is well-formed.
    pub(crate) fn parse(value: &[u8]) -> Option<RequestId> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(byte);
        let acceptable = (1..=LENGTH_MAX).contains(&value.len()) && value.iter().all(plain);
        let mut bytes = [0; LENGTH_MAX];
        acceptable.then(|| bytes[..value.len()].copy_from_slice(value))?;
        Some(RequestId { bytes, length: u8::try_from(value.len()).ok()? })
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

/// Generates ids: 128 bits, unique in the process and, by a random start, between processes. Not secrets.
pub(crate) struct RequestIds {
    start: u64,
    process: u64,
    /// The numbers that come next: those of each worker have a range of their own.
    next: PerWorker<AtomicU64>,
}

/// Far more than one worker can use, and there are at most 256.
const NUMBERS_OF_WORKER: u64 = 1 << 48;

impl RequestIds {
    pub(crate) fn new(workers: usize) -> Result<RequestIds, getrandom::Error> {
        let first = |worker| AtomicU64::new(worker as u64 * NUMBERS_OF_WORKER);
        let next = PerWorker::new(workers, first);
        Ok(RequestIds { start: getrandom::u64()?, process: getrandom::u64()?, next })
    }

    pub(crate) fn next(&self) -> RequestId {
        let number = self.next.own().fetch_add(1, Ordering::Relaxed);
        let unique = mix(self.start.wrapping_add(number));
        let mut bytes = [0; LENGTH_MAX];
        for (index, byte) in unique.to_be_bytes().into_iter().chain(self.process.to_be_bytes()).enumerate() {
            bytes[2 * index] = HEX[usize::from(byte >> 4)];
            bytes[2 * index + 1] = HEX[usize::from(byte & 15)];
        }
        RequestId { bytes, length: 32 }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::worker;

    #[test]
    fn ids_are_distinct_and_well_formed() {
        let ids = RequestIds::new(4).unwrap();
        let made_by = |index| {
            worker::begin(index);
            (0..10_000).map(|_| ids.next().as_str().to_owned()).collect::<Vec<_>>()
        };
        let made: HashSet<String> = (0..4).flat_map(made_by).collect();
        assert_eq!(made.len(), 40_000);
        assert!(made.iter().all(|id| id.len() == 32 && RequestId::parse(id.as_bytes()).is_some()));
    }

    #[test]
    fn refuses_ids_that_could_break_out_of_a_header_or_a_log() {
        for bad in ["", "a b", "a\"b", "a\r\nX: y", "\u{e9}", &"a".repeat(65)] {
            assert!(RequestId::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
        let longest = "a".repeat(64);
        for good in ["Zx-1_2.3@host", longest.as_str()] {
            assert_eq!(RequestId::parse(good.as_bytes()).unwrap().as_str(), good);
        }
    }
}
