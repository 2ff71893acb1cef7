//! MCP over HTTP as values: reads messages, compares headers, makes replies and cached results.
//!
//! Must not know which tools exist or how a connection is served.

pub(crate) mod cached_responses;
pub(crate) mod call_result;
pub(crate) mod era;
pub(crate) mod headers;
pub(crate) mod message;
pub(crate) mod reply;
