//! The TOML mirror of `[[tool]]`, and of the handlers that need few keys.

use indexmap::IndexMap;
use serde::Deserialize;

use super::example::ExampleFile;
use super::http::HttpFile;
use super::param::ParamFile;
use super::sql::SqlFile;

/// One `[[tool]]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolFile {
    pub(crate) name: String,
    /// A name for people, which clients show.
    pub(crate) title: Option<String>,
    pub(crate) description: String,
    pub(crate) read_only: bool,
    /// What the handler needs to know of the caller; a call without it is refused.
    #[serde(default)]
    pub(crate) identity: IdentityFile,
    #[serde(default)]
    pub(crate) annotations: AnnotationsFile,
    #[serde(default)]
    pub(crate) params: IndexMap<String, ParamFile>,
    /// The whole input schema as JSON text, instead of `params`.
    pub(crate) input_schema: Option<String>,
    /// The output schema as JSON text: the result then carries `structuredContent`.
    pub(crate) output_schema: Option<String>,
    /// Calls that `mcp-tools test` makes.
    #[serde(default)]
    pub(crate) example: Vec<ExampleFile>,
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

/// Hints for clients about what a tool that is not `read_only` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnnotationsFile {
    pub(crate) destructive: Option<bool>,
    pub(crate) idempotent: Option<bool>,
    /// Whether it reaches what this server does not control; of use for every tool.
    pub(crate) open_world: Option<bool>,
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
