//! Rows of PostgreSQL as rows of JSON text: objects that the server wrote, or the columns of SHOW, EXPLAIN and CALL.
//!
//! Must not know statements or connections.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokio_postgres::types::{FromSql, Type};

use super::super::batch::{Rows, Statement};
use super::super::error::DatabaseError;
use super::super::row::{Columns, LastColumns, Row, RowWriter};
use super::statement::RowForm;
use crate::json::{Json, TooDeep};

/// Reads the rows of one statement, whose columns all have the same names.
struct RowReader {
    form: RowForm,
    columns: Option<Arc<Columns>>,
    /// Those of the statement's last run.
    last: Arc<LastColumns>,
}

impl RowReader {
    fn read(&mut self, row: &tokio_postgres::Row) -> Result<Row, DatabaseError> {
        match self.form {
            RowForm::Object => self.read_object(row.try_get(0).map_err(|_| unreadable())?),
            RowForm::Columns => {
                let columns = self.columns(row.columns().iter().map(tokio_postgres::Column::name))?;
                let mut writer = RowWriter::new(&columns, row.raw_size_bytes());
                for place in 0..row.len() {
                    let value = column(row, place)?;
                    writer.value(|object| object.push_str(value.as_str()));
                }
                writer.row().ok_or_else(unreadable)
            }
        }
    }

    /// A row that the server wrote as a JSON object.
    fn read_object(&mut self, text: &str) -> Result<Row, DatabaseError> {
        let columns = match &self.columns {
            Some(columns) => Arc::clone(columns),
            None => {
                let Names(names) = serde_json::from_str(text).map_err(|_| unreadable())?;
                self.columns(names.iter().map(String::as_str))?
            }
        };
        let mut writer = RowWriter::new(&columns, text.len());
        let mut object = serde_json::Deserializer::from_str(text);
        let read = object.deserialize_map(ValuesInto(&mut writer)).and_then(|()| object.end());
        read.map_err(|_| unreadable())?;
        writer.row().ok_or_else(unreadable)
    }

    fn columns<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Arc<Columns>, DatabaseError> {
        if let Some(columns) = &self.columns {
            return Ok(Arc::clone(columns));
        }
        let columns = self.last.named(names).map_err(|name| DatabaseError::same_name(&name))?;
        Ok(Arc::clone(self.columns.insert(columns)))
    }
}

/// The rows of one statement, up to its limit.
pub(super) struct Collector {
    reader: RowReader,
    found: Rows,
    rows_max: usize,
}

impl Collector {
    pub(super) fn new(form: RowForm, statement: &Statement) -> Collector {
        let reader = RowReader { form, columns: None, last: Arc::clone(&statement.columns) };
        Collector { reader, found: Rows::default(), rows_max: statement.rows_max }
    }

    /// Whether a further row is one too many.
    pub(super) fn is_full(&self) -> bool {
        self.found.rows.len() == self.rows_max
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// A row came that is not kept.
    pub(super) fn cut(&mut self) {
        self.found.cut = true;
    }

    pub(super) fn add(
        &mut self,
        row: &tokio_postgres::Row,
        bytes_left: &mut usize,
    ) -> Result<(), DatabaseError> {
        *bytes_left = bytes_left.checked_sub(row.raw_size_bytes()).ok_or(DatabaseError::TooLarge)?;
        let row = self.reader.read(row)?;
        self.keep(row, bytes_left)
    }

    /// Adds a row that the server wrote as a JSON object.
    pub(super) fn add_object(&mut self, object: &[u8], bytes_left: &mut usize) -> Result<(), DatabaseError> {
        *bytes_left = bytes_left.checked_sub(object.len()).ok_or(DatabaseError::TooLarge)?;
        let row = self.reader.read_object(std::str::from_utf8(object).map_err(|_| unreadable())?)?;
        self.keep(row, bytes_left)
    }

    fn keep(&mut self, row: Row, bytes_left: &mut usize) -> Result<(), DatabaseError> {
        let growth = row.growth().map_err(|TooDeep| DatabaseError::TooDeep)?;
        *bytes_left = bytes_left.checked_sub(growth).ok_or(DatabaseError::TooLarge)?;
        self.found.rows.push(row);
        Ok(())
    }

    pub(super) fn into_rows(self) -> Rows {
        self.found
    }
}

pub(super) fn unreadable() -> DatabaseError {
    DatabaseError::Failed { detail: "a row is no JSON object that can be read".to_owned() }
}

/// A column whose type the server does not write as JSON for us.
fn column(row: &tokio_postgres::Row, place: usize) -> Result<Json, DatabaseError> {
    let Some(column) = row.columns().get(place) else { return Err(unreadable()) };
    let refused = || {
        let (name, type_) = (column.name(), column.type_());
        let detail = format!("the column {name} has the type {type_}, which such a statement cannot return");
        DatabaseError::Failed { detail }
    };
    let value: Option<Binary<'_>> = row.try_get(place).map_err(|_| refused())?;
    let Some(Binary(bytes)) = value else { return Ok(Json::null()) };
    let type_ = column.type_();
    let read = |error: Box<dyn Error + Sync + Send>| {
        drop(error);
        refused()
    };
    Ok(match *type_ {
        Type::BOOL => Json::of(&bool::from_sql(type_, bytes).map_err(read)?),
        Type::INT2 => Json::of(&i16::from_sql(type_, bytes).map_err(read)?),
        Type::INT4 => Json::of(&i32::from_sql(type_, bytes).map_err(read)?),
        Type::INT8 => Json::of(&i64::from_sql(type_, bytes).map_err(read)?),
        Type::OID => Json::of(&u32::from_sql(type_, bytes).map_err(read)?),
        Type::FLOAT4 => Json::of(&f32::from_sql(type_, bytes).map_err(read)?),
        Type::FLOAT8 => Json::of(&f64::from_sql(type_, bytes).map_err(read)?),
        Type::JSON => json(bytes).ok_or_else(refused)?,
        // The first byte is the version of the format.
        Type::JSONB => bytes.get(1..).and_then(json).ok_or_else(refused)?,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::XML | Type::UNKNOWN => {
            Json::of(&*String::from_utf8_lossy(bytes))
        }
        _ => return Err(refused()),
    })
}

fn json(bytes: &[u8]) -> Option<Json> {
    Json::parse(std::str::from_utf8(bytes).ok()?)
}

/// The bytes of a value of any type.
struct Binary<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Binary<'a> {
    fn from_sql(_type: &Type, bytes: &'a [u8]) -> Result<Binary<'a>, Box<dyn Error + Sync + Send>> {
        Ok(Binary(bytes))
    }

    fn accepts(_type: &Type) -> bool {
        true
    }
}

/// The names of an object's members, in order.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        deserializer.deserialize_map(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            names.push(name);
        }
        Ok(Names(names))
    }
}

/// Writes the values of an object's members into a row, in order.
struct ValuesInto<'a>(&'a mut RowWriter);

impl<'de> Visitor<'de> for ValuesInto<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((IgnoredAny, value)) = map.next_entry::<_, &RawValue>()? {
            self.0.value(|values| values.push_str(value.get()));
        }
        Ok(())
    }
}
