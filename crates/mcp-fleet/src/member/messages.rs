//! What goes into a member and what comes out of it, as values.

use crate::envelope::{Done, Envelope, OrderId, Stamp};
use crate::names::MemberId;
use crate::record::Order;
use crate::request::{Reply, Request, RequestId, StoreError};

use super::evidence::Evidence;

/// An input of a member.
#[derive(Debug, Clone, PartialEq)]
pub enum Input<W> {
    /// Time has passed: once a `sync_interval`.
    Tick,
    /// The store has responded.
    Reply {
        /// To which request.
        request: RequestId,
        /// What.
        reply: Box<Reply>,
    },
    /// A request has failed; whether the store carried it out is not known.
    Failed {
        /// Which.
        request: RequestId,
        /// Why.
        error: StoreError,
    },
    /// The latest window of this guard, counted since it follows this state.
    Window {
        /// The state.
        stamp: Stamp,
        /// The counts.
        window: W,
    },
    /// What else `fleet status` shows of this guard.
    Facts(Vec<u8>),
    /// A configuration was loaded.
    Configured {
        /// Digest of the part that must be the same on all members.
        digest: String,
    },
    /// This guard's own candidate fails.
    Eject {
        /// How.
        why: String,
    },
    /// This guard's own candidate is healthy again.
    Restore,
    /// An operator's order, for the leader.
    Order(Vec<u8>),
    /// A decision of the leader's decider.
    Propose(Proposal),
    /// An operator looks at the fleet: for some seconds, [`super::Member::roster`] has all members.
    Look,
    /// The guard ends: it leaves the fleet with its next request.
    Leave,
}

/// A new state for the fleet. Only a leader's is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The state.
    pub state: Vec<u8>,
    /// Which way it goes.
    pub direction: Direction,
    /// The orders that it carries out, or refuses.
    pub done: Vec<Done>,
}

/// Whether a state may expose more calls to a candidate.
#[derive(Debug, Clone, PartialEq)]
pub enum Direction {
    /// It may: this needs the evidence of the fleet.
    Forward(Evidence),
    /// It takes calls away from the candidate, or changes nothing for calls. Never held.
    Back,
}

/// An output of a member.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this to the store.
    Send(Box<Request>),
    /// Follow this state from now on.
    Follow(Envelope),
    /// From now on, calls may go to the candidate, or must not.
    Candidate(CandidateGate),
    /// For the leader: decide on this order of an operator.
    Decide {
        /// The member that took it.
        member: MemberId,
        /// The order.
        order: Order,
    },
    /// This member's order has this name.
    OrderTaken(OrderId),
    /// This member's order was carried out or refused by the leader.
    OrderDone(Done),
    /// Something that an operator should read.
    Event(Event),
}

/// Whether this guard may admit calls to its candidate under the state that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateGate {
    /// It may.
    Open,
    /// It has not yet seen the store's state, or the store's state is another one than the one that it follows.
    NotCaughtUp,
    /// Its own candidate fails.
    Ejected,
}

/// What an operator should read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The store does not respond: the state stays, nothing moves forward.
    StoreAway,
    /// The store responds again.
    StoreBack,
    /// A request has failed.
    RequestFailed(StoreError),
    /// This member leads.
    Leads {
        /// Its epoch.
        epoch: u64,
    },
    /// It no longer leads.
    LeadEnded,
    /// Its state was written.
    Published(Stamp),
    /// Its state was not written: another one came first.
    PublishRefused(Stamp),
    /// A proposal was not taken.
    ProposalRefused(ProposalRefusal),
    /// The store holds another state than the one that this member follows, and no newer one.
    StoreForgot {
        /// What it holds.
        holds: Stamp,
        /// What the member follows.
        followed: Stamp,
    },
    /// The store's state is not one that a member sealed, or is not valid.
    BadState(Stamp),
    /// The record of a member is not one that it sealed, or is not valid.
    BadRecord(MemberId),
    /// Another process uses this member's name, or this member's requests arrive late.
    NameInUse,
    /// An order was not carried out in time; whether it still will be is not known.
    OrderExpired(OrderId),
    /// Too many orders wait.
    OrderRefused,
}

/// Why a proposal is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalRefusal {
    /// This member does not lead.
    NotLeading,
    /// Another state is being written.
    Busy,
    /// It waited, and the state that it was made from is no longer the present one.
    Outdated,
    /// The evidence is not of the present state, epoch and time.
    NoEvidence,
    /// An order that it carries out was carried out before.
    AlreadyDone,
    /// The state is too large.
    TooLarge,
}
