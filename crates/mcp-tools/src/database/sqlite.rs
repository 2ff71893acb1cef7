//! SQLite: a bounded set of connections, each used by one call at a time.
//!
//! A read runs inline and is interrupted if it is not done at once; then it runs on a blocking thread, like every write.
//! Connections for reads cannot write (`query_only`), and no statement outlives its deadline. Must not know which database
//! it is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::ffi::SQLITE_CONSTRAINT_COMMITHOOK;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::batch::{Access, Batch, BatchOutcome, LogDetail, ROW_BYTES_MAX};
use super::error::{DatabaseError, WRITES};
use super::row::twice;
use super::settings::{PoolStatus, Settings};
use super::sqlite_fault;
use super::sqlite_identity::{Files, Identity};
use super::sqlite_rows::{StatementError, read};
use super::sqlite_statement;
use crate::metrics::PoolWait;

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
    settings: Settings,
    /// Empty for a database in memory.
    files: Files,
    limit: Arc<Semaphore>,
    /// Calls that wait for a permit.
    waiting: AtomicUsize,
    readers: Arc<IdleConnections>,
    writers: Arc<IdleConnections>,
    open: Arc<Open>,
    wait: PoolWait,
}

/// Open connections that no call uses.
#[derive(Default)]
struct IdleConnections(Mutex<Vec<(Connection, Identity)>>);

impl IdleConnections {
    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A connection to the files as they are now; connections to files that were replaced are dropped.
    fn take(&self, now: Identity) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, then)| *then == now);
        idle.pop().map(|(connection, _)| connection)
    }

    /// Drops a connection that is still inside a transaction: another call could not use it.
    fn put(&self, connection: Connection, files: Identity) {
        if connection.is_autocommit() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((connection, files));
        }
    }
}

/// Whether the caller of a batch still waits for it.
#[derive(Default)]
struct CallerPresence {
    gone: Arc<AtomicBool>,
}

