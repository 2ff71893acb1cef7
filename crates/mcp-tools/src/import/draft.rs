//! A catalogue that is not written yet: what it declares, and what could not be expressed.
//!
//! Must not know where it comes from.

use serde_json::{Map, Value};

/// A catalogue to write.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Comments at the beginning of the file.
    pub(crate) notes: Vec<String>,
    /// Tables before the tools, each with its name.
    pub(crate) tables: Vec<(String, Vec<Entry>)>,
    pub(crate) tools: Vec<ToolDraft>,
    /// What has no tool, and why.
    pub(crate) omitted: Vec<Omitted>,
}

/// One tool to write.
#[derive(Debug, Clone)]
pub(crate) struct ToolDraft {
    /// Comments above it.
    pub(crate) notes: Vec<String>,
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) description: String,
    pub(crate) read_only: bool,
    /// Keys of `annotations`.
    pub(crate) annotations: Map<String, Value>,
    pub(crate) input: InputDraft,
    /// JSON.
    pub(crate) output_schema: Option<String>,
    /// The handler's table, and its keys.
    pub(crate) handler: (&'static str, Vec<Entry>),
}

/// The parameters of a tool.
#[derive(Debug, Clone)]
pub(crate) enum InputDraft {
    /// Keys of `params.NAME`, by name.
    Params(Vec<(String, Map<String, Value>)>),
    /// A schema that `params` cannot express.
    Schema(Map<String, Value>),
}

/// A key and its value in a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Value,
}

impl Entry {
    pub(crate) fn new(key: &str, value: impl Into<Value>) -> Entry {
        Entry { key: key.to_owned(), value: value.into() }
    }
}

/// Something that is not in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Omitted {
    pub(crate) what: String,
    pub(crate) reason: String,
}
