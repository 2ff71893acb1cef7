//! What an error of PostgreSQL means: whose doing it is, and whether another attempt could succeed.
//!
//! Must not know which text a caller gets.

use std::time::Duration;

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::super::batch::{Bind, LogDetail};
use super::super::error::{CallerFault, CallerFaultKind, DatabaseError};
use super::super::log_detail;
use super::pool::PoolError;

/// The ways out when a server's certificate is not accepted.
const CERTIFICATE_HINT: &str = " (hint: sslrootcert=FILE names the authority that signed it; sslmode=verify-ca accepts any host name; sslmode=require encrypts without a check)";

pub(super) fn pool_error(error: &PoolError) -> DatabaseError {
    match error {
        PoolError::Busy => DatabaseError::Busy,
        PoolError::Slow | PoolError::Connect(_) => {
            let detail = chain(error);
            let hint = if detail.contains("invalid peer certificate") { CERTIFICATE_HINT } else { "" };
            DatabaseError::Unreachable { detail: detail + hint }
        }
    }
}

/// The connection broke in an exchange.
pub(super) fn broken(error: &std::io::Error) -> DatabaseError {
    DatabaseError::Unreachable { detail: format!("the connection broke: {error}") }
}

/// An error of a statement that ran with `binds`.
pub(super) fn of_values(
    error: &tokio_postgres::Error,
    time_max: Duration,
    binds: &[Bind],
    log: LogDetail,
) -> DatabaseError {
    database_error(error, time_max, binds, |error| match log {
        LogDetail::Names => log_detail::of_values(error, binds),
        LogDetail::Whole => log_detail::whole(error),
    })
}

/// An error of a statement that no value was bound to.
pub(super) fn of_statement(error: &tokio_postgres::Error, time_max: Duration) -> DatabaseError {
    database_error(error, time_max, &[], log_detail::of_statement)
}

/// An error of COMMIT: whether the changes are there is not always known.
pub(super) fn of_commit(
    error: &tokio_postgres::Error,
    time_max: Duration,
    binds: &[Bind],
    log: LogDetail,
) -> DatabaseError {
    let Some(db_error) = error.as_db_error() else {
        return DatabaseError::Unknown { detail: chain(error) };
    };
    match db_error.parsed_severity() {
        // The server ended the session, perhaps after the changes were written.
        Some(Severity::Fatal | Severity::Panic) => {
            DatabaseError::Unknown { detail: log_detail::of_values(db_error, binds) }
        }
        Some(_) | None => of_values(error, time_max, binds, log),
    }
}

/// Whether the server could accept the same statement with other types of its values.
pub(super) fn depends_on_types(error: &tokio_postgres::Error) -> bool {
    let types = [
        &SqlState::INDETERMINATE_DATATYPE,
        &SqlState::UNDEFINED_FUNCTION,
        &SqlState::AMBIGUOUS_FUNCTION,
        &SqlState::AMBIGUOUS_PARAMETER,
        &SqlState::DATATYPE_MISMATCH,
        &SqlState::CANNOT_COERCE,
    ];
    error.code().is_some_and(|code| types.contains(&code))
}

/// The number of the value whose type the server could not find out, or found in two ways.
pub(super) fn unclear_value(error: &tokio_postgres::Error) -> Option<usize> {
    let error = error.as_db_error()?;
    let unclear = [&SqlState::INDETERMINATE_DATATYPE, &SqlState::AMBIGUOUS_PARAMETER];
    let (_, number) = error.message().split_once('$').filter(|_| unclear.contains(&error.code()))?;
    leading_number(number)
}

/// `keep` extracts from the server's error what the log may contain.
fn database_error(
    error: &tokio_postgres::Error,
    time_max: Duration,
    binds: &[Bind],
    keep: impl Fn(&DbError) -> String,
) -> DatabaseError {
    let Some(db_error) = error.as_db_error() else {
        // Not an error of the server: the connection broke.
        return DatabaseError::Unreachable { detail: chain(error) };
    };
    let code = db_error.code();
    if let Some(kind) = caller_fault(db_error, binds) {
        let detail = keep(db_error);
        return DatabaseError::Caller(Box::new(CallerFault { detail, ..named(kind, db_error) }));
    }
    if *code == SqlState::QUERY_CANCELED {
        return DatabaseError::Timeout(time_max);
    }
    let detail = keep(db_error);
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) {
        return DatabaseError::Conflict { detail };
    }
    if *code == SqlState::LOCK_NOT_AVAILABLE {
        return DatabaseError::Locked { detail };
    }
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return DatabaseError::ReadOnly { detail };
    }
    // Class 57 is an operator's intervention, class 53 a lack of resources, class 08 a lost connection.
    if ["57", "53", "08"].iter().any(|class| code.code().starts_with(class)) {
        return DatabaseError::Unreachable { detail };
    }
    DatabaseError::Failed { detail }
}