impl Drop for CallerPresence {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// Counts a call that waits for a permit, until it has one or gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sqlite {
    pub(crate) fn new(
        open: impl Fn() -> Result<Connection, rusqlite::Error> + Send + Sync + 'static,
        files: Files,
        settings: &Settings,
    ) -> Sqlite {
        Sqlite {
            settings: settings.clone(),
            files,
            limit: Arc::new(Semaphore::new(settings.pool)),
            waiting: AtomicUsize::new(0),
            readers: Arc::default(),
            writers: Arc::default(),
            open: Arc::new(open),
            wait: PoolWait::default(),
        }
    }

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        prepare_connection((self.open)()?, Access::Read)
    }

    /// Opens a connection and reads the list of tables.
    pub(super) fn try_out(&self) -> Result<i64, rusqlite::Error> {
        self.connect()?.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
    }

    /// Keeps a connection for later reads.
    pub(crate) fn keep(&self, connection: Connection) -> Result<(), rusqlite::Error> {
        self.readers.put(prepare_connection(connection, Access::Read)?, self.files.identity());
        Ok(())
    }

    pub(crate) fn pool_status(&self) -> PoolStatus {
        let idle = self.readers.count() + self.writers.count();
        let used = self.settings.pool.saturating_sub(self.limit.available_permits());
        let waiting = self.waiting.load(Ordering::Relaxed);
        PoolStatus { connections_max: self.settings.pool, connections: idle + used, idle, waiting }
    }

    pub(crate) fn pool_wait(&self) -> &PoolWait {
        &self.wait
    }

    /// A read whose caller has gone is interrupted; a write runs to its end.
    pub(crate) async fn run(&self, batch: Batch) -> Result<BatchOutcome, DatabaseError> {
        if !batch.settings.is_empty() {
            let detail = "SQLite has no settings of a transaction (hint: they need PostgreSQL)".to_owned();
            return Err(DatabaseError::Failed { detail });
        }
        let permit = self.permit().await?;
        if batch.access == Access::Read
            && let Some(outcome) = self.run_inline(&batch)
        {
            return outcome;
        }
        let (access, lock_time) = (batch.access, self.settings.lock_timeout.unwrap_or(LOCK_TIME_MAX));
        let caller = CallerPresence::default();
        let gone = Arc::clone(&caller.gone);
        let work = move |connection: &mut Connection| run(connection, &batch, lock_time, gone);
        let outcome = self.with_connection(permit, access, work).await;
        drop(caller);
        outcome
    }

    /// Runs a read inline; `None` when it needs a lock or more time, or when there is no connection yet.
    fn run_inline(&self, batch: &Batch) -> Option<Result<BatchOutcome, DatabaseError>> {
        let files = self.files.identity();
        let mut connection = self.readers.take(files)?;
        let deadline = Instant::now() + INLINE_TIME_MAX.min(batch.time_max);
        let outcome = run_until(&mut connection, batch, deadline, Duration::ZERO, Arc::default());
        self.readers.put(connection, files);
        match outcome {
            Err(StatementError::Sqlite(error)) if needs_waiting(&error) => None,
            outcome => Some(outcome.map_err(|fault| statement_failed(fault, batch))),
        }
    }

    pub(crate) async fn check(&self, text: String, access: Access) -> Result<Vec<String>, DatabaseError> {
        let permit = self.permit().await?;
        sqlite_statement::check(&text).map_err(|detail| DatabaseError::Failed { detail })?;
        self.with_connection(permit, Access::Read, move |connection| match connection.prepare(&text) {
            Ok(statement) if access == Access::Read && !statement.readonly() => {
                Err(DatabaseError::Failed { detail: WRITES.to_owned() })
            }
            Ok(statement) => {
                let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
                match twice(&names) {
                    Some(name) => Err(DatabaseError::same_name(name)),
                    None => Ok(names),
                }
            }
            // Comments alone: PostgreSQL prepares them too.
            Err(rusqlite::Error::Empty) => Ok(Vec::new()),
            // Nothing is bound, so the whole message comes from the declaration.
            Err(error) => Err(DatabaseError::Failed { detail: error.to_string() }),
        })
        .await
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, DatabaseError> {
        let _timer = self.wait.timer();
        let limit = Arc::clone(&self.limit);
        if let Ok(permit) = Arc::clone(&limit).try_acquire_owned() {
            return Ok(permit);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let counted = Waiting(&self.waiting);
        let permit = tokio::time::timeout(self.settings.pool_wait, limit.acquire_owned()).await;
        drop(counted);
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
        let (open, files) = (Arc::clone(&self.open), self.files.clone());
        let worked = tokio::task::spawn_blocking(move || {
            // Hold the permit until the work has ended, even if the caller has given up.
            let _permit = permit;
            let now = files.identity();
            let mut connection = match idle.take(now) {
                Some(connection) => connection,
                None => open().and_then(|made| prepare_connection(made, access)).map_err(unreachable)?,
            };
            let worked = work(&mut connection);
            idle.put(connection, now);
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

fn run(
    connection: &mut Connection,
    batch: &Batch,
    lock_time: Duration,
    gone: Arc<AtomicBool>,
) -> Result<BatchOutcome, DatabaseError> {
    let deadline = Instant::now() + batch.time_max;
    run_until(connection, batch, deadline, lock_time, gone).map_err(|fault| statement_failed(fault, batch))
}

/// Runs a batch; every statement is interrupted at the deadline, and a read when its caller has gone.
fn run_until(
    connection: &mut Connection,
    batch: &Batch,
    deadline: Instant,
    lock_time: Duration,
    gone: Arc<AtomicBool>,
) -> Result<BatchOutcome, StatementError> {
    let reads = batch.access == Access::Read;
    let ends = move || Instant::now() >= deadline || (reads && gone.load(Ordering::Relaxed));
    // No interrupt reaches a statement that waits for a lock.
    let wait = || lock_time.min(deadline.saturating_duration_since(Instant::now()));
    connection.busy_timeout(wait())?;
    connection.progress_handler(STEPS_PER_DEADLINE_CHECK, Some(ends))?;
    if batch.dry_run {
        // Whatever would commit is undone, after the checks of COMMIT.
        connection.commit_hook(Some(|| true))?;
    }
    let outcome = in_transaction(connection, batch);
    // COMMIT and ROLLBACK must not be interrupted.
    connection.progress_handler(0, None::<fn() -> bool>)?;
    connection.busy_timeout(wait())?;
    let outcome = end_transaction(connection, batch, outcome);
    if batch.dry_run {
        connection.commit_hook(None::<fn() -> bool>)?;
    }
    outcome
}

fn end_transaction(
    connection: &Connection,
    batch: &Batch,
    outcome: Result<BatchOutcome, StatementError>,
) -> Result<BatchOutcome, StatementError> {
    if connection.is_autocommit() {
        return outcome;
    }
    let end = if matches!(outcome, Ok(BatchOutcome::Rows(_))) { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.prepare_cached(end).and_then(|mut statement| statement.execute([]));
    let Err(error) = ended else { return outcome };
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    let undone = error.sqlite_error().map(|code| code.extended_code) == Some(SQLITE_CONSTRAINT_COMMITHOOK);
    match outcome {
        Ok(_) if !(batch.dry_run && undone) => Err(StatementError::Sqlite(error)),
        outcome => outcome,
    }
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
    batch.start();
    for (index, statement) in batch.statements.iter().enumerate() {
        let before = connection.is_autocommit();
        let found = read(connection, statement, &mut bytes_left)?;
        batch.next();
        if connection.is_autocommit() != before {
            let detail = "the statement began or ended a transaction, which the call does itself".to_owned();
            return Err(StatementError::Refused(detail));
        }
        if statement.required && found.is_empty() {
            return Ok(BatchOutcome::Unmet(index));
        }
        rows.push(found);
    }
    Ok(BatchOutcome::Rows(rows))
}

fn statement_failed(fault: StatementError, batch: &Batch) -> DatabaseError {
    match fault {
        StatementError::Sqlite(error) => match batch.log {
            LogDetail::Names => sqlite_fault::of(&error, batch.time_max),
            LogDetail::Whole => sqlite_fault::of(&error, batch.time_max).with_detail(error.to_string()),
        },
        StatementError::Refused(detail) => DatabaseError::Failed { detail },
        StatementError::TooLarge => DatabaseError::TooLarge,
        StatementError::TooDeep => DatabaseError::TooDeep,
        StatementError::Infinite(column) => DatabaseError::Infinite(column),
        StatementError::SameName(name) => DatabaseError::same_name(&name),
    }
}

/// Whether a statement could succeed with more time.
fn needs_waiting(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    use ErrorCode::{DatabaseBusy, DatabaseLocked, OperationInterrupted};
    matches!(code, Some(OperationInterrupted | DatabaseBusy | DatabaseLocked))
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
        let sqlite = Sqlite::new(Connection::open_in_memory, Files::default(), &Settings::default());
        for text in ["-- nothing", "/* nothing */", "-- nothing\n;"] {
            assert!(sqlite.check(text.to_owned(), Access::Read).await.is_ok(), "{text}");
            let statement = Statement {
                text: text.into(),
                binds: Vec::new(),
                types: Arc::default(),
                rows_max: 1,
                required: false,
                typed: Arc::default(),
                columns: Arc::default(),
            };
            let (access, time_max) = (Access::Read, Duration::from_secs(1));
            let outcome = sqlite.run(Batch::new(access, time_max, vec![statement])).await;
            let Err(DatabaseError::Failed { detail }) = outcome else { panic!("{text}: {outcome:?}") };
            assert_eq!(detail, "21 bad parameter or other API misuse", "{text}");
        }
    }
}
