//! The databases that tools use: SQLite (embedded by default) and PostgreSQL behind one interface.
//!
//! A [`Batch`] of statements runs in one transaction, within a time and a number of rows, with every value bound. Must
//! not know tools or what the rows mean.

mod address;
mod batch;
mod embedded;
mod error;
mod lexer;
mod log_detail;
mod postgres;
mod postgres_url;
mod row;
mod settings;
mod sqlite;
mod sqlite_fault;
mod sqlite_file;
mod sqlite_identity;
mod sqlite_rows;
mod sqlite_statement;
mod statement_times;

use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use address::{Address, AddressError, MAIN};
pub(crate) use batch::{
    Access, Batch, BatchOutcome, Bind, BindType, Dialect, Isolation, LogDetail, Rows, Statement, TypedColumns,
};
pub(crate) use embedded::{demo_script, schema_script};
pub(crate) use error::{CallerFault, CallerFaultKind, DatabaseError};
pub(crate) use lexer::{Token, not_a_value, tokens, tokens_as_sent};
pub(crate) use row::{LastColumns, Row};
pub(crate) use settings::{PoolStatus, Prepared, Settings};
pub(crate) use statement_times::{StatementTime, StatementTimes};

use crate::metrics::PoolWait;
use postgres::Postgres;
use sqlite::Sqlite;

/// One database.
pub(crate) enum Database {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl Database {
    /// Prepares a database without connecting, so that an unreachable database does not stop the start.
    pub(crate) fn open(address: &Address, settings: &Settings) -> Result<Database, AddressError> {
        match address {
            Address::Embedded => Ok(Database::Sqlite(embedded::open(settings)?)),
            Address::SqliteFile(path, attach) => {
                Ok(Database::Sqlite(sqlite_file::open(path, *attach, settings)?))
            }
            Address::Postgres(address) => {
                Ok(Database::Postgres(Box::new(postgres::open(address, settings)?)))
            }
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Database::Sqlite(_) => Dialect::Sqlite,
            Database::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a batch in one transaction.
    pub(crate) async fn run(&self, batch: Batch) -> Result<BatchOutcome, DatabaseError> {
        match self {
            Database::Sqlite(sqlite) => sqlite.run(batch).await,
            Database::Postgres(postgres) => postgres.run(batch).await,
        }
    }

    /// Whether a statement could run: names, columns, syntax. The names of its columns, where they can be known.
    pub(crate) async fn check(
        &self,
        text: &str,
        types: &[BindType],
        access: Access,
    ) -> Result<Vec<String>, DatabaseError> {
        match self {
            Database::Sqlite(sqlite) => sqlite.check(text.to_owned(), access).await,
            Database::Postgres(postgres) => postgres.check(text, types, access).await,
        }
    }

    /// The times that calls wait for a connection.
    pub(crate) fn pool_wait(&self) -> &PoolWait {
        match self {
            Database::Sqlite(sqlite) => sqlite.pool_wait(),
            Database::Postgres(postgres) => postgres.pool_wait(),
        }
    }

    pub(crate) fn pool_status(&self) -> PoolStatus {
        match self {
            Database::Sqlite(sqlite) => sqlite.pool_status(),
            Database::Postgres(postgres) => postgres.pool_status(),
        }
    }
}

/// The databases by name.
pub(crate) struct Databases {
    by_name: HashMap<String, Arc<Database>>,
}

impl Databases {
    /// Opens the given databases.
    pub(crate) fn open(addresses: &[(String, Address, Settings)]) -> Result<Databases, AddressError> {
        let mut by_name = HashMap::new();
        for (name, address, settings) in addresses {
            if by_name.insert(name.clone(), Arc::new(Database::open(address, settings)?)).is_some() {
                return Err(AddressError::Twice(name.clone()));
            }
        }
        Ok(Databases { by_name })
    }

    /// The database of that name, or else the main one, which then holds all tables.
    pub(crate) fn get(&self, name: &str) -> Result<&Arc<Database>, DatabaseError> {
        self.by_name
            .get(name)
            .or_else(|| self.by_name.get(MAIN))
            .ok_or_else(|| DatabaseError::NotConfigured(name.to_owned()))
    }

    /// Whether a tool that uses `name` has a database, be it the main one.
    pub(crate) fn serves(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.by_name.contains_key(MAIN)
    }

    /// Names and databases, in the order of the names.
    pub(crate) fn all(&self) -> Vec<(&str, &Arc<Database>)> {
        let mut all: Vec<_> = self.by_name.iter().map(|(name, database)| (name.as_str(), database)).collect();
        all.sort_by_key(|(name, _)| *name);
        all
    }
}
