//! A batch of statements, the rows it yields, and the bounds that hold for every database.

use std::sync::Arc;
use std::time::Duration;

use crate::json::Json;

/// Connections of one database; calls beyond that wait.
pub(crate) const CONNECTIONS_MAX: usize = 8;
/// How long a call waits for a connection.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(2);
/// Bytes of all rows of one call; the caller must narrow the filters if there are more.
pub(crate) const ROW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The two dialects of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// Whether a batch may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A value bound to a statement. Text for PostgreSQL carries its type in the statement's cast.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Bind {
    Null,
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Text(String),
}

/// One statement with its values.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: Arc<str>,
    pub(crate) binds: Vec<Bind>,
    /// Rows returned at most.
    pub(crate) rows_max: usize,
    /// The batch ends here, and is undone, when this statement yields no row.
    pub(crate) required: bool,
    /// Computed columns, for which SQLite has no declared type.
    pub(crate) typed: Arc<TypedColumns>,
}

/// Columns that hold JSON or a boolean, although their SQLite type is text or integer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TypedColumns {
    pub(crate) json: Vec<String>,
    pub(crate) boolean: Vec<String>,
}

/// Statements for one transaction.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) access: Access,
    pub(crate) time_max: Duration,
    pub(crate) statements: Vec<Statement>,
}

/// A row: its columns in the order of the statement, each value as the database's own JSON text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Shared by the rows of a statement.
    columns: Arc<[String]>,
    values: Vec<Json>,
}

impl Row {
    /// `None` when there are not as many values as columns.
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Json>) -> Option<Row> {
        (columns.len() == values.len()).then_some(Row { columns, values })
    }

    pub(crate) fn get(&self, column: &str) -> Option<&Json> {
        let place = self.columns.iter().position(|name| name == column)?;
        self.values.get(place)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.columns.iter().map(String::as_str).zip(&self.values)
    }

    /// The row as a JSON object.
    pub(crate) fn to_json(&self) -> Json {
        Json::object(self.iter())
    }
}

/// What one statement yielded.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    /// The statement had more rows than `rows_max`.
    pub(crate) cut: bool,
    /// Rows that a statement without columns changed.
    pub(crate) affected: Option<u64>,
}

/// What a batch yielded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum BatchOutcome {
    /// What each statement yielded.
    Rows(Vec<Rows>),
    /// The statement with this index was required to return a row and did not; nothing was changed.
    Unmet(usize),
}
