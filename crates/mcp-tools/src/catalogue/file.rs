//! The TOML mirror of a catalogue file.
//!
//! Each `[[tool]]` is read on its own, and what is wrong in one hides nothing of the rest. Must not
//! judge what a declaration means.

use indexmap::IndexMap;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::http_file::{HttpFile, ServiceFile};
use super::mistakes::{self, Mistake, Read};
use super::sql_file::SqlFile;
use super::{Problems, Source};

const MUST_BE_NAMES: &str = "must be a list of file names, as in [\"pcs_tags.toml\"]";

/// One `[[tool]]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolFile {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) read_only: bool,
    #[serde(default)]
    pub(crate) params: IndexMap<String, ParamFile>,
    /// The whole input schema as JSON text, instead of `params`.
    pub(crate) input_schema: Option<String>,
    /// The output schema as JSON text: the answer then carries `structuredContent`.
    pub(crate) output_schema: Option<String>,
    pub(crate) text: Option<TextFile>,
    pub(crate) catalog: Option<CatalogFile>,
    pub(crate) server: Option<ServerFile>,
    pub(crate) refuse: Option<RefuseFile>,
    pub(crate) sql: Option<SqlFile>,
    pub(crate) http: Option<HttpFile>,
}

/// One parameter: the FastMCP form is generated from it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParamFile {
    #[serde(rename = "type")]
    pub(crate) kind: ParamKind,
    #[serde(default)]
    pub(crate) required: bool,
    /// Absent and not required means: optional, and `null` by default.
    pub(crate) default: Option<toml::Value>,
    /// Whether `null` is a value of its own (`anyOf` with null in the schema).
    #[serde(default)]
    pub(crate) nullable: bool,
    pub(crate) description: Option<String>,
    #[serde(rename = "enum")]
    pub(crate) choices: Option<Vec<String>>,
    pub(crate) minimum: Option<i64>,
    pub(crate) maximum: Option<i64>,
    /// A regular expression of JSON Schema, which clients see.
    pub(crate) pattern: Option<String>,
}

/// The JSON type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ParamKind {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

impl ParamKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ParamKind::String => "string",
            ParamKind::Integer => "integer",
            ParamKind::Number => "number",
            ParamKind::Boolean => "boolean",
            ParamKind::Array => "array",
            ParamKind::Object => "object",
        }
    }
}

/// A fixed text, or the server's instructions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextFile {
    pub(crate) body: Option<String>,
    pub(crate) from: Option<TextSource>,
}

/// Where a text comes from when it is not written in the declaration.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TextSource {
    Instructions,
}

/// The list of all tools; it has nothing to set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogFile {}

/// What the process knows about itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerFile {
    pub(crate) report: ServerReport,
}

/// Which facts about the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServerReport {
    Time,
    Status,
}

/// A tool that stays listed but cannot be carried out here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefuseFile {
    pub(crate) reason: String,
}

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
pub(super) fn parse(source: &Source, problems: &mut Problems) -> Document {
    let table = match DeTable::parse(&source.text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let line = line_of(&source.text, span.start);
            let reason = match (error.message(), source.text.get(span)) {
                ("duplicate key", Some(key)) => format!("duplicate key {key}"),
                (message, _) => message.to_owned(),
            };
            problems.add(source, line, "toml".into(), reason);
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
            ("tool", _) => problems.add(source, line, "tool".into(), "must be written as [[tool]]".into()),
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
                problems.add(source, line, "service".into(), "must be written as [service.NAME]".into());
            }
            ("include", DeValue::Array(names)) => {
                let reason = match included(names) {
                    Some(_) if source.included => "only a file that no other one includes may include files",
                    Some(_) => continue,
                    None => MUST_BE_NAMES,
                };
                problems.add(source, line, "include".into(), reason.into());
            }
            ("include", _) => problems.add(source, line, "include".into(), MUST_BE_NAMES.into()),
            (other, _) => {
                let reason = "is not a known key (known: include, tool, service)";
                problems.add(source, line, other.into(), reason.into());
            }
        }
    }
    document
}

/// The files that a catalogue wants read beside itself, each with its line. None of a text that is not TOML, or where
/// they are not spelled as such: [`parse`] says so.
pub(super) fn includes(text: &str) -> Vec<(usize, String)> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let names = table.into_inner().into_iter().find(|(key, _)| key.get_ref() == "include");
    let names = match names.map(|(_, value)| value.into_inner()) {
        Some(DeValue::Array(names)) => included(names).unwrap_or_default(),
        Some(_) | None => Vec::new(),
    };
    names.into_iter().map(|(at, name)| (line_of(text, at), name)).collect()
}

/// Every name with its offset, if they all are one.
fn included(names: DeArray<'_>) -> Option<Vec<(usize, String)>> {
    let name = |name: Spanned<DeValue<'_>>| match (name.span().start, name.into_inner()) {
        (at, DeValue::String(name)) if !name.is_empty() => Some((at, name.into_owned())),
        (_, _) => None,
    };
    names.into_iter().map(name).collect()
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
        problems.add(source, line_of(&source.text, at), key.to_owned(), reason);
        mistaken.push(below);
    }
    Some(Declared { line, mistaken, declaration: declaration? })
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}
