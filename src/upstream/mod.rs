//! Where backends live and which share of the traffic each gets. Pure: health and sockets are elsewhere.

pub mod attempts;
pub mod backend;
pub mod secrets;
pub mod split;

pub use attempts::attempt_time;
pub(crate) use attempts::{ADDRESSES_MAX, telling};
pub use backend::{Accept, Address, Backend, UpstreamAuthorization};
pub use secrets::Secrets;
pub use split::{Choice, PerSlot, Percent, Reason, Share, Slot, Split};
