//! What a handler returns.

use serde_json::{Map, Value};

use crate::call_log::Outcome;
use crate::json::Json;

/// The content of a result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// A text as it is.
    Text(String),
    /// One JSON value, one block.
    Value(Value),
    /// One block for each element.
    List(Vec<Value>),
    /// One JSON value whose numbers keep their digits, one block.
    Json(Json),
    /// One block for each element, whose numbers keep their digits.
    JsonList(Vec<Json>),
    /// The call failed; the text explains it to a model.
    Failure(String),
}

/// A finished call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToolResult {
    pub(crate) content: Content,
    pub(crate) outcome: Outcome,
    pub(crate) rows: Option<usize>,
}

impl ToolResult {
    pub(crate) fn ok(content: Content) -> ToolResult {
        ToolResult { content, outcome: Outcome::Ok, rows: None }
    }

    pub(crate) fn failed(outcome: Outcome, text: String) -> ToolResult {
        ToolResult { content: Content::Failure(text), outcome, rows: None }
    }

    /// An error inside a successful result, as the old server reported it to clients.
    pub(crate) fn in_band(outcome: Outcome, text: String) -> ToolResult {
        let mut error = Map::new();
        error.insert("error".into(), Value::from(text));
        ToolResult { content: Content::Value(Value::Object(error)), outcome, rows: Some(0) }
    }

    pub(crate) fn with_rows(self, rows: usize) -> ToolResult {
        ToolResult { rows: Some(rows), ..self }
    }
}
