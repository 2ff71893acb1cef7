//! The databases of a command: those of its options, and those that the catalogue declares. Must not print.

use std::collections::BTreeMap;

use clap::Args;

use mcp_host::diagnostics::{Diagnostic, Diagnostics, count};

use super::report::{CommandError, other};
use crate::database::{Address, AddressError, Databases, MAIN, Settings};
use crate::registry::{Data, DeclaredDatabase, Registry};

/// Which databases the tools use.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseFlags {
    /// Database, repeatable: [NAME=]URL with sqlite:PATH, postgresql://... or env:VARIABLE (which holds the URL, and
    /// keeps its password off the command line). It replaces a [database.NAME] of the catalogue.
    #[arg(long, value_name = "[NAME=]URL")]
    database: Vec<String>,
    /// Use the demonstration data of the built-in catalogue as the main database. The built-in catalogue does so by
    /// itself where no database is given.
    #[arg(long)]
    demo: bool,
}

/// A database's name, its address and how it is used.
type Configured = (String, Address, Settings);

/// The databases for `check`, and why others are left out.
pub(crate) struct Checkable {
    pub(crate) databases: Databases,
    pub(crate) notes: Vec<String>,
}

impl DatabaseFlags {
    /// Prepares the databases; nothing is connected yet.
    pub(crate) fn open(&self, registry: &Registry) -> Result<Databases, CommandError> {
        let mut addresses = self.given(registry)?;
        for declared in left_over(registry, &addresses) {
            let address = declared.address().map_err(|error| of_file(declared, &error))?;
            addresses.push((declared.name.clone(), address, declared.settings()));
        }
        let is_trial = addresses.is_empty() && registry.data() == Data::Demonstration;
        let has_main = addresses.iter().any(|(name, _, _)| name == MAIN);
        if is_trial || (self.demo && !has_main) {
            addresses.push((MAIN.to_owned(), Address::Embedded, Settings::default()));
        }
        Databases::open(&addresses).map_err(other)
    }

    /// The same, and an error if a tool has no database.
    pub(crate) fn open_all(&self, registry: &Registry) -> Result<Databases, CommandError> {
        let databases = self.open(registry)?;
        complete(registry, &databases)?;
        Ok(databases)
    }

    /// Prepares the databases whose addresses are known here; `None` if there are none.
    pub(crate) fn open_known(&self, registry: &Registry) -> Result<Option<Checkable>, CommandError> {
        let mut addresses = self.given(registry)?;
        let mut notes = Vec::new();
        for declared in left_over(registry, &addresses) {
            let name = declared.name.clone();
            match declared.unset_variable() {
                Some(variable) => notes.push(format!(
                    "note: database.{name}: the variable {variable} is not set, so no statement was tried there"
                )),
                None => {
                    let address = declared.address().map_err(|error| of_file(declared, &error))?;
                    addresses.push((name, address, declared.settings()));
                }
            }
        }
        if self.demo && !addresses.iter().any(|(name, _, _)| name == MAIN) {
            addresses.push((MAIN.to_owned(), Address::Embedded, Settings::default()));
        }
        if addresses.is_empty() && notes.is_empty() {
            return Ok(None);
        }
        Ok(Some(Checkable { databases: Databases::open(&addresses).map_err(other)?, notes }))
    }

    /// The databases of the options, with the settings that the catalogue declares for their names.
    fn given(&self, registry: &Registry) -> Result<Vec<Configured>, CommandError> {
        let configured = |given: &String| {
            let (name, address) = Address::parse(given).map_err(other)?;
            let declared = registry.databases().iter().find(|declared| declared.name == name);
            Ok((name, address, declared.map(DeclaredDatabase::settings).unwrap_or_default()))
        };
        self.database.iter().map(configured).collect()
    }
}

/// The declared databases that no option replaces.
fn left_over<'a>(registry: &'a Registry, given: &[Configured]) -> Vec<&'a DeclaredDatabase> {
    let is_given = |declared: &&DeclaredDatabase| given.iter().any(|(name, _, _)| *name == declared.name);
    registry.databases().iter().filter(|declared| !is_given(declared)).collect()
}

/// An error about a declared database: it names the table of the file instead of an option.
fn of_file(declared: &DeclaredDatabase, error: &AddressError) -> CommandError {
    let name = &declared.name;
    let text = error.to_string().replace(&format!("--database {name}:"), &format!("[database.{name}]:"));
    CommandError::Other(text.into())
}

/// Every database that tools use and that is not configured is a problem.
pub(crate) fn complete(registry: &Registry, databases: &Databases) -> Result<(), Diagnostics> {
    let missing = users(registry, |name| !databases.serves(name));
    let problems: Vec<Diagnostic> =
        missing.iter().map(|(name, tools)| missing_database(name, tools)).collect();
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics { problems, warnings: Vec::new() }) }
}

/// What is used in place of another database: the main one, silently wrong where a name is misspelt.
pub(crate) fn replaced(registry: &Registry, databases: &Databases) -> Vec<String> {
    if registry.data() == Data::Demonstration {
        // Its tables fit into one database.
        return Vec::new();
    }
    let configured = databases.all();
    let is_configured = |name: &str| configured.iter().any(|(known, _)| *known == name);
    let replaced = users(registry, |name| !is_configured(name) && databases.serves(name));
    let line = |(name, tools): (&str, Vec<&str>)| {
        format!(
            "database.{name}: is not configured; {} of {} use {MAIN} instead",
            count(tools.len(), "tool"),
            registry.tools().len()
        )
    };
    replaced.into_iter().map(line).collect()
}

/// The tools that use a database of this kind, by its name.
fn users(registry: &Registry, is_meant: impl Fn(&str) -> bool) -> BTreeMap<&str, Vec<&str>> {
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for tool in registry.tools() {
        if let Some(name) = tool.handler().database().filter(|name| is_meant(name)) {
            users.entry(name).or_default().push(tool.name());
        }
    }
    users
}

fn missing_database(name: &str, tools: &[&str]) -> Diagnostic {
    let first = tools.first().copied().unwrap_or_default();
    let reason = format!("is not configured, and {} need it, {first} the first", count(tools.len(), "tool"));
    let option = if name == MAIN { "URL".to_owned() } else { format!("{name}=URL") };
    let hint = format!(
        "[database.{name}] with url or url_env in a catalogue file, or --database {option}; --demo for the data of the built-in catalogue"
    );
    Diagnostic { key: format!("database.{name}"), reason, hint: Some(hint), ..Diagnostic::default() }
}
