//! PostgreSQL: a bounded pool, every batch in one transaction with a statement timeout.
//!
//! The server turns rows into JSON, and every value is sent as text that the statement casts, so no type of a column or
//! parameter needs code here. Must not know which database it is.

use std::borrow::Cow;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType, Transaction,
};
use futures_util::TryStreamExt;
use mcp_host::tls::{client_config, system_roots};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::Type;
use tokio_postgres::{Config, IsolationLevel};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::AddressError;
use super::batch::{
    Access, Batch, BatchOutcome, Bind, CONNECTIONS_MAX, ROW_BYTES_MAX, Row, Rows, Statement, WAIT_MAX,
};
use super::error::{DatabaseError, WRITES};
use super::log_detail;
use super::sqlite_rows::twice;
use crate::json::Json;

/// A server that does not accept a connection within this time counts as unreachable.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// The server enforces the statement timeout; the client waits this much longer before it gives up.
const GRACE: Duration = Duration::from_secs(1);

/// A PostgreSQL database.
pub(crate) struct Postgres {
    pool: Pool,
}

pub(crate) fn open(config: &Config) -> Result<Postgres, AddressError> {
    let mut config = config.clone();
    config.connect_timeout(CONNECT_MAX);
    if config.get_application_name().is_none() {
        config.application_name("mcp-tools");
    }
    let options = config.get_options().unwrap_or_default().to_owned();
    config.options(format!("{options} -c TimeZone=UTC -c DateStyle=ISO"));
    let tls = client_config(system_roots().0).map_err(|error| AddressError::Tls(error.to_string()))?;
    let manager = Manager::from_config(
        config,
        MakeRustlsConnect::new(tls),
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS_MAX)
        .wait_timeout(Some(WAIT_MAX))
        .create_timeout(Some(CONNECT_MAX))
        .recycle_timeout(Some(CONNECT_MAX))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| AddressError::Tls(error.to_string()))?;
    Ok(Postgres { pool })
}

impl Postgres {
    pub(crate) async fn run(&self, batch: Batch) -> Result<BatchOutcome, DatabaseError> {
        match tokio::time::timeout(batch.time_max + WAIT_MAX + GRACE, self.in_transaction(&batch)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DatabaseError::Timeout(batch.time_max)),
        }
    }

    pub(crate) async fn check(&self, text: &str, binds: usize, access: Access) -> Result<(), DatabaseError> {
        if access == Access::Read && begins_as_a_write(text) {
            return Err(DatabaseError::Failed { detail: WRITES.to_owned() });
        }
        let client = self.pool.get().await.map_err(|error| pool_error(&error))?;
        let types = vec![Type::TEXT; binds];
        let prepared = client.prepare_typed(&as_json(text, access), &types).await;
        prepared.map(drop).map_err(|error| database_error(&error, Duration::ZERO, log_detail::of_statement))
    }

    async fn in_transaction(&self, batch: &Batch) -> Result<BatchOutcome, DatabaseError> {
        let failed = |error: tokio_postgres::Error| {
            database_error(&error, batch.time_max, |error| log_detail::of_values(error, &[]))
        };
        let mut client = self.pool.get().await.map_err(|error| pool_error(&error))?;
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(batch.access == Access::Read)
            .start()
            .await
            .map_err(failed)?;
        let limit = format!("SET LOCAL statement_timeout = {}", batch.time_max.as_millis().max(1));
        transaction.batch_execute(&limit).await.map_err(failed)?;
        let mut bytes_left = ROW_BYTES_MAX;
        let mut rows = Vec::with_capacity(batch.statements.len());
        for (index, statement) in batch.statements.iter().enumerate() {
            let found = read(&transaction, statement, batch, &mut bytes_left).await?;
            if statement.required && found.rows.is_empty() {
                transaction.rollback().await.map_err(failed)?;
                return Ok(BatchOutcome::Unmet(index));
            }
            rows.push(found);
        }
        transaction.commit().await.map_err(failed)?;
        Ok(BatchOutcome::Rows(rows))
    }
}

