//! What an error of SQLite means: whose doing it is, and whether another attempt could succeed.
//!
//! Must not know which text a caller gets.

use std::time::Duration;

use rusqlite::{ErrorCode, ffi};

use super::error::{CallerFault, CallerFaultKind, DatabaseError};
use super::log_detail;

pub(super) fn of(error: &rusqlite::Error, time_max: Duration) -> DatabaseError {
    if let Some(fault) = caller_fault(error) {
        return DatabaseError::Caller(Box::new(fault));
    }
    let detail = log_detail::of_sqlite(error);
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => DatabaseError::Timeout(time_max),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseError::Busy,
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::NotADatabase
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure,
        ) => DatabaseError::Unreachable { detail },
        Some(ErrorCode::ReadOnly) => match wal_hint(error) {
            Some(hint) => DatabaseError::Unreachable { detail: format!("{detail} {hint}") },
            None => DatabaseError::ReadOnly { detail },
        },
        Some(_) | None => DatabaseError::Failed { detail },
    }
}

/// A file in WAL mode needs its `-wal` and `-shm` files beside it, even to be read.
pub(super) fn wal_hint(error: &rusqlite::Error) -> Option<&'static str> {
    const HINT: &str = "(hint: the file is in WAL mode, so even a reader must be able to write in its folder; allow that, or run PRAGMA journal_mode = DELETE once as its owner)";
    let code = error.sqlite_error()?.extended_code;
    let codes =
        [ffi::SQLITE_READONLY_CANTINIT, ffi::SQLITE_READONLY_RECOVERY, ffi::SQLITE_READONLY_DIRECTORY];
    codes.contains(&code).then_some(HINT)
}

/// Beginnings of what SQLite says of a search query, pattern or path when the statement runs already. FTS5 takes `a-b`
/// and `a:b` for columns.
const OF_EXPRESSION: &[&str] = &[
    "fts5: ",
    "no such column: ",
    "unterminated string",
    "unknown special query",
    "malformed MATCH expression",
    "bad JSON path",
    "JSON path error",
    "ESCAPE expression must be",
    "LIKE or GLOB pattern too complex",
];

fn caller_fault(error: &rusqlite::Error) -> Option<CallerFault> {
    let rusqlite::Error::SqliteFailure(failure, text) = error else { return None };
    let code = failure.extended_code;
    let text = text.as_deref().unwrap_or_default();
    let kind = match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            CallerFaultKind::Unique
        }
        ffi::SQLITE_CONSTRAINT_NOTNULL => CallerFaultKind::NotNull,
        ffi::SQLITE_CONSTRAINT_CHECK => CallerFaultKind::Check,
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => CallerFaultKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_TRIGGER => CallerFaultKind::Raised,
        ffi::SQLITE_CONSTRAINT_DATATYPE | ffi::SQLITE_MISMATCH => CallerFaultKind::InvalidText,
        _ if text == "integer overflow" => CallerFaultKind::OutOfRange,
        ffi::SQLITE_ERROR if OF_EXPRESSION.iter().any(|known| text.starts_with(known)) => {
            CallerFaultKind::Expression
        }
        _ if failure.code == ErrorCode::ConstraintViolation => CallerFaultKind::Other,
        _ => return None,
    };
    let mut fault = CallerFault {
        kind,
        code: code.to_string(),
        constraint: None,
        table: None,
        column: None,
        data_type: None,
        statement: None,
        parameter: None,
        message: (kind == CallerFaultKind::Raised).then(|| text.to_owned()),
        detail: log_detail::of_sqlite(error),
    };
    // `UNIQUE constraint failed: t.a, t.b`, `CHECK constraint failed: name`.
    let Some((_, names)) = text.split_once("constraint failed: ") else { return Some(fault) };
    match kind {
        CallerFaultKind::Check => fault.constraint = Some(names.to_owned()),
        CallerFaultKind::Unique | CallerFaultKind::NotNull => {
            let pairs: Vec<(&str, &str)> =
                names.split(", ").filter_map(|pair| pair.split_once('.')).collect();
            fault.table = pairs.first().map(|(table, _)| (*table).to_owned());
            let columns: Vec<&str> = pairs.iter().map(|(_, column)| *column).collect();
            fault.column = (!columns.is_empty()).then(|| columns.join(", "));
        }
        CallerFaultKind::ForeignKey
        | CallerFaultKind::Exclusion
        | CallerFaultKind::InvalidText
        | CallerFaultKind::InvalidTime
        | CallerFaultKind::OutOfRange
        | CallerFaultKind::TooLong
        | CallerFaultKind::DivisionByZero
        | CallerFaultKind::Expression
        | CallerFaultKind::Raised
        | CallerFaultKind::Other => {}
    }
    Some(fault)
}
