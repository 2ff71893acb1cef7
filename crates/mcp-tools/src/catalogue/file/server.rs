//! The TOML mirror of `[server]`.

use serde::Deserialize;

/// How the server presents itself to clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerFile {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    /// The version of mcp-tools when absent.
    pub(crate) version: Option<String>,
    pub(crate) instructions: Option<String>,
    /// A text file beside the catalogue file, instead of `instructions`.
    pub(crate) instructions_file: Option<String>,
}
