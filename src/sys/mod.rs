//! What the operating system is asked for directly: sockets, peers, the service manager, the process, the terminal.
//!
//! Small functions with clear errors. Must not know configuration, policy or the protocol.

pub(crate) mod handoff;
pub(crate) mod inherit;
pub(crate) mod journal;
pub(crate) mod lend;
pub(crate) mod memory;
pub(crate) mod notify;
pub(crate) mod peers;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod terminal;
