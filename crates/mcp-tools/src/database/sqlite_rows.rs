//! The rows of one SQLite statement as JSON, and values bound to it.
//!
//! Must not know transactions, deadlines or connections that are shared.

use std::borrow::Cow;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput, Value as SqlValue, ValueRef};

use super::batch::{Bind, Rows, Statement, TypedColumns};
use super::row::{self, RowWriter};
use super::sqlite_statement;
use crate::json::{Json, TooDeep, push, push_integer, push_raw_or_string, push_string};

/// How long the first row of a statement is thought to be; each further one is thought to be as long as the one before it.
const ROW_SIZE_GUESS: usize = 128;
const ROW_SIZE_MARGIN: usize = 16;

/// Why a statement yielded no rows.
pub(crate) enum StatementError {
    Sqlite(rusqlite::Error),
    TooLarge,
    TooDeep,
    /// This column holds an infinite number.
    Infinite(String),
    /// Two columns of the statement have this name.
    SameName(String),
    /// The statement has no place in a batch.
    Refused(String),
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
) -> Result<Rows, StatementError> {
    sqlite_statement::check(&statement.text).map_err(StatementError::Refused)?;
    let mut prepared = connection.prepare_cached(&statement.text)?;
    if prepared.column_count() == 0 {
        let before = connection.total_changes();
        let changed = prepared.execute(rusqlite::params_from_iter(&statement.binds))?;
        // A statement that is no INSERT, UPDATE or DELETE leaves the count of the one before it.
        let changed = if connection.total_changes() == before { 0 } else { changed };
        return Ok(Rows { affected: u64::try_from(changed).ok(), ..Rows::default() });
    }
    let reads = prepared.readonly();
    let mut found = Rows::default();
    let mut columns = None;
    let mut row_size = ROW_SIZE_GUESS;
    let mut rows = prepared.query(rusqlite::params_from_iter(&statement.binds))?;
    while let Some(row) = rows.next()? {
        if found.rows.len() == statement.rows_max {
            found.cut = true;
            if reads {
                break;
            }
            // A statement that writes must run to its end, so further rows are read and dropped.
            continue;
        }
        let columns = match &columns {
            Some(columns) => columns,
            // Asked once the statement runs: SQLite compiles it again when the table was changed.
            None => columns.insert(Columns::of(row.as_ref(), statement)?),
        };
        let mut writer = RowWriter::new(&columns.shared, row_size);
        for (index, kind) in columns.kinds.iter().enumerate() {
            let value = row.get_ref(index)?;
            *bytes_left = bytes_left.checked_sub(size(value)).ok_or(StatementError::TooLarge)?;
            if let ValueRef::Real(number) = value
                && !number.is_finite()
            {
                return Err(StatementError::Infinite(columns.shared.name(index).to_owned()));
            }
            writer.value(|object| push_value(value, *kind, object));
        }
        let Some(row) = writer.row() else { continue };
        row_size = row.size() + ROW_SIZE_MARGIN;
        let growth = row.growth().map_err(|TooDeep| StatementError::TooDeep)?;
        *bytes_left = bytes_left.checked_sub(growth).ok_or(StatementError::TooLarge)?;
        found.rows.push(row);
    }
    Ok(found)
}

struct Columns {
    shared: Arc<row::Columns>,
    kinds: Vec<Kind>,
}

impl Columns {
    fn of(running: &rusqlite::Statement<'_>, statement: &Statement) -> Result<Columns, StatementError> {
        let columns: Vec<_> = running.columns().collect();
        let names = columns.iter().map(|column| column.name());
        let shared = statement.columns.named(names).map_err(StatementError::SameName)?;
        let kind =
            |column: &rusqlite::Column<'_>| kind_of(column.name(), column.decl_type(), &statement.typed);
        let kinds = columns.iter().map(kind).collect();
        Ok(Columns { shared, kinds })
    }
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

/// Writes a value as JSON.
fn push_value(value: ValueRef<'_>, kind: Kind, into: &mut String) {
    match (value, kind) {
        (ValueRef::Null, _) => into.push_str("null"),
        (ValueRef::Integer(number), Kind::Boolean) => {
            into.push_str(if number == 0 { "false" } else { "true" })
        }
        (ValueRef::Integer(number), Kind::Plain | Kind::Json) => push_integer(number, into),
        (ValueRef::Real(number), _) => push(&number, into),
        (ValueRef::Text(text), Kind::Json) => push_raw_or_string(&lossy(text), into),
        (ValueRef::Text(text), Kind::Plain | Kind::Boolean) => push_string(&lossy(text), into),
        (ValueRef::Blob(bytes), _) => push_string(&format!("{} bytes", bytes.len()), into),
    }
}

/// Text of SQLite, which does not check that it is UTF-8. For valid text, which nearly all is, `from_utf8` is the faster one.
fn lossy(text: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
}

impl ToSql for Bind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Bind::Null => ToSqlOutput::Owned(SqlValue::Null),
            Bind::Integer(number) => ToSqlOutput::Owned(SqlValue::Integer(*number)),
            Bind::Number(number) => ToSqlOutput::Owned(SqlValue::Real(*number)),
            Bind::Decimal(digits) => {
                ToSqlOutput::Owned(digits.parse().map_or(SqlValue::Null, SqlValue::Real))
            }
            Bind::Boolean(truth) => ToSqlOutput::Owned(SqlValue::Integer(i64::from(*truth))),
            Bind::Text(text) | Bind::Json(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Bind::Array(_) => ToSqlOutput::Owned(SqlValue::Text(json_list(self).as_str().to_owned())),
        })
    }
}

/// A list as JSON: SQLite reads it with `json_each`.
fn json_list(bind: &Bind) -> Json {
    match bind {
        Bind::Null => Json::null(),
        Bind::Integer(number) => Json::of(number),
        Bind::Number(number) => Json::of(number),
        Bind::Boolean(truth) => Json::of(truth),
        Bind::Text(text) => Json::of(text),
        Bind::Json(text) | Bind::Decimal(text) => Json::parse(text).unwrap_or_else(Json::null),
        Bind::Array(items) => Json::array(&items.iter().map(json_list).collect::<Vec<_>>()),
    }
}
