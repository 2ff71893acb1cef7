//! The TOML mirror of `[tool.sql]`. Must not judge what it says.

use indexmap::IndexMap;
use serde::Deserialize;

/// A question to a database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct SqlFile {
    /// Name of the database; the main one when absent.
    pub(in crate::tools) database: Option<String>,
    pub(in crate::tools) shape: Shape,
    /// SQL for both dialects.
    pub(in crate::tools) query: Option<String>,
    /// SQL for PostgreSQL where `query` would not do.
    pub(in crate::tools) postgres: Option<String>,
    /// Rows of an answer, at most.
    pub(in crate::tools) limit: Option<usize>,
    /// Parameter that asks for fewer rows.
    pub(in crate::tools) limit_from: Option<String>,
    /// Parameter that says how many rows to skip.
    pub(in crate::tools) offset_from: Option<String>,
    /// For pages by key: the column whose last value continues the list, and the key it is told under.
    pub(in crate::tools) cursor: Option<CursorFile>,
    /// What to say when there is no row.
    pub(in crate::tools) not_found: Option<String>,
    pub(in crate::tools) timeout_ms: Option<u64>,
    /// Computed columns that hold JSON, and that hold truth values: SQLite cannot tell.
    #[serde(default)]
    pub(in crate::tools) json: Vec<String>,
    #[serde(default)]
    pub(in crate::tools) boolean: Vec<String>,
    /// Parameters that are accepted and have no effect.
    #[serde(default)]
    pub(in crate::tools) unused: Vec<String>,
    /// Values computed from parameters.
    #[serde(default, rename = "let")]
    pub(in crate::tools) values: IndexMap<String, LetFile>,
    #[serde(default)]
    pub(in crate::tools) require: Vec<RequireFile>,
    /// Statements that run before the main query and answer nothing themselves.
    #[serde(default)]
    pub(in crate::tools) step: Vec<StepFile>,
    #[serde(default)]
    pub(in crate::tools) section: Vec<SectionFile>,
}

/// The form of an answer, or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::tools) enum Shape {
    /// `{"items", "total_count", "has_more"}`.
    Page,
    /// The first row as an object.
    Row,
    /// All rows: one block for each.
    Rows,
    /// Nothing but sections.
    Sections,
    /// The first column of the first row.
    Value,
    /// An object from the first two columns.
    Map,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct CursorFile {
    pub(in crate::tools) column: String,
    pub(in crate::tools) name: String,
}

/// A value computed from a parameter.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::tools) enum LetFile {
    /// A pattern for LIKE ... ESCAPE '\' that finds the parameter's text anywhere, in lower case.
    Contains(String),
    /// The moment a parameter names, in ISO 8601.
    Time(TimeFile),
    /// The moment as long before now as a parameter says.
    Before(BeforeFile),
    /// The moment that many minutes before now.
    MinutesAgo(u32),
    /// A JSON object of the parameters of these names that were given.
    Object(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct TimeFile {
    pub(in crate::tools) param: String,
    /// Hours before now, when the parameter is not given.
    pub(in crate::tools) default_hours: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct BeforeFile {
    pub(in crate::tools) param: String,
    pub(in crate::tools) unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::tools) enum Unit {
    Hours,
    Days,
}

/// A statement that must yield a row, or nothing is done and `message` is the answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct RequireFile {
    pub(in crate::tools) query: String,
    pub(in crate::tools) postgres: Option<String>,
    pub(in crate::tools) message: String,
}

/// A statement that runs before the main query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct StepFile {
    pub(in crate::tools) query: String,
    pub(in crate::tools) postgres: Option<String>,
}

/// A part of the answer with a query of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct SectionFile {
    pub(in crate::tools) name: String,
    pub(in crate::tools) shape: Shape,
    pub(in crate::tools) query: String,
    pub(in crate::tools) postgres: Option<String>,
    pub(in crate::tools) limit: Option<usize>,
    #[serde(default)]
    pub(in crate::tools) json: Vec<String>,
    #[serde(default)]
    pub(in crate::tools) boolean: Vec<String>,
}
