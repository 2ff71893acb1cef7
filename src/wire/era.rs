//! Protocol versions: which era a request speaks, and whether its header and body agree.

use super::scan::Message;

/// The two generations of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: `initialize` first.
    Legacy,
    /// 2026-07-28 and later: each request describes itself.
    Modern,
}

/// A protocol version: an ISO date that orders as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion([u8; 10]);

impl ProtocolVersion {
    /// The first version of the modern era.
    pub const MODERN: ProtocolVersion = ProtocolVersion(*b"2026-07-28");
    /// What an absent header means (2025-06-18, Transports).
    pub const DEFAULT: ProtocolVersion = ProtocolVersion(*b"2025-03-26");

    /// Parses `YYYY-MM-DD`.
    pub fn parse(text: &[u8]) -> Option<ProtocolVersion> {
        let _ = text;
        todo!()
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        todo!()
    }

    /// The era this version belongs to.
    pub fn era(self) -> Era {
        todo!()
    }
}

/// The newest version the guard lets through; `None` is no bound.
pub type MaxVersion = Option<ProtocolVersion>;

/// The MCP header fields of a request, each present at most once (policy has seen to that), raw values.
#[derive(Debug, Clone, Copy, Default)]
pub struct McpFields<'b> {
    pub protocol_version: Option<&'b [u8]>,
    pub method: Option<&'b [u8]>,
    pub name: Option<&'b [u8]>,
}

/// Why the era judgement refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EraError {
    /// JSON-RPC -32600; the message lists the supported versions, as FastMCP does, so that every SDK falls back.
    #[error("protocol version is newer than the fence allows")]
    Fenced { max: ProtocolVersion },
    /// JSON-RPC -32600.
    #[error("malformed MCP-Protocol-Version")]
    MalformedVersion,
    /// JSON-RPC -32020 (2026-07-28, Streamable HTTP: HeaderMismatch).
    #[error("header fields and body disagree, or a required field is missing")]
    HeaderMismatch,
}

/// Judges the version of a request: fence first, then (modern only) agreement of header and body.
pub fn judge(fields: &McpFields<'_>, message: &Message<'_>, max: MaxVersion) -> Result<Era, EraError> {
    let _ = (fields, message, max);
    todo!()
}

/// Supported versions up to `max`, newest first, comma separated: for the fence's message.
pub fn supported_up_to(max: ProtocolVersion) -> String {
    let _ = max;
    todo!()
}
