//! The guard's part in a fleet: several guards that work as one through a store.
//!
//! The agreement itself is `mcp-fleet`'s. Must not know how a rollout is decided, nor how calls are served.

mod limits;
pub(crate) mod store;

pub(crate) use limits::LeasedRates;
