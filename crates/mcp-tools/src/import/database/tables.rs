//! What a database says of its tables: columns, types, keys, comments.
//!
//! Must not know tools.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{TABLES_MAX, TablesError};
use crate::database::{Access, Batch, BatchOutcome, Bind, Database, DatabaseError, Dialect, Row, Statement};

const TIME_MAX: Duration = Duration::from_secs(30);
/// Columns of a table of SQLite, which has at most 32,767.
const COLUMNS_MAX: usize = 1 << 15;
/// Names of tables that an error lists.
const NAMES_SHOWN_MAX: usize = 20;

/// A table or view.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) comment: Option<String>,
    #[serde(default)]
    pub(super) columns: Vec<Column>,
    /// Why the columns cannot be read: a view of a table that is gone, a virtual table without its module.
    #[serde(skip)]
    pub(super) broken: Option<String>,
}

/// A column.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type as a cast may name it.
    #[serde(rename = "type")]
    pub(super) sql_type: String,
    /// The name of the type, or of the one that a domain is based on; for SQLite the declared type.
    pub(super) base: String,
    /// The words of an enum.
    #[serde(default)]
    pub(super) labels: Option<Vec<String>>,
    pub(super) comment: Option<String>,
    /// Its place in the primary key.
    pub(super) key: Option<u32>,
}

impl Table {
    /// The name with its schema, unless that is the one that every statement searches.
    pub(super) fn shown(&self) -> String {
        if self.is_in_default_schema() { self.name.clone() } else { format!("{}.{}", self.schema, self.name) }
    }

    pub(super) fn is_in_default_schema(&self) -> bool {
        matches!(self.schema.as_str(), "public" | "main")
    }
}

/// One row a table: its columns are a list, so no limit can cut a table in half.
const POSTGRES: &str = "
SELECT n.nspname AS schema, c.relname AS name, obj_description(c.oid, 'pg_class') AS comment,
  (SELECT COALESCE(json_agg(json_build_object(
      'name', a.attname,
      'type', format_type(a.atttypid, NULL),
      'base', b.typname,
      'labels', (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = b.oid),
      'comment', col_description(c.oid, a.attnum),
      'key', (SELECT k.place FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attribute, place)
              WHERE i.indrelid = c.oid AND i.indisprimary AND k.attribute = a.attnum)
    ) ORDER BY a.attnum), '[]')
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      AND has_column_privilege(c.oid, a.attnum, 'SELECT')) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
ORDER BY n.nspname = 'public' DESC, n.nspname, c.relname";

/// Without columns: one broken view would fail the statement for all.
const SQLITE: &str = "
SELECT l.schema AS schema, l.name AS name, NULL AS comment
FROM pragma_table_list AS l
WHERE l.type IN ('table', 'view', 'virtual') AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND l.schema <> 'temp'
ORDER BY l.schema = 'main' DESC, l.schema, l.name";

const SQLITE_COLUMNS: &str = "
SELECT name, type, type AS base, CASE WHEN pk > 0 THEN pk END AS key
FROM pragma_table_xinfo(?1, ?2) WHERE hidden <> 1";

/// Every table and view that may be read, the default schema first. Those of SQLite have no columns yet.
pub(super) async fn read(database: &Database) -> Result<Vec<Table>, TablesError> {
    let text = match database.dialect() {
        Dialect::Postgres => POSTGRES,
        Dialect::Sqlite => SQLITE,
    };
    let rows = rows(database, text, Vec::new(), TABLES_MAX + 1).await;
    let rows = rows.map_err(|error| TablesError::Database { error })?;
    rows.iter().map(parsed).collect()
}

/// Reads the columns of a table of SQLite, or why they cannot be read.
pub(super) async fn read_columns(database: &Database, table: &mut Table) -> Result<(), TablesError> {
    if database.dialect() != Dialect::Sqlite {
        return Ok(());
    }
    let binds = vec![Bind::Text(table.name.clone()), Bind::Text(table.schema.clone())];
    match rows(database, SQLITE_COLUMNS, binds, COLUMNS_MAX).await {
        Ok(rows) => table.columns = rows.iter().map(parsed).collect::<Result<_, _>>()?,
        Err(error @ DatabaseError::Failed { .. }) => {
            // The error of a statement without values says what is missing.
            let select = format!("SELECT * FROM {}.{}", quoted(&table.schema), quoted(&table.name));
            let error = database.check(&select, &[], Access::Read).await.err().unwrap_or(error);
            table.broken = Some(error.detail().unwrap_or("it cannot be read").to_owned());
        }
        Err(error) => return Err(TablesError::Database { error }),
    }
    Ok(())
}

async fn rows(
    database: &Database,
    text: &str,
    binds: Vec<Bind>,
    rows_max: usize,
) -> Result<Vec<Row>, DatabaseError> {
    let statement = Statement {
        text: Arc::from(text),
        binds,
        types: Arc::default(),
        rows_max,
        required: false,
        typed: Arc::default(),
        columns: Arc::default(),
    };
    Ok(match database.run(Batch::new(Access::Read, TIME_MAX, vec![statement])).await? {
        BatchOutcome::Rows(mut statements) => statements.pop().unwrap_or_default().rows,
        BatchOutcome::Unmet(_) => Vec::new(),
    })
}

fn parsed<T: DeserializeOwned>(row: &Row) -> Result<T, TablesError> {
    serde_json::from_str(row.to_json().as_str()).map_err(|error| TablesError::Shape(error.to_string()))
}

/// An identifier in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The named tables in the order of their names here, or all.
pub(super) fn choose(found: Vec<Table>, wanted: &[String]) -> Result<Vec<Table>, TablesError> {
    if wanted.is_empty() {
        return match found.len() {
            0 => Err(TablesError::Empty),
            count if count > TABLES_MAX => Err(TablesError::TooMany),
            _ => Ok(found),
        };
    }
    let mut chosen: Vec<Table> = Vec::new();
    for name in wanted {
        let is_it =
            |table: &&Table| table.name == *name || format!("{}.{}", table.schema, table.name) == *name;
        let mut fitting: Vec<&Table> = found.iter().filter(is_it).collect();
        // A bare name means the default schema where both have it.
        if let Some(first) = fitting.iter().position(|table| table.is_in_default_schema()) {
            fitting = vec![fitting.swap_remove(first)];
        }
        let wanted = name.clone();
        match fitting.as_slice() {
            [] => return Err(TablesError::Unknown { wanted, known: names(found.iter()) }),
            [table] => {
                let is_new = chosen.iter().all(|other| other.shown() != table.shown());
                chosen.extend(is_new.then(|| (*table).clone()));
            }
            several => {
                return Err(TablesError::Ambiguous { wanted, known: names(several.iter().copied()) });
            }
        }
    }
    Ok(chosen)
}

fn names<'t>(tables: impl ExactSizeIterator<Item = &'t Table>) -> String {
    let more = tables.len().saturating_sub(NAMES_SHOWN_MAX);
    let first: Vec<String> = tables.take(NAMES_SHOWN_MAX).map(Table::shown).collect();
    match (first.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => first.join(", "),
        (false, more) => format!("{}, and {more} more", first.join(", ")),
    }
}
