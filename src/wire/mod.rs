//! JSON-RPC and MCP on the wire: what a body says, without building a tree of it.
//!
//! Pure functions of bytes. Must not know HTTP status codes of refusals, clients or slots: that is `policy`.

pub mod era;
mod fold;
mod lexer;
pub mod listing;
pub mod outcome;
pub mod reply_id;
pub mod rpc;
pub mod scan;
mod token;

pub use era::{Era, ProtocolVersion};
pub use fold::is_dropped;
pub use rpc::Method;
pub use scan::{Kind, Message, ScanError, scan};

#[cfg(test)]
mod properties;
