//! JSON-RPC and MCP on the wire: what a body says, without building a tree of it.
//!
//! Pure functions of bytes. Must not know HTTP status codes of refusals, clients or slots: that is `policy`.

pub mod era;
mod fold;
pub mod jsonrpc;
mod lexer;
pub mod reply_id;
pub mod response_scan;
pub mod scan;
pub mod sse;
mod token;
pub mod tools_list;

pub use era::{Era, ProtocolVersion};
pub use fold::is_dropped;
pub use jsonrpc::Method;
pub use scan::{Kind, Message, ScanError, scan};

#[cfg(test)]
mod properties;
