//! The output schema of an operation: that of its only response of 2xx, where this is a JSON object.
//!
//! Must not know operations.

use serde_json::Value;

use super::document::Document;
use super::schema::{Direction, inline};

/// A longer schema makes the list of tools large, and a model never reads it.
const SCHEMA_BYTES_MAX: usize = 16 * 1024;

/// The schema as JSON text; nothing where a result may be something else. The error is why it is left out.
pub(super) fn output_schema(document: &Document, operation: &Value) -> Result<Option<String>, String> {
    let responses = operation.get("responses").and_then(Value::as_object).into_iter().flatten();
    let mut good = responses.filter(|(status, _)| status.starts_with('2'));
    // Of several, each call may have another one.
    let (Some((_, response)), None) = (good.next(), good.next()) else { return Ok(None) };
    let response = document.resolve(response)?;
    let contents = response.get("content").and_then(Value::as_object).into_iter().flatten();
    let mut contents = contents.filter(|(media, _)| !media.is_empty());
    let (Some((media, described)), None) = (contents.next(), contents.next()) else { return Ok(None) };
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = media == "application/json" || media.ends_with("+json");
    let Some(schema) = described.get("schema").filter(|_| is_json) else { return Ok(None) };
    let schema = inline(document, schema, Direction::Received)?;
    if schema.get("type") != Some(&Value::from("object")) {
        return Ok(None);
    }
    let text = schema.to_string();
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(format!("it has more than {SCHEMA_BYTES_MAX} bytes"));
    }
    Ok(Some(text))
}
