//! The TOML mirror of `[tool.sql]`. Must not judge what it says.

use indexmap::IndexMap;
use serde::Deserialize;

/// A question to a database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlFile {
    /// Name of the database; the main one when absent.
    pub(crate) database: Option<String>,
    pub(crate) shape: Shape,
    /// SQL for both dialects.
    pub(crate) query: Option<String>,
    /// SQL for PostgreSQL where `query` would not do.
    pub(crate) postgres: Option<String>,
    /// Rows of an answer, at most.
    pub(crate) limit: Option<usize>,
    /// Parameter that asks for fewer rows.
    pub(crate) limit_from: Option<String>,
    /// Parameter that says how many rows to skip.
    pub(crate) offset_from: Option<String>,
    /// For pages by key: the column whose last value continues the list, and the key it is told under.
    pub(crate) cursor: Option<CursorFile>,
    /// What to say when there is no row.
    pub(crate) not_found: Option<String>,
    pub(crate) timeout_ms: Option<u64>,
    /// Computed columns that hold JSON, and that hold truth values: SQLite cannot tell.
    #[serde(default)]
    pub(crate) json: Vec<String>,
    #[serde(default)]
    pub(crate) boolean: Vec<String>,
    /// Parameters that are accepted and have no effect.
    #[serde(default)]
    pub(crate) unused: Vec<String>,
    /// Values computed from parameters.
    #[serde(default, rename = "let")]
    pub(crate) values: IndexMap<String, LetFile>,
    #[serde(default)]
    pub(crate) require: Vec<RequireFile>,
    /// Statements that run before the main query and answer nothing themselves.
    #[serde(default)]
    pub(crate) step: Vec<StepFile>,
    #[serde(default)]
    pub(crate) section: Vec<SectionFile>,
}

/// The form of an answer, or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shape {
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
pub(crate) struct CursorFile {
    pub(crate) column: String,
    pub(crate) name: String,
}

/// A value computed from a parameter.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LetFile {
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
pub(crate) struct TimeFile {
    pub(crate) param: String,
    /// Hours before now, when the parameter is not given.
    pub(crate) default_hours: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeforeFile {
    pub(crate) param: String,
    pub(crate) unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    Hours,
    Days,
}

/// A statement that must yield a row, or nothing is done and `message` is the answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequireFile {
    pub(crate) query: String,
    pub(crate) postgres: Option<String>,
    pub(crate) message: String,
}

/// A statement that runs before the main query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepFile {
    pub(crate) query: String,
    pub(crate) postgres: Option<String>,
}

/// A part of the answer with a query of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SectionFile {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) query: String,
    pub(crate) postgres: Option<String>,
    pub(crate) limit: Option<usize>,
    #[serde(default)]
    pub(crate) json: Vec<String>,
    #[serde(default)]
    pub(crate) boolean: Vec<String>,
}
