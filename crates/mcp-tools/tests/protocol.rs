//! Both protocol eras on the socket, and every refusal in the form of JSON-RPC.

use serde_json::{Value, json};

use mcp_testkit::{Message, ToolServer};

use crate::program::start;

const MODERN: &str = "2026-07-28";

fn instructions() -> &'static str {
    include_str!("../../../conf/tools/instructions.txt")
}

fn modern(server: &ToolServer, headers: &[(&str, &str)], method: &str, mut params: Value) -> Message {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut all = vec![
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", MODERN),
        ("Mcp-Method", method),
    ];
    all.extend_from_slice(headers);
    let body = json!({ "jsonrpc": "2.0", "id": "m-1", "method": method, "params": params });
    server.http("POST", &all, body.to_string().as_bytes())
}

#[test]
fn an_older_client_initializes_and_gets_the_instructions_byte_for_byte() {
    let server = start(&[]);
    let asked = json!({ "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    let result = &server.request("initialize", asked)["result"];
    assert_eq!(result["protocolVersion"], "2025-03-26");
    assert_eq!(result["serverInfo"]["name"], "swf-testbed");
    assert_eq!(result["instructions"], instructions());
    let told = server.call("get_server_instructions", json!({}));
    assert_eq!(told["content"], json!([{ "type": "text", "text": instructions() }]));
    assert_eq!(told["structuredContent"]["result"], instructions());
}

#[test]
fn a_modern_client_discovers_and_calls() {
    let server = start(&[]);
    let discovered = modern(&server, &[], "server/discover", json!({}));
    assert_eq!(discovered.status(), 200, "{discovered:?}");
    let result = &discovered.json()["result"];
    assert_eq!(result["instructions"], instructions());
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "swf-testbed");
    let name = "get_server_instructions";
    let called =
        modern(&server, &[("Mcp-Name", name)], "tools/call", json!({ "name": name, "arguments": {} }));
    assert_eq!(called.json()["result"]["content"][0]["text"], instructions());
    assert_eq!(called.json()["id"], "m-1");
}

#[test]
fn a_modern_client_whose_headers_contradict_the_body_is_refused() {
    let server = start(&[]);
    let params = json!({ "name": "get_server_instructions", "arguments": {} });
    let refused = modern(&server, &[("Mcp-Name", "other")], "tools/call", params);
    assert_eq!((refused.status(), refused.json()["error"]["code"].clone()), (400, json!(-32020)));
}

#[test]
fn advertises_what_fastmcp_does_and_lists_what_it_advertises() {
    let server = start(&[]);
    let asked = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    let expected = json!({
        "experimental": {},
        "prompts": { "listChanged": false },
        "resources": { "subscribe": false, "listChanged": false },
        "tools": { "listChanged": false },
    });
    assert_eq!(server.request("initialize", asked)["result"]["capabilities"], expected);
    assert_eq!(server.request("prompts/list", json!({}))["result"], json!({ "prompts": [] }));
    assert_eq!(server.request("resources/list", json!({}))["result"], json!({ "resources": [] }));
    assert_eq!(server.request("prompts/get", json!({ "name": "x" }))["error"]["code"], -32602);
    assert_eq!(server.request("completion/complete", json!({}))["error"]["code"], -32601);
}

#[test]
fn the_tool_that_lists_tools_agrees_with_tools_list() {
    let server = start(&[]);
    let listed = server.request("tools/list", json!({}))["result"]["tools"].clone();
    let expected: Vec<Value> = listed
        .as_array()
        .expect("tools")
        .iter()
        .map(|tool| {
            let properties = tool["inputSchema"]["properties"].as_object().expect("properties");
            json!({
                "name": tool["name"],
                "description": tool["description"],
                "parameters": properties.keys().collect::<Vec<_>>(),
            })
        })
        .collect();
    let called = server.call("swf_list_available_tools", json!({}));
    let blocks: Vec<Value> = called["content"]
        .as_array()
        .expect("blocks")
        .iter()
        .map(|block| serde_json::from_str(block["text"].as_str().expect("text")).expect("JSON"))
        .collect();
    assert_eq!(blocks, expected);
    let first = called["content"][0]["text"].as_str().expect("text");
    assert!(first.starts_with("{\n  \"name\": "), "JSON indented by two: {first}");
}

#[test]
fn tools_list_is_the_same_bytes_every_time() {
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let first = start(&[]).post(&list).body;
    let again = start(&[]);
    assert_eq!(again.post(&list).body, first);
    assert_eq!(again.post(&list).body, first);
}

#[test]
fn a_client_that_accepts_json_is_served() {
    let server = start(&[]);
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for accept in ["application/json", "*/*", "application/json, text/event-stream", "application/*;q=0.9"] {
        let reply = server.http("POST", &[("Content-Type", "application/json"), ("Accept", accept)], body);
        assert_eq!((reply.status(), reply.json()["result"].clone()), (200, json!({})), "{accept}");
    }
    let reply = server.http("POST", &[("Content-Type", "application/json"), ("Accept", "text/html")], body);
    assert_eq!(reply.status(), 406);
}

#[track_caller]
fn check(server: &ToolServer, body: &str, status: u16, code: i32, id: Value) {
    let reply = server.http("POST", &[("Content-Type", "application/json")], body.as_bytes());
    assert_eq!(reply.status(), status, "{body}: {reply:?}");
    assert!(
        reply.field("content-type").is_some_and(|kind| kind.starts_with("application/json")),
        "{body}: {reply:?}"
    );
    let message = reply.json();
    assert_eq!((&message["error"]["code"], &message["id"]), (&json!(code), &id), "{body}");
}

#[test]
fn refuses_what_is_not_a_message_in_the_form_of_json_rpc() {
    let server = start(&[]);
    check(&server, "{bad", 400, -32700, Value::Null);
    check(&server, "", 400, -32700, Value::Null);
    check(&server, "\u{0}", 400, -32700, Value::Null);
    check(&server, "[]", 400, -32600, Value::Null);
    check(&server, "7", 400, -32600, Value::Null);
    check(&server, r#"{"id":5}"#, 400, -32600, json!(5));
    check(&server, r#"{"jsonrpc":"1.0","id":"x","method":"ping"}"#, 400, -32600, json!("x"));
    check(&server, &"[".repeat(100_000), 400, -32700, Value::Null);
    check(&server, r#"{"jsonrpc":"2.0","id":6,"method":"no/such"}"#, 200, -32601, json!(6));
    check(&server, r#"{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{}}"#, 200, -32602, json!(6));
    for key in ["_meta", r"\u005fmeta"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":6,"method":"tools/list","params":{{"{key}":7}}}}"#);
        check(&server, &body, 400, -32600, json!(6));
    }
    let odd = r#"{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"get_server_instructions","arguments":[1]}}"#;
    check(&server, odd, 200, -32602, json!(6));
    let unknown = r#"{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"no_such"}}"#;
    check(&server, unknown, 200, -32602, json!(6));
}

#[test]
fn refuses_other_methods_and_bodies_that_are_too_large() {
    let server = start(&[]);
    for method in ["GET", "DELETE", "PUT", "OPTIONS"] {
        let reply = server.http(method, &[], b"");
        assert_eq!(reply.status(), 405, "{method}");
        assert!(reply.field("allow") == Some("POST"), "{method}: {reply:?}");
    }
    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    let reply = server.http("POST", &[("Content-Type", "application/json")], &large);
    assert_eq!((reply.status(), reply.json()["error"]["code"].clone()), (413, json!(-32600)));
}

#[test]
fn a_notification_is_taken_without_a_response() {
    let server = start(&[]);
    let reply = server.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    assert_eq!((reply.status(), reply.text()), (202, ""));
}

// The servers of the SDKs take a notification of 2026-07-28 without Mcp-Method; what it does send must agree.
#[test]
fn a_notification_of_the_newer_era_needs_no_standard_headers() {
    let server = start(&[]);
    let sent = |method: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("Content-Type", "application/json"), ("MCP-Protocol-Version", MODERN)];
        all.extend_from_slice(headers);
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": { "requestId": 1 } });
        server.http("POST", &all, body.to_string().as_bytes())
    };
    for method in [
        "notifications/cancelled",
        "notifications/progress",
        "notifications/initialized",
        "notifications/of/tomorrow",
    ] {
        let bare = sent(method, &[]);
        assert_eq!((bare.status(), bare.text()), (202, ""), "{method}");
        assert_eq!(sent(method, &[("Mcp-Method", method)]).status(), 202, "{method}");
        let other = sent(method, &[("Mcp-Method", "tools/list")]);
        assert_eq!((other.status(), other.json()["error"]["code"].clone()), (400, json!(-32020)), "{method}");
    }
}
