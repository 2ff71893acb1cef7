//! The TOML mirror of `[tool.sql]`.

use indexmap::IndexMap;
use serde::Deserialize;

/// Statements for a database.
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
    /// Rows of a result, at most.
    pub(crate) limit: Option<usize>,
    /// The parameter that sets a smaller number of rows.
    pub(crate) limit_from: Option<String>,
    /// The parameter that sets how many rows to skip.
    pub(crate) offset_from: Option<String>,
    /// For pages by key: the column whose last value continues the list, and its key in the result.
    pub(crate) cursor: Option<CursorFile>,
    /// Whether a page counts all rows; `has_more` needs no count.
    #[serde(default = "yes")]
    pub(crate) total: bool,
    /// The error when there is no row.
    pub(crate) not_found: Option<String>,
    /// Texts for the caller, by constraint or SQLSTATE.
    #[serde(default)]
    pub(crate) errors: IndexMap<String, String>,
    /// Whether the caller gets the text that a function or trigger raises.
    #[serde(default)]
    pub(crate) tell_reason: bool,
    /// Whether the log gets the database's whole error, with values and rows.
    #[serde(default)]
    pub(crate) log_reason: bool,
    pub(crate) isolation: Option<IsolationFile>,
    /// Settings of PostgreSQL for the transaction.
    #[serde(default)]
    pub(crate) settings: IndexMap<String, String>,
    pub(crate) timeout_ms: Option<u64>,
    /// Computed columns that hold JSON or booleans: SQLite has no declared type for them.
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
    /// Statements that run before the main query and return nothing.
    #[serde(default)]
    pub(crate) step: Vec<StepFile>,
    #[serde(default)]
    pub(crate) section: Vec<SectionFile>,
}

fn yes() -> bool {
    true
}

/// How far a transaction is kept from the changes of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IsolationFile {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// The form of a result, or of a part of it.
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
    /// The time in a parameter, in ISO 8601.
    Time(TimeFile),
    /// Now minus the duration in a parameter.
    Before(BeforeFile),
    /// Now minus that many minutes.
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

/// A statement that must return a row; otherwise nothing is changed and `message` is the result.
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

/// A part of the result with a query of its own.
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
