//! Agreement between several guards through a store: one state under one generation, one leader, shared limits.
//!
//! The store, Redis or Valkey, is the engine; there is no consensus protocol here. [`Member`] is pure: inputs in, outputs out,
//! time passed in. A [`Store`] carries out one exchange a tick: heartbeat, lease of the lead, read or write of the state,
//! shares of limits, in one script. Must not know what a state, a window or an order means, nor of MCP or HTTP.

#![warn(missing_docs)]

mod courier;
mod encoding;
mod envelope;
mod key;
mod limits;
mod member;
mod moment;
mod names;
mod record;
mod redis;
mod request;
mod rules;
mod settings;
mod store;

pub use courier::{Courier, Response};
pub use encoding::{Reader, Writer};
pub use envelope::{DONE_MAX, Done, Envelope, OrderId, Published, STATE_BYTES_MAX, Stamp};
pub use key::{FleetKey, KeyError, Sealed};
pub use limits::{Admission, LIMITS_IN_REQUEST_MAX, Limit, Limits, Outlook, Share};
pub use member::{
    CandidateGate, Direction, Event, Evidence, Fleet, Hold, Identity, Input, Kept, Member, Output, Peer,
    Proposal, ProposalRefusal, Roster, View,
};
pub use moment::Moment;
pub use names::{FleetName, Incarnation, MemberId, NameError};
pub use record::{ORDERS_MAX, Order, RECORD_BYTES_MAX, Record, Window};
pub use redis::{Probed, RedisStore, StoreAddress, Topology};
pub use request::{
    Candidacy, Carried, LeaderLease, Reply, Request, RequestId, ShareRequest, StoreError, Terms, WHOLE,
    Write, Written,
};
pub use settings::{Settings, SettingsError};
pub use store::Store;

#[cfg(test)]
mod real_store;
#[cfg(test)]
mod simulation;
