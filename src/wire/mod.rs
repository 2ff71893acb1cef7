//! JSON-RPC and MCP on the wire: what a body says, without building a tree of it.
//!
//! Pure functions of bytes. Must not know HTTP status codes of refusals, clients or slots: that is `policy`.

pub mod bounded;
pub mod declaration;
pub mod envelope;
pub mod era;
pub mod error;
mod fold;
pub mod header_value;
pub mod jsonrpc;
mod lexer;
mod method;
pub mod reply_id;
pub mod response_scan;
pub mod scan;
pub mod sse;
mod token;
pub mod tools_list;

pub use era::{Era, ProtocolVersion};
pub use error::ScanError;
pub use fold::is_dropped;
pub use method::{Method, NameSource};
pub use scan::{Kind, Message, scan};

#[cfg(test)]
mod properties;
