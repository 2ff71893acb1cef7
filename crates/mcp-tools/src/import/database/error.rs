//! Why the tables of a database could not be read.

use crate::database::DatabaseError;

/// Tables of one import.
pub(super) const TABLES_MAX: usize = 1_000;

/// Why the tables of a database could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TablesError {
    #[error("--database: {error}{}", error.detail().map(|detail| format!(": {detail}")).unwrap_or_default())]
    Database { error: DatabaseError },
    #[error("--database: what the database says of its tables cannot be read: {0}")]
    Shape(String),
    #[error(
        "--database: has no table or view that this user may read (hint: is it the right database and user?)"
    )]
    Empty,
    #[error(
        "--database: has more than {TABLES_MAX} tables (hint: --table NAME, repeatable, imports some of them)"
    )]
    TooMany,
    #[error("--table {wanted}: there is no such table or view that this user may read; there is {known}")]
    Unknown { wanted: String, known: String },
    #[error("--table {wanted}: is the name of several tables: {known}; give one as SCHEMA.TABLE")]
    Ambiguous { wanted: String, known: String },
}
