//! What the server reports about itself: its identity, and a description of each tool.

use serde_json::Value;

use crate::catalogue::Identity;

/// The server's identity and its tools, for the handlers that report them.
pub(crate) struct SelfDescription {
    pub(crate) identity: Identity,
    /// Name, description and parameter names of each tool, in the order of `tools/list`.
    pub(crate) tools: Vec<Value>,
}
