//! What the control plane needs of a fleet: several guards that agree on one rollout.
//!
//! One guard of the fleet leads: it decides, and each decision takes effect once the fleet has taken it over. The others
//! observe and follow. Must not know how guards reach each other.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use super::commands::{OrderId, RolloutCommand};
use super::fleet_report::FleetReport;
use super::state_file::{Followed, Saved};
use crate::rollout::Withheld;
use crate::rollout::tally::GuardTally;
use crate::rollout::triggers::Fired;
use crate::upstream::Slot;

/// This guard's part in its fleet.
pub(crate) trait Fleet: Send {
    /// Waits until something has come in or it is time to speak; `FleetInput::Woken` is due then. Nothing is lost where the
    /// future is dropped.
    fn wait(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Takes an input; what follows from it.
    fn handle(&mut self, input: FleetInput) -> Vec<FleetEvent>;

    /// What the others say, while this guard leads; none while it does not.
    fn view(&self) -> Option<FleetView>;

    /// Whether the store does not respond.
    fn is_away(&self) -> bool;

    /// What this guard must still know after a restart.
    fn followed(&self) -> Option<Followed>;

    /// Whether this guard follows a state of the fleet, also one that was kept over its restart.
    fn has_state(&self) -> bool;

    /// Whether the members are known, which `FleetInput::Look` asks the store for.
    fn has_members(&self) -> bool;

    /// The fleet for operators, as far as it is known.
    fn report(&self) -> FleetReport;
}

/// Joins the fleet, taking up what was kept; `Err` says why it cannot. Called on the control plane's runtime.
pub(crate) type JoinFleet = Box<dyn Fn(Option<Followed>) -> Result<Box<dyn Fleet>, String> + Send>;

/// An input of a fleet's member.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FleetInput {
    /// `Fleet::wait` has ended.
    Woken,
    /// What this guard has counted under the state that it follows, and what else the others should know.
    Counted(Box<GuardTally>, MemberFacts),
    /// This guard's own candidate fails: it gets no calls.
    Failed(String),
    /// This guard's candidate may get calls again.
    Recovered,
    /// A configuration was loaded; the digest of the part that all guards must share.
    Configured(String),
    /// An operator's order, for the guard that leads.
    Order(FleetOrder),
    /// A decision of this guard, which leads.
    Propose(Box<Decision>),
    /// An operator looks at the fleet.
    Look,
    /// This guard leaves the fleet.
    Leave,
}

/// What follows from an input.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    not(any(test, feature = "fleet")),
    expect(dead_code, reason = "the room that makes them is left out")
)]
pub(crate) enum FleetEvent {
    /// The fleet's state is this one now.
    Follow(Box<Saved>),
    /// Whether this guard keeps calls from its candidate.
    Withheld(Option<Withheld>),
    /// This guard leads, and an order waits for its decision.
    Decide(OrderId, Box<FleetOrder>),
    /// The order has this name.
    OrderTaken(OrderId),
    /// Too many orders wait, or this one is too large.
    OrderRefused,
    /// The order was carried out or refused.
    OrderDone(OrderId, OrderResult),
    /// No result came in time.
    OrderExpired(OrderId),
    /// This guard's decision was not taken over.
    NotTaken,
    /// An exchange with the store has failed.
    StoreFailed,
    /// The guard has left.
    Left,
}

/// An operator's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FleetOrder {
    pub(crate) command: RolloutCommand,
    pub(crate) who: String,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OrderResult {
    /// It led to the transition of this number; further facts for the operator.
    Done(u64, Vec<String>),
    /// It was refused, for this reason.
    Refused(String),
}

/// A decision of the guard that leads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decision {
    pub(crate) state: Saved,
    /// Whether the fleet must have been seen whole: it may send more calls to a candidate, and is not forced.
    pub(crate) needs_evidence: bool,
    /// The order that it carries out or refuses.
    pub(crate) order: Option<(OrderId, OrderResult)>,
}

/// What a guard tells the others, besides its counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberFacts {
    /// Configured slots, and why each is not healthy; none for a healthy one.
    pub(crate) slots: Vec<(Slot, Option<String>)>,
    /// The triggers that fire by what it alone has seen, and in which rollout.
    #[serde(default)]
    pub(crate) fired: Vec<(String, Fired)>,
    /// How far its clock is ahead of the store's, in milliseconds; the fleet knows.
    #[serde(default)]
    pub(crate) clock_off_ms: Option<i64>,
}

/// Why the fleet does not move forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FleetHold {
    /// As a sentence.
    pub(crate) why: String,
    /// It ends by itself within seconds: a guard has still to follow the present state, or to count under it.
    pub(crate) is_brief: bool,
}

/// The fleet as the guard that leads sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FleetView {
    /// What the others have counted.
    pub(crate) counted: GuardTally,
    /// The triggers that fire by what another guard alone has seen, and in which rollout.
    pub(crate) fired: Vec<(String, Fired)>,
    /// Why nothing moves forward.
    pub(crate) hold: Option<FleetHold>,
    /// Slots that are not healthy at another guard, and why.
    pub(crate) unhealthy: Vec<(Slot, String)>,
}
