//! `mcp-tools import`: what it writes, `check` accepts, and a server of it lists what was imported.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::program::{program, run, start, text};

/// Runs a command that must succeed; returns what it printed.
#[track_caller]
pub(crate) fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

// Requirement: import from mcp-tools serving the 54 tools gives the same `tools/list` bytes.
#[test]
fn import_from_a_server_and_serving_it_gives_the_same_bytes() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml").display().to_string();
    let original = start(&[]);
    let socket = original.socket.display().to_string();
    done(&["import", "--from-server", &socket, "--output", &file]);
    assert_eq!(done(&["check", &file]), "OK: 54 tools\n");

    let imported = start(&["--catalog", &file]);
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params":
        { "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } } });
    for body in [list, initialize] {
        assert_eq!(text(&imported.post(&body).body), text(&original.post(&body).body));
    }
    let result = imported.call("swf_list_runs", json!({}));
    assert_eq!(result["isError"], true);
    assert!(
        result["content"][0]["text"].as_str().is_some_and(|text| text.starts_with("not implemented yet"))
    );

    // The same server is the same text, and parameters are written one a line.
    let written = std::fs::read_to_string(&file).expect("reads");
    assert_eq!(done(&["import", "--from-server", &socket]), written);
    assert!(written.contains("\nrun_number = { type = \"integer\", required = true"), "{written}");
}

/// A server with `initialize` only, which responds to each request with the next body, as JSON or as an event stream.
struct Scripted {
    url: String,
    asked: std::sync::mpsc::Receiver<(String, Value)>,
}

impl Scripted {
    fn start(replies: Vec<(&'static str, String)>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
        let (send, asked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for ((head, body), stream) in replies.into_iter().zip(listener.incoming().map_while(Result::ok)) {
                let mut reader = BufReader::new(stream);
                let mut request = String::new();
                while reader.read_line(&mut request).is_ok_and(|length| length > 2) {}
                let lower = request.to_ascii_lowercase();
                let length =
                    lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut sent = vec![0; length.unwrap_or(0)];
                let _ = reader.read_exact(&mut sent);
                let _ = send.send((lower, serde_json::from_slice(&sent).unwrap_or_default()));
                let length = body.len();
                let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n");
                let _ = reader.into_inner().write_all((head + &body).as_bytes());
            }
        });
        Scripted { url, asked }
    }

    fn import(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let arguments = [&["import", "--from-server", &self.url], more].concat();
        let output = program().args(arguments).env("TOKEN", "s3cret").output().expect("runs");
        (output.status.code(), text(&output.stdout), text(&output.stderr).replace(&self.url, "URL"))
    }
}

const JSON: &str = "200 OK\r\nContent-Type: application/json";
const STREAM: &str = "200 OK\r\nContent-Type: text/event-stream";

fn result(id: u64, result: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()
}

