//! The tables and views of a database as tools that only read: a page of rows, and one row by its primary key.
//!
//! `tables` reads what there is, `tools` declares. Must not know the command line.

mod error;
mod tables;
mod tools;

use super::draft::{Draft, Entry};
use crate::database::{Database, MAIN};
use error::TablesError;

/// The database to import from, as the operator names it.
pub(crate) struct Origin<'a> {
    pub(crate) database: &'a Database,
    /// Its name in the catalogue.
    pub(crate) name: &'a str,
    /// As it was given; it holds no password.
    pub(crate) given: &'a str,
}

/// Declares tools for the named tables, or for all.
pub(crate) async fn import_database(origin: &Origin<'_>, wanted: &[String]) -> Result<Draft, TablesError> {
    let found = tables::read(origin.database).await?;
    let mut chosen = tables::choose(found, wanted)?;
    for table in &mut chosen {
        tables::read_columns(origin.database, table).await?;
    }
    let mut draft = Draft::default();
    draft.notes.push("Imported from the tables of a database by mcp-tools import.".to_owned());
    let url = origin.given.strip_prefix(&format!("{}=", origin.name)).unwrap_or(origin.given);
    let address = match url.strip_prefix("env:") {
        Some(variable) => Entry::new("url_env", variable),
        None => Entry::new("url", url),
    };
    draft.tables.push((format!("database.{}", origin.name), vec![address]));
    let name = (origin.name != MAIN).then_some(origin.name);
    tools::declare(&chosen, origin.database.dialect(), name, &mut draft);
    Ok(draft)
}
