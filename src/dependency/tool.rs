//! Calls a tool of a backend, as a client would, and compares its result with what is expected.

use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, Limits, RpcResponse, Session, Target};
use crate::config::dependencies::{Expected, JsonObject};
use crate::upstream::{Backend, Secrets};
use crate::wire::bounded;

/// Time for a backend to close the session; the result does not wait longer for it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Characters of a tool's own text that a reason quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// Good where the tool's result is no error and holds what is expected.
pub(super) async fn call(
    backend: &Backend,
    tool: &str,
    arguments: &JsonObject,
    expected: &Expected,
    timeout: Duration,
    secrets: &Secrets,
) -> Result<(), String> {
    let limits = Limits { connect: timeout, total: timeout, ..Limits::default() };
    let client = Client::new(Target::of_backend(backend), limits).with_secrets(secrets);
    let session = Session::open(&client).await.map_err(|error| error.to_string())?;
    let called = session.call_tool(tool, &Value::Object(arguments.clone())).await;
    let result = match called {
        Err(error) => Err(error.to_string()),
        Ok(response) => match response.answer {
            RpcResponse::Error { code, .. } => {
                let hint = "mcp-tools list shows the names and the arguments";
                Err(format!("tool `{tool}` is answered with JSON-RPC error {code} (hint: {hint})"))
            }
            RpcResponse::Result(result) => judge(tool, &result, expected),
        },
    };
    // A server that keeps sessions would keep one for each check.
    let _closed = tokio::time::timeout(CLOSE_TIMEOUT, session.close()).await;
    result
}

fn judge(tool: &str, result: &Value, expected: &Expected) -> Result<(), String> {
    let text = text_of(result);
    let quoted: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if result.get("isError") == Some(&Value::Bool(true)) {
        let colon = if quoted.is_empty() { "" } else { ": " };
        return Err(format!("tool `{tool}` answers isError{colon}{quoted}"));
    }
    if let Some(part) = &expected.text
        && !text.contains(part)
    {
        return Err(format!("the text of tool `{tool}` does not hold {part:?}: {quoted}"));
    }
    if let Some(members) = &expected.json {
        let parsed = || bounded::parse(text.as_bytes()).ok();
        let object = result.get("structuredContent").cloned().or_else(parsed);
        if !object.is_some_and(|object| holds(&object, &Value::Object(members.clone()))) {
            let members = Value::Object(members.clone());
            return Err(format!("the result of tool `{tool}` does not hold {members}: {quoted}"));
        }
    }
    Ok(())
}

fn text_of(result: &Value) -> String {
    let blocks = result.get("content").and_then(Value::as_array).into_iter().flatten();
    blocks.filter_map(|block| block.get("text")?.as_str()).collect()
}

/// Whether every member of `part` is in `whole` with its value; objects inside are compared the same way.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part)))
        }
        (whole, part) => whole == part,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(result: &Value, text: Option<&str>, json: Option<Value>, expect: Result<(), &str>) {
        let json = json.and_then(|json| json.as_object().cloned());
        let expected = Expected { text: text.map(str::to_owned), json };
        assert_eq!(judge("ping", result, &expected), expect.map_err(str::to_owned), "{result}");
    }

    #[test]
    fn a_result_is_good_without_error_and_with_what_is_expected() {
        let result = json!({"content": [{"type": "text", "text": "{\"rows\":[{\"ok\":1}],\"n\":1}"}]});
        check(&result, None, None, Ok(()));
        check(&result, Some("\"ok\":1"), Some(json!({"n": 1})), Ok(()));
        let lacks = "the text of tool `ping` does not hold \"ok\\\":2\": {\"rows\":[{\"ok\":1}],\"n\":1}";
        check(&result, Some("ok\":2"), None, Err(lacks));
        let lacks = "the result of tool `ping` does not hold {\"n\":2}: {\"rows\":[{\"ok\":1}],\"n\":1}";
        check(&result, None, Some(json!({"n": 2})), Err(lacks));
        let error = json!({"isError": true, "content": [{"type": "text", "text": "no database"}]});
        check(&error, None, None, Err("tool `ping` answers isError: no database"));
        check(&json!({"isError": true}), None, None, Err("tool `ping` answers isError"));
    }

    #[test]
    fn structured_content_is_compared_before_text() {
        let result = json!({"structuredContent": {"db": {"ok": true, "ms": 3}}, "content": []});
        check(&result, None, Some(json!({"db": {"ok": true}})), Ok(()));
        let lacks = "the result of tool `ping` does not hold {\"db\":{\"ok\":false}}: ";
        check(&result, None, Some(json!({"db": {"ok": false}})), Err(lacks));
    }
}
