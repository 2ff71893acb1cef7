//! SQLite: a bounded set of connections, each used by one call at a time on a blocking thread.
//!
//! A read batch cannot write (`query_only`), and no statement outlives its deadline. Must not know which database it is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::{ToSql, ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::address::AddressError;
use super::{
    Access, Batch, Bind, CONNECTIONS_MAX, DatabaseError, ROW_BYTES_MAX, Ran, Row, Statement, TypedColumns,
    WAIT_MAX,
};

/// How often a running statement looks at the clock, in steps of SQLite's machine.
const STEPS_BETWEEN_LOOKS: i32 = 2_000;
/// Prepared statements a connection keeps.
const STATEMENTS_KEPT: usize = 128;

type Open = dyn Fn() -> Result<Connection, rusqlite::Error> + Send + Sync;

/// A SQLite database.
pub(in crate::tools) struct Sqlite {
    room: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
    open: Arc<Open>,
}

/// Opens an existing file; sibling files `NAME.SCHEMA.db` are attached as SCHEMA.
pub(super) fn open_file(path: &Path) -> Result<Sqlite, AddressError> {
    if !path.is_file() {
        let hint = "hint: mcp-tools schema --demo | sqlite3 PATH makes one for a trial";
        return Err(AddressError::Sqlite(format!("{} does not exist ({hint})", path.display())));
    }
    let attached = siblings(path).map_err(|error| AddressError::Sqlite(error.to_string()))?;
    let path = path.to_owned();
    let open = move || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        for (schema, file) in &attached {
            connection.execute(&format!("ATTACH ?1 AS \"{schema}\""), [file.display().to_string()])?;
        }
        Ok(connection)
    };
    let sqlite = Sqlite::new(open);
    // A file that is not a database is told now, not by the first call.
    let connection = sqlite.connect().map_err(|error| AddressError::Sqlite(error.to_string()))?;
    let read = connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    read.map_err(|error| AddressError::Sqlite(error.to_string()))?;
    Ok(sqlite)
}

fn siblings(path: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let schema = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".db"));
        let is_name = |schema: &&str| {
            !schema.is_empty() && schema.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if let Some(schema) = schema.filter(is_name) {
            found.push((schema.to_owned(), file));
        }
    }
    found.sort();
    Ok(found)
}

impl Sqlite {
    pub(super) fn new(
        open: impl Fn() -> Result<Connection, rusqlite::Error> + Send + Sync + 'static,
    ) -> Sqlite {
        Sqlite {
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            idle: Arc::new(Mutex::new(Vec::new())),
            open: Arc::new(open),
        }
    }

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        prepare_connection((self.open)()?)
    }

    /// Keeps a connection for the calls to come.
    pub(super) fn keep(&self, connection: Connection) -> Result<(), rusqlite::Error> {
        let connection = prepare_connection(connection)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(())
    }

    pub(super) async fn run(&self, batch: Batch) -> Result<Ran, DatabaseError> {
        self.with_connection(move |connection| run(connection, &batch)).await
    }

    pub(super) async fn check(&self, text: String) -> Result<(), DatabaseError> {
        self.with_connection(move |connection| match connection.prepare(&text) {
            Ok(_) => Ok(()),
            Err(error) => Err(DatabaseError::Failed { detail: error.to_string() }),
        })
        .await
    }

    async fn with_connection<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let place = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.room).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(DatabaseError::Busy) };
        let (idle, open) = (Arc::clone(&self.idle), Arc::clone(&self.open));
        let worked = tokio::task::spawn_blocking(move || {
            // The place is held until the work has ended, even when nobody waits for it any more.
            let _place = place;
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => open().and_then(prepare_connection).map_err(unreachable)?,
            };
            let worked = work(&mut connection);
            if connection.is_autocommit() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            worked
        });
        worked.await.unwrap_or_else(|error| Err(DatabaseError::Failed { detail: error.to_string() }))
    }
}

fn prepare_connection(connection: Connection) -> Result<Connection, rusqlite::Error> {
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // As in PostgreSQL; and functions that a schema could bring along stay harmless.
    connection.execute_batch(
        "PRAGMA case_sensitive_like = ON; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
    )?;
    Ok(connection)
}

fn unreachable(error: rusqlite::Error) -> DatabaseError {
    DatabaseError::Unreachable { detail: error.to_string() }
}

