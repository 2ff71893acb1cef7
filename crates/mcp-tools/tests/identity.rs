//! The caller's identity and the request's id, which the guard sends on the Unix socket.

use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::program::{run, serve, start_in, text};

const CATALOGUE: &str = r#"
[[tool]]
name = "mine"
description = "Greets a known client."
read_only = true
identity = { client = true }
text = { body = "hello" }

[[tool]]
name = "ours"
description = "Greets a known person."
read_only = true
identity = { subject = true }
text = { body = "hello" }

[[tool]]
name = "who"
description = "Tells a client its own name."
read_only = true
identity = { client = true, subject = true }
params.word = { type = "string" }
[tool.sql]
shape = "row"
query = "SELECT :client AS client, :subject AS subject, :word AS word"
"#;

fn server() -> ToolServer {
    serve(CATALOGUE, &["--demo"])
}

/// The result of a call with these headers.
fn call(server: &ToolServer, tool: &str, headers: &[(&str, &str)]) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } });
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    server.http("POST", &headers, body.to_string().as_bytes()).json()["result"].clone()
}

// Requirement: a tool that needs an identity refuses a call without one.
#[test]
fn a_tool_that_needs_an_identity_refuses_a_call_without_it() {
    let server = server();
    let refused = |tool: &str, headers: &[(&str, &str)], header: &str| {
        let result = call(&server, tool, headers);
        let told = result["content"][0]["text"].as_str().expect("a text");
        assert!(result["isError"] == json!(true) && told.contains(header), "{tool} {headers:?}: {result}");
    };
    refused("mine", &[], "X-MCP-Client");
    refused("mine", &[("X-MCP-Subject", "ann")], "X-MCP-Client");
    refused("mine", &[("X-MCP-Client", "")], "X-MCP-Client");
    refused("mine", &[("X-MCP-Client", "bot"), ("X-MCP-Client", "root")], "X-MCP-Client");
    refused("ours", &[("X-MCP-Client", "bot")], "X-MCP-Subject");
    assert_eq!(call(&server, "mine", &[("X-MCP-Client", "bot")])["content"][0]["text"], "hello");
    assert_eq!(call(&server, "ours", &[("X-MCP-Subject", "ann")])["content"][0]["text"], "hello");
    server.wait_for_log("\"outcome\":\"refused\"");
}

#[test]
fn identity_is_bound_as_a_value_that_no_argument_replaces() {
    let server = server();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "who", "arguments": { "client": "root", "subject": "root", "word": ":client" } } });
    let headers =
        [("Content-Type", "application/json"), ("X-MCP-Client", "o'bot"), ("X-MCP-Subject", "ann@x")];
    let result = server.http("POST", &headers, body.to_string().as_bytes()).json()["result"].clone();
    let told = crate::surface::block(&result);
    assert_eq!(told, json!({ "client": "o'bot", "subject": "ann@x", "word": ":client" }));
}

#[test]
fn a_tool_that_needs_an_identity_refuses_a_call_of_the_command_line() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    std::fs::write(&file, CATALOGUE).expect("writes");
    let output = run(&["call", "mine", "--catalog", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("needs the caller's client"), "{}", text(&output.stdout));
}

#[test]
fn the_line_of_a_call_has_the_request_id_of_the_guard() {
    let server = server();
    call(&server, "mine", &[("X-Request-Id", "0f-7a"), ("X-MCP-Client", "bot")]);
    assert!(server.wait_for_log("\"event\":\"call\"").contains("\"request_id\":\"0f-7a\""));
    // What would break the line is left out.
    call(&server, "mine", &[("X-Request-Id", "a\",\"x\":\"b"), ("X-MCP-Client", "bot")]);
    let line = server.wait_for_log("\"event\":\"call\"");
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert!(line.get("request_id").is_none() && line.get("x").is_none(), "{line}");
}

#[test]
fn the_tools_text_for_an_error_names_the_caller() {
    let home = tempfile::tempdir().expect("a directory");
    let (database, file) = (home.path().join("t.db"), home.path().join("c.toml"));
    let made = "CREATE TABLE things (name TEXT UNIQUE); INSERT INTO things VALUES ('a')";
    rusqlite::Connection::open(&database).expect("opens").execute_batch(made).expect("runs");
    let catalogue = r#"
[[tool]]
name = "add"
description = "Adds a thing."
read_only = false
identity = { client = true, subject = true }
params.name = { type = "string" }
[tool.sql]
shape = "row"
query = "INSERT INTO things (name) VALUES ('a' || coalesce(:name, ''))"
errors."things.name" = "{subject} at {client}: there is a{name} already."
"#;
    std::fs::write(&file, catalogue).expect("writes");
    let (file, url) = (file.display().to_string(), format!("sqlite:{}", database.display()));
    let server = start_in(home, &["--catalog", &file, "--database", &url], &[]);
    let result = call(&server, "add", &[("X-MCP-Client", "bot"), ("X-MCP-Subject", "ann")]);
    assert_eq!(result["content"][0]["text"], "ann at bot: there is a already.", "{result}");
}
