//! A whole catalogue file read into declarations.
//!
//! Each `[[tool]]` is read on its own, so a mistake in one hides nothing of the rest.

use mcp_host::diagnostics::Diagnostic;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::database::DatabaseFile;
use super::http::ServiceFile;
use super::include::included;
use super::mistakes::{self, Mistake, Read};
use super::server::ServerFile;
use super::tool::ToolFile;
use crate::catalogue::source::Source;

const MUST_BE_NAMES: &str = "must be a list of file names, as in [\"pcs_tags.toml\"]";

/// A declaration and the offset at which it starts.
pub(crate) struct Declared<T> {
    pub(crate) at: usize,
    /// Keys that could not be read, and that the declaration therefore lacks.
    pub(crate) mistaken: Vec<String>,
    pub(crate) declaration: T,
}

/// What one file declares.
#[derive(Default)]
pub(crate) struct Document {
    pub(crate) tools: Vec<Declared<ToolFile>>,
    pub(crate) services: Vec<Declared<(String, ServiceFile)>>,
    pub(crate) databases: Vec<Declared<(String, DatabaseFile)>>,
    pub(crate) server: Option<Declared<ServerFile>>,
}

/// Reads a file; a part that cannot be read is added to `problems`.
pub(crate) fn parse(source: &Source, problems: &mut Vec<Diagnostic>) -> Document {
    let table = match DeTable::parse(&source.text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let reason = match (error.message(), source.text.get(span.clone())) {
                ("duplicate key", Some(key)) => format!("duplicate key {key}"),
                (message, _) => message.to_owned(),
            };
            problems.push(source.problem(span.start, "toml", &reason));
            return Document::default();
        }
    };
    let mut document = Document::default();
    for (key, value) in table {
        let at = key.span().start;
        let key = key.get_ref().as_ref();
        let reason = match (key, value.get_ref()) {
            ("tool", DeValue::Array(_)) | ("service" | "server" | "database", DeValue::Table(_)) => {
                document.add(source, key, value, problems);
                continue;
            }
            ("include", DeValue::Array(names)) => match included(names.clone()) {
                Some(_) if source.included => "only a file that no other one includes may include files",
                Some(_) => continue,
                None => MUST_BE_NAMES,
            },
            ("tool", _) => "must be written as [[tool]]",
            ("service", _) => "must be written as [service.NAME]",
            ("database", _) => "must be written as [database.NAME]",
            ("server", _) => "must be written as [server]",
            ("include", _) => MUST_BE_NAMES,
            (_, _) => "is not a known key (known: include, server, database, service, tool)",
        };
        problems.push(source.problem(at, key, reason));
    }
    document
}

impl Document {
    /// Reads the declarations of one key.
    fn add(
        &mut self,
        source: &Source,
        key: &str,
        value: Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) {
        if key == "server" {
            self.server = declared(source, key, value, problems);
            return;
        }
        match value.into_inner() {
            DeValue::Array(tools) => self.tools.extend(tools.into_iter().filter_map(|tool| {
                let key = match tool.get_ref().get("name").map(Spanned::get_ref) {
                    Some(DeValue::String(name)) => format!("tool.{name}"),
                    Some(_) | None => "tool".to_owned(),
                };
                declared(source, &key, tool, problems)
            })),
            DeValue::Table(tables) if key == "database" => {
                self.databases.extend(named(source, key, tables, problems));
            }
            DeValue::Table(tables) => self.services.extend(named(source, key, tables, problems)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

/// The tables below one key, each with its name.
fn named<T: for<'de> Deserialize<'de>>(
    source: &Source,
    key: &str,
    tables: DeTable<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Declared<(String, T)>> {
    let read = tables.into_iter().filter_map(|(name, table)| {
        let name = name.into_inner().into_owned();
        let Declared { at, mistaken, declaration } =
            declared(source, &format!("{key}.{name}"), table, problems)?;
        Some(Declared { at, mistaken, declaration: (name, declaration) })
    });
    read.collect()
}

fn declared<T: for<'de> Deserialize<'de>>(
    source: &Source,
    key: &str,
    value: Spanned<DeValue<'_>>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Declared<T>> {
    let start = value.span().start;
    let Read { declaration, mistakes } = mistakes::read::<T>(value);
    let mut mistaken = Vec::new();
    for Mistake { at, key: below, reason } in mistakes {
        let reason = if below.is_empty() { reason } else { format!("{below}: {reason}") };
        problems.push(source.problem(at, key, &reason));
        mistaken.push(below);
    }
    Some(Declared { at: start, mistaken, declaration: declaration? })
}
