//! The order of checks of the contract, section 2: one function on the head, one on the call.
//!
//! The set of checks is fixed and their order is a security property: straight lines, one check a file. Pure: no I/O,
//! no clock (callers pass `now`), and no allocation on the way to a verdict on the head.

pub mod auth;
pub mod call;
pub mod certificate;
mod challenge;
pub mod cors;
mod decision;
pub mod denial;
mod detail;
pub mod explain;
mod head;
mod headers;
mod identify;
pub mod identity;
pub mod limits;
pub mod oauth;
pub mod order;
pub mod origin;
pub mod paths;
pub mod permit;
pub mod quota;
pub mod rate;
pub mod reply;
pub mod routes;
pub mod session;
pub mod shared_rates;
pub mod subject;
mod switched_off;
pub mod token_fault;
pub mod tools;

pub use auth::{ClientId, Clients};
pub use call::{Call, Refusal, ReplyTo};
pub use decision::{CredentialFields, Local, Policy, Sessions, Verdict};
pub use denial::Denial;
pub use identity::{Identity, Presented};
pub use limits::{Limits, Timeouts};
pub use order::{OrderCheck, Trace};
pub use permit::Permit;
pub use quota::{Quota, ToolRules};
pub use session::SessionRequest;
pub use subject::Subject;
pub use switched_off::SwitchedOff;
