//! MCP over HTTP as values: messages read, headers compared, replies and cached results made.
//!
//! Must not know which tools there are or how a connection is served.

pub(crate) mod cached_responses;
pub(crate) mod headers;
pub(crate) mod message;
pub(crate) mod reply;
