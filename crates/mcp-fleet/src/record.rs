//! What a member tells the leader about itself.

use crate::encoding::{Reader, Writer};
use crate::envelope::{OrderId, Stamp};
use crate::key::{FleetKey, Sealed};
use crate::names::{FleetName, Incarnation, MemberId};

/// Largest record, sealed.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Most orders that wait at one member.
pub const ORDERS_MAX: usize = 8;
const TEXT_BYTES_MAX: usize = 1024;

/// Counts and histograms of one member since it follows a generation, which the leader merges.
pub trait Window: Clone + Default {
    /// Adds what another member counted.
    fn merge(&mut self, other: &Self);
    /// Writes it for the store; keep it below 48 KiB.
    fn encode(&self) -> Vec<u8>;
    /// Reads what another member wrote; none if it is not valid.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// An operator's order, taken by one member and carried out by the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub id: OrderId,
    /// What is to be done, in the words of the caller.
    pub text: Vec<u8>,
}

/// What one member is and has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<W> {
    /// This start of the member.
    pub incarnation: Incarnation,
    /// Counts the records of this start.
    pub number: u64,
    /// The program's version.
    pub version: String,
    /// Digest of the configuration that must be the same on every member.
    pub digest: String,
    /// What else `fleet status` shows; the caller's.
    pub facts: Vec<u8>,
    /// The state it follows.
    pub followed: Stamp,
    /// Why its own candidate is ejected, if it is.
    pub ejected: Option<String>,
    /// What it has counted under the state it follows.
    pub window: Option<W>,
    /// Orders that wait for the leader.
    pub orders: Vec<Order>,
}

impl<W: Window> Record<W> {
    /// Seals it for the store.
    pub fn seal(&self, member: &MemberId, key: &FleetKey, fleet: &FleetName) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.incarnation.get()).number(self.number);
        writer.bytes(self.version.as_bytes()).bytes(self.digest.as_bytes()).bytes(&self.facts);
        let followed = self.followed;
        writer.number(followed.generation).number(followed.epoch).number(followed.writer.get());
        writer.optional(self.ejected.as_deref().map(str::as_bytes));
        writer.optional(self.window.as_ref().map(Window::encode).as_deref());
        writer.number(self.orders.len() as u64);
        for order in &self.orders {
            writer.number(order.id.incarnation.get()).number(order.id.number).bytes(&order.text);
        }
        key.seal(fleet, Sealed::Record(member.as_str()), &writer.finish())
    }

    /// Opens what lies in the store; none unless this member sealed exactly this.
    pub fn open(sealed: &[u8], member: &MemberId, key: &FleetKey, fleet: &FleetName) -> Option<Record<W>> {
        if sealed.len() > RECORD_BYTES_MAX {
            return None;
        }
        Record::decode(key.open(fleet, Sealed::Record(member.as_str()), sealed)?)
    }

    fn decode(value: &[u8]) -> Option<Record<W>> {
        let mut reader = Reader::new(value);
        let incarnation = Incarnation::from_store(reader.number()?);
        let number = reader.number()?;
        let (version, digest) = (reader.text(TEXT_BYTES_MAX)?, reader.text(TEXT_BYTES_MAX)?);
        let facts = reader.bytes(RECORD_BYTES_MAX)?.to_vec();
        let generation = reader.number()?;
        let followed =
            Stamp { generation, epoch: reader.number()?, writer: Incarnation::from_store(reader.number()?) };
        let ejected = match reader.optional(TEXT_BYTES_MAX)? {
            None => None,
            Some(why) => Some(str::from_utf8(why).ok()?.to_owned()),
        };
        let window = match reader.optional(RECORD_BYTES_MAX)? {
            None => None,
            Some(counted) => Some(W::decode(counted)?),
        };
        let count = reader.number().filter(|count| *count <= ORDERS_MAX as u64)?;
        let mut orders = Vec::new();
        for _ in 0..count {
            let incarnation = Incarnation::from_store(reader.number()?);
            let id = OrderId { incarnation, number: reader.number()? };
            orders.push(Order { id, text: reader.bytes(RECORD_BYTES_MAX)?.to_vec() });
        }
        reader.end()?;
        Some(Record { incarnation, number, version, digest, facts, followed, ejected, window, orders })
    }
}

/// Cuts a text so that a record holds it.
pub(crate) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
