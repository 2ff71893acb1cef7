//! A finished call as the result of `tools/call`. Must not know which tool made it.

use rmcp::model::{CallToolResult, ContentBlock, MetaObject};
use serde_json::{Value, json};

use super::era::{Era, serialize_for};
use crate::handler::{Content, Notice, ToolResult};

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
        Content::Rows(rows) => (rows.iter().map(|row| row.to_json().indented()).collect(), None),
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
pub(crate) fn call_tool_response(
    result: ToolResult,
    structured: bool,
    era: Era,
    frames: &ResultFrames,
) -> String {
    let exact = match &result.content {
        Content::Json(_) | Content::Rows(_) if structured => result.content.structured(),
        Content::Json(_)
        | Content::Rows(_)
        | Content::Text(_)
        | Content::Value(_)
        | Content::List(_)
        | Content::InBand(_)
        | Content::Failure(_) => None,
    };
    let framed = frames.get(era).and_then(|frame| frame.filled(&result));
    let mut made = framed.unwrap_or_else(|| serialize_for(call_tool_result(result, structured).into(), era));
    if let (Some(value), Some('}')) = (exact, made.pop()) {
        made.push_str(",\"structuredContent\":");
        made.push_str(value.as_str());
    }
    made.push('}');
    made
}

/// The frames of both eras.
pub(crate) struct ResultFrames {
    handshake: Option<ResultFrame>,
    per_request: Option<ResultFrame>,
}

impl ResultFrames {
    pub(crate) fn new() -> ResultFrames {
        ResultFrames {
            handshake: ResultFrame::new(Era::Handshake),
            per_request: ResultFrame::new(Era::PerRequest),
        }
    }

    fn get(&self, era: Era) -> Option<&ResultFrame> {
        match era {
            Era::Handshake => self.handshake.as_ref(),
            Era::PerRequest => self.per_request.as_ref(),
        }
    }
}

/// The SDK's own serialization of a good result with text blocks, cut where their texts stand. Rows are written into it once,
/// instead of as a text, a block and a result one after the other.
struct ResultFrame {
    before: String,
    between: String,
    after: String,
}

impl ResultFrame {
    fn new(era: Era) -> Option<ResultFrame> {
        const MARK: &str = "the text of a block";
        let whole = serialize_for(success(vec![MARK.to_owned(); 2]).into(), era);
        let mut pieces = whole.split(MARK).map(str::to_owned);
        let frame = ResultFrame { before: pieces.next()?, between: pieces.next()?, after: pieces.next()? };
        pieces.next().is_none().then_some(frame)
    }

    /// The result, if it consists of blocks of JSON alone.
    fn filled(&self, result: &ToolResult) -> Option<String> {
        if !result.notices.is_empty() {
            return None;
        }
        match &result.content {
            Content::Json(value) => {
                let mut made = self.begun(2 * value.as_str().len());
                value.write_indented_in_string(&mut made);
                Some(self.ended(made))
            }
            Content::Rows(rows) => {
                let (first, others) = rows.split_first()?;
                let sizes = rows.iter().map(|row| row.indented_size() + self.between.len());
                let mut made = self.begun(sizes.sum());
                first.write_indented_in_string(&mut made);
                for row in others {
                    made.push_str(&self.between);
                    row.write_indented_in_string(&mut made);
                }
                Some(self.ended(made))
            }
            Content::Text(_)
            | Content::Value(_)
            | Content::List(_)
            | Content::InBand(_)
            | Content::Failure(_) => None,
        }
    }

    fn begun(&self, size: usize) -> String {
        // The brace that ends the message follows.
        let mut made = String::with_capacity(self.before.len() + size + self.after.len() + 1);
        made.push_str(&self.before);
        made
    }

    fn ended(&self, mut made: String) -> String {
        made.push_str(&self.after);
        made
    }
}

/// JSON indented by two, as the old server writes it.
pub(crate) fn indented(value: &Value) -> String {
    // The same bytes as `{value:#}`, without a formatter.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Row;
    use crate::json::Json;

    #[track_caller]
    fn check(content: Content) {
        for era in [Era::Handshake, Era::PerRequest] {
            let result = ToolResult::ok(content.clone());
            let of_sdk = serialize_for(call_tool_result(result.clone(), false).into(), era);
            let written = call_tool_response(result, false, era, &ResultFrames::new());
            assert_eq!(written, of_sdk, "{content:?}");
        }
    }

    #[test]
    fn structured_content_has_the_rows_of_the_text() {
        let row = Row::written(&["id", "note"], &["12345678901234567890", r#""a \"b\"""#]).unwrap();
        let rows = Content::Rows(vec![row.clone(), row]);
        for era in [Era::Handshake, Era::PerRequest] {
            let written = call_tool_response(ToolResult::ok(rows.clone()), true, era, &ResultFrames::new());
            let read: Value = serde_json::from_str(&written).unwrap();
            let blocks = read["content"].as_array().unwrap().iter();
            let blocks: Vec<Value> =
                blocks.map(|block| serde_json::from_str(block["text"].as_str().unwrap()).unwrap()).collect();
            assert_eq!(blocks.len(), 2);
            assert_eq!(read["structuredContent"], json!({ "result": blocks }), "{written}");
        }
    }

    #[test]
    fn rows_are_written_as_the_sdk_serializes_them() {
        let value = r#"{"id": 1, "note": "a \"b\" \\ \n ä\u0000", "list": [1.50, {}, []]}"#;
        let row = Row::written(&["id", "a \"b\""], &["1.50", value]).unwrap();
        let other = Row::written(&[], &[]).unwrap();
        assert!(ResultFrame::new(Era::Handshake).is_some() && ResultFrame::new(Era::PerRequest).is_some());
        check(Content::Json(Json::parse(value).unwrap()));
        check(Content::Rows(vec![row.clone()]));
        check(Content::Rows(vec![row.clone(), other, row]));
        check(Content::Rows(Vec::new()));
        check(Content::Text("a text".to_owned()));
    }
}
