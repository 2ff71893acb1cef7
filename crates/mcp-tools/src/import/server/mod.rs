//! A running MCP server's list of tools as a catalogue, whose tools say that they are not implemented yet.
//!
//! Must not know HTTP: `session` speaks the protocol, `exchange` HTTP.

mod bounds;
mod error;
mod exchange;
mod session;
mod target;

use serde_json::{Map, Value};

use super::draft::{Draft, Entry, InputDraft, Omitted, ToolDraft};
use super::params::input_of;
use super::write::{registry_of, tool_text};
use error::ServerError;
use session::{Listed, list};

/// What every imported tool returns until its handler is written.
const REASON: &str =
    "not implemented yet: the declaration was imported, and its handler is still to be written";

/// Reads the server's identity and all its tools.
pub(crate) async fn import_server(address: &str, token: Option<&str>) -> Result<Draft, ServerError> {
    let listed = list(address, token).await?;
    Ok(draft(&listed, &target::without_secrets(address)))
}

fn draft(listed: &Listed, shown: &str) -> Draft {
    let mut draft = Draft::default();
    draft.notes.push(format!("Imported from {shown} by mcp-tools import."));
    draft.notes.push("Replace each [tool.refuse] by a handler: text, sql or http.".to_owned());
    draft.tables.push(("server".to_owned(), identity(listed)));
    let mut silent = 0;
    for tool in &listed.tools {
        match tool_draft(tool) {
            Ok(tool) => draft.tools.push(tool),
            Err(omitted) => draft.omitted.push(omitted),
        }
        silent += usize::from(tool.pointer("/annotations/readOnlyHint").is_none());
    }
    if silent > 0 {
        draft.notes.push(format!(
            "{silent} of the tools say nothing of readOnlyHint and have read_only = false: make it true where a tool only reads."
        ));
    }
    draft
}

fn identity(listed: &Listed) -> Vec<Entry> {
    let text = |key: &str| listed.server.get(key).and_then(Value::as_str);
    let name = text("name").filter(|name| !name.trim().is_empty()).unwrap_or("unnamed");
    let mut entries = vec![Entry::new("name", name)];
    entries.extend(text("title").map(|title| Entry::new("title", title)));
    entries.extend(text("version").map(|version| Entry::new("version", version)));
    entries.extend(listed.instructions.as_deref().map(|text| Entry::new("instructions", text)));
    entries
}

fn tool_draft(tool: &Value) -> Result<ToolDraft, Omitted> {
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let omitted = |reason: &str| Omitted {
        what: if name.is_empty() { "a tool".to_owned() } else { name.clone() },
        reason: reason.to_owned(),
    };
    let Some(schema) = tool.get("inputSchema").and_then(Value::as_object) else {
        return Err(omitted("inputSchema: is missing"));
    };
    let text = |key: &str| tool.get(key).and_then(Value::as_str);
    let hint = |key: &str| tool.get("annotations").and_then(|all| all.get(key)).and_then(Value::as_bool);
    let read_only = hint("readOnlyHint").unwrap_or(false);
    let mut notes = Vec::new();
    let description = match text("description").filter(|text| !text.trim().is_empty()) {
        Some(description) => description.to_owned(),
        None => {
            notes.push("The server gives no description; a model chooses tools by it.".to_owned());
            name.clone()
        }
    };
    let mut annotations = Map::new();
    for (key, theirs, is_kept) in [
        ("destructive", "destructiveHint", !read_only),
        ("idempotent", "idempotentHint", !read_only),
        ("open_world", "openWorldHint", true),
    ] {
        if let (Some(value), true) = (hint(theirs), is_kept) {
            annotations.insert(key.to_owned(), value.into());
        }
    }
    let output = tool.get("outputSchema").filter(|schema| !schema.is_null());
    let mut made = ToolDraft {
        notes: Vec::new(),
        title: text("title").map(str::to_owned),
        description,
        read_only,
        annotations,
        input: usable(schema).map_or_else(|| input_of(&name, schema), InputDraft::Schema),
        output_schema: output.map(Value::to_string),
        handler: ("refuse", vec![Entry::new("reason", REASON)]),
        name,
    };
    notes.extend(differences(&made, tool));
    made.notes = notes;
    Ok(made)
}

/// Whether both are the same bytes; two equal values may have their keys in another order.
fn is_same_text(one: &Value, other: &Value) -> bool {
    serde_json::to_string(one).ok() == serde_json::to_string(other).ok()
}

/// The schema with what `check` asks for, if it lacks that.
fn usable(schema: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut usable = schema.clone();
    if !usable.contains_key("properties") {
        usable.insert("properties".to_owned(), Value::Object(Map::new()));
    }
    if !usable.contains_key("type") {
        usable.insert("type".to_owned(), "object".into());
    }
    (usable.len() != schema.len()).then_some(usable)
}

/// What the server says of the tool and a server of this catalogue would not say.
fn differences(made: &ToolDraft, tool: &Value) -> Option<String> {
    let registry = registry_of(&tool_text(made).ok()?).ok()?;
    let ours = serde_json::to_value(registry.tool(&made.name)?.listed()).ok()?;
    let theirs = tool.as_object()?;
    let mut lost: Vec<String> = Vec::new();
    for (key, value) in theirs {
        match (ours.get(key), key.as_str()) {
            (Some(own), _) if is_same_text(own, value) => {}
            (own, "annotations") => {
                let hints = value.as_object().into_iter().flatten();
                let differs =
                    |(hint, value): &(&String, &Value)| own.and_then(|own| own.get(*hint)) != Some(value);
                lost.extend(hints.filter(differs).map(|(hint, _)| format!("annotations.{hint}")));
            }
            (_, "description") if made.description == made.name => {}
            (_, _) => lost.push(key.clone()),
        }
    }
    (!lost.is_empty()).then(|| format!("The server says otherwise: {}.", lost.join(", ")))
}
