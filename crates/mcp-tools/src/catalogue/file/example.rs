//! The TOML mirror of `[[tool.example]]`.

use serde::Deserialize;

/// A call and what it must return.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExampleFile {
    #[serde(default)]
    pub(crate) arguments: toml::Table,
    /// The caller, for a tool that needs its identity.
    pub(crate) client: Option<String>,
    pub(crate) subject: Option<String>,
    /// A part of the result.
    pub(crate) expect: Option<toml::Value>,
    /// The same as JSON text, which can hold null.
    pub(crate) expect_json: Option<String>,
    /// A text that the result contains.
    pub(crate) expect_text: Option<String>,
    #[serde(default)]
    pub(crate) is_error: bool,
}
