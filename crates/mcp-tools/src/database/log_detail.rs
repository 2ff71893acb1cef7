//! What the log keeps of a database's error: its code, the constraint, table and column, and what of the message holds no value.
//!
//! `DETAIL` holds whole rows and a message quotes bound values. Must not decide which text the caller gets.

use std::fmt::Write;

use rusqlite::ffi;
use tokio_postgres::error::DbError;

use super::batch::Bind;

/// Classes of SQLSTATE whose message is PostgreSQL's own text around quoted values: data, integrity, transaction state,
/// rights, names and syntax, limits, prerequisites, intervention. The text of any other class may be a function's.
const OWN_TEXT: &[&str] = &[
    "08", "0A", "21", "22", "23", "25", "26", "28", "2B", "34", "3D", "3F", "40", "42", "44", "53", "54",
    "55", "57",
];

/// The class of data exceptions: their messages hold values without quotes, too.
const DATA: &str = "22";

/// The contexts of an error in a JSON text, and in a value before the statement runs; every other one is a function.
const IN_VALUE: &[&str] = &["JSON data", "unnamed portal parameter $", "portal \""];

/// Deadlock, conflict, lock timeout: the server raises them while a statement waits, and their text is its own, in a function, too.
const WAITING: &[&str] = &["40P01", "40001", "55P03"];

/// Shorter values are found in any text by chance.
const VALUE_LETTERS_MIN: usize = 4;

/// Messages of SQLite for a running statement that hold no value.
const SQLITE_OWN_TEXT: &[&str] = &[
    "malformed JSON",
    "integer overflow",
    "ESCAPE expression must be a single character",
    "LIKE or GLOB pattern too complex",
    "string or blob too big",
    "too many levels of trigger recursion",
];

/// An error of a statement without values: nothing in its message comes from a caller. `DETAIL` still shows rows.
pub(crate) fn of_statement(error: &DbError) -> String {
    let mut text = format!("{} {}", error.code().code(), error.message());
    add_names(&mut text, error);
    text
}

/// An error of a statement that ran with `binds`.
pub(crate) fn of_values(error: &DbError, binds: &[Bind]) -> String {
    let code = error.code().code();
    // Text and names of an error that a function raises are the function's, whatever its code.
    if is_raised(error) || is_in_function(error) && !WAITING.contains(&code) {
        return format!("{code} (raised by a function; its text is left out)");
    }
    let mut text = code.to_owned();
    if let Some(class) = OWN_TEXT.iter().find(|class| code.starts_with(**class)) {
        let message = without_values(error.message(), class);
        if !holds_any(message, binds) {
            let _ = write!(text, " {message}");
            if message.len() < error.message().trim_end().len() {
                text.push_str(" ...");
            }
        }
    }
    add_names(&mut text, error);
    text
}

/// Whether `RAISE` of a function made this error. No text of it is the server's.
pub(crate) fn is_raised(error: &DbError) -> bool {
    error.routine() == Some("exec_stmt_raise")
}

/// Whether the error has a context other than that of a value.
pub(crate) fn is_in_function(error: &DbError) -> bool {
    let in_value = |place: &str| IN_VALUE.iter().any(|known| place.starts_with(known));
    error.where_().is_some_and(|place| !in_value(place))
}

/// Everything that the server says, for a tool whose declaration opens it.
pub(crate) fn whole(error: &DbError) -> String {
    let mut text = of_statement(error);
    for (what, said) in [("DETAIL", error.detail()), ("HINT", error.hint()), ("CONTEXT", error.where_())] {
        if let Some(said) = said {
            let _ = write!(text, "; {what}: {said}");
        }
    }
    text
}

/// The message up to the first thing that may be a value.
fn without_values<'a>(message: &'a str, class: &str) -> &'a str {
    let is_value = |letter: char| match letter {
        '"' | '\'' | '`' | '«' | '»' | '„' | '“' | '”' | '‘' | '’' | '‚' | '‹' | '›' | '「' | '『' | '《' => {
            true
        }
        ':' | '=' | '0'..='9' => class == DATA,
        other => other.is_control(),
    };
    message.split(is_value).next().unwrap_or_default().trim_end()
}

fn holds_any(message: &str, binds: &[Bind]) -> bool {
    let lower = message.to_lowercase();
    let message = lower.as_str();
    binds.iter().any(|bind| match bind {
        Bind::Array(items) => holds_any(message, items),
        Bind::Text(text) | Bind::Json(text) => {
            let text = text.trim_matches(['%', ' ']).to_lowercase();
            text.len() >= VALUE_LETTERS_MIN && message.contains(&text)
        }
        Bind::Integer(number) => {
            let digits = number.unsigned_abs().to_string();
            digits.len() >= VALUE_LETTERS_MIN && message.contains(&digits)
        }
        Bind::Number(number) => {
            let digits = number.abs().to_string();
            digits.len() >= VALUE_LETTERS_MIN && message.contains(&digits)
        }
        Bind::Decimal(digits) => digits.len() >= VALUE_LETTERS_MIN && message.contains(digits.as_str()),
        Bind::Null | Bind::Boolean(_) => false,
    })
}

fn add_names(text: &mut String, error: &DbError) {
    let named = [
        ("constraint", error.constraint()),
        ("table", error.table()),
        ("column", error.column()),
        ("type", error.datatype()),
    ];
    for (kind, name) in named {
        if let Some(name) = name {
            let _ = write!(text, "; {kind} {name}");
        }
    }
}

/// An error of SQLite: the text of a statement that cannot be compiled, the names of a constraint, else the code alone.
#[expect(clippy::wildcard_enum_match_arm, reason = "a kind that is new to us may hold a value")]
pub(crate) fn of_sqlite(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, offset, .. } => {
            format!("{msg} (at byte {offset} of the statement)")
        }
        rusqlite::Error::SqliteFailure(failure, text) => {
            let meaning = ffi::code_to_str(failure.extended_code);
            match text.as_deref().filter(|text| is_own_text(failure.extended_code, text)) {
                Some(text) => format!("{} {text}", failure.extended_code),
                None => format!("{} {meaning}", failure.extended_code),
            }
        }
        // What SQLite itself reports when such a statement is run.
        rusqlite::Error::Empty => {
            format!("{} {}", ffi::SQLITE_MISUSE, ffi::code_to_str(ffi::SQLITE_MISUSE))
        }
        // What the driver itself refuses names places and types; some kinds of it name a value.
        rusqlite::Error::InvalidColumnIndex(_)
        | rusqlite::Error::InvalidColumnType(_, _, _)
        | rusqlite::Error::InvalidParameterCount(_, _)
        | rusqlite::Error::MultipleStatement
        | rusqlite::Error::InvalidQuery => error.to_string(),
        _ => "the driver could not read or bind a value".to_owned(),
    }
}

fn is_own_text(code: i32, text: &str) -> bool {
    match code {
        // Each names the constraint or its columns. A trigger's text is its own, and so is a function's.
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_NOTNULL
        | ffi::SQLITE_CONSTRAINT_CHECK
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_FOREIGNKEY
        | ffi::SQLITE_CONSTRAINT_ROWID
        | ffi::SQLITE_READONLY
        | ffi::SQLITE_NOTADB
        | ffi::SQLITE_FULL => true,
        _ => SQLITE_OWN_TEXT.contains(&text),
    }
}