async fn read(
    transaction: &Transaction<'_>,
    statement: &Statement,
    batch: &Batch,
    bytes_left: &mut usize,
) -> Result<Rows, DatabaseError> {
    let failed = |error: tokio_postgres::Error| {
        database_error(&error, batch.time_max, |error| log_detail::of_values(error, &statement.binds))
    };
    let text = as_json(&statement.text, batch.access);
    let types = vec![Type::TEXT; statement.binds.len()];
    let prepared = transaction
        .prepare_typed_cached(&text, &types)
        .await
        .map_err(|error| database_error(&error, batch.time_max, log_detail::of_statement))?;
    let binds: Vec<Option<String>> = statement.binds.iter().map(as_text).collect();
    let mut stream = pin!(transaction.query_raw(&prepared, binds).await.map_err(failed)?);
    let mut found = Rows::default();
    let mut columns = None;
    while let Some(row) = stream.try_next().await.map_err(failed)? {
        if found.rows.len() == statement.rows_max {
            found.cut = true;
            continue;
        }
        let json: &str = row.try_get(0).map_err(failed)?;
        *bytes_left = bytes_left.checked_sub(json.len()).ok_or(DatabaseError::TooLarge)?;
        found.rows.push(row_of(json, &mut columns)?);
    }
    Ok(found)
}

/// A row that the server wrote as an object. `columns` has the names once the first row is read.
fn row_of(json: &str, columns: &mut Option<Arc<[String]>>) -> Result<Row, DatabaseError> {
    let unreadable =
        || DatabaseError::Failed { detail: "a row is no JSON object that can be read".to_owned() };
    let Entries(entries) = serde_json::from_str(json).map_err(|_| unreadable())?;
    let columns = match columns {
        Some(columns) => columns,
        None => {
            let names: Arc<[String]> = entries.iter().map(|(name, _)| name.clone().into_owned()).collect();
            if let Some(name) = twice(&names) {
                return Err(DatabaseError::same_name(name));
            }
            columns.insert(names)
        }
    };
    let values = entries.into_iter().map(|(_, value)| Json::from_raw(value)).collect();
    Row::new(Arc::clone(columns), values).ok_or_else(unreadable)
}

/// The entries of an object, in order.
struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries<'de>, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// Lets the server write each row as JSON. A statement that changes something must stand in a `WITH`.
fn as_json(text: &str, access: Access) -> String {
    match access {
        Access::Read => format!("SELECT row_to_json(_row)::text FROM ({text}\n) AS _row"),
        Access::Write => format!("WITH _row AS ({text}\n) SELECT row_to_json(_row)::text FROM _row"),
    }
}

/// PostgreSQL itself refuses a writing statement within `WITH`: a read runs inside a `SELECT`.
fn begins_as_a_write(text: &str) -> bool {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with("--"));
    let first = lines.flat_map(str::split_whitespace).next().unwrap_or_default();
    ["INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE"].iter().any(|word| first.eq_ignore_ascii_case(word))
}

fn as_text(bind: &Bind) -> Option<String> {
    match bind {
        Bind::Null => None,
        Bind::Integer(number) => Some(number.to_string()),
        Bind::Number(number) => Some(number.to_string()),
        Bind::Boolean(truth) => Some(truth.to_string()),
        Bind::Text(text) => Some(text.clone()),
    }
}

fn pool_error(error: &PoolError) -> DatabaseError {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => DatabaseError::Busy,
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle)
        | PoolError::Backend(_)
        | PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_) => DatabaseError::Unreachable { detail: chain(error) },
    }
}

/// `keep` extracts from the server's error what the log may contain.
fn database_error(
    error: &tokio_postgres::Error,
    time_max: Duration,
    keep: impl Fn(&DbError) -> String,
) -> DatabaseError {
    let Some(db_error) = error.as_db_error() else {
        // Not an error of the server: the connection broke.
        return DatabaseError::Unreachable { detail: chain(error) };
    };
    let code = db_error.code();
    if *code == SqlState::QUERY_CANCELED {
        return DatabaseError::Timeout(time_max);
    }
    if *code == SqlState::NUMERIC_VALUE_OUT_OF_RANGE {
        return DatabaseError::OutOfRange;
    }
    let detail = keep(db_error);
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return DatabaseError::ReadOnly { detail };
    }
    // Class 57 is an operator's intervention, class 53 a lack of resources, class 08 a lost connection.
    if ["57", "53", "08"].iter().any(|class| code.code().starts_with(class)) {
        return DatabaseError::Unreachable { detail };
    }
    DatabaseError::Failed { detail }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
