//! `mcp-tools stdio`: one local client, messages on standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use mcp_testkit::TIMEOUT;

use crate::program::{program, text};

const CATALOGUE: &str = r#"
[server]
name = "shop"

[[tool]]
name = "hello"
description = "Greets."
read_only = true
text = { body = "hello" }

[[tool]]
name = "slow"
description = "Counts for a while."
read_only = true
sql = { shape = "value", query = "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 300000) SELECT COUNT(*) AS n FROM counted" }

[[tool]]
name = "wide"
description = "JSON over two lines."
read_only = true
output_schema = '{"type":"object"}'
sql = { shape = "row", json = ["j"], query = "SELECT '{\"a\":' || char(10) || '1}' AS j" }
"#;

/// Sends the input, closes it, and waits for the end.
fn converse(input: &[u8]) -> Output {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    std::fs::write(&file, CATALOGUE).expect("writes");
    let mut command = program();
    command.args(["stdio", "--demo", "--catalog"]).arg(&file);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mcp-tools starts");
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("mcp-tools ends")
    })
}

/// The messages on standard output, by id. Each line must be one.
fn messages(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let mut messages: Vec<Value> = text(&output.stdout).lines().map(parse).collect();
    messages.sort_by_key(|message| message["id"].as_u64());
    messages
}

fn lines(messages: &[Value]) -> Vec<u8> {
    messages.iter().map(|message| format!("{message}\n")).collect::<String>().into_bytes()
}

// MCP 2025-06-18, Transports: "The server MUST NOT write anything to its stdout that is not a valid MCP message."
#[test]
fn stdio_serves_a_client_with_a_handshake_and_writes_messages_only() {
    let call = |id: u64, name: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": name } });
    let initialize = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    let output = converse(&lines(&[
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }),
        call(3, "hello"),
        call(4, "wide"),
    ]));
    let messages = messages(&output);
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert_eq!(messages[0]["result"]["serverInfo"]["name"], "shop");
    assert_eq!(messages[1]["result"]["tools"].as_array().map(Vec::len), Some(3));
    assert_eq!(messages[2]["result"]["content"][0]["text"], "hello");
    assert_eq!(messages[3]["result"]["structuredContent"], json!({ "j": { "a": 1 } }));
    assert!(text(&output.stderr).contains("\"tool\":\"hello\""), "the log is on standard error");
}

#[test]
fn stdio_serves_a_client_that_declares_its_version_in_each_request() {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let output = converse(&lines(&[
        json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": { "_meta": meta } }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "hello", "_meta": meta } }),
    ]));
    let messages = messages(&output);
    assert_eq!(messages[0]["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "shop");
    assert_eq!(messages[1]["result"]["resultType"], "complete", "{messages:?}");
}

#[test]
fn stdio_finishes_the_calls_in_progress_when_its_input_ends() {
    // The last line lacks its end, as when a client writes and closes.
    let mut input =
        lines(&[json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "slow" } })]);
    input.pop();
    let messages = messages(&converse(&input));
    assert_eq!(messages[0]["result"]["content"][0]["text"], "300000", "{messages:?}");
}

#[test]
fn stdio_reports_what_is_no_message_and_reads_on() {
    let mut input = b"nonsense\n\n  \n".to_vec();
    input.extend(vec![b'x'; 5 * 1024 * 1024]);
    input.extend(b"\n");
    input.extend(lines(&[json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })]));
    let messages = messages(&converse(&input));
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert_eq!(messages[0]["error"]["code"], -32700);
    assert!(
        messages[1]["error"]["message"].as_str().is_some_and(|text| text.contains("larger than")),
        "{messages:?}"
    );
    assert_eq!(messages[2], json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
}

#[test]
fn stdio_that_cannot_start_says_why_on_standard_error_only() {
    let output = program().args(["stdio", "--catalog", "/no/such.toml"]).output().expect("mcp-tools runs");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]));
    assert!(text(&output.stderr).contains("/no/such.toml"), "{}", text(&output.stderr));
}

#[test]
fn stdio_whose_log_is_not_read_serves_on_and_counts_the_lines_it_drops() {
    const CALLS: u64 = 8000;
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    std::fs::write(&file, CATALOGUE).expect("writes");
    let mut command = program();
    command.args(["stdio", "--demo", "--catalog"]).arg(&file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("mcp-tools starts");
    let (mut stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let writer = std::thread::spawn(move || {
        for id in 0..CALLS {
            let call =
                json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "hello" } });
            if writeln!(stdin, "{call}").is_err() {
                break;
            }
        }
    });
    let (sender, responses) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let count = BufReader::new(stdout).lines().map_while(Result::ok).take(8000).count();
        let _ = sender.send(count);
    });
    let count = responses.recv_timeout(TIMEOUT);
    if count.is_err() {
        child.kill().expect("ends");
    }
    let output = child.wait_with_output().expect("mcp-tools ends");
    writer.join().expect("ends");
    reader.join().expect("ends");
    assert_eq!(count, Ok(usize::try_from(CALLS).expect("fits")));
    assert!(text(&output.stderr).contains("\"event\":\"log_dropped\""), "the log is on standard error");
}
