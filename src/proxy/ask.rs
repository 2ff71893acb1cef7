//! From an admitted call to the head of its answer: a place, a connection, one exchange; and what may be tried again.
//!
//! The rule of repetition: a request of which not one byte was taken may go again, anywhere. Once a byte was taken, only
//! a method that is known to change nothing may.

use std::sync::Arc;

use tokio::time::Instant;

use super::admission::{NoPlace, Place};
use super::answer::Session;
use super::backend::{self, Origin};
use super::client::{Client, Interrupt};
use super::exchange::{Failure, Received, exchange};
use super::pool::{Connection, Reused};
use super::runtime::{Runtime, Shared};
use super::slot::{SlotState, left};
use crate::http1::RequestHead;
use crate::policy::reply::Executed;
use crate::policy::{Call, Denial};
use crate::telemetry::metrics::{Retry, UpstreamConnection};
use crate::upstream::Slot;

/// How often a call is sent again after a connection failed under it.
const AGAIN_MAX: u32 = 2;

/// What is asked of a backend.
pub(super) struct Question<'q> {
    pub(super) shared: &'q Shared,
    pub(super) runtime: &'q Runtime,
    pub(super) request: &'q RequestHead<'q>,
    pub(super) call: &'q Call<'q>,
    pub(super) body: &'q [u8],
    pub(super) origin: Origin<'q>,
    pub(super) slot: Slot,
}

/// An answer has begun.
pub(super) struct Asked<'q> {
    pub(super) slot: &'q Arc<SlotState>,
    pub(super) place: Place<'q>,
    pub(super) received: Received,
    /// When the first byte was sent.
    pub(super) since: Instant,
}

/// No answer has begun.
#[derive(Debug)]
pub(super) struct NotAsked {
    pub(super) why: Why,
    pub(super) executed: Executed,
    pub(super) slot: Option<Slot>,
    /// When the first byte was sent, if one was.
    pub(super) since: Option<Instant>,
}

/// Why no answer has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Refused(Denial),
    ClientGone,
}

impl From<Interrupt> for Why {
    fn from(interrupt: Interrupt) -> Why {
        match interrupt {
            Interrupt::Deadline => Why::Refused(Denial::Deadline),
            Interrupt::Draining => Why::Refused(Denial::Draining),
            Interrupt::ClientGone => Why::ClientGone,
        }
    }
}

/// Asks, until there is an answer or a reason why there is none.
pub(super) async fn ask<'q>(question: &'q Question<'q>, client: &mut Client) -> Result<Asked<'q>, NotAsked> {
    let no_backend =
        NotAsked { why: Why::Refused(Denial::NoBackend), executed: Executed::No, slot: None, since: None };
    let slot = question.runtime.slot(question.slot).ok_or(no_backend)?;
    let mut asking =
        Asking { question, slot, tried_fallback: false, again: 0, hold_until: None, since: None };
    let result = asking.run(client).await;
    result.map_err(|why| NotAsked {
        why,
        executed: if asking.since.is_some() { Executed::Unknown } else { Executed::No },
        slot: Some(asking.slot.slot),
        since: asking.since,
    })
}

struct Asking<'q> {
    question: &'q Question<'q>,
    slot: &'q Arc<SlotState>,
    tried_fallback: bool,
    again: u32,
    /// Set once the backend could not be reached: how long the call is held.
    hold_until: Option<Instant>,
    since: Option<Instant>,
}

