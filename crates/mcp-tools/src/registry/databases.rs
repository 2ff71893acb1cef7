//! The databases that catalogue files declare. Must not open one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_host::diagnostics::Diagnostic;

use crate::catalogue::Source;
use crate::catalogue::file::{DatabaseFile, Declared, Document};
use crate::database::{Address, AddressError, Prepared, Settings};

const POOL_MAX: usize = 100;
/// As long as a statement may take.
const WAIT_MAX_MS: u64 = 45_000;

/// One `[database.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredDatabase {
    pub(crate) name: String,
    file: DatabaseFile,
    /// The folder of its file, which a relative path of SQLite starts from.
    folder: Option<PathBuf>,
}

impl DeclaredDatabase {
    /// The address, which may be in the environment.
    pub(crate) fn address(&self) -> Result<Address, AddressError> {
        let url = match (&self.file.url_env, &self.file.url) {
            (Some(variable), _) => format!("env:{variable}"),
            (None, url) => url.clone().unwrap_or_default(),
        };
        let (_, address) = Address::parse(&format!("{}={url}", self.name))?;
        Ok(match (address, &self.folder, &self.file.url_env) {
            (Address::SqliteFile(path, attach), Some(folder), None) => {
                Address::SqliteFile(folder.join(path), attach)
            }
            (address, _, _) => address,
        })
    }

    pub(crate) fn settings(&self) -> Settings {
        let usual = Settings::default();
        let prepared = match self.file.prepared {
            Some(false) => Prepared::Never,
            Some(true) | None => Prepared::Kept,
        };
        Settings {
            pool: self.file.pool.unwrap_or(usual.pool),
            pool_wait: self.file.pool_wait_ms.map_or(usual.pool_wait, Duration::from_millis),
            lock_timeout: self.file.lock_timeout_ms.map(Duration::from_millis),
            prepared,
        }
    }

    /// The variable that holds its URL, if it is not set.
    pub(crate) fn unset_variable(&self) -> Option<&str> {
        self.file.url_env.as_deref().filter(|variable| std::env::var_os(variable).is_none())
    }
}

/// The databases of all files; two files may declare the same one.
pub(super) fn declared_databases(
    documents: &[(&Source, Document)],
    problems: &mut Vec<Diagnostic>,
) -> Vec<DeclaredDatabase> {
    let mut databases = Vec::new();
    let mut seen: HashMap<&str, &DatabaseFile> = HashMap::new();
    for (source, document) in documents {
        for Declared { at, mistaken, declaration: (name, file) } in &document.databases {
            let mut problem = |reason: &str| {
                problems.push(source.problem(*at, &format!("database.{name}"), reason));
            };
            match seen.insert(name, file) {
                Some(before) if before != file => problem("is declared twice, and differently"),
                Some(_) => {}
                None if !mistaken.is_empty() => {}
                None => {
                    let folder = source.folder().map(Path::to_owned);
                    let database = DeclaredDatabase { name: name.clone(), file: file.clone(), folder };
                    match mistake(&database) {
                        Some(reason) => problem(&reason),
                        None => databases.push(database),
                    }
                }
            }
        }
    }
    databases
}

/// What is wrong with a declaration, as far as the files show it.
fn mistake(database: &DeclaredDatabase) -> Option<String> {
    let name = &database.name;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Some("the name must be of A-Z a-z 0-9 _".into());
    }
    if let Some(pool) = database.file.pool.filter(|pool| !(1..=POOL_MAX).contains(pool)) {
        return Some(format!("pool: {pool} is not allowed; must be 1 to {POOL_MAX}"));
    }
    let waits =
        [("pool_wait_ms", database.file.pool_wait_ms), ("lock_timeout_ms", database.file.lock_timeout_ms)];
    for (key, wait) in waits {
        if let Some(wait) = wait.filter(|wait| !(1..=WAIT_MAX_MS).contains(wait)) {
            return Some(format!("{key}: {wait} is not allowed; must be 1 to {WAIT_MAX_MS}"));
        }
    }
    match (&database.file.url, &database.file.url_env) {
        (None, None) => return Some("needs url or url_env".into()),
        (Some(_), Some(_)) => return Some("has both url and url_env; give one".into()),
        // The environment of this machine is no matter of the file.
        (None, Some(_)) => return None,
        (Some(url), None) if url.starts_with("env:") => {
            return Some(format!("url: is written url_env = {:?} here", url.trim_start_matches("env:")));
        }
        (Some(_), None) => {}
    }
    let error = database.address().err()?;
    if matches!(error, AddressError::PasswordShown(_)) {
        return Some(
            "url: holds a password, which every reader of the file sees (hint: put the URL in a variable and give url_env)"
                .into(),
        );
    }
    let text = error.to_string();
    let reason = text.strip_prefix(&format!("--database {name}: ")).unwrap_or(&text);
    Some(format!("url: {reason}"))
}
