//! What each client holds of something that all clients share: a count that is removed when it reaches zero.
//!
//! Must not know what is counted, nor which client a key stands for.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The number under which a client is counted; it keeps it over a reload.
pub(crate) type ClientKey = u32;

/// The holdings of all clients, and of each.
#[derive(Debug, Default)]
pub(crate) struct PerClient {
    all: usize,
    own: HashMap<ClientKey, usize, BuildHasherDefault<KeyHasher>>,
}

/// The bound that stands against one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// The bound of all clients.
    All,
    /// The bound of this client.
    Own,
}

impl PerClient {
    /// Counts one more for a client, within both bounds.
    pub(crate) fn add(&mut self, who: ClientKey, all_max: usize, own_max: usize) -> Result<(), Exceeded> {
        if self.all >= all_max {
            return Err(Exceeded::All);
        }
        let own = self.own.entry(who).or_default();
        if *own >= own_max {
            let exceeded = Err(Exceeded::Own);
            if *own == 0 {
                self.own.remove(&who);
            }
            return exceeded;
        }
        *own += 1;
        self.all += 1;
        Ok(())
    }

    /// Counts one less; the client holds at least one.
    pub(crate) fn remove(&mut self, who: ClientKey) {
        self.all -= 1;
        if let Some(own) = self.own.get_mut(&who) {
            *own -= 1;
            if *own == 0 {
                self.own.remove(&who);
            }
        }
    }

    /// What all clients hold.
    pub(crate) fn all(&self) -> usize {
        self.all
    }

    /// What one client holds.
    pub(crate) fn own(&self, who: ClientKey) -> usize {
        self.own.get(&who).copied().unwrap_or_default()
    }
}

/// Keys are numbers of our own, not of a client's choosing: one multiplication spreads them.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte) ^ u32::try_from(self.0 >> 32).unwrap_or_default());
        }
    }

    fn write_u32(&mut self, key: u32) {
        self.0 = (u64::from(key) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_client_counts_are_bounded_and_removed_at_zero() {
        let mut counts = PerClient::default();
        assert_eq!([counts.add(1, 3, 2), counts.add(1, 3, 2)], [Ok(()); 2]);
        assert_eq!(counts.add(1, 3, 2), Err(Exceeded::Own));
        assert_eq!(counts.add(2, 3, 2), Ok(()));
        assert_eq!(counts.add(3, 3, 2), Err(Exceeded::All));
        counts.remove(1);
        assert_eq!(counts.add(3, 3, 0), Err(Exceeded::Own));
        assert_eq!((counts.all(), counts.own(1), counts.own(3)), (2, 1, 0));
        counts.remove(1);
        counts.remove(2);
        assert!(counts.own.is_empty(), "clients that hold nothing are removed");
    }
}