fn caller_fault(error: &DbError, binds: &[Bind]) -> Option<CallerFaultKind> {
    let code = error.code().code();
    // A function raises any code it likes. With class 40 it asks for a repetition.
    if log_detail::is_raised(error) && !code.starts_with("40") {
        return Some(CallerFaultKind::Raised);
    }
    Some(match code {
        "23505" => CallerFaultKind::Unique,
        "23503" | "23001" => CallerFaultKind::ForeignKey,
        "23502" => CallerFaultKind::NotNull,
        "23514" => CallerFaultKind::Check,
        "23P01" => CallerFaultKind::Exclusion,
        "22P02" => CallerFaultKind::InvalidText,
        "22003" => CallerFaultKind::OutOfRange,
        "22001" => CallerFaultKind::TooLong,
        "22007" | "22008" | "22009" => CallerFaultKind::InvalidTime,
        "22012" => CallerFaultKind::DivisionByZero,
        "P0001" => CallerFaultKind::Raised,
        "2201B" | "22019" | "22025" => CallerFaultKind::Expression,
        "42601" if is_of_value(error, binds) => CallerFaultKind::Expression,
        other if other.starts_with("22") || other.starts_with("23") => CallerFaultKind::Other,
        // A name of a table, type or text search configuration that there is not.
        _ if error.where_().and_then(number_of_value).is_some() => CallerFaultKind::Other,
        _ => return None,
    })
}

/// Whether a syntax error is that of a value (`tsquery`, `jsonpath`): one of the statement has a position in it, and one
/// that a function composes has a context.
fn is_of_value(error: &DbError, binds: &[Bind]) -> bool {
    !binds.is_empty() && error.position().is_none() && !log_detail::is_in_function(error)
}

/// The names in an error. Those of an error that a function raises are the function's, and may be values.
fn named(kind: CallerFaultKind, error: &DbError) -> CallerFault {
    let raised = log_detail::is_raised(error);
    let name = |name: Option<&str>| name.filter(|_| !raised).map(str::to_owned);
    CallerFault {
        kind,
        code: error.code().code().to_owned(),
        constraint: name(error.constraint()),
        table: name(error.table()),
        column: name(error.column()),
        data_type: name(error.datatype()).or_else(|| quoted_type(kind, error.message()).filter(|_| !raised)),
        statement: None,
        parameter: error.where_().and_then(number_of_value),
        message: (kind == CallerFaultKind::Raised).then(|| error.message().to_owned()),
        detail: String::new(),
    }
}

/// The number in `unnamed portal parameter $2 = ...`: the value that the server could not read.
fn number_of_value(place: &str) -> Option<usize> {
    let (before, number) = place.split_once("parameter $")?;
    // A function's context may quote anything.
    let is_own = before.lines().next_back().unwrap_or_default().starts_with("unnamed portal");
    leading_number(number).filter(|_| is_own)
}

fn leading_number(text: &str) -> Option<usize> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The type in `invalid input syntax for type uuid: ...`, `invalid input value for enum mood: ...` and
/// `value too long for type character varying(5)`. The value comes after a colon, and is cut.
fn quoted_type(kind: CallerFaultKind, message: &str) -> Option<String> {
    let after = match kind {
        CallerFaultKind::InvalidText | CallerFaultKind::InvalidTime => " for ",
        CallerFaultKind::TooLong => " for type ",
        CallerFaultKind::Unique
        | CallerFaultKind::ForeignKey
        | CallerFaultKind::NotNull
        | CallerFaultKind::Check
        | CallerFaultKind::Exclusion
        | CallerFaultKind::OutOfRange
        | CallerFaultKind::DivisionByZero
        | CallerFaultKind::Expression
        | CallerFaultKind::Raised
        | CallerFaultKind::Other => return None,
    };
    let (before, rest) = message.split_once(after)?;
    // A value in front would be quoted.
    let name = rest.split(':').next()?.trim_start_matches("type ").trim_start_matches("enum ").trim();
    let plain = |text: &str| !text.is_empty() && text.len() <= 80 && !text.contains(['"', '\'']);
    (plain(before) && plain(name)).then(|| name.to_owned())
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
