//! The client against scripted servers: one canned response a connection, and what the client makes of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that gives the n-th connection the n-th response, and the requests it got.
async fn scripted(answers: Vec<String>) -> (Target, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
    let port = listener.local_addr().expect("it is bound").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a client comes");
            let mut request = Vec::new();
            while !whole(&request) && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
            log.lock().expect("no test panicked").push(String::from_utf8_lossy(&request).into_owned());
            stream.write_all(answer.as_bytes()).await.ok();
            if answer.contains("text/event-stream") {
                // An event stream stays open: the client must not wait for its end.
                std::future::pending::<()>().await;
            }
        }
        std::future::pending::<()>().await;
    });
    (Target::parse(&format!("http://127.0.0.1:{port}/mcp")).expect("a target"), asked)
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn http(status: u16, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn result(id: u64, result: &serde_json::Value) -> String {
    http(200, "application/json", &json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
}

fn opened(extra: Vec<String>) -> Vec<String> {
    let hello = json!({"protocolVersion": "2025-06-18", "serverInfo": {"name": "s"}, "instructions": "i"});
    let mut answers = vec![result(1, &hello), http(202, "application/json", "")];
    answers.extend(extra);
    answers
}

fn patient() -> Limits {
    Limits { connect: Duration::from_secs(30), total: Duration::from_secs(30), body_bytes: 2_000 }
}

/// Opens a legacy session with a server of this script and lists its tools: the names, or the error.
async fn listed(extra: Vec<String>) -> Result<Vec<String>, String> {
    listed_within(patient(), extra).await
}

async fn listed_within(limits: Limits, extra: Vec<String>) -> Result<Vec<String>, String> {
    let (target, _) = scripted(opened(extra)).await;
    let client = Client::new(target, limits);
    let session = Session::legacy(&client).await.map_err(|error| error.to_string())?;
    let (tools, _) = session.list_tools().await.map_err(|error| error.to_string())?;
    Ok(tools.into_iter().map(|tool| tool.name).collect())
}

#[track_caller]
fn refused(outcome: Result<Vec<String>, String>, expect: &str) {
    let error = outcome.expect_err("it must fail");
    assert!(error.starts_with("tools/list at http://127.0.0.1:") && error.contains(expect), "{error}");
}

#[tokio::test]
async fn lists_tools_over_pages_and_speaks_the_negotiated_version() {
    let (first, second) =
        (json!({"tools": [{"name": "a"}], "nextCursor": "p2"}), json!({"tools": [{"name": "b"}]}));
    let (target, asked) = scripted(opened(vec![result(2, &first), result(3, &second)])).await;
    let client = Client::new(target.with_bearer(Some("secret".to_owned())), patient());
    let session = Session::legacy(&client).await.expect("it opens");
    assert_eq!(session.handshake.instructions.as_deref(), Some("i"));
    let (tools, _) = session.list_tools().await.expect("it lists");
    assert_eq!(tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let asked = asked.lock().expect("no test panicked").clone();
    assert!(asked[0].contains("authorization: Bearer secret") && !asked[0].contains("mcp-protocol-version"));
    assert!(asked[2].contains("mcp-protocol-version: 2025-06-18"), "{}", asked[2]);
    assert!(asked[3].contains(r#""cursor":"p2""#), "{}", asked[3]);
}

#[tokio::test]
async fn a_list_is_read_only_where_a_byte_has_changed() {
    let page = |name: &str| json!({"tools": [{"name": name}]});
    let answers = ["a", "a", "b", "b"].map(|name| opened(vec![result(2, &page(name))])).concat();
    let (target, _) = scripted(answers).await;
    let (client, mut known) = (Client::new(target, patient()), CachedToolsList::default());
    let mut read = Vec::new();
    for _ in 0..4 {
        let session = Session::legacy(&client).await.expect("it opens");
        let tools = session.list_tools_again(&mut known).await.expect("it lists");
        read.push(tools.map(|tools| tools.into_iter().map(|tool| tool.name).collect::<String>()));
    }
    assert_eq!(read, [Some("a".to_owned()), None, Some("b".to_owned()), None]);
}

#[tokio::test]
async fn a_list_is_bounded_over_all_its_pages() {
    let page = |next: Option<&str>| json!({"tools": [], "pad": "x".repeat(1_200), "nextCursor": next});
    let pages = vec![result(2, &page(Some("p2"))), result(3, &page(None))];
    refused(listed(pages).await, "larger than 2000 bytes");
}

#[tokio::test]
async fn reads_a_response_out_of_a_stream_that_stays_open() {
    let noise = r#"data: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
    let answer = r#"data: {"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"a"}]}}"#;
    let stream = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{noise}\n\n{answer}\n\n");
    assert_eq!(listed(vec![stream]).await, Ok(vec!["a".to_owned()]));
}

#[tokio::test]
async fn every_bad_response_is_a_named_error() {
    let html = "text/html; charset=utf-8";
    let endless = json!({"tools": [], "nextCursor": "same"});
    refused(listed(vec![http(502, html, "<html>Bad Gateway")]).await, "HTTP 502: `<html>Bad Gateway`");
    refused(listed(vec![http(200, html, "<html>")]).await, "the body is no JSON-RPC answer (text/html)");
    refused(listed(vec![http(200, "application/json", "{\"jsonrpc\":\"2.0\"}")]).await, "no JSON-RPC answer");
    refused(listed(vec![result(7, &json!({"tools": []}))]).await, "no JSON-RPC answer");
    refused(listed(vec![result(2, &json!({"tool": []}))]).await, "lacks the array `tools`");
    refused(listed(vec![result(2, &json!({"tools": [{"title": "x"}]}))]).await, "lacks the `name` of a tool");
    refused(listed(vec![result(2, &endless), result(3, &endless)]).await, "a page that repeats");
    refused(
        listed(vec!["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_owned()]).await,
        "connection broke",
    );
    refused(listed(vec!["no http at all\r\n\r\n".to_owned()]).await, "connection broke");
    refused(listed(vec![http(200, "application/json", &" ".repeat(3_000))]).await, "larger than 2000 bytes");
    let soon = Limits { total: Duration::from_secs(1), ..patient() };
    refused(listed_within(soon, vec![]).await, "no whole answer within 1000 ms");
    let error = r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"boom"}}"#;
    refused(listed(vec![http(200, "application/json", error)]).await, "JSON-RPC error -32603: boom");
}

#[tokio::test]
async fn falls_back_to_initialize_only_where_the_server_is_older() {
    let fenced =
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Unsupported protocol"}}"#;
    let mut answers = vec![http(400, "application/json", fenced)];
    answers.extend(opened(vec![]));
    let (target, _) = scripted(answers).await;
    let client = Client::new(target, patient());
    let session = Session::open(&client).await.expect("it falls back");
    assert_eq!(session.handshake.protocol_version, "2025-06-18");

    for status in [401, 403, 502] {
        let (target, asked) = scripted(vec![http(status, "application/json", "{}"); 2]).await;
        let client = Client::new(target, patient());
        Session::open(&client).await.expect_err("it does not fall back");
        assert_eq!(asked.lock().expect("no test panicked").len(), 1, "{status}");
    }
}

// MCP 2026-07-28, Streamable HTTP: `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` repeat the body.
#[tokio::test]
async fn a_modern_request_describes_itself() {
    let meta = json!({"io.modelcontextprotocol/serverInfo": {"name": "new"}});
    let discovered = json!({"supportedVersions": ["2026-07-28"], "_meta": meta, "instructions": "i"});
    let (target, asked) = scripted(vec![result(1, &discovered), result(2, &json!({"content": []}))]).await;
    let client = Client::new(target, patient());
    let session = Session::open(&client).await.expect("it opens");
    assert_eq!(session.handshake.server_name.as_deref(), Some("new"));
    session.call_tool("größe", &json!({})).await.expect("it answers");
    let asked = asked.lock().expect("no test panicked").clone();
    for part in
        ["mcp-protocol-version: 2026-07-28", "mcp-method: tools/call", "mcp-name: =?base64?Z3LDtsOfZQ==?="]
    {
        assert!(asked[1].contains(part), "{part} in {}", asked[1]);
    }
    assert!(asked[1].contains(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#));
}

#[tokio::test]
async fn an_unrequested_stream_is_not_read() {
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned();
    let (target, asked) = scripted(vec![stream]).await;
    let client = Client::new(target.with_bearer(Some("secret".to_owned())), patient());
    let reply = client.raw(Request::bare(Method::GET, None)).await.expect("a head is enough");
    assert_eq!((reply.status, reply.content_type()), (200, "text/event-stream"));
    assert!(
        !asked.lock().expect("no test panicked")[0].contains("secret"),
        "a bare request carries no token"
    );
}

#[tokio::test]
async fn silence_is_distinguished_from_a_response() {
    let client = Client::new(Target::parse("unix:/nonexistent/mcp.sock").expect("a target"), patient());
    let error = Session::open(&client).await.expect_err("nothing listens there");
    assert!(error.is_silence() && error.to_string().contains("cannot connect"), "{error}");
}

// MCP 2025-06-18, Transports: clients that no longer need a session SHOULD send a DELETE with its id.
#[tokio::test]
async fn a_session_is_given_back_and_its_absence_costs_nothing() {
    let hello = json!({"protocolVersion": "2025-06-18"});
    let with_id = result(1, &hello).replace("Content-Type", "Mcp-Session-Id: s-1\r\nContent-Type");
    let (target, asked) =
        scripted(vec![with_id, http(202, "text/plain", ""), http(200, "text/plain", "")]).await;
    let client = Client::new(target, patient());
    Session::legacy(&client).await.expect("it opens").close().await;
    let last = asked.lock().expect("no test panicked").pop().expect("it was asked");
    assert!(last.starts_with("DELETE /mcp ") && last.contains("mcp-session-id: s-1"), "{last}");

    let (target, asked) = scripted(opened(vec![])).await;
    let client = Client::new(target, patient());
    Session::legacy(&client).await.expect("it opens").close().await;
    assert_eq!(asked.lock().expect("no test panicked").len(), 2);
}
