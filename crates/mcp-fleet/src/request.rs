//! What a member asks of the store, and what the store responds: one exchange for everything.
//!
//! Plain values. The store carries a whole request out at once, or not at all.

use std::time::Duration;

use crate::envelope::{Published, Stamp};
use crate::names::{Incarnation, MemberId};

/// The whole of a limit, in parts per million.
pub const WHOLE: u64 = 1_000_000;

/// Numbers the requests of one start of a member; the store carries out none twice and none late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RequestId(pub u64);

/// How long what the store notes down holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// One renewal of a leader.
    pub leader_lease: Duration,
    /// A share of a limit, and the silence after which a member is not live.
    pub share_lease: Duration,
    /// The silence after which a member is forgotten.
    pub forget_after: Duration,
    /// How long a store without memory takes no leader.
    pub settle: Duration,
}

/// Whether a member is ready to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidacy {
    /// Leads if there is no leader.
    Ready,
    /// Does not, and gives back the lead if it has it.
    Abstains,
    /// Leaves the fleet.
    Leaves,
}

/// What a request writes, besides the member itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Nothing.
    Nothing,
    /// A state that the store seems to have lost; it counts only while the store settles.
    Offer(Published),
    /// A new state by the leader: only under its epoch, and only in place of this one.
    Publish {
        /// The epoch in which the writer leads.
        epoch: u64,
        /// What the store must hold now.
        instead_of: Stamp,
        /// What it shall hold.
        published: Published,
    },
}

/// A member's part in one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRequest {
    /// Names the limit.
    pub limit: String,
    /// The limit of the whole fleet, in calls per thousand seconds.
    pub rate: u64,
    /// What the member could use, in the same unit.
    pub demand: u64,
    /// The share that it may be using until the response arrives, in parts per million.
    pub holds: u64,
}

/// One exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// Who.
    pub member: MemberId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// How long things hold.
    pub terms: Terms,
    /// The highest epoch that the member has seen.
    pub epoch: u64,
    /// The epoch in which it leads, as far as it knows: only then is its lead renewed.
    pub leads: Option<u64>,
    /// How long ago the last request was sent that was answered: a member without replies counts as silent.
    pub silent: Duration,
    /// How many members there were before the store lost its memory; 0 if it did not.
    pub known: u64,
    /// The state that it has seen last in the store: no need to send that again.
    pub seen: Stamp,
    /// Whether it is ready to lead.
    pub candidacy: Candidacy,
    /// For the leader: send records that are newer than this.
    pub records_since: Option<u64>,
    /// The member's own record, if it has changed.
    pub record: Option<Vec<u8>>,
    /// What is written.
    pub write: Write,
    /// Its parts in limits.
    pub shares: Vec<ShareRequest>,
}

#[cfg(test)]
impl Request {
    /// The first exchange of a member that has nothing to tell but its shares.
    pub(crate) fn bare(member: &str, id: u64, shares: Vec<ShareRequest>) -> Request {
        Request {
            id: RequestId(id),
            member: MemberId::new(member).unwrap(),
            incarnation: Incarnation::new(1),
            terms: Terms {
                leader_lease: Duration::from_secs(2),
                share_lease: Duration::from_secs(2),
                forget_after: Duration::from_secs(30),
                settle: Duration::ZERO,
            },
            epoch: 0,
            leads: None,
            silent: Duration::ZERO,
            known: 0,
            seen: Stamp::default(),
            candidacy: Candidacy::Ready,
            records_since: None,
            record: None,
            write: Write::Nothing,
            shares,
        }
    }
}

/// Whether the store carried the request out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It did.
    Out,
    /// It did, but it lost its memory shortly before: no leader, and no larger shares.
    Settling,
    /// It did not: a newer request of this member, or of another start of it, came first.
    Late,
}

/// What became of a published state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// There was nothing to publish.
    Nothing,
    /// It is the fleet's state.
    Done,
    /// The epoch or the state before it was another one.
    Refused,
}

/// The leader, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderLease {
    /// Which member.
    pub member: MemberId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// For how many milliseconds it leads.
    pub left: u64,
}

/// What the store responds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The store's clock, in milliseconds.
    pub now: u64,
    /// Whether it was carried out.
    pub carried: Carried,
    /// The latest epoch.
    pub epoch: u64,
    /// Who leads.
    pub leader: Option<LeaderLease>,
    /// Which state the store holds.
    pub stamp: Stamp,
    /// That state, unless the request says that the member has it.
    pub sealed: Option<Vec<u8>>,
    /// What became of a published state.
    pub written: Written,
    /// Members that were not silent for a share's time.
    pub live: u64,
    /// Members that are not forgotten.
    pub known: u64,
    /// For the leader: every known member, with its silence in milliseconds.
    pub members: Vec<(MemberId, u64)>,
    /// For the leader: records since the one that the request names.
    pub records: Vec<(MemberId, Vec<u8>)>,
    /// What to ask for next.
    pub records_until: u64,
    /// The granted shares, in the order of the request, in parts per million.
    pub shares: Vec<u64>,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No connection, or none in time.
    #[error("cannot reach the store: {0}")]
    Unreachable(String),
    /// No response in time.
    #[error("the store does not respond")]
    Timeout,
    /// The store cannot carry it out: rights, types, memory.
    #[error("the store refuses the request: {0}")]
    Refused(String),
    /// A response of another form.
    #[error("the store's response is not valid: {0}")]
    Invalid(&'static str),
}
