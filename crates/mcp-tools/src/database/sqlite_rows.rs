//! The rows of one SQLite statement as JSON, and values bound to it.
//!
//! Must not know transactions, deadlines or connections that are shared.

use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput, Value as SqlValue, ValueRef};
use serde_json::Value;

use super::batch::{Bind, Row, Statement, TypedColumns};

/// Why a statement yielded no rows.
pub(crate) enum StatementError {
    Sqlite(rusqlite::Error),
    TooLarge,
}

impl From<rusqlite::Error> for StatementError {
    fn from(error: rusqlite::Error) -> StatementError {
        StatementError::Sqlite(error)
    }
}

/// Runs one statement and subtracts the size of its rows from `bytes_left`.
pub(crate) fn read(
    connection: &Connection,
    statement: &Statement,
    bytes_left: &mut usize,
) -> Result<Vec<Row>, StatementError> {
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
        // A statement that writes must run to its end, so further rows are read and dropped.
        if found.len() == statement.rows_max {
            continue;
        }
        let mut object = Row::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            let value = row.get_ref(index)?;
            *bytes_left = bytes_left.checked_sub(size(value)).ok_or(StatementError::TooLarge)?;
            object.insert(column.name.clone(), json_of(value, column.kind));
        }
        found.push(object);
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
