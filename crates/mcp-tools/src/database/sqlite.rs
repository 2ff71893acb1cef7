//! SQLite: a bounded set of connections, each used by one call at a time.
//!
//! A read runs inline and is interrupted if it is not done at once; then it runs on a blocking thread, like every write.
//! Connections for reads cannot write (`query_only`), and no statement outlives its deadline. Must not know which database
//! it is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::address::AddressError;
use super::batch::{Access, Batch, BatchOutcome, CONNECTIONS_MAX, ROW_BYTES_MAX, WAIT_MAX};
use super::error::{DatabaseError, WRITES};
use super::log_detail;
use super::sqlite_rows::{StatementError, read};

/// Steps of SQLite's virtual machine between two checks of the deadline.
const STEPS_PER_DEADLINE_CHECK: i32 = 200;
/// Time for a read to run inline: waking another thread costs more than most reads.
const INLINE_TIME_MAX: Duration = Duration::from_millis(1);
/// How long a statement waits for a lock, where it may wait.
const LOCK_TIME_MAX: Duration = Duration::from_secs(1);
/// Prepared statements a connection keeps.
const STATEMENTS_KEPT: usize = 128;

type Open = dyn Fn() -> Result<Connection, rusqlite::Error> + Send + Sync;

/// A SQLite database.
pub(crate) struct Sqlite {
    limit: Arc<Semaphore>,
    readers: Arc<IdleConnections>,
    writers: Arc<IdleConnections>,
    open: Arc<Open>,
}

/// Open connections that no call uses.
#[derive(Default)]
struct IdleConnections(Mutex<Vec<Connection>>);

impl IdleConnections {
    fn take(&self) -> Option<Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Drops a connection that is still inside a transaction: another call could not use it.
    fn put(&self, connection: Connection) {
        if connection.is_autocommit() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

/// Opens an existing file; sibling files `NAME.SCHEMA.db` are attached as SCHEMA.
pub(crate) fn open_file(path: &Path) -> Result<Sqlite, AddressError> {
    if !path.is_file() {
        let hint = "hint: mcp-tools schema --demo | sqlite3 PATH makes one for a trial";
        return Err(AddressError::Sqlite(format!("{} does not exist ({hint})", path.display())));
    }
    let attached = siblings(path).map_err(|error| AddressError::Sqlite(error.to_string()))?;
    let shown = path;
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
    // Report a file that is not a database at start, not in the first call.
    let count = |connection: Connection| {
        connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
    };
    let counted = sqlite.connect().and_then(count);
    counted.map_err(|error| AddressError::Sqlite(format!("{}: {error}", shown.display())))?;
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
    pub(crate) fn new(
        open: impl Fn() -> Result<Connection, rusqlite::Error> + Send + Sync + 'static,
    ) -> Sqlite {
        Sqlite {
            limit: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            readers: Arc::default(),
            writers: Arc::default(),
            open: Arc::new(open),
        }
    }

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        prepare_connection((self.open)()?, Access::Read)
    }

    /// Keeps a connection for later reads.
    pub(crate) fn keep(&self, connection: Connection) -> Result<(), rusqlite::Error> {
        self.readers.put(prepare_connection(connection, Access::Read)?);
        Ok(())
    }

    pub(crate) async fn run(&self, batch: Batch) -> Result<BatchOutcome, DatabaseError> {
        let permit = self.permit().await?;
        if batch.access == Access::Read
            && let Some(outcome) = self.run_inline(&batch)
        {
            return outcome;
        }
        let access = batch.access;
        self.with_connection(permit, access, move |connection| run(connection, &batch)).await
    }

    /// Runs a read inline; `None` when it needs a lock or more time, or when there is no connection yet.
    fn run_inline(&self, batch: &Batch) -> Option<Result<BatchOutcome, DatabaseError>> {
        let mut connection = self.readers.take()?;
        let deadline = Instant::now() + INLINE_TIME_MAX.min(batch.time_max);
        let outcome = connection
            .busy_timeout(Duration::ZERO)
            .map_err(StatementError::Sqlite)
            .and_then(|()| run_until(&mut connection, batch, deadline));
        self.readers.put(connection);
        match outcome {
            Err(StatementError::Sqlite(error)) if needs_waiting(&error) => None,
            outcome => Some(outcome.map_err(|fault| statement_failed(fault, batch.time_max))),
        }
    }

    pub(crate) async fn check(&self, text: String, access: Access) -> Result<(), DatabaseError> {
        let permit = self.permit().await?;
        self.with_connection(permit, Access::Read, move |connection| match connection.prepare(&text) {
            Ok(statement) if access == Access::Read && !statement.readonly() => {
                Err(DatabaseError::Failed { detail: WRITES.to_owned() })
            }
            // Comments alone: PostgreSQL prepares them too.
            Ok(_) | Err(rusqlite::Error::Empty) => Ok(()),
            // Nothing is bound, so the whole message comes from the declaration.
            Err(error) => Err(DatabaseError::Failed { detail: error.to_string() }),
        })
        .await
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, DatabaseError> {
        let permit = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.limit).acquire_owned()).await;
        permit.map_err(|_| DatabaseError::Busy)?.map_err(|_| DatabaseError::Busy)
    }

    async fn with_connection<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        access: Access,
        work: impl FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let idle = Arc::clone(match access {
            Access::Read => &self.readers,
            Access::Write => &self.writers,
        });
        let open = Arc::clone(&self.open);
        let worked = tokio::task::spawn_blocking(move || {
            // Hold the permit until the work has ended, even if the caller has given up.
            let _permit = permit;
            let mut connection = match idle.take() {
                Some(connection) => connection,
                None => open().and_then(|made| prepare_connection(made, access)).map_err(unreachable)?,
            };
            let worked = work(&mut connection);
            idle.put(connection);
            worked
        });
        worked.await.unwrap_or_else(|_| {
            // The text of a panic may hold a value.
            Err(DatabaseError::Failed { detail: "the work on the connection ended early".to_owned() })
        })
    }
}

