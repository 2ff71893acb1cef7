//! Loads against a small server that keeps its connections: what is counted, what is refused, when it ends.

use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::{Limits, Target};

/// Responds to `method` (its name, or the tool's) with the rest of a JSON-RPC response, or with nothing: the connection ends.
type Script = fn(&str) -> Option<String>;

/// A legacy server, and how many connections it has accepted.
async fn server(script: Script) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
    let port = listener.local_addr().expect("it is bound").port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, script));
        }
    });
    let target = Target::parse(&format!("http://127.0.0.1:{port}/mcp")).expect("a target");
    (Client::new(target, Limits::default()), accepted)
}

async fn serve(mut stream: TcpStream, script: Script) {
    let mut bytes = Vec::new();
    loop {
        let Some(body) = next_body(&mut bytes, &mut stream).await else { return };
        let request: Value = serde_json::from_slice(&body).expect("JSON");
        let method = request["method"].as_str().expect("a method");
        let (status, reply) = match (method, request.get("id")) {
            (_, None) => (202, String::new()),
            ("server/discover", Some(_)) => (404, String::new()),
            ("initialize", Some(id)) => {
                let result = json!({"protocolVersion": "2025-06-18", "serverInfo": {"name": "s"}});
                (200, json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
            }
            (_, Some(id)) => {
                let what = request["params"]["name"].as_str().unwrap_or(method);
                let Some(rest) = script(what) else { return };
                (200, format!(r#"{{"jsonrpc":"2.0","id":{id},{rest}}}"#))
            }
        };
        let length = reply.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        if stream.write_all(format!("{head}{reply}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn next_body(bytes: &mut Vec<u8>, stream: &mut TcpStream) -> Option<Vec<u8>> {
    loop {
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text[..end].split("content-length: ").nth(1).map_or(0, |rest| {
                rest.split("\r\n").next().and_then(|length| length.parse().ok()).unwrap_or(0)
            });
            if bytes.len() >= end + 4 + length {
                let rest = bytes.split_off(end + 4 + length);
                return Some(std::mem::replace(bytes, rest).split_off(end + 4));
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn tools(what: &str) -> Option<String> {
    Some(match what {
        "tools/list" => {
            r#""result":{"tools":[{"name":"read","annotations":{"readOnlyHint":true}},{"name":"write"}]}"#
                .to_owned()
        }
        "read" => r#""result":{"content":[]}"#.to_owned(),
        "write" => r#""result":{"content":[{"type":"text","text":"no"}],"isError":true}"#.to_owned(),
        "ping" => r#""result":{}"#.to_owned(),
        _ => r#""error":{"code":-32601,"message":"unknown"}"#.to_owned(),
    })
}

fn tool(name: &str, writes: Writes) -> LoadCall {
    LoadCall::Tool { name: name.to_owned(), arguments: json!({}), writes }
}

fn plan(call: LoadCall) -> Plan {
    Plan { call, requests: 40, concurrency: 4, ..Plan::default() }
}

async fn load(script: Script, plan: &Plan) -> Result<Report, String> {
    let (client, _) = server(script).await;
    run(client, plan).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn each_client_keeps_its_connection() {
    let (client, accepted) = server(tools).await;
    let report = run(client, &plan(LoadCall::Ping)).await.expect("it runs");
    assert_eq!((report.requests, report.failed, report.connections), (40, 0, 4), "{report:?}");
    assert!(report.p50_ms.is_some() && report.p50_ms <= report.p99_ms && report.requests_per_second > 0.0);
    // Besides those of the load: `initialize` and its notification for each session.
    assert_eq!(accepted.load(Ordering::Relaxed), 4 + 4 * 2);
}

#[tokio::test]
async fn a_connection_a_request_by_choice() {
    let plan = Plan { connections: Connections::OneEach, ..plan(tool("read", Writes::Refuse)) };
    let report = load(tools, &plan).await.expect("it runs");
    assert_eq!((report.requests, report.failed, report.connections), (40, 0, 40), "{report:?}");
    assert_eq!(report.described(), "tools/call read, 4 at a time, a connection a request");
}

#[tokio::test]
async fn failures_are_counted_by_their_reason() {
    let report = load(tools, &plan(tool("write", Writes::Allow))).await.expect("it runs");
    assert_eq!((report.requests, report.failed, report.p50_ms), (40, 40, None));
    assert_eq!(report.failures.len(), 1);
    let reason = &report.failures[0].reason;
    assert!(reason.contains("isError") && reason.contains("\"no\""), "{reason}");

    let report = load(tools, &plan(tool("absent", Writes::Allow))).await.expect("it runs");
    assert!(report.failures[0].reason.ends_with("JSON-RPC error -32601: unknown"), "{report:?}");

    let cut: Script = |what| if what == "ping" { None } else { tools(what) };
    let report = load(cut, &plan(LoadCall::Ping)).await.expect("it runs");
    assert_eq!((report.failed, report.connections), (40, 40), "{report:?}");
    assert!(report.failures[0].reason.contains("the connection broke"), "{report:?}");
}

#[tokio::test]
async fn a_tool_that_may_write_or_is_absent_is_refused() {
    for (name, why) in [("write", "read-only"), ("absent", "not listed")] {
        let error = load(tools, &plan(tool(name, Writes::Refuse))).await.expect_err("refused");
        assert!(error.starts_with(name) && error.contains(why), "{error}");
    }
    assert_eq!(load(tools, &plan(tool("read", Writes::Refuse))).await.expect("it runs").failed, 0);
}

#[tokio::test]
async fn a_load_ends_with_its_time() {
    let plan = Plan { time_max: Duration::ZERO, ..plan(LoadCall::ListTools) };
    let report = load(tools, &plan).await.expect("it runs");
    assert_eq!((report.planned, report.requests), (40, 0));
}

#[tokio::test]
async fn a_server_that_opens_no_session_ends_the_load_before_its_first_request() {
    let target = Target::parse("unix:/nonexistent/mcp.sock").expect("a target");
    let error = run(Client::new(target, Limits::default()), &Plan::default()).await.expect_err("no server");
    assert!(error.to_string().contains("cannot connect"), "{error}");
}
