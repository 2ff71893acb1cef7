//! A finished call as the result of `tools/call`. Must not know which tool made it.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};

use super::era::{Era, serialize_for};
use crate::handler::{Content, ToolResult};
use crate::json::Json;

/// A finished call as MCP's result: text blocks of JSON indented by two, which clients expect. `structured` says that the
/// tool has an output schema.
pub(crate) fn call_tool_result(result: ToolResult, structured: bool) -> CallToolResult {
    let (blocks, value) = match result.content {
        Content::Failure(text) => return failure(text),
        // Clients validate every good result against the schema, which a refusal does not fit.
        Content::InBand(text) if structured => return failure(text),
        Content::InBand(text) => return success(vec![indented(&json!({ "error": text }))]),
        Content::Text(text) => (vec![text.clone()], json!({ "result": text })),
        Content::Value(value @ Value::Object(_)) => (vec![indented(&value)], value),
        Content::Value(value) => (vec![indented(&value)], json!({ "result": value })),
        Content::List(values) => (values.iter().map(indented).collect(), json!({ "result": values })),
        // The SDK's model cannot hold their numbers: `call_tool_response` adds the structured content as text.
        Content::Json(value) => return success(vec![value.indented()]),
        Content::JsonList(values) => return success(values.iter().map(Json::indented).collect()),
    };
    let mut result = success(blocks);
    result.structured_content = structured.then_some(value);
    result
}

fn failure(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

fn success(blocks: Vec<String>) -> CallToolResult {
    CallToolResult::success(blocks.into_iter().map(ContentBlock::text).collect())
}

/// A finished call as the JSON text of MCP's result, with numbers as the handler gave them.
pub(crate) fn call_tool_response(result: ToolResult, structured: bool, era: Era) -> String {
    let exact = match &result.content {
        Content::Json(_) | Content::JsonList(_) if structured => result.content.structured(),
        Content::Json(_)
        | Content::JsonList(_)
        | Content::Text(_)
        | Content::Value(_)
        | Content::List(_)
        | Content::InBand(_)
        | Content::Failure(_) => None,
    };
    let mut made = serialize_for(call_tool_result(result, structured).into(), era);
    if let (Some(value), Some('}')) = (exact, made.pop()) {
        made.push_str(",\"structuredContent\":");
        made.push_str(value.as_str());
    }
    made.push('}');
    made
}

/// JSON indented by two, as the old server writes it.
pub(crate) fn indented(value: &Value) -> String {
    // The same bytes as `{value:#}`, without a formatter.
    serde_json::to_string_pretty(value).unwrap_or_default()
}
