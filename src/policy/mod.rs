//! The front-door order of the contract, section 2: one function on the head, one on the call.
//!
//! The set of checks is fixed and their order is a security property: straight lines, one check a file. Pure: no I/O,
//! no clock (callers pass `now`), and no allocation on the way to a verdict on the head.

pub mod auth;
pub mod call;
pub mod denial;
pub mod head;
pub mod limits;
pub mod origin;
pub mod paths;
pub mod permit;
pub mod reply;

pub use auth::{ClientId, Clients};
pub use call::{Call, Refusal};
pub use denial::Denial;
pub use limits::{Limits, Timeouts};
pub use permit::Permit;

use crate::http1::RequestHead;
use crate::wire::era::MaxVersion;

/// Everything the checks need, immutable: a reload builds a new one.
pub struct Policy {
    pub paths: paths::Config,
    pub origin: origin::Config,
    pub auth: auth::Config,
    pub limits: Limits,
    pub clients: Clients,
}

/// What the guard answers itself without refusing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// `200 {"status": "ok"}`
    Health,
    /// Readiness; the shell knows the state of the backends.
    Ready,
}

/// The verdict on a request head.
pub enum Verdict {
    Answer(Local),
    Deny(Denial),
    /// The head passes; the body may be read.
    Forward(Permit),
}

impl Policy {
    /// Checks 1 to 10 of the decision order, and the declared body length. `now` is seconds since the epoch.
    pub fn decide(&self, head: &RequestHead<'_>, now: u64) -> Verdict {
        let _ = (head, now);
        todo!()
    }

    /// Checks 12 to 14: scan, era, and what this client may call. Consumes the proof that the head passed.
    pub fn decide_call<'b>(
        &self,
        permit: Permit,
        head: &RequestHead<'b>,
        body: &'b [u8],
        max_version: MaxVersion,
    ) -> Result<Call<'b>, Refusal<'b>> {
        let _ = (permit, head, body, max_version);
        todo!()
    }
}
