//! A whole catalogue file read into declarations.
//!
//! Each `[[tool]]` is read on its own, so a mistake in one hides nothing of the rest.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::http::ServiceFile;
use super::include::{included, line_of};
use super::mistakes::{self, Mistake, Read};
use super::tool::ToolFile;
use crate::catalogue::problem::Problems;
use crate::catalogue::source::Source;

const MUST_BE_NAMES: &str = "must be a list of file names, as in [\"pcs_tags.toml\"]";

/// A declaration and the line it starts on.
pub(crate) struct Declared<T> {
    pub(crate) line: usize,
    /// Keys that could not be read, and that the declaration lacks therefore.
    pub(crate) mistaken: Vec<String>,
    pub(crate) declaration: T,
}

/// What one file declares.
#[derive(Default)]
pub(crate) struct Document {
    pub(crate) tools: Vec<Declared<ToolFile>>,
    pub(crate) services: Vec<Declared<(String, ServiceFile)>>,
}

/// Reads a file; what cannot be read is added to `problems`.
pub(crate) fn parse(source: &Source, problems: &mut Problems) -> Document {
    let table = match DeTable::parse(&source.text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let line = line_of(&source.text, span.start);
            let reason = match (error.message(), source.text.get(span)) {
                ("duplicate key", Some(key)) => format!("duplicate key {key}"),
                (message, _) => message.to_owned(),
            };
            problems.add(&source.name, line, "toml".into(), reason);
            return Document::default();
        }
    };
    let mut document = Document::default();
    for (key, value) in table {
        let line = line_of(&source.text, key.span().start);
        match (key.get_ref().as_ref(), value.into_inner()) {
            ("tool", DeValue::Array(tools)) => {
                let read = tools.into_iter().filter_map(|tool| {
                    let key = match tool.get_ref().get("name").map(Spanned::get_ref) {
                        Some(DeValue::String(name)) => format!("tool.{name}"),
                        Some(_) | None => "tool".to_owned(),
                    };
                    declared::<ToolFile>(source, &key, tool, problems)
                });
                document.tools.extend(read);
            }
            ("tool", _) => {
                problems.add(&source.name, line, "tool".into(), "must be written as [[tool]]".into())
            }
            ("service", DeValue::Table(services)) => {
                let read = services.into_iter().filter_map(|(name, service)| {
                    let name = name.into_inner().into_owned();
                    let Declared { line, mistaken, declaration } =
                        declared(source, &format!("service.{name}"), service, problems)?;
                    Some(Declared { line, mistaken, declaration: (name, declaration) })
                });
                document.services.extend(read);
            }
            ("service", _) => {
                problems.add(
                    &source.name,
                    line,
                    "service".into(),
                    "must be written as [service.NAME]".into(),
                );
            }
            ("include", DeValue::Array(names)) => {
                let reason = match included(names) {
                    Some(_) if source.included => "only a file that no other one includes may include files",
                    Some(_) => continue,
                    None => MUST_BE_NAMES,
                };
                problems.add(&source.name, line, "include".into(), reason.into());
            }
            ("include", _) => problems.add(&source.name, line, "include".into(), MUST_BE_NAMES.into()),
            (other, _) => {
                let reason = "is not a known key (known: include, tool, service)";
                problems.add(&source.name, line, other.into(), reason.into());
            }
        }
    }
    document
}

fn declared<T: for<'de> Deserialize<'de>>(
    source: &Source,
    key: &str,
    value: Spanned<DeValue<'_>>,
    problems: &mut Problems,
) -> Option<Declared<T>> {
    let line = line_of(&source.text, value.span().start);
    let Read { declaration, mistakes } = mistakes::read::<T>(value);
    let mut mistaken = Vec::new();
    for Mistake { at, key: below, reason } in mistakes {
        let reason = if below.is_empty() { reason } else { format!("{below}: {reason}") };
        problems.add(&source.name, line_of(&source.text, at), key.to_owned(), reason);
        mistaken.push(below);
    }
    Some(Declared { line, mistaken, declaration: declaration? })
}
