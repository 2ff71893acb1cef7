//! Writes a draft as TOML, and takes out what `mcp-tools check` would refuse.
//!
//! The same draft is always the same text. Must not know where the draft comes from.

use std::sync::Arc;

use super::draft::{Draft, Entry, InputDraft, Omitted, ToolDraft};
use super::spell;
use crate::catalogue::{Source, listed};
use crate::registry::{self, Registry};

/// The registry of a file whose name no problem needs to repeat.
const NAME: &str = "catalogue";

/// A catalogue that `check` accepts.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) tools: usize,
    /// What has no tool, and why; the text repeats it.
    pub(crate) omitted: Vec<Omitted>,
}

/// Why nothing could be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("nothing can be imported: {}", reasons(.0))]
    Nothing(Vec<Omitted>),
    #[error("the catalogue would be refused: {0}")]
    Refused(String),
}

fn reasons(omitted: &[Omitted]) -> String {
    let first = omitted.iter().take(3).map(|omitted| format!("{}: {}", omitted.what, omitted.reason));
    let first: Vec<String> = first.collect();
    match first.is_empty() {
        true => "there is no tool".to_owned(),
        false => first.join("; "),
    }
}

/// Writes the catalogue. A tool that would be refused becomes a comment with the reason.
pub(crate) fn write(mut draft: Draft) -> Result<Written, WriteError> {
    let tables = tables(&draft);
    let mut kept = Vec::new();
    for tool in std::mem::take(&mut draft.tools) {
        let spelled = tool_text(&tool);
        match spelled.and_then(|text| registry_of(&format!("{tables}{text}")).map(|_| text)) {
            Ok(text) => kept.push(text),
            Err(reason) => draft.omitted.push(Omitted { what: tool.name, reason }),
        }
    }
    if kept.is_empty() {
        return Err(WriteError::Nothing(draft.omitted));
    }
    let tools = kept.len();
    let text = comments(&draft.notes) + &tables + &kept.concat() + &omitted_text(&draft.omitted);
    registry_of(&text).map_err(WriteError::Refused)?;
    Ok(Written { text, tools, omitted: draft.omitted })
}

/// What a server would make of the text; the error is every problem, without places.
pub(crate) fn registry_of(text: &str) -> Result<Registry, String> {
    let source = Source::new(NAME, text, true);
    registry::build(&[source], Some(Arc::from(""))).map_err(|problems| {
        let lines = listed(&problems);
        let reason = |line: &str| {
            let line = line.split_once(": tool.").map_or(line, |(_, rest)| rest);
            line.split_once(": ").map_or(line, |(_, reason)| reason).to_owned()
        };
        lines.lines().map(reason).collect::<Vec<_>>().join("; ")
    })
}

fn tables(draft: &Draft) -> String {
    let table = |(name, entries): &(String, Vec<Entry>)| {
        let lines = entries.iter().filter_map(line).collect::<String>();
        format!("\n[{name}]\n{lines}")
    };
    draft.tables.iter().map(table).collect()
}

/// `key = value`; nothing for a value that TOML lacks.
fn line(entry: &Entry) -> Option<String> {
    let value = match entry.value.as_str() {
        Some(text) => spell::long_text(text),
        None => spell::value(&entry.value)?,
    };
    Some(format!("{} = {value}\n", spell::key(&entry.key)))
}

/// One `[[tool]]`.
pub(crate) fn tool_text(tool: &ToolDraft) -> Result<String, String> {
    let mut text = format!("\n{}[[tool]]\n", comments(&tool.notes));
    let mut put = |key: &str, value: String| text.push_str(&format!("{key} = {value}\n"));
    put("name", spell::text(&tool.name));
    if let Some(title) = &tool.title {
        put("title", spell::text(title));
    }
    put("description", spell::long_text(&tool.description));
    put("read_only", tool.read_only.to_string());
    if !tool.annotations.is_empty() {
        let annotations = serde_json::Value::Object(tool.annotations.clone());
        put("annotations", spell::value(&annotations).ok_or("annotations: cannot be written")?);
    }
    if let InputDraft::Schema(schema) = &tool.input {
        let schema = serde_json::to_string(schema).map_err(|error| error.to_string())?;
        put("input_schema", spell::json(&schema));
    }
    if let Some(schema) = &tool.output_schema {
        put("output_schema", spell::json(schema));
    }
    if let InputDraft::Params(params) = &tool.input
        && !params.is_empty()
    {
        text.push_str("\n[tool.params]\n");
        for (name, param) in params {
            let value = serde_json::Value::Object(param.clone());
            let spelled = spell::value(&value).ok_or_else(|| format!("params.{name}: cannot be written"))?;
            text.push_str(&format!("{} = {spelled}\n", spell::key(name)));
        }
    }
    let (handler, entries) = &tool.handler;
    text.push_str(&format!("\n[tool.{handler}]\n"));
    for entry in entries {
        let line = line(entry).ok_or_else(|| format!("{handler}.{}: cannot be written", entry.key))?;
        text.push_str(&line);
    }
    Ok(text)
}

fn omitted_text(omitted: &[Omitted]) -> String {
    if omitted.is_empty() {
        return String::new();
    }
    let lines: Vec<String> =
        omitted.iter().map(|omitted| format!("  {}: {}", omitted.what, omitted.reason)).collect();
    format!("\n{}{}", comments(&["Not imported:".to_owned()]), comments(&lines))
}

/// Comment lines; a control character would end the comment or be refused.
fn comments(lines: &[String]) -> String {
    let comment = |line: &String| {
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        format!("# {}\n", line.chars().map(plain).collect::<String>())
    };
    lines.iter().map(comment).collect()
}
