//! What a member writes about itself, and when.

use std::time::Duration;

use crate::envelope::{Done, OrderId, Stamp};
use crate::moment::Moment;
use crate::names::Incarnation;
use crate::record::{ORDERS_MAX, Order, Record, Window, bounded};

/// After this time without a result an order leaves the record.
const ORDER_EXPIRES: Duration = Duration::from_secs(60);
const ORDER_BYTES_MAX: usize = 4096;

/// The member's own record.
#[derive(Debug)]
pub(crate) struct OwnRecord<W> {
    /// The latest window, and the state under which it was counted.
    pub(crate) window: Option<(Stamp, W)>,
    pub(crate) facts: Vec<u8>,
    pub(crate) ejected: Option<String>,
    /// It must be written with the next request.
    pub(crate) due: bool,
    orders: Vec<(Order, Moment)>,
    order_number: u64,
    number: u64,
    written: Option<Moment>,
}

impl<W: Window> OwnRecord<W> {
    /// Nothing to say yet.
    pub(crate) fn new() -> OwnRecord<W> {
        OwnRecord {
            window: None,
            facts: Vec::new(),
            ejected: None,
            due: true,
            orders: Vec::new(),
            order_number: 0,
            number: 0,
            written: None,
        }
    }

    /// The guard's own candidate fails.
    pub(crate) fn eject(&mut self, why: String) {
        self.ejected = Some(bounded(why));
    }

    /// A request was lost, maybe with the record.
    pub(crate) fn lost(&mut self, record: bool) {
        self.due |= record;
    }

    /// Takes an operator's order, if there is room.
    pub(crate) fn take_order(
        &mut self,
        text: Vec<u8>,
        incarnation: Incarnation,
        now: Moment,
    ) -> Option<OrderId> {
        if self.orders.len() >= ORDERS_MAX || text.len() > ORDER_BYTES_MAX {
            return None;
        }
        self.order_number += 1;
        let id = OrderId { incarnation, number: self.order_number };
        self.orders.push((Order { id, text }, now));
        Some(id)
    }

    /// Takes out the orders that are done, and returns them.
    pub(crate) fn finish_orders(&mut self, done: &[Done]) -> Vec<Done> {
        let is_own = |done: &&Done| self.orders.iter().any(|(order, _)| order.id == done.order);
        let finished: Vec<Done> = done.iter().filter(is_own).cloned().collect();
        self.orders.retain(|(order, _)| finished.iter().all(|done| done.order != order.id));
        finished
    }

    /// Takes out the orders that nothing was heard of.
    pub(crate) fn expire_orders(&mut self, now: Moment) -> Vec<OrderId> {
        let is_old = |taken: &Moment| now.since(*taken) >= ORDER_EXPIRES;
        let expired =
            self.orders.iter().filter(|(_, taken)| is_old(taken)).map(|(order, _)| order.id).collect();
        self.orders.retain(|(_, taken)| !is_old(taken));
        expired
    }

    /// Whether the record goes out with the next request.
    pub(crate) fn is_due(&self, interval: Duration, now: Moment) -> bool {
        self.due || self.written.is_none_or(|written| now.since(written) >= interval)
    }

    /// The record as it is written now.
    pub(crate) fn write(
        &mut self,
        (incarnation, version, digest): (Incarnation, &str, &str),
        followed: Stamp,
        now: Moment,
    ) -> Record<W> {
        self.number += 1;
        self.written = Some(now);
        self.due = false;
        // A window of another state is no evidence for this one.
        let window = self.window.as_ref().filter(|(stamp, _)| *stamp == followed);
        Record {
            incarnation,
            number: self.number,
            version: bounded(version.to_owned()),
            digest: bounded(digest.to_owned()),
            facts: self.facts.clone(),
            followed,
            ejected: self.ejected.clone(),
            window: window.map(|(_, window)| window.clone()),
            orders: self.orders.iter().map(|(order, _)| order.clone()).collect(),
        }
    }
}
