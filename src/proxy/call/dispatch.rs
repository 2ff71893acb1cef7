//! From an admitted call to the head of its answer: a place, a connection, one exchange; and what may be tried again.
//!
//! The rule of repetition: a request of which not one byte was taken may go again, anywhere. Once a byte was taken, only
//! a method that is known to change nothing may: again where the backend that took it is gone, and once more where a live
//! backend closed the connection without a byte.
//!
//! A call is admitted when its first byte is sent. Until then it goes where the route of that moment sends it: a rollback
//! concerns calls that wait for a place, a connection or a backend, too.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::http1::RequestHead;
use crate::policy::reply::Executed;
use crate::policy::{Call, Denial};
use crate::proxy::backend::exchange::{Failure, Received, exchange};
use crate::proxy::backend::hold::NotHeld;
use crate::proxy::backend::pool::{Connection, Reused};
use crate::proxy::backend::request_head;
use crate::proxy::backend::request_head::{Ask, Origin};
use crate::proxy::backend::response_head::Session;
use crate::proxy::backend::slot::{SlotState, left};
use crate::proxy::downstream::stream::{Downstream, Interrupt};
use crate::proxy::fairness::semaphore::{NoPlace, Place, Standing};
use crate::proxy::io::TOGETHER_BYTES_MAX;
use crate::proxy::state::snapshot::{ProxyState, Snapshot};
use crate::proxy::state::traffic_split::Route;
use crate::rollout::sample::{CallResult, Failure as Failed};
use crate::telemetry::metrics::{Retry, UpstreamConnection};
use crate::upstream::Slot;
use crate::wire::{Kind, Method};

/// How often a call is sent again after a connection failed under it.
const AGAIN_MAX: u32 = 2;

/// A process that ends closes its connections and its listener one after the other; after this, both.
const LAST_BREATH: Duration = Duration::from_millis(25);

/// What is asked of a backend.
#[derive(Clone)]
pub(crate) struct Question<'q> {
    pub(crate) state: &'q ProxyState,
    pub(crate) snapshot: &'q Snapshot,
    pub(crate) request: &'q RequestHead<'q>,
    pub(crate) call: &'q Call<'q>,
    pub(crate) body: &'q [u8],
    pub(crate) origin: Origin<'q>,
    pub(crate) to: To,
}

/// Where a question goes.
#[derive(Debug, Clone)]
pub(crate) enum To {
    /// Where the route sends it, this one to begin with.
    Route(Arc<Route>),
    /// To this slot, whatever the route says: the other one has failed.
    Slot(Slot),
}

/// An answer has begun.
pub(crate) struct Asked<'q> {
    pub(crate) slot: &'q Arc<SlotState>,
    pub(crate) place: Place<'q>,
    pub(crate) received: Received,
    /// When the first byte was sent.
    pub(crate) since: Instant,
}

/// No answer has begun.
#[derive(Debug)]
pub(crate) struct NotAsked {
    pub(crate) why: Why,
    pub(crate) executed: Executed,
    pub(crate) slot: Option<Slot>,
    /// When the first byte was sent, if one was.
    pub(crate) since: Option<Instant>,
}

/// Why no answer has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
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

impl Question<'_> {
    /// The slot that this route has for the call.
    pub(crate) fn pick(&self, route: &Route) -> Slot {
        self.snapshot.pick(&route.split, self.call.client(), self.origin.routing_id)
    }
}

/// Asks, until there is an answer or a reason why there is none.
pub(crate) async fn ask<'q>(
    question: &'q Question<'q>,
    client: &mut Downstream,
) -> Result<Asked<'q>, NotAsked> {
    let no_backend =
        NotAsked { why: Why::Refused(Denial::NoBackend), executed: Executed::No, slot: None, since: None };
    let (route, slot) = match &question.to {
        To::Route(route) => (route.clone(), question.pick(route)),
        To::Slot(slot) => (question.state.routes.load(), *slot),
    };
    // A slot that the configuration no longer has is one that cannot be reached.
    let known = |slot| question.snapshot.slot(slot);
    let slot = known(slot).or_else(|| route.split.fallback(slot).and_then(known)).ok_or(no_backend)?;
    let mut asking = Asking {
        question,
        route,
        slot,
        fallback: Fallback::Untried,
        unsent: 0,
        repeated: 0,
        hold_until: None,
        since: None,
    };
    let result = asking.run(client).await;
    result.map_err(|why| NotAsked {
        why,
        executed: if asking.since.is_some() { Executed::Unknown } else { Executed::No },
        slot: Some(asking.slot.slot),
        since: asking.since,
    })
}

/// Whether another slot has stood in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fallback {
    Untried,
    Tried,
}

