//! The TOML mirror of `[[tool]]`, and of the handlers that need few keys.

use indexmap::IndexMap;
use serde::Deserialize;

use super::http::HttpFile;
use super::sql::SqlFile;

/// One `[[tool]]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolFile {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) read_only: bool,
    /// What the handler needs to know of the caller; a call without it is refused.
    #[serde(default)]
    pub(crate) identity: IdentityFile,
    #[serde(default)]
    pub(crate) params: IndexMap<String, ParamFile>,
    /// The whole input schema as JSON text, instead of `params`.
    pub(crate) input_schema: Option<String>,
    /// The output schema as JSON text: the result then carries `structuredContent`.
    pub(crate) output_schema: Option<String>,
    pub(crate) text: Option<TextFile>,
    pub(crate) catalog: Option<CatalogFile>,
    pub(crate) server: Option<ReportFile>,
    pub(crate) refuse: Option<RefuseFile>,
    pub(crate) sql: Option<SqlFile>,
    pub(crate) http: Option<HttpFile>,
}

/// Which parts of the caller's identity a tool uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentityFile {
    #[serde(default)]
    pub(crate) client: bool,
    #[serde(default)]
    pub(crate) subject: bool,
}

/// One parameter: the FastMCP form is generated from it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParamFile {
    #[serde(rename = "type")]
    pub(crate) kind: ParamKind,
    #[serde(default)]
    pub(crate) required: bool,
    /// Absent and not required means: optional, and `null` by default.
    pub(crate) default: Option<toml::Value>,
    /// Whether `null` is a value of its own (`anyOf` with null in the schema).
    #[serde(default)]
    pub(crate) nullable: bool,
    pub(crate) description: Option<String>,
    #[serde(rename = "enum")]
    pub(crate) choices: Option<Vec<String>>,
    pub(crate) minimum: Option<i64>,
    pub(crate) maximum: Option<i64>,
    /// A regular expression of JSON Schema, which clients see.
    pub(crate) pattern: Option<String>,
}

/// The JSON type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ParamKind {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

impl ParamKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ParamKind::String => "string",
            ParamKind::Integer => "integer",
            ParamKind::Number => "number",
            ParamKind::Boolean => "boolean",
            ParamKind::Array => "array",
            ParamKind::Object => "object",
        }
    }
}

/// A fixed text, or the server's instructions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextFile {
    pub(crate) body: Option<String>,
    pub(crate) from: Option<TextSource>,
}

/// Where a text comes from when it is not written in the declaration.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TextSource {
    Instructions,
}

/// The list of all tools; it has nothing to set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogFile {}

/// A report of the process about itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportFile {
    pub(crate) report: ServerReport,
}

/// Which facts about the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServerReport {
    Time,
    Status,
}

/// A tool that stays listed but cannot be carried out here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefuseFile {
    pub(crate) reason: String,
}
