//! What mcp-guard and mcp-tools share: sockets, peers, service manager, process, terminal, and diagnostics of files.
//!
//! Small functions with clear errors. Must not know configuration keys, policy or the protocol.

pub mod cgroup_memory;
pub mod diagnostics;
pub mod files;
pub mod handoff;
pub mod journal;
pub mod lend;
pub mod manual;
pub mod peers;
pub mod process;
pub mod sd_notify;
pub mod socket;
pub mod socket_activation;
pub mod systemctl;
pub mod terminal;
pub mod tls;
