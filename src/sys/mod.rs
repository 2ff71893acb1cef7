//! What the operating system is asked for directly: sockets, peers, files' modes, the service manager, the process.
//!
//! Small functions with clear errors. Must not know configuration, policy or the protocol.

pub(crate) mod socket;
