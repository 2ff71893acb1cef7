//! From an admitted call to the head of its response: a permit of the slot, a connection, one exchange. Performs the steps
//! of the retry rule (`retry.rs`).
//!
//! A call is admitted when its first byte is sent. Until then it goes where the split of that moment sends it: a rollback
//! concerns calls that wait for a permit, a connection or a backend, too.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::classify::{Stage, explain, fault};
use super::context::CallContext;
use super::error::CallError;
use super::retry::{Decision, Event, FailedExchange, Liveness, Replay, RetryPolicy, Step};
use crate::policy::Denial;
use crate::proxy::backend::exchange::{OutgoingRequest, Received, exchange};
use crate::proxy::backend::pool::{Connection, Reused};
use crate::proxy::backend::request_head::{RequestKind, render};
use crate::proxy::backend::response_head::{Challenge, FieldRules, SessionHeader};
use crate::proxy::backend::slot::{SlotState, remaining};
use crate::proxy::downstream::stream::Downstream;
use crate::proxy::fairness::per_client::Exceeded;
use crate::proxy::fairness::semaphore::{AcquireError, Priority, SemaphorePermit};
use crate::proxy::io::TOGETHER_BYTES_MAX;
use crate::proxy::state::traffic_split::TrafficSplit;
use crate::rollout::sample::{CallResult, Failure};
use crate::telemetry::metrics::UpstreamConnection;
use crate::upstream::Slot;
use crate::wire::{Kind, Method};

/// A process that ends closes its connections and its listener one after the other; after this, both are closed.
const CLOSE_GRACE: Duration = Duration::from_millis(25);

/// Where a call goes.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) split: Arc<TrafficSplit>,
    pub(crate) slot: Slot,
    rerouting: Rerouting,
}

/// Whether a new split may send a call to another slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rerouting {
    Allowed,
    /// The other slot has failed this call.
    Forbidden,
}

impl Assignment {
    /// To the slot that this split has for the call.
    pub(crate) fn by(ctx: &CallContext<'_>, split: Arc<TrafficSplit>) -> Assignment {
        let slot = ctx.request.snapshot.pick(&split.split, ctx.call, ctx.request.own_id);
        Assignment { split, slot, rerouting: Rerouting::Allowed }
    }

    /// To this slot, whatever later splits say.
    pub(crate) fn fixed(self, slot: Slot) -> Assignment {
        Assignment { slot, rerouting: Rerouting::Forbidden, ..self }
    }

    /// Follows the split that is published now. Returns the slot it has for the call, if it is a new split and may say so.
    fn update(&mut self, ctx: &CallContext<'_>) -> Option<Slot> {
        let newer = ctx.request.state.traffic.changed_since(&self.split)?;
        match self.rerouting {
            Rerouting::Allowed => *self = Assignment::by(ctx, newer),
            Rerouting::Forbidden => self.split = newer,
        }
        (self.rerouting == Rerouting::Allowed).then_some(self.slot)
    }
}

/// A call whose response has begun.
pub(crate) struct Dispatched<'c> {
    pub(crate) slot: &'c Arc<SlotState>,
    pub(crate) permit: SemaphorePermit<'c>,
    pub(crate) received: Received,
    /// When the first byte was sent.
    pub(crate) since: Instant,
}

/// Sends a call until a response begins or the retry rule denies it.
pub(crate) async fn dispatch<'c>(
    ctx: &CallContext<'c>,
    assignment: Assignment,
    client: &mut Downstream,
) -> Result<Dispatched<'c>, CallError> {
    let slot = ctx.request.snapshot.serving(&assignment.split.split, assignment.slot);
    let slot = slot.ok_or_else(|| CallError::denied(Denial::NoBackend))?;
    // GET and DELETE are idempotent (RFC 9110, 9.2.2).
    let is_safe = ctx.call.method().repeatable() || ctx.call.session().is_some();
    let retry = RetryPolicy::new(if is_safe { Replay::Safe } else { Replay::Unsafe });
    let mut dispatch = Dispatch { ctx, assignment, slot, retry, hold_until: None, since: None };
    let result = dispatch.run(client).await;
    result.map_err(|error| error.on(dispatch.slot.slot, dispatch.since))
}

struct Dispatch<'d, 'c> {
    ctx: &'d CallContext<'c>,
    assignment: Assignment,
    /// The slot that is tried: the assigned one, or its fallback.
    slot: &'c Arc<SlotState>,
    retry: RetryPolicy,
    /// How long the call is held; set once no backend could be reached.
    hold_until: Option<Instant>,
    since: Option<Instant>,
}

