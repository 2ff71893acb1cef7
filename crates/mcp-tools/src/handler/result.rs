//! What a handler returns.

use serde_json::Value;

use crate::call_log::Outcome;
use crate::catalogue::RESULT;
use crate::database::Row;
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
    /// One block for each row, whose numbers keep their digits.
    Rows(Vec<Row>),
    /// A refusal inside a successful result, `{"error": ...}`, as the old server reported it.
    InBand(String),
    /// The call failed; the text explains it to a model.
    Failure(String),
}

impl Content {
    /// The structured content: always an object, so what is none stands under `result`. None of what failed.
    pub(crate) fn structured(&self) -> Option<Json> {
        let wrapped = |value: &Json| Some(Json::object([(RESULT, value)]));
        match self {
            Content::Text(text) => wrapped(&Json::of(text)),
            Content::Value(value @ Value::Object(_)) => Some(Json::of(value)),
            Content::Value(value) => wrapped(&Json::of(value)),
            Content::List(values) => wrapped(&Json::of(values)),
            Content::Json(value) if value.as_str().starts_with('{') => Some(value.clone()),
            Content::Json(value) => wrapped(value),
            Content::Rows(rows) => {
                wrapped(&Json::array(&rows.iter().map(Row::to_json).collect::<Vec<Json>>()))
            }
            Content::InBand(_) | Content::Failure(_) => None,
        }
    }
}

/// What the content of a good result does not show: a last block says it to a model, `_meta` to a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The key in `_meta`, after `mcp-tools/`.
    pub(crate) key: &'static str,
    /// The part of the result that it is about.
    pub(crate) place: String,
    pub(crate) text: String,
}

/// A finished call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToolResult {
    pub(crate) content: Content,
    pub(crate) notices: Vec<Notice>,
    pub(crate) outcome: Outcome,
    pub(crate) rows: Option<usize>,
}

impl ToolResult {
    pub(crate) fn ok(content: Content) -> ToolResult {
        ToolResult { content, notices: Vec::new(), outcome: Outcome::Ok, rows: None }
    }

    pub(crate) fn failed(outcome: Outcome, text: String) -> ToolResult {
        ToolResult { content: Content::Failure(text), notices: Vec::new(), outcome, rows: None }
    }

    /// An error inside a successful result, as the old server reported it to clients.
    pub(crate) fn in_band(outcome: Outcome, text: String) -> ToolResult {
        ToolResult { content: Content::InBand(text), notices: Vec::new(), outcome, rows: Some(0) }
    }

    pub(crate) fn with_rows(self, rows: usize) -> ToolResult {
        ToolResult { rows: Some(rows), ..self }
    }
}
