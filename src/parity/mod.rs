//! Parity: are two MCP servers the same to their clients? Normalize, compare, report.
//!
//! Pure: takes what was learnt about two servers and says what differs, where, and whether it breaks a client. The same
//! code serves the command, the gate before each rollout stage and the shadow. Must not know how the facts were got.

pub mod facts;