impl<'q> Asking<'q> {
    async fn run(&mut self, client: &mut Client) -> Result<Asked<'q>, Why> {
        loop {
            let place = self.enter(client).await?;
            // A connection that failed under this call casts doubt on its fellows in the pool.
            let pooled = if self.again == 0 { self.slot.pool.take() } else { None };
            let connection = match pooled {
                Some(connection) => connection,
                None => match client.until(self.slot.connect()).await? {
                    Ok(connection) => connection,
                    Err(_unreachable) => {
                        self.count(UpstreamConnection::Failed);
                        drop(place);
                        self.turn_elsewhere(client).await?;
                        continue;
                    }
                },
            };
            self.count(match connection.reused() {
                Reused::Fresh => UpstreamConnection::Opened,
                Reused::Pooled => UpstreamConnection::Reused,
            });
            match self.exchange(connection, client).await? {
                Ok(received) => {
                    let since = self.since.unwrap_or_else(Instant::now);
                    return Ok(Asked { slot: self.slot, place, received, since });
                }
                Err(failure) => self.judge(&failure)?,
            }
        }
    }

    async fn enter(&self, client: &mut Client) -> Result<Place<'q>, Why> {
        let places = &self.slot.places;
        let entered = match self.hold_until {
            None => client.until(places.enter()).await?,
            Some(until) => client.until(places.enter_again(left(until))).await?,
        };
        entered.map_err(|(NoPlace::LineFull | NoPlace::WaitedTooLong)| Why::Refused(Denial::Overloaded))
    }

    async fn exchange(
        &mut self,
        connection: Connection,
        client: &mut Client,
    ) -> Result<Result<Received, Failure>, Why> {
        let Question { shared, request, body, origin, .. } = self.question;
        let head = backend::head(&self.slot.backend, request, origin, body.len());
        let session = if self.slot.backend.strip_session { Session::Strip } else { Session::Keep };
        let begun = Instant::now();
        let mut written = 0;
        let exchange = exchange(connection, &head, body, session, &shared.clock, &mut written);
        let result = client.until(exchange).await;
        if written > 0 {
            self.since.get_or_insert(begun);
        }
        Ok(result?)
    }

    /// Whether the call may be sent again after this failure.
    fn judge(&mut self, failure: &Failure) -> Result<(), Why> {
        let slot = self.slot.slot;
        let why = match failure {
            Failure::Unsent if self.again < AGAIN_MAX => {
                self.again += 1;
                self.question.shared.metrics.retried(slot, Retry::Unsent);
                return Ok(());
            }
            Failure::Cut if self.again < AGAIN_MAX && self.question.call.method().repeatable() => {
                self.again += 1;
                self.question.shared.metrics.retried(slot, Retry::Repeatable);
                return Ok(());
            }
            Failure::Unsent | Failure::Cut => Denial::BackendReset,
            Failure::Invalid(error) => {
                log::warn!("slot {}: the backend's answer is malformed: {error}", slot.as_str());
                Denial::BackendInvalid
            }
            Failure::TooManyInterim => {
                log::warn!("slot {}: the backend sends 1xx answers without end", slot.as_str());
                Denial::BackendInvalid
            }
        };
        Err(Why::Refused(why))
    }

    /// The backend cannot be reached: another one may stand in, or the call is held until it can.
    async fn turn_elsewhere(&mut self, client: &mut Client) -> Result<(), Why> {
        let runtime = self.question.runtime;
        if !self.tried_fallback {
            self.tried_fallback = true;
            if let Some(other) = runtime.split.fallback(self.slot.slot).and_then(|slot| runtime.slot(slot)) {
                self.slot = other;
                return Ok(());
            }
        }
        let hold = runtime.timeouts.hold;
        let until = *self.hold_until.get_or_insert_with(|| Instant::now() + hold);
        let Some(held) = self.slot.hold.join() else { return Err(Why::Refused(Denial::BackendRefused)) };
        let slot = self.slot;
        let first_or_later = async {
            let _turn = held.turn().await;
            // Whoever had the turn before may have found it.
            if slot.reachable() != Some(true) {
                slot.connect_patiently().await;
            }
        };
        match client.until(tokio::time::timeout_at(until, first_or_later)).await? {
            Ok(()) => Ok(()),
            Err(_elapsed) => Err(Why::Refused(Denial::NoBackend)),
        }
    }

    fn count(&self, how: UpstreamConnection) {
        self.question.shared.metrics.upstream_connection(self.slot.slot, how);
    }
}