fn prepare_connection(connection: Connection, access: Access) -> Result<Connection, rusqlite::Error> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // As in PostgreSQL; `trusted_schema` off keeps functions of a foreign schema harmless.
    connection.execute_batch(
        "PRAGMA case_sensitive_like = ON; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
    )?;
    connection.pragma_update(None, "query_only", access == Access::Read)?;
    // Plan without the values: otherwise SQLite compiles a statement again whenever a value changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn unreachable(error: rusqlite::Error) -> DatabaseError {
    DatabaseError::Unreachable { detail: error.to_string() }
}

fn run(connection: &mut Connection, batch: &Batch) -> Result<BatchOutcome, DatabaseError> {
    let deadline = Instant::now() + batch.time_max;
    connection.busy_timeout(LOCK_TIME_MAX).map_err(|error| database_error(error, batch.time_max))?;
    run_until(connection, batch, deadline).map_err(|fault| statement_failed(fault, batch.time_max))
}

/// Runs a batch; every statement is interrupted at the deadline.
fn run_until(
    connection: &mut Connection,
    batch: &Batch,
    deadline: Instant,
) -> Result<BatchOutcome, StatementError> {
    connection.progress_handler(STEPS_PER_DEADLINE_CHECK, Some(move || Instant::now() >= deadline))?;
    let outcome = in_transaction(connection, batch);
    // COMMIT and ROLLBACK must not be interrupted.
    connection.progress_handler(0, None::<fn() -> bool>)?;
    if !connection.is_autocommit() {
        let end = if matches!(outcome, Ok(BatchOutcome::Rows(_))) { "COMMIT" } else { "ROLLBACK" };
        let ended = connection.prepare_cached(end).and_then(|mut statement| statement.execute([]));
        if let (Err(error), true) = (ended, outcome.is_ok()) {
            connection.execute_batch("ROLLBACK")?;
            return Err(StatementError::Sqlite(error));
        }
    }
    outcome
}

fn in_transaction(connection: &Connection, batch: &Batch) -> Result<BatchOutcome, StatementError> {
    match (batch.access, batch.statements.len()) {
        // One statement always sees one state of the database.
        (Access::Read, 1) => {}
        (Access::Read, _) => {
            connection.prepare_cached("BEGIN")?.execute([])?;
        }
        (Access::Write, _) => {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        }
    }
    let mut bytes_left = ROW_BYTES_MAX;
    let mut rows = Vec::with_capacity(batch.statements.len());
    for (index, statement) in batch.statements.iter().enumerate() {
        let found = read(connection, statement, &mut bytes_left)?;
        if statement.required && found.rows.is_empty() {
            return Ok(BatchOutcome::Unmet(index));
        }
        rows.push(found);
    }
    Ok(BatchOutcome::Rows(rows))
}

fn statement_failed(fault: StatementError, time_max: Duration) -> DatabaseError {
    match fault {
        StatementError::Sqlite(error) => database_error(error, time_max),
        StatementError::TooLarge => DatabaseError::TooLarge,
        StatementError::SameName(name) => DatabaseError::same_name(&name),
    }
}

/// Whether a statement could succeed with more time.
fn needs_waiting(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    use ErrorCode::{DatabaseBusy, DatabaseLocked, OperationInterrupted};
    matches!(code, Some(OperationInterrupted | DatabaseBusy | DatabaseLocked))
}

fn database_error(error: rusqlite::Error, time_max: Duration) -> DatabaseError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => DatabaseError::Timeout(time_max),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseError::Busy,
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::NotADatabase
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure,
        ) => DatabaseError::Unreachable { detail: log_detail::of_sqlite(&error) },
        Some(ErrorCode::ReadOnly) => DatabaseError::ReadOnly { detail: log_detail::of_sqlite(&error) },
        Some(_) | None => DatabaseError::Failed { detail: log_detail::of_sqlite(&error) },
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::database::Statement;

    #[test]
    fn a_statement_is_compiled_once_whatever_is_bound() {
        let connection = prepare_connection(Connection::open_in_memory().unwrap(), Access::Write).unwrap();
        connection.execute_batch("CREATE TABLE t (a TEXT PRIMARY KEY, b TEXT)").unwrap();
        for value in ["x", "y", "z"] {
            let mut statement = connection
                .prepare_cached("SELECT b FROM t WHERE a = ?1 AND (?2 IS NULL OR b LIKE ?2)")
                .unwrap();
            assert_eq!(statement.query((value, value)).unwrap().next().unwrap().map(|_| ()), None);
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{value}");
        }
    }

    #[tokio::test]
    async fn a_statement_of_comments_alone_is_accepted_at_start_and_fails_in_a_call() {
        let sqlite = Sqlite::new(Connection::open_in_memory);
        for text in ["-- nothing", "/* nothing */", "-- nothing\n;"] {
            assert!(sqlite.check(text.to_owned(), Access::Read).await.is_ok(), "{text}");
            let statement = Statement {
                text: text.into(),
                binds: Vec::new(),
                rows_max: 1,
                required: false,
                typed: Arc::default(),
            };
            let (access, time_max) = (Access::Read, Duration::from_secs(1));
            let outcome = sqlite.run(Batch { access, time_max, statements: vec![statement] }).await;
            let Err(DatabaseError::Failed { detail }) = outcome else { panic!("{text}: {outcome:?}") };
            assert_eq!(detail, "21 bad parameter or other API misuse", "{text}");
        }
    }
}
