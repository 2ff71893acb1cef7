//! The guard's place in its fleet: what is on its way between the two.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::control::commands::{OrderId, PendingCommand};
use crate::control::fleet::Fleet;
use crate::control::fleet_report::{CandidateState, FleetReport};
use crate::control::state_file::Followed;
use crate::rollout::triggers::Fired;
use crate::rollout::{Event, State, Transition};
use crate::telemetry::metrics::FleetGauges;
use crate::upstream::Slot;

/// The response to the order to leave.
pub(super) type LeaveReply = oneshot::Sender<Result<(), String>>;

/// The guard's place in its fleet.
pub(super) struct Seat {
    pub(super) fleet: Box<dyn Fleet>,
    /// Whether it has followed a state of the fleet before.
    pub(super) has_followed: bool,
    /// Whether this guard decides.
    pub(super) leads: bool,
    /// A decision that the fleet has not taken over yet: until then there is no other.
    pub(super) proposed: Option<Proposed>,
    /// The latest decision that was taken back. Where only the response was lost, the fleet has it nevertheless.
    pub(super) taken_back: Option<Transition>,
    /// What came meanwhile and must not be lost.
    pub(super) postponed: Vec<Event>,
    /// What the fleet waits for, or what keeps a slot from getting calls, ends by itself within seconds.
    pub(super) is_held_briefly: bool,
    /// Slots that are not healthy elsewhere.
    pub(super) unhealthy: Vec<(Slot, String)>,
    /// What makes this guard keep calls from its candidate, and in which rollout.
    pub(super) failed: Option<(String, Fired)>,
    pub(super) counted: Option<Instant>,
    /// The order that has no name yet.
    pub(super) unnamed: Option<PendingCommand>,
    /// Orders of this guard's operators that wait for the fleet.
    pub(super) ordered: HashMap<OrderId, PendingCommand>,
    /// Orders that this guard decides on, as long as it leads, and since when.
    pub(super) deciding: HashMap<OrderId, Instant>,
    /// When the latest order that was carried out was put forward.
    pub(super) carried_out: Option<Instant>,
    /// Those of them that wait: for the fleet to take the decision before over, or for guards that have still to count.
    pub(super) waiting: VecDeque<PendingCommand>,
    /// Results of refused orders that the fleet does not have yet.
    pub(super) refusals: VecDeque<(OrderId, String)>,
    /// The order that the next transition carries out.
    pub(super) carries_out: Option<(OrderId, Vec<String>)>,
    pub(super) looks: Vec<(Instant, oneshot::Sender<Option<FleetReport>>)>,
    pub(super) leaving: Option<LeaveReply>,
}

/// A decision on its way.
pub(super) struct Proposed {
    /// None where only an order's result is on its way.
    pub(super) transition: Option<Transition>,
    /// The state before it.
    pub(super) before: State,
    pub(super) order: Option<OrderId>,
}

impl Proposed {
    /// Whether it may send more calls to a candidate.
    fn is_forward(&self) -> bool {
        self.transition.as_ref().is_some_and(|made| made.kind.is_forward())
    }
}

impl Seat {
    pub(super) fn new(fleet: Box<dyn Fleet>) -> Seat {
        Seat {
            has_followed: fleet.has_state(),
            fleet,
            leads: false,
            proposed: None,
            taken_back: None,
            postponed: Vec::new(),
            is_held_briefly: false,
            unhealthy: Vec::new(),
            failed: None,
            counted: None,
            unnamed: None,
            ordered: HashMap::new(),
            deciding: HashMap::new(),
            carried_out: None,
            waiting: VecDeque::new(),
            refusals: VecDeque::new(),
            carries_out: None,
            looks: Vec::new(),
            leaving: None,
        }
    }

    /// Waits for the fleet; forever without one.
    pub(super) async fn wait(seat: Option<&mut Seat>) {
        match seat {
            Some(seat) => seat.fleet.wait().await,
            None => std::future::pending().await,
        }
    }

    /// The state by which calls are routed, while a decision must not reach them yet.
    pub(super) fn routed_by(&self) -> Option<&State> {
        self.proposed.as_ref().filter(|proposed| proposed.is_forward()).map(|proposed| &proposed.before)
    }

    /// What the gauges show.
    pub(super) fn gauges(&self) -> FleetGauges {
        let seen = self.fleet.report();
        FleetGauges {
            is_store_up: !seen.store_away,
            generation: seen.generation,
            live: seen.live,
            known: seen.known,
            leads: self.leads,
            has_leader: seen.leader.is_some(),
            is_candidate_open: seen.candidate == CandidateState::Open,
            holds: seen.holds.len(),
        }
    }

    /// What must be kept over a restart.
    pub(super) fn followed(&self) -> Option<Followed> {
        self.fleet.followed()
    }
}
