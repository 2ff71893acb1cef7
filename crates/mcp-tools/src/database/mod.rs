//! The databases tools read and write: SQLite (embedded by default) and PostgreSQL behind one question.
//!
//! A [`Batch`] of statements runs in one transaction, within a time and a number of rows, with every value bound. Must
//! not know tools or what the rows mean.

mod address;
mod embedded;
mod log_detail;
mod postgres;
mod sqlite;
mod sqlite_rows;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

pub(super) use address::{Address, AddressError};
pub(super) use embedded::{demo_script, schema_script};

use postgres::Postgres;
use sqlite::Sqlite;

/// The database a tool uses when it names none.
pub(super) const MAIN: &str = "main";
/// Connections of one database; calls beyond that wait.
const CONNECTIONS_MAX: usize = 8;
/// How long a call waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Bytes of one answer's rows; beyond that the caller must narrow the question.
const ROW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Said of a statement of a tool that only reads.
const WRITES: &str = "this statement writes, and the tool says read_only = true, so it can never run (hint: read_only = false)";

/// The two dialects of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// Whether a batch may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// A value bound to a statement. Text for PostgreSQL carries its type in the statement's cast.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bind {
    Null,
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Text(String),
}

/// One statement with its values.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) text: Arc<str>,
    pub(super) binds: Vec<Bind>,
    /// Rows read at most; the reader learns of more by asking for one more than it wants.
    pub(super) rows_max: usize,
    /// The batch ends here, and is undone, when this statement yields no row.
    pub(super) required: bool,
    /// Computed columns whose type SQLite cannot tell.
    pub(super) typed: Arc<TypedColumns>,
}

/// Columns that hold JSON or a truth value, although SQLite says text or integer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TypedColumns {
    pub(super) json: Vec<String>,
    pub(super) boolean: Vec<String>,
}

/// Statements for one transaction.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) access: Access,
    pub(super) time_max: Duration,
    pub(super) statements: Vec<Statement>,
}

/// A row: column names in the order of the statement.
pub(super) type Row = Map<String, Value>;

/// What a batch yielded.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ran {
    /// The rows of each statement.
    Rows(Vec<Vec<Row>>),
    /// The statement at this place was required to yield a row, and did not; nothing was changed.
    Unmet(usize),
}

/// Why a batch did not run. `Display` is for the caller; the log gets `detail`.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("the database {0:?} is not configured (hint: start mcp-tools with --database {0}=URL)")]
    NotConfigured(String),
    #[error("the database cannot be reached at the moment; try again later")]
    Unreachable { detail: String },
    #[error("every connection to the database is busy; try again later")]
    Busy,
    #[error("the query took longer than {} s; narrow the filters", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the answer is larger than {} MiB; narrow the filters", ROW_BYTES_MAX / 1024 / 1024)]
    TooLarge,
    #[error("the database takes no changes from here (it is read-only)")]
    ReadOnly { detail: String },
    #[error("this would be more than a number of 64 bits can hold")]
    OutOfRange,
    #[error("the database did not accept the query")]
    Failed { detail: String },
}

impl DatabaseError {
    /// What only the log may know.
    pub(super) fn detail(&self) -> Option<&str> {
        match self {
            DatabaseError::Unreachable { detail }
            | DatabaseError::ReadOnly { detail }
            | DatabaseError::Failed { detail } => Some(detail),
            DatabaseError::NotConfigured(_)
            | DatabaseError::Busy
            | DatabaseError::Timeout(_)
            | DatabaseError::TooLarge
            | DatabaseError::OutOfRange => None,
        }
    }
}

/// One database.
pub(super) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Database {
    /// Prepares to use a database; nothing is connected yet, so a database that is down does not stop the start.
    pub(super) fn open(address: &Address) -> Result<Database, AddressError> {
        match address {
            Address::Embedded => Ok(Database::Sqlite(embedded::open()?)),
            Address::SqliteFile(path) => Ok(Database::Sqlite(sqlite::open_file(path)?)),
            Address::Postgres(config) => Ok(Database::Postgres(postgres::open(config)?)),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Database::Sqlite(_) => Dialect::Sqlite,
            Database::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a batch in one transaction.
    pub(super) async fn run(&self, batch: Batch) -> Result<Ran, DatabaseError> {
        match self {
            Database::Sqlite(sqlite) => sqlite.run(batch).await,
            Database::Postgres(postgres) => postgres.run(batch).await,
        }
    }

    /// Whether a statement could run: names, columns, syntax.
    pub(super) async fn check(&self, text: &str, binds: usize, access: Access) -> Result<(), DatabaseError> {
        match self {
            Database::Sqlite(sqlite) => sqlite.check(text.to_owned(), access).await,
            Database::Postgres(postgres) => postgres.check(text, binds, access).await,
        }
    }
}

/// The databases by name.
pub(super) struct Databases {
    by_name: HashMap<String, Arc<Database>>,
}

impl Databases {
    /// Opens what was given; the embedded one serves when there is nothing else.
    pub(super) fn open(addresses: &[(String, Address)]) -> Result<Databases, AddressError> {
        let mut by_name = HashMap::new();
        for (name, address) in addresses {
            if by_name.insert(name.clone(), Arc::new(Database::open(address)?)).is_some() {
                return Err(AddressError::Twice(name.clone()));
            }
        }
        if by_name.is_empty() {
            by_name.insert(MAIN.to_owned(), Arc::new(Database::open(&Address::Embedded)?));
        }
        Ok(Databases { by_name })
    }

    /// The database of that name. Where only one exists, it holds everything.
    pub(super) fn get(&self, name: &str) -> Result<&Arc<Database>, DatabaseError> {
        self.by_name
            .get(name)
            .or_else(|| self.by_name.get(MAIN))
            .ok_or_else(|| DatabaseError::NotConfigured(name.to_owned()))
    }

    /// Names and databases, in the order of the names.
    pub(super) fn all(&self) -> Vec<(&str, &Arc<Database>)> {
        let mut all: Vec<_> = self.by_name.iter().map(|(name, database)| (name.as_str(), database)).collect();
        all.sort_by_key(|(name, _)| *name);
        all
    }
}
