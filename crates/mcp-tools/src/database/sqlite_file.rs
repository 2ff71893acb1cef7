//! A database in a SQLite file, with the files that are attached to it.
//!
//! Must not know what is done on a connection.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::address::{AddressError, Attach};
use super::settings::Settings;
use super::sqlite::Sqlite;
use super::sqlite_fault::wal_hint;
use super::sqlite_identity::Files;

/// What SQLite attaches to one connection at most.
const ATTACHED_MAX: usize = 10;

/// Opens an existing file; with [`Attach::Siblings`], sibling files `NAME.SCHEMA.db` are attached as SCHEMA.
pub(super) fn open(path: &Path, attach: Attach, settings: &Settings) -> Result<Sqlite, AddressError> {
    if !path.is_file() {
        let hint = "hint: mcp-tools schema --demo | sqlite3 PATH makes one for a trial";
        return Err(AddressError::Sqlite(format!("{} does not exist ({hint})", path.display())));
    }
    let attached = match attach {
        Attach::Nothing => Vec::new(),
        Attach::Siblings => {
            siblings(path).map_err(|error| AddressError::Sqlite(format!("{}: {error}", path.display())))?
        }
    };
    if attached.len() > ATTACHED_MAX {
        let names: Vec<&str> = attached.iter().map(|(schema, _)| schema.as_str()).collect();
        return Err(AddressError::Sqlite(format!(
            "{} has {} siblings, and SQLite attaches {ATTACHED_MAX} at most: {} (hint: move those that are no schema, such as backups, to another folder)",
            path.display(),
            attached.len(),
            names.join(", ")
        )));
    }
    let files = std::iter::once(path.to_owned()).chain(attached.iter().map(|(_, file)| file.clone()));
    let files = Files::new(files.collect());
    let (shown, path) = (path, path.to_owned());
    let connect = move || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        for (schema, file) in &attached {
            connection.execute(&format!("ATTACH ?1 AS \"{schema}\""), [file.display().to_string()])?;
        }
        Ok(connection)
    };
    let sqlite = Sqlite::new(connect, files, settings);
    // Report a file that is not a database at start, not in the first call.
    sqlite.try_out().map_err(|error| {
        let hint = wal_hint(&error).map(|hint| format!(" {hint}")).unwrap_or_default();
        AddressError::Sqlite(format!("{}: {error}{hint}", shown.display()))
    })?;
    Ok(sqlite)
}

fn siblings(path: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let schema = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".db"));
        let is_name = |schema: &&str| {
            !schema.is_empty() && schema.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if let Some(schema) = schema.filter(is_name) {
            found.push((schema.to_owned(), file));
        }
    }
    found.sort();
    Ok(found)
}
