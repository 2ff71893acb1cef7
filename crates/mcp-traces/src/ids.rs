//! Makes the ids of traces and spans: distinct in a process, random between processes. Not secrets.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{SpanId, TraceId};

/// A source of ids. Takes no lock and asks the system for random numbers only at its start.
#[derive(Debug)]
pub struct Ids {
    high: u64,
    low: u64,
    spans: u64,
    count: AtomicU64,
}

impl Ids {
    pub fn new() -> Result<Ids, getrandom::Error> {
        let (high, low, spans) = (getrandom::u64()?, getrandom::u64()?, getrandom::u64()?);
        Ok(Ids { high, low, spans, count: AtomicU64::new(0) })
    }

    pub fn trace(&self) -> TraceId {
        loop {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let halves = (mix(self.high.wrapping_add(number)), mix(self.low.wrapping_add(number)));
            if let Some(id) = TraceId::new(u128::from(halves.0) << 64 | u128::from(halves.1)) {
                return id;
            }
        }
    }

    pub fn span(&self) -> SpanId {
        loop {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            if let Some(id) = SpanId::new(mix(self.spans.wrapping_add(number))) {
                return id;
            }
        }
    }
}

/// A bijection (the finalizer of `SplitMix64`): different numbers stay different, and each bit looks random.
pub fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_traces_and_spans_are_distinct() {
        let ids = Ids::new().unwrap();
        let traces: HashSet<TraceId> = (0..10_000).map(|_| ids.trace()).collect();
        let spans: HashSet<SpanId> = (0..10_000).map(|_| ids.span()).collect();
        assert_eq!((traces.len(), spans.len()), (10_000, 10_000));
    }
}