fn run(connection: &mut Connection, batch: &Batch) -> Result<Ran, DatabaseError> {
    let deadline = Instant::now() + batch.time_max;
    let failed = |error: rusqlite::Error| told(error, batch.time_max);
    let late = move || Instant::now() >= deadline;
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(late)).map_err(failed)?;
    let query_only = batch.access == Access::Read;
    connection.pragma_update(None, "query_only", query_only).map_err(failed)?;
    let ran = in_transaction(connection, batch).map_err(|error| match error {
        Fault::Sqlite(error) => told(error, batch.time_max),
        Fault::TooLarge => DatabaseError::TooLarge,
    });
    connection.progress_handler(0, None::<fn() -> bool>).map_err(failed)?;
    ran
}

enum Fault {
    Sqlite(rusqlite::Error),
    TooLarge,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sqlite(error)
    }
}

fn in_transaction(connection: &mut Connection, batch: &Batch) -> Result<Ran, Fault> {
    let transaction = match batch.access {
        Access::Read => connection.transaction()?,
        Access::Write => connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?,
    };
    let mut room = ROW_BYTES_MAX;
    let mut rows = Vec::with_capacity(batch.statements.len());
    for (place, statement) in batch.statements.iter().enumerate() {
        let found = read(&transaction, statement, &mut room)?;
        if statement.required && found.is_empty() {
            transaction.rollback()?;
            return Ok(Ran::Unmet(place));
        }
        rows.push(found);
    }
    transaction.commit()?;
    Ok(Ran::Rows(rows))
}

fn read(connection: &Connection, statement: &Statement, room: &mut usize) -> Result<Vec<Row>, Fault> {
    let mut prepared = connection.prepare_cached(&statement.text)?;
    let columns: Vec<Column> = prepared
        .columns()
        .map(|column| Column {
            name: column.name().to_owned(),
            kind: kind_of(column.name(), column.decl_type(), &statement.typed),
        })
        .collect();
    let mut found = Vec::new();
    let mut rows = prepared.query(rusqlite::params_from_iter(&statement.binds))?;
    while let Some(row) = rows.next()? {
        // A statement that writes must run to its end whatever it returns, so rows beyond are read and dropped.
        if found.len() == statement.rows_max {
            continue;
        }
        let mut made = Row::with_capacity(columns.len());
        for (place, column) in columns.iter().enumerate() {
            let value = row.get_ref(place)?;
            *room = room.checked_sub(size(value)).ok_or(Fault::TooLarge)?;
            made.insert(column.name.clone(), json_of(value, column.kind));
        }
        found.push(made);
    }
    Ok(found)
}

struct Column {
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Json,
    Boolean,
}

fn kind_of(name: &str, declared: Option<&str>, typed: &TypedColumns) -> Kind {
    let declared = declared.unwrap_or_default();
    if declared.eq_ignore_ascii_case("JSONB") || typed.json.iter().any(|json| json == name) {
        Kind::Json
    } else if declared.eq_ignore_ascii_case("BOOLEAN") || typed.boolean.iter().any(|boolean| boolean == name)
    {
        Kind::Boolean
    } else {
        Kind::Plain
    }
}

fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
    }
}

fn json_of(value: ValueRef<'_>, kind: Kind) -> Value {
    match (value, kind) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(number), Kind::Boolean) => Value::Bool(number != 0),
        (ValueRef::Integer(number), Kind::Plain | Kind::Json) => Value::from(number),
        (ValueRef::Real(number), _) => Value::from(number),
        (ValueRef::Text(text), Kind::Json) => serde_json::from_slice(text)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(text).into_owned())),
        (ValueRef::Text(text), Kind::Plain | Kind::Boolean) => {
            Value::from(String::from_utf8_lossy(text).into_owned())
        }
        (ValueRef::Blob(bytes), _) => Value::from(format!("{} bytes", bytes.len())),
    }
}

impl ToSql for Bind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Bind::Null => ToSqlOutput::Owned(SqlValue::Null),
            Bind::Integer(number) => ToSqlOutput::Owned(SqlValue::Integer(*number)),
            Bind::Number(number) => ToSqlOutput::Owned(SqlValue::Real(*number)),
            Bind::Boolean(truth) => ToSqlOutput::Owned(SqlValue::Integer(i64::from(*truth))),
            Bind::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

fn told(error: rusqlite::Error, time_max: Duration) -> DatabaseError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => DatabaseError::Timeout(time_max),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseError::Busy,
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::NotADatabase
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure,
        ) => DatabaseError::Unreachable { detail: error.to_string() },
        Some(_) | None => DatabaseError::Failed { detail: error.to_string() },
    }
}
