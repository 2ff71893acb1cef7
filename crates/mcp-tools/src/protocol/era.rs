//! The two generations of the protocol, and how a result is written for each. Must not know what a result says.

use rmcp::model::{ProtocolVersion, ServerResult};

use super::message::json_of;

/// How a client declares its protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// Agreed once, by `initialize`.
    Handshake,
    /// Declared by each request: 2026-07-28 and later.
    PerRequest,
}

impl Era {
    pub(crate) fn of(version: Option<&ProtocolVersion>) -> Era {
        match version {
            Some(version) if !version.has_initialize() => Era::PerRequest,
            Some(_) | None => Era::Handshake,
        }
    }
}

/// Serializes a result for clients of an era, by the SDK's rules.
pub(crate) fn serialize_for(mut result: ServerResult, era: Era) -> String {
    match era {
        Era::Handshake => result.strip_result_type_for_legacy_peer(),
        Era::PerRequest => result.fill_missing_cache_hints(),
    }
    json_of(&result)
}
