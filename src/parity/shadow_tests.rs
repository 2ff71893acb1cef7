//! Pairs of responses to the same call, and what of their differences counts.

use super::*;

fn result(result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": result})
}

#[track_caller]
fn check(method: Method, live: Value, candidate: Value, expect: &[&str]) {
    check_again(method, live, None, candidate, expect);
}

#[track_caller]
fn check_again(method: Method, live: Value, again: Option<Value>, candidate: Value, expect: &[&str]) {
    let (live, again, candidate) = (result(live), again.map(result), result(candidate));
    let found = compare(method, &live, again.as_ref(), &candidate, &[]);
    let found: Vec<String> = found.iter().map(|one| format!("{}: {}", one.path, one.change)).collect();
    assert_eq!(found, expect);
}

fn text(value: &Value) -> Value {
    json!({"content": [{"type": "text", "text": value.to_string()}]})
}

#[test]
fn a_call_is_compared_by_path_also_inside_a_text() {
    let call = |age, name| text(&json!({"items": [{"age": age, "name": name}, {"age": age, "name": "b"}]}));
    check(Method::ToolsCall, call(1, "a"), call(1, "a"), &[]);
    check(Method::ToolsCall, call(1, "a"), call(1, "z"), &["content[*].text.items[*].name: value differs"]);
    check(Method::ToolsCall, call(1, "a"), call(2, "a"), &["content[*].text.items[*].age: value differs"]);
}

// "noise is cancelled by calling stable twice and subtracting paths that differ with themselves"
#[test]
fn what_differs_between_two_responses_of_stable_is_noise() {
    let call = |age, name| text(&json!({"age": age, "name": name}));
    check_again(Method::ToolsCall, call(1, "a"), Some(call(2, "a")), call(3, "a"), &[]);
    let differs = ["content[*].text.name: value differs"];
    check_again(Method::ToolsCall, call(1, "a"), Some(call(2, "a")), call(3, "b"), &differs);
}

#[test]
fn how_it_travelled_and_in_which_words_it_failed_is_no_mismatch() {
    let bare = json!({"content": [{"type": "text", "text": "3"}]});
    let dressed = json!({"content": [{"text": "3", "type": "text"}], "isError": false, "resultType": "complete",
        "structuredContent": {"result": 3}, "_meta": {"x": 1}});
    check(Method::ToolsCall, bare, dressed, &[]);
    let failed = |words: &str| json!({"content": [{"type": "text", "text": words}], "isError": true});
    check(Method::ToolsCall, failed("1 validation error"), failed("serde: missing field"), &[]);
    let good = json!({"content": [{"type": "text", "text": "3"}]});
    let found = compare(Method::ToolsCall, &result(good), None, &result(failed("x")), &[])
        .into_iter()
        .map(|m| m.path);
    assert_eq!(found.collect::<Vec<_>>(), ["content", "isError"]);
    let error = |code: i64, message: &str| json!({"id": 1, "error": {"code": code, "message": message}});
    let differs = |one: &Value, two: &Value| compare(Method::Ping, one, None, two, &[]).len();
    assert_eq!(differs(&error(-32602, "Unknown tool: x"), &error(-32602, "tool not found")), 0);
    assert_eq!(differs(&error(-32602, "x"), &error(-32601, "x")), 1);
}

#[test]
fn a_handshake_is_compared_by_what_clients_rely_on() {
    let opened = |version: &str, instructions: &str| {
        json!({"protocolVersion": version, "capabilities": {"tools": {"listChanged": false}, "prompts": {}},
            "serverInfo": {"name": "swf-testbed", "version": version}, "instructions": instructions})
    };
    check(Method::Initialize, opened("2025-06-18", "a"), opened("2025-11-25", "a"), &[]);
    check(Method::Initialize, opened("1", "a"), opened("1", "a "), &["instructions: value differs"]);
    let discovered = json!({"capabilities": {"tools": {}}, "instructions": "a",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "other"}}});
    check(Method::Discover, opened("1", "a"), discovered, &["serverInfo.name: value differs"]);
}

#[test]
fn a_list_of_tools_is_compared_by_the_break_table() {
    let tool = |name: &str, schema: Value| json!({"name": name, "description": name, "inputSchema": schema});
    let days = |default: u64| json!({"type": "object", "properties": {"days": {"type": "integer", "default": default}}});
    let titled = json!({"title": "T", "type": "object", "required": [],
        "properties": {"days": {"title": "Days", "type": "integer", "default": 7}, "new": {"default": null, "type": "string"}}});
    let live = json!({"tools": [tool("a", days(7)), tool("b", days(7))]});
    check(Method::ToolsList, live.clone(), json!({"tools": [tool("b", days(7)), tool("a", titled)]}), &[]);
    check(
        Method::ToolsList,
        live.clone(),
        json!({"tools": [tool("a", days(30)), tool("c", days(7))]}),
        &[
            "tools.a(days): default changed",
            "tools.b: tool missing on the candidate",
            "tools.c: tool only on the candidate",
        ],
    );
    let page = json!({"tools": [tool("a", days(7))], "nextCursor": "2"});
    check(Method::ToolsList, live.clone(), page, &[]);
    let other = json!({"tools": [tool("a", days(8)), tool("b", days(7))]});
    let third = json!({"tools": [tool("a", days(9)), tool("b", days(7))]});
    check_again(Method::ToolsList, live, Some(other), third, &[]);
}

#[test]
fn a_path_may_be_ignored_by_name() {
    let rules = [IgnoreRule::parse("**.age").unwrap()];
    let (one, two) = (result(text(&json!({"age": 1}))), result(text(&json!({"age": 2}))));
    assert_eq!(compare(Method::ToolsCall, &one, None, &two, &rules), []);
}
