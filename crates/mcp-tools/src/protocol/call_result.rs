//! A finished call as the result of `tools/call`. Must not know which tool made it.

use rmcp::model::{CallToolResult, ContentBlock, MetaObject};
use serde_json::{Value, json};

use super::era::{Era, serialize_for};
use crate::handler::{Content, Notice, ToolResult};
use crate::json::Json;

/// A finished call as MCP's result: text blocks of JSON indented by two, which clients expect. `structured` says that the
/// tool has an output schema.
pub(crate) fn call_tool_result(result: ToolResult, structured: bool) -> CallToolResult {
    let ToolResult { content, notices, .. } = result;
    let (blocks, value) = match content {
        Content::Failure(text) => return failure(text),
        // Clients validate every good result against the schema, which a refusal does not fit.
        Content::InBand(text) if structured => return failure(text),
        Content::InBand(text) => (vec![indented(&json!({ "error": text }))], None),
        Content::Text(text) => (vec![text.clone()], Some(json!({ "result": text }))),
        Content::Value(value @ Value::Object(_)) => (vec![indented(&value)], Some(value)),
        Content::Value(value) => (vec![indented(&value)], Some(json!({ "result": value }))),
        Content::List(values) => (values.iter().map(indented).collect(), Some(json!({ "result": values }))),
        // The SDK's model cannot hold their numbers: `call_tool_response` adds the structured content as text.
        Content::Json(value) => (vec![value.indented()], None),
        Content::JsonList(values) => (values.iter().map(Json::indented).collect(), None),
    };
    let said = notices.iter().map(|notice| notice.text.clone());
    let mut result = success(blocks.into_iter().chain(said).collect());
    result.structured_content = value.filter(|_| structured);
    result.meta = meta(&notices);
    result
}

/// `{"mcp-tools/KEY": [PLACE, ...]}`
fn meta(notices: &[Notice]) -> Option<MetaObject> {
    let mut meta = MetaObject::new();
    for notice in notices {
        let places = meta.entry(format!("mcp-tools/{}", notice.key)).or_insert_with(|| json!([]));
        if let Value::Array(places) = places {
            places.push(Value::from(notice.place.as_str()));
        }
    }
    (!notices.is_empty()).then_some(meta)
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
