//! A batch of statements, the rows it yields, and the bounds that hold for every database.

use std::sync::Arc;
use std::time::Duration;

use super::row::{LastColumns, Row};
use super::statement_times::StatementTimes;

/// Bytes of all rows of one call; the caller must narrow the filters if there are more.
pub(crate) const ROW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The two dialects of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// Whether a batch may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A value bound to a statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Bind {
    Null,
    Integer(i64),
    Number(f64),
    /// The digits of a number that no other variant holds. SQLite rounds it.
    Decimal(String),
    Boolean(bool),
    Text(String),
    /// The text of a JSON value.
    Json(String),
    /// A list whose items have one type. SQLite has no arrays and gets the text of a JSON list.
    Array(Vec<Bind>),
}

/// What a value is declared as. PostgreSQL infers the type of text and lists from the statement, where it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BindType {
    /// Text that the statement casts.
    Cast,
    Text,
    Integer,
    Number,
    Boolean,
    Json,
    Moment,
    Texts,
    Integers,
    Numbers,
    Booleans,
}

/// How far a transaction is kept from the changes of others. PostgreSQL only: SQLite serializes all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// What the log gets of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogDetail {
    /// Codes and names, no values.
    Names,
    /// Everything, with arguments and rows.
    Whole,
}

/// One statement with its values.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: Arc<str>,
    pub(crate) binds: Vec<Bind>,
    /// What each value is declared as; values beyond the list are cast by the statement.
    pub(crate) types: Arc<[BindType]>,
    /// Rows returned at most.
    pub(crate) rows_max: usize,
    /// The batch ends here, and is undone, when this statement yields no row.
    pub(crate) required: bool,
    /// Computed columns, for which SQLite has no declared type.
    pub(crate) typed: Arc<TypedColumns>,
    /// Those of its last run.
    pub(crate) columns: Arc<LastColumns>,
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
    /// `None`: one state of the database for several reads, READ COMMITTED for the rest.
    pub(crate) isolation: Option<Isolation>,
    /// Undo everything at the end; the outcome is as if it were kept.
    pub(crate) dry_run: bool,
    /// Names and values for PostgreSQL's `set_config`, until the transaction ends.
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) log: LogDetail,
    /// Where the times of the statements are wanted.
    pub(crate) times: Option<StatementTimes>,
}

impl Batch {
    pub(crate) fn new(access: Access, time_max: Duration, statements: Vec<Statement>) -> Batch {
        Batch {
            access,
            time_max,
            statements,
            isolation: None,
            dry_run: false,
            settings: Vec::new(),
            log: LogDetail::Names,
            times: None,
        }
    }

    /// The first statement begins.
    pub(crate) fn start(&self) {
        if let Some(times) = &self.times {
            times.start();
        }
    }

    /// A statement has ended, and the next one begins.
    pub(crate) fn next(&self) {
        if let Some(times) = &self.times {
            times.next();
        }
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

impl Rows {
    /// Whether the statement found no row: it has none to show, and changed none.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.affected.unwrap_or_default() == 0
    }
}

/// What a batch yielded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum BatchOutcome {
    /// What each statement yielded.
    Rows(Vec<Rows>),
    /// The statement with this index was required to return a row and did not; nothing was changed.
    Unmet(usize),
}
