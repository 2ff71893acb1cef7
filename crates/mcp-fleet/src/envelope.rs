//! The fleet's state under its generation, as a leader writes it and every member follows it.
//!
//! Must not know what the state means.

use crate::encoding::{Reader, Writer};
use crate::key::{FleetKey, Sealed};
use crate::names::{FleetName, Incarnation};

/// Largest state.
pub const STATE_BYTES_MAX: usize = 256 * 1024;
/// Most results of orders that a state carries; the oldest leave first.
pub const DONE_MAX: usize = 16;
const OUTCOME_BYTES_MAX: usize = 1024;
/// Beyond this, the store's numbers are no longer exact.
const GENERATION_MAX: u64 = 1 << 52;

/// Which writing of the state: unique, since the writer is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Counts up with every state.
    pub generation: u64,
    /// The epoch of the leader that wrote it.
    pub epoch: u64,
    /// The start of the member that was this leader.
    pub writer: Incarnation,
}

/// Names an order of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId {
    /// The start of the member that took the order.
    pub incarnation: Incarnation,
    /// Counts up from 1.
    pub number: u64,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Which order.
    pub order: OrderId,
    /// What the leader's decider said to it.
    pub outcome: String,
}

/// A state with its stamp.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Which writing this is.
    pub stamp: Stamp,
    /// Orders that this and earlier states have carried out, the oldest first.
    pub done: Vec<Done>,
    /// The state itself.
    pub state: Vec<u8>,
}

/// An envelope as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What the store compares.
    pub stamp: Stamp,
    /// What members verify.
    pub sealed: Vec<u8>,
}

impl Envelope {
    /// Seals it for the store.
    pub fn seal(&self, key: &FleetKey, fleet: &FleetName) -> Published {
        let mut writer = Writer::default();
        writer.number(self.stamp.generation).number(self.stamp.epoch).number(self.stamp.writer.get());
        writer.number(self.done.len() as u64);
        for done in &self.done {
            writer.number(done.order.incarnation.get()).number(done.order.number);
            writer.bytes(done.outcome.as_bytes());
        }
        writer.bytes(&self.state);
        Published { stamp: self.stamp, sealed: key.seal(fleet, Sealed::Generation, &writer.finish()) }
    }

    /// Opens what lies in the store; none unless a member sealed exactly this.
    pub fn open(published: &Published, key: &FleetKey, fleet: &FleetName) -> Option<Envelope> {
        let envelope = Envelope::decode(key.open(fleet, Sealed::Generation, &published.sealed)?)?;
        // The numbers beside the seal are what the store goes by; they must be the sealed ones.
        (envelope.stamp == published.stamp).then_some(envelope)
    }

    /// What a value without its seal holds.
    pub(crate) fn decode(value: &[u8]) -> Option<Envelope> {
        let mut reader = Reader::new(value);
        let generation = reader.number().filter(|number| *number <= GENERATION_MAX)?;
        let stamp =
            Stamp { generation, epoch: reader.number()?, writer: Incarnation::from_store(reader.number()?) };
        let count = reader.number().filter(|count| *count <= DONE_MAX as u64)?;
        let mut done = Vec::new();
        for _ in 0..count {
            let incarnation = Incarnation::from_store(reader.number()?);
            let order = OrderId { incarnation, number: reader.number()? };
            done.push(Done { order, outcome: reader.text(OUTCOME_BYTES_MAX)? });
        }
        let state = reader.bytes(STATE_BYTES_MAX)?.to_vec();
        reader.end()?;
        Some(Envelope { stamp, done, state })
    }

    /// The state that follows on this one.
    pub(crate) fn next(&self, stamp: Stamp, state: Vec<u8>, more: Vec<Done>) -> Envelope {
        let mut done: Vec<Done> = self.done.iter().cloned().chain(more).collect();
        for entry in &mut done {
            let end = entry.outcome.floor_char_boundary(OUTCOME_BYTES_MAX);
            entry.outcome.truncate(end);
        }
        done.drain(..done.len().saturating_sub(DONE_MAX));
        Envelope { stamp, done, state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_comes_back_as_it_was_and_only_whole() {
        let (key, fleet) = (FleetKey::new(&[1; 32]).unwrap(), FleetName::new("f").unwrap());
        let stamp = Stamp { generation: 7, epoch: 3, writer: Incarnation::new(1 << 40) };
        let order = OrderId { incarnation: Incarnation::new(1 << 41), number: 2 };
        let done = vec![Done { order, outcome: "started".to_owned() }];
        let envelope = Envelope { stamp, done, state: b"state".to_vec() };
        let published = envelope.seal(&key, &fleet);
        assert_eq!(Envelope::open(&published, &key, &fleet), Some(envelope.clone()));
        let renumbered = Published { stamp: Stamp { generation: 8, ..stamp }, ..published.clone() };
        assert_eq!(Envelope::open(&renumbered, &key, &fleet), None, "the numbers are sealed");
        let value = &published.sealed[32..];
        for end in 0..value.len() {
            assert_eq!(Envelope::decode(&value[..end]), None, "cut at {end}");
        }
        assert_eq!(Envelope::decode(&[value, b"x"].concat()), None);
    }

    #[test]
    fn only_the_latest_results_of_orders_are_kept() {
        let done = |number| Done {
            order: OrderId { incarnation: Incarnation::new(0), number },
            outcome: "é".repeat(900),
        };
        let mut envelope = Envelope::default();
        for number in 0..20 {
            envelope = envelope.next(Stamp::default(), Vec::new(), vec![done(number)]);
        }
        assert_eq!(envelope.done.len(), DONE_MAX);
        assert_eq!(envelope.done[0].order.number, 4);
        assert!(envelope.done.iter().all(|done| done.outcome.len() <= OUTCOME_BYTES_MAX));
    }
}
