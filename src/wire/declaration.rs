//! What a server declares about itself: in its handshake and in `tools/list`.
//!
//! Plain data. Must not know how it was requested, nor what it is compared with.

use serde_json::Value;
use serde_json::value::RawValue;

use super::bounded::{self, Unread};

/// How a server introduced itself, in `initialize` or `server/discover`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Handshake {
    /// The version agreed on.
    pub protocol_version: String,
    /// All versions that it says it speaks: one in the legacy era.
    pub supported_versions: Vec<String>,
    /// `serverInfo.name`.
    pub server_name: Option<String>,
    /// `serverInfo.version`: often the library's, so never compared.
    pub server_version: Option<String>,
    /// `result.instructions`.
    pub instructions: Option<String>,
    /// What the server announces.
    pub capabilities: Value,
}

/// A part of a tool's declaration, kept as the text it came in: as a tree it may be a hundred times as large.
#[derive(Debug, Clone)]
pub struct Declared(Box<str>);

impl Declared {
    /// From the text of a JSON value; nothing for `null`.
    pub fn new(json: &str) -> Option<Declared> {
        (json != "null").then(|| Declared(json.into()))
    }

    /// As it came.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// As a tree, if one may be made of it.
    pub fn value(&self) -> Result<Value, Unread> {
        bounded::parse(self.0.as_bytes())
    }
}

impl From<&Value> for Declared {
    fn from(value: &Value) -> Declared {
        Declared(value.to_string().into())
    }
}

impl PartialEq for Declared {
    /// The order of an object's members says nothing.
    fn eq(&self, other: &Declared) -> bool {
        self.0 == other.0 || self.value().is_ok_and(|value| other.value().as_ref() == Ok(&value))
    }
}

/// A tool as `tools/list` declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for, for a model.
    pub description: Option<String>,
    /// The schema of its arguments.
    pub input_schema: Option<Declared>,
    /// The schema of its structured result.
    pub output_schema: Option<Declared>,
    /// Hints such as `readOnlyHint`.
    pub annotations: Option<Declared>,
}

impl Tool {
    /// Reads one element of `tools`; only a missing name makes it unreadable.
    pub fn read(json: &[u8]) -> Option<Tool> {
        let names = ["name", "description", "inputSchema", "outputSchema", "annotations"];
        let [name, description, input, output, annotations] = bounded::members(json, names)?;
        let declared = |json: Option<&RawValue>| json.and_then(|json| Declared::new(json.get()));
        Some(Tool {
            name: name.and_then(bounded::text)?,
            description: description.and_then(bounded::text),
            input_schema: declared(input),
            output_schema: declared(output),
            annotations: declared(annotations),
        })
    }
}