impl<'c> Dispatch<'_, 'c> {
    async fn run(&mut self, client: &mut Downstream) -> Result<Dispatched<'c>, CallError> {
        loop {
            if !self.slot.takes(self.ctx.call.session()) {
                return Err(CallError::denied(Denial::MethodNotAllowed));
            }
            let permit = self.acquire(client).await?;
            let Some(connection) = self.connection(&permit, client).await? else {
                drop(permit);
                // A newer split may have another fallback.
                let unreachable = self.slot.slot;
                if self.is_rerouted() {
                    self.report(unreachable, Failure::NoConnection, Duration::ZERO);
                    continue;
                }
                Box::pin(self.recover(Event::Unreachable, client)).await?;
                continue;
            };
            let before = self.slot;
            if self.is_rerouted() {
                before.pool.put(connection, Instant::now());
                continue;
            }
            match self.exchange(connection, &permit, client).await? {
                Ok(received) => {
                    let since = self.since.unwrap_or_else(Instant::now);
                    return Ok(Dispatched { slot: self.slot, permit, received, since });
                }
                Err(failed) => {
                    drop(permit);
                    Box::pin(self.recover(Event::Failed(failed), client)).await?;
                }
            }
        }
    }

    async fn acquire(&self, client: &mut Downstream) -> Result<SemaphorePermit<'c>, CallError> {
        let (snapshot, call) = (self.ctx.request.snapshot, self.ctx.call);
        let (priority, timeout) = match self.hold_until {
            Some(until) => (Priority::High, remaining(until)),
            // Discover is not refused while a backend responds; each client has a few of them in flight.
            None if call.method() == Method::Discover => (Priority::High, remaining(client.deadline())),
            None => (Priority::Normal, snapshot.timeouts.waiting),
        };
        let (who, slot) = (self.ctx.who.key, self.slot);
        if call.kind() != Kind::Request
            && let Some(permit) = slot.calls.permits.try_acquire(who)
        {
            return Ok(permit);
        }
        let queue = slot.calls.queue(call.kind());
        let acquired = client.race(queue.acquire(who, priority, timeout)).await?;
        acquired.map_err(|(AcquireError::QueueFull | AcquireError::Timeout)| CallError {
            retry_after: slot.calls.permits.expected_wait(),
            ..CallError::denied(Denial::Overloaded)
        })
    }

    /// A connection to the slot; none if its backend cannot be reached.
    async fn connection(
        &self,
        permit: &SemaphorePermit<'_>,
        client: &mut Downstream,
    ) -> Result<Option<Box<Connection>>, CallError> {
        if self.retry.may_reuse()
            && let Some(pooled) = self.slot.pool.take(permit.since())
        {
            return Ok(Some(pooled));
        }
        let connected = client.race(self.slot.connect()).await?;
        if connected.is_err() {
            self.count(UpstreamConnection::Failed);
        }
        Ok(connected.ok())
    }

    async fn exchange(
        &mut self,
        connection: Box<Connection>,
        permit: &SemaphorePermit<'_>,
        client: &mut Downstream,
    ) -> Result<Result<Received, FailedExchange>, CallError> {
        let (ctx, backend) = (self.ctx, &self.slot.backend);
        let (reused, generation) = (connection.reused, connection.generation);
        let (how, begun) = match reused {
            Reused::Fresh => (UpstreamConnection::Opened, Instant::now()),
            Reused::Pooled => (UpstreamConnection::Reused, permit.since()),
        };
        self.count(how);
        let kind = ctx.call.session().map_or(RequestKind::Call(ctx.body.len()), RequestKind::Session);
        if let Some(trace) = ctx.request.trace {
            trace.begin_exchange(&ctx.request.state.tracing.ids, Some(self.slot.slot), backend, begun);
        }
        let mut head = render(backend, &ctx.request.head, &ctx.forwarded_from(), kind);
        // One slice is written more cheaply than two.
        let body = if ctx.body.len() <= TOGETHER_BYTES_MAX {
            head.extend_from_slice(ctx.body);
            &[]
        } else {
            ctx.body
        };
        let session = if backend.strip_session { SessionHeader::Strip } else { SessionHeader::Pass };
        let rules = FieldRules { session, challenge: Challenge::Drop, clock: &ctx.request.state.clock };
        let mut request = OutgoingRequest { head: &head, body, written: 0 };
        let result = client.race(exchange(connection, &mut request, rules)).await;
        if request.written > 0 {
            self.since.get_or_insert(begun);
        }
        if let Err(interrupt) = result
            && let Some(failure) = fault(interrupt.into(), Stage::Head).failure
        {
            self.report(self.slot.slot, failure, begun.elapsed());
        }
        if let (Some(trace), Ok(Err(error))) = (ctx.request.trace, &result) {
            trace.fail_exchange(error.as_str());
        }
        Ok(result?.map_err(|error| FailedExchange { error, reused, generation }))
    }

    /// Performs what the retry rule decides, until the call may be sent or is denied. Boxed where it is called: the timers of
    /// a call that fails are no part of one that does not.
    async fn recover(&mut self, mut event: Event, client: &mut Downstream) -> Result<(), CallError> {
        loop {
            let Decision { step, failure } = self.retry.next(event);
            if let Some(failure) = failure {
                self.report(self.slot.slot, failure, Duration::ZERO);
            }
            match step {
                Step::Send(reason) => {
                    if let Some(reason) = reason {
                        self.ctx.request.state.metrics.retried(self.slot.slot, reason);
                    }
                    return Ok(());
                }
                Step::Probe(failed) => {
                    event = Event::Probed(failed, self.probe(failed.generation, client).await?);
                }
                Step::UseFallback => match self.fallback() {
                    Some(other) => {
                        self.slot = other;
                        return Ok(());
                    }
                    None => return self.hold(client).await,
                },
                Step::Hold => return self.hold(client).await,
                Step::Deny(denial) => {
                    if let Event::Failed(failed) = event
                        && let Some(what) = explain(failed.error)
                    {
                        log::warn!("slot {}: {what}", self.slot.slot.as_str());
                    }
                    return Err(CallError::denied(denial));
                }
            }
        }
    }

    /// Whether the backend that was reached under this generation still listens.
    async fn probe(&self, generation: u64, client: &mut Downstream) -> Result<Liveness, CallError> {
        let slot = self.slot;
        let probe = async {
            tokio::time::sleep(CLOSE_GRACE).await;
            slot.connect().await
        };
        let Ok(connection) = client.race(probe).await? else { return Ok(Liveness::Gone) };
        let is_alive = connection.generation == generation;
        slot.pool.put(connection, Instant::now());
        Ok(if is_alive { Liveness::Alive } else { Liveness::Gone })
    }

    /// Whether the split has changed while the call waited, and sends it to another slot now.
    fn is_rerouted(&mut self) -> bool {
        let Some(slot) = self.assignment.update(self.ctx) else { return false };
        match self.ctx.request.snapshot.slot(slot) {
            Some(slot) if slot.slot != self.slot.slot => {
                self.slot = slot;
                self.retry.next(Event::Rerouted);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The slot that stands in for the tried one.
    fn fallback(&self) -> Option<&'c Arc<SlotState>> {
        let split = &self.assignment.split.split;
        self.ctx.request.snapshot.fallback(split, self.slot.slot, self.ctx.call.session())
    }

    /// Waits until a backend can be reached or the split changes.
    async fn hold(&mut self, client: &mut Downstream) -> Result<(), CallError> {
        let snapshot = self.ctx.request.snapshot;
        let mut changed = pin!(self.ctx.request.state.traffic.changed());
        // From here on no change is missed, not even one between checking and waiting.
        changed.as_mut().enable();
        if self.is_rerouted() {
            return Ok(());
        }
        let (slot, other) = (self.slot, self.fallback());
        let until = *self.hold_until.get_or_insert_with(|| Instant::now() + snapshot.timeouts.hold);
        let mut held = slot.calls.hold.join(self.ctx.who.key).map_err(|error| match error {
            Exceeded::All => CallError::denied(Denial::BackendRefused),
            Exceeded::Own => CallError::denied(Denial::ClientShare),
        })?;
        let other_reachable = async {
            match other {
                Some(other) => other.wait_reachable().await,
                None => std::future::pending().await,
            }
        };
        let waiting = async {
            tokio::select! {
                () = slot.wait_reachable() => Ok(slot),
                () = other_reachable => Ok(other.unwrap_or(slot)),
                () = changed => Ok(slot),
                () = held.evicted() => Err(CallError::denied(Denial::ClientShare)),
            }
        };
        let waited = client.race(tokio::time::timeout_at(until, waiting)).await?;
        drop(held);
        self.slot = waited.unwrap_or_else(|_elapsed| Err(CallError::denied(Denial::NoBackend)))?;
        Ok(())
    }

    fn report(&self, slot: Slot, failure: Failure, latency: Duration) {
        let verdict = CallResult::Failed(failure);
        self.ctx.request.state.record_sample(slot, verdict, latency, Instant::now());
    }

    fn count(&self, how: UpstreamConnection) {
        self.ctx.request.state.metrics.upstream_connection(self.slot.slot, how);
    }
}