fn initialized() -> (&'static str, String) {
    let head = "200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s-1";
    let server = json!({ "name": "old", "version": "3" });
    (head, result(2, json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": server })))
}

#[test]
fn import_from_an_older_server_keeps_its_session_and_reads_every_page() {
    let tool = |name: &str| {
        json!({ "name": name, "description": "Says\n\"hi\".", "inputSchema": { "type": "object", "properties": {
        "who": { "type": "string", "x-extra": 1 } } }, "icons": [{ "src": "x" }] })
    };
    let nameless = json!({ "name": "with space", "description": "d", "inputSchema": { "type": "object", "properties": {} } });
    let bare = json!({ "name": "bare", "inputSchema": { "type": "object" }, "annotations": { "readOnlyHint": true, "title": "T" } });
    let other = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} });
    let last = result(4, json!({ "tools": [nameless, bare] }));
    let server = Scripted::start(vec![
        ("404 Not Found\r\nContent-Type: text/plain", "no".to_owned()),
        initialized(),
        ("202 Accepted", String::new()),
        (JSON, result(3, json!({ "tools": [tool("one")], "nextCursor": "page 2" }))),
        (STREAM, format!("event: message\ndata: {other}\n\nevent: message\ndata: {last}\n\n")),
    ]);
    let (code, catalogue, told) = server.import(&["--token-env", "TOKEN"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(
        told,
        "mcp-tools: 2 tools\nmcp-tools: not imported: with space: name: must be 1 to 128 of A-Z a-z 0-9 _ - .\n"
    );
    let expected = r#"
[server]
name = "old"
version = "3"

# The server says otherwise: icons.
[[tool]]
name = "one"
description = """
Says
"hi"."""
read_only = false
input_schema = '{"type":"object","properties":{"who":{"type":"string","x-extra":1}}}'

[tool.refuse]
reason = "not implemented yet: the declaration was imported, and its handler is still to be written"

# The server gives no description; a model chooses tools by it.
# The server says otherwise: inputSchema, annotations.title.
[[tool]]
name = "bare"
description = "bare"
read_only = true
input_schema = '{"type":"object","properties":{}}'
"#;
    assert!(catalogue.contains(expected), "{catalogue}");
    assert!(catalogue.contains("\n# Not imported:\n#   with space: name: must be"), "{catalogue}");
    let asked: Vec<(String, Value)> = server.asked.try_iter().collect();
    let methods: Vec<&str> = asked.iter().filter_map(|(_, body)| body["method"].as_str()).collect();
    assert_eq!(
        methods,
        ["server/discover", "initialize", "notifications/initialized", "tools/list", "tools/list"]
    );
    for (head, _) in &asked {
        assert!(head.contains("\r\nauthorization: bearer s3cret\r\n"), "{head}");
    }
    for (head, _) in &asked[2..] {
        assert!(head.contains("\r\nmcp-session-id: s-1\r\n"), "{head}");
        assert!(head.contains("\r\nmcp-protocol-version: 2025-06-18\r\n"), "{head}");
    }
    assert_eq!(asked[4].1["params"]["cursor"], "page 2");
}

#[test]
fn import_from_a_server_that_refuses_says_what_and_what_to_do() {
    let refused = ("401 Unauthorized\r\nContent-Type: text/plain", "who are you".to_owned());
    let (code, _, told) = Scripted::start(vec![refused]).import(&[]);
    let hint = "(hint: --token-env VARIABLE sends that variable's value as bearer token)";
    assert_eq!(told, format!("mcp-tools: URL: server/discover: status 401: who are you {hint}\n"));
    assert_eq!(code, Some(2));

    let page = |id: u64| (JSON, result(id, json!({ "tools": [], "nextCursor": "again" })));
    let error =
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32601, "message": "Method not found" } });
    let modern = (JSON, error.to_string());
    let replies = vec![modern, initialized(), ("202 Accepted", String::new()), page(3), page(4)];
    let (code, _, told) = Scripted::start(replies).import(&[]);
    assert!(told.contains("a cursor that comes again"), "{told}");
    assert_eq!(code, Some(2));

    let output = run(&["import", "--from-server", "127.0.0.1:1"]);
    assert!(text(&output.stderr).contains("is no address of a server (hint: http://"), "{output:?}");
    let output = run(&["import", "--from-server", "http://127.0.0.1:1/", "--token-env", "NO_SUCH"]);
    assert_eq!(text(&output.stderr), "mcp-tools: --token-env: the variable NO_SUCH is not set\n");
}

#[test]
fn import_replaces_a_file_with_force_only() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml").display().to_string();
    std::fs::write(&file, "mine").expect("writes");
    let server = start(&[]);
    let socket = server.socket.display().to_string();
    let output = run(&["import", "--from-server", &socket, "--output", &file]);
    let expected = format!("mcp-tools: {file} exists; nothing was written (hint: --force replaces it)\n");
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&file).expect("reads"), "mine");
    done(&["import", "--from-server", &socket, "--output", &file, "--force"]);
    assert!(std::fs::read_to_string(&file).expect("reads").contains("[[tool]]"));
}