/// What became of the backend that closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    Lives,
    /// Nobody listens, or somebody else does.
    Gone,
}

struct Asking<'q> {
    question: &'q Question<'q>,
    route: Arc<Route>,
    slot: &'q Arc<SlotState>,
    fallback: Fallback,
    /// Sent again because nothing had been taken.
    unsent: u32,
    /// Sent again although it had been taken.
    repeated: u32,
    /// Set once the backend could not be reached: how long the call is held.
    hold_until: Option<Instant>,
    since: Option<Instant>,
}

impl<'q> Asking<'q> {
    async fn run(&mut self, client: &mut Downstream) -> Result<Asked<'q>, Why> {
        loop {
            if self.question.call.session().is_some() && !self.slot.backend.sessions {
                // Without `sessions` a slot is asked by POST only.
                return Err(Why::Refused(Denial::MethodNotAllowed));
            }
            let place = self.enter(client).await?;
            // A connection that failed under this call casts doubt on its fellows in the pool.
            let pooled = if self.unsent == 0 { self.slot.pool.take(place.since().into()) } else { None };
            let connection = match pooled {
                Some(connection) => connection,
                None => match client.until(self.slot.connect()).await? {
                    Ok(connection) => connection,
                    Err(_unreachable) => {
                        self.count(UpstreamConnection::Failed);
                        self.sample(Failed::NoConnection, Duration::ZERO);
                        drop(place);
                        self.turn_elsewhere(client).await?;
                        continue;
                    }
                },
            };
            let before = self.slot;
            if self.is_sent_elsewhere() {
                before.pool.put(connection, Instant::now().into());
                continue;
            }
            let (reused, generation) = (connection.reused(), connection.generation());
            self.count(match reused {
                Reused::Fresh => UpstreamConnection::Opened,
                Reused::Pooled => UpstreamConnection::Reused,
            });
            let begun = match reused {
                Reused::Fresh => Instant::now(),
                Reused::Pooled => place.since(),
            };
            match self.exchange(connection, begun, client).await? {
                Ok(received) => {
                    let since = self.since.unwrap_or_else(Instant::now);
                    return Ok(Asked { slot: self.slot, place, received, since });
                }
                Err(failure @ (Failure::Silent | Failure::Cut)) if self.may_repeat() => {
                    drop(place);
                    if self.look_after(generation, client).await? == Backend::Lives
                        && (failure == Failure::Cut || self.repeated > 0)
                    {
                        self.judge(&failure, reused)?;
                    }
                    self.repeated += 1;
                    self.question.state.metrics.retried(self.slot.slot, Retry::Repeatable);
                }
                Err(failure) => self.judge(&failure, reused)?,
            }
        }
    }

    async fn enter(&self, client: &mut Downstream) -> Result<Place<'q>, Why> {
        let (snapshot, call) = (self.question.snapshot, self.question.call);
        let (standing, patience) = match self.hold_until {
            Some(until) => (Standing::Privileged, left(until)),
            // It is not refused while a backend can answer; each client has a few of them under way at a time.
            None if call.method() == Method::Discover => (Standing::Privileged, left(client.deadline())),
            None => (Standing::New, snapshot.timeouts.waiting),
        };
        let (who, slot) = (snapshot.key(call.client()), self.slot);
        let places = match call.kind() {
            Kind::Request => &slot.places,
            Kind::Notification | Kind::Response => match slot.places.try_enter(who) {
                Some(place) => return Ok(place),
                None => &slot.reserve,
            },
        };
        let entered = client.until(places.enter(who, standing, patience)).await?;
        entered.map_err(|(NoPlace::LineFull | NoPlace::WaitedTooLong)| Why::Refused(Denial::Overloaded))
    }

    async fn exchange(
        &mut self,
        connection: Connection,
        begun: Instant,
        client: &mut Downstream,
    ) -> Result<Result<Received, Failure>, Why> {
        let Question { state, request, call, body, origin, .. } = self.question;
        let what = call.session().map_or(Ask::Call(body.len()), Ask::Session);
        let mut head = request_head::head(&self.slot.backend, request, origin, what);
        // One slice is written more cheaply than two.
        let body = if body.len() <= TOGETHER_BYTES_MAX {
            head.extend_from_slice(body);
            &[]
        } else {
            *body
        };
        let session = if self.slot.backend.strip_session { Session::Strip } else { Session::Keep };
        let mut written = 0;
        let exchange = exchange(connection, &head, body, session, &state.clock, &mut written);
        let result = client.until(exchange).await;
        if written > 0 {
            self.since.get_or_insert(begun);
        }
        if result.as_ref().err() == Some(&Interrupt::Deadline) {
            self.sample(Failed::Timeout, begun.elapsed());
        }
        Ok(result?)
    }

    fn may_repeat(&self) -> bool {
        let call = self.question.call;
        // GET and DELETE are idempotent (RFC 9110, 9.2.2).
        self.repeated < AGAIN_MAX && (call.method().repeatable() || call.session().is_some())
    }

    /// Whether the backend that was reached under this generation still listens.
    async fn look_after(&self, generation: u64, client: &mut Downstream) -> Result<Backend, Why> {
        let slot = self.slot;
        let look = async {
            tokio::time::sleep(LAST_BREATH).await;
            slot.connect().await
        };
        let Ok(connection) = client.until(look).await? else { return Ok(Backend::Gone) };
        let lives = connection.generation() == generation;
        slot.pool.put(connection, Instant::now().into());
        Ok(if lives { Backend::Lives } else { Backend::Gone })
    }

    /// Whether the call may be sent again after this failure.
    fn judge(&mut self, failure: &Failure, reused: Reused) -> Result<(), Why> {
        let slot = self.slot.slot;
        match failure {
            // The backend may close an idle connection at any time: that is no failure of its.
            Failure::Unsent | Failure::Silent | Failure::Cut
                if reused == Reused::Pooled && self.unsent < AGAIN_MAX => {}
            Failure::Unsent | Failure::Silent | Failure::Cut => {
                self.sample(Failed::NoConnection, Duration::ZERO)
            }
            Failure::Invalid(_) | Failure::TooManyInterim => self.sample(Failed::Garbage, Duration::ZERO),
        }
        let why = match failure {
            Failure::Unsent if self.unsent < AGAIN_MAX => {
                self.unsent += 1;
                self.question.state.metrics.retried(slot, Retry::Unsent);
                return Ok(());
            }
            Failure::Unsent | Failure::Silent | Failure::Cut => Denial::BackendReset,
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

    /// Whether the route has changed while the call waited, and has another slot for it now.
    fn is_sent_elsewhere(&mut self) -> bool {
        let Some(newer) = self.question.state.routes.newer_than(&self.route) else { return false };
        self.route = newer;
        let picked = match &self.question.to {
            To::Route(_) => self.question.pick(&self.route),
            To::Slot(_) => return false,
        };
        match self.question.snapshot.slot(picked) {
            Some(slot) if slot.slot != self.slot.slot => {
                self.slot = slot;
                (self.fallback, self.unsent) = (Fallback::Untried, 0);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The backend cannot be reached: another one may stand in, or the call is held until one of them can.
    async fn turn_elsewhere(&mut self, client: &mut Downstream) -> Result<(), Why> {
        let (snapshot, routes) = (self.question.snapshot, &self.question.state.routes);
        let mut changed = pin!(routes.change());
        // From here on no change is missed, not even one between looking and waiting.
        changed.as_mut().enable();
        if self.is_sent_elsewhere() {
            return Ok(());
        }
        // A session lives in one backend: the other one does not know it.
        let fallback = self.route.split.fallback(self.slot.slot);
        let fallback = fallback.filter(|_| self.question.call.session().is_none());
        let other = fallback.and_then(|slot| snapshot.slot(slot));
        if self.fallback == Fallback::Untried {
            self.fallback = Fallback::Tried;
            if let Some(other) = other {
                self.slot = other;
                return Ok(());
            }
        }
        let hold = snapshot.timeouts.hold;
        let until = *self.hold_until.get_or_insert_with(|| Instant::now() + hold);
        let slot = self.slot;
        let joined = slot.hold.join(snapshot.key(self.question.call.client()));
        let mut held = joined.map_err(|not_held| match not_held {
            NotHeld::Full => Why::Refused(Denial::BackendRefused),
            NotHeld::OwnExcess => Why::Refused(Denial::ClientShare),
        })?;
        let that = async {
            match other {
                Some(other) => other.come_back().await,
                None => std::future::pending().await,
            }
        };
        let waiting = async {
            tokio::select! {
                () = slot.come_back() => Ok(None),
                () = that => Ok(other),
                () = changed => Ok(None),
                () = held.evicted() => Err(Why::Refused(Denial::ClientShare)),
            }
        };
        let waited = client.until(tokio::time::timeout_at(until, waiting)).await?;
        drop(held);
        match waited {
            Ok(better) => {
                self.slot = better?.unwrap_or(slot);
                Ok(())
            }
            Err(_elapsed) => Err(Why::Refused(Denial::NoBackend)),
        }
    }

    /// Tells the control plane of a failure on this slot.
    fn sample(&self, failed: Failed, latency: Duration) {
        self.question.state.ended(self.slot.slot, CallResult::Failed(failed), latency);
    }

    fn count(&self, how: UpstreamConnection) {
        self.question.state.metrics.upstream_connection(self.slot.slot, how);
    }
}
