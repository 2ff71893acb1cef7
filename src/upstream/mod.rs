//! Where backends live and which share of the traffic each gets. Pure: health and sockets are elsewhere.

pub mod backend;
pub mod split;

pub use backend::{Accept, Address, Backend, UpstreamAuthorization};
pub use split::{Percent, Share, Slot, Split};
