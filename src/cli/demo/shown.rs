//! What a step of the demo shows: lines, or what was wrong.

use crate::client::{RpcResponse, TimedResponse};

const BODY_CHARS_SHOWN: usize = 110;
/// The tool that the demo calls.
pub(super) const TOOL: &str = "panda_get_activity";

/// What one step saw: lines to show, or what was wrong.
pub(super) type Shown = Result<Vec<String>, String>;

/// The first text block of a tool's result.
pub(super) fn result_of(answered: &TimedResponse) -> Result<String, String> {
    match &answered.answer {
        RpcResponse::Result(result) => {
            let text = result.pointer("/content/0/text").and_then(|text| text.as_str());
            text.map(str::to_owned).ok_or_else(|| format!("a result without text: {result}"))
        }
        RpcResponse::Error { code, message } => Err(format!("JSON-RPC error {code}: {message}")),
    }
}

pub(super) fn shortened(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(BODY_CHARS_SHOWN) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}
