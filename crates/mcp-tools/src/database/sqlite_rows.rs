//! The rows of one SQLite statement as JSON, and values bound to it.
//!
//! Must not know transactions, deadlines or connections that are shared.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput, Value as SqlValue, ValueRef};

use super::batch::{Bind, Row, Rows, Statement, TypedColumns, twice};
use super::sqlite_statement;
use crate::json::{Json, TooDeep};

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
            None => columns.insert(Columns::of(row.as_ref(), &statement.typed)?),
        };
        let mut values = Vec::with_capacity(columns.kinds.len());
        for (index, kind) in columns.kinds.iter().enumerate() {
            let value = row.get_ref(index)?;
            *bytes_left = bytes_left.checked_sub(size(value)).ok_or(StatementError::TooLarge)?;
            if let ValueRef::Real(number) = value
                && !number.is_finite()
            {
                let column = columns.names.get(index).cloned().unwrap_or_default();
                return Err(StatementError::Infinite(column));
            }
            values.push(json_of(value, *kind));
        }
        let Some(row) = Row::new(Arc::clone(&columns.names), values) else { continue };
        let growth = row.growth().map_err(|TooDeep| StatementError::TooDeep)?;
        *bytes_left = bytes_left.checked_sub(growth).ok_or(StatementError::TooLarge)?;
        found.rows.push(row);
    }
    Ok(found)
}

struct Columns {
    names: Arc<[String]>,
    kinds: Vec<Kind>,
}

impl Columns {
    fn of(statement: &rusqlite::Statement<'_>, typed: &TypedColumns) -> Result<Columns, StatementError> {
        let columns: Vec<_> = statement.columns().collect();
        let names: Arc<[String]> = columns.iter().map(|column| column.name().to_owned()).collect();
        if let Some(name) = twice(&names) {
            return Err(StatementError::SameName(name.to_owned()));
        }
        let kinds = columns.iter().map(|column| kind_of(column.name(), column.decl_type(), typed)).collect();
        Ok(Columns { names, kinds })
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

fn json_of(value: ValueRef<'_>, kind: Kind) -> Json {
    match (value, kind) {
        (ValueRef::Null, _) => Json::null(),
        (ValueRef::Integer(number), Kind::Boolean) => Json::of(&(number != 0)),
        (ValueRef::Integer(number), Kind::Plain | Kind::Json) => Json::of(&number),
        (ValueRef::Real(number), _) => Json::of(&number),
        (ValueRef::Text(text), kind) => {
            let text = String::from_utf8_lossy(text);
            let json = if matches!(kind, Kind::Json) { Json::parse(&text) } else { None };
            json.unwrap_or_else(|| Json::of(&*text))
        }
        (ValueRef::Blob(bytes), _) => Json::of(&format!("{} bytes", bytes.len())),
    }
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
