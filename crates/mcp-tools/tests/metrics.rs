//! `serve --metrics`: what a scrape shows of calls, and that it stays apart from them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;

use mcp_testkit::eventually_blocking;

use crate::program::{program, start_in, text};

/// The body of a response to one request of the metrics' address.
#[track_caller]
fn get(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("writes");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

const CATALOGUE: &str = r#"
[service.s]
base_url_env = "URL"
[[tool]]
name = "rows"
description = "d"
read_only = true
[tool.sql]
shape = "rows"
query = "SELECT 1 AS n UNION ALL SELECT 2"
[[tool]]
name = "waits"
description = "d"
read_only = true
[tool.http]
service = "s"
method = "GET"
path = "/"
timeout_ms = 3000
"#;

/// The value of a sample, as the endpoint writes it.
fn sample(address: &str, series: &str) -> Option<String> {
    let metrics = get(address, "GET /metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(str::to_owned)
}

#[test]
fn a_scrape_counts_calls_rows_and_requests_in_flight() {
    // The kernel accepts connections to it, and nothing responds.
    let silent = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    std::fs::write(&file, CATALOGUE).expect("writes");
    let file = file.display().to_string();
    let arguments = ["--catalog", &file, "--database", "sqlite::memory:", "--metrics", "127.0.0.1:0"];
    let server = start_in(home, &arguments, &[("URL", &url)]);
    let log = server.log().join("\n");
    let address =
        log.split("http://").nth(1).and_then(|rest| rest.split("/metrics").next()).expect("an address");

    server.call("rows", json!({}));
    server.call("rows", json!({ "unknown": true }));
    assert_eq!(sample(address, "mcp_tools_calls_total{outcome=\"ok\",tool=\"rows\"}").as_deref(), Some("2"));
    assert_eq!(sample(address, "mcp_tools_rows_total{tool=\"rows\"}").as_deref(), Some("4"));
    assert_eq!(sample(address, "mcp_tools_call_seconds_count{tool=\"rows\"}").as_deref(), Some("2"));
    assert_eq!(sample(address, "mcp_tools_requests_in_flight").as_deref(), Some("0"));

    let pool = "mcp_tools_pool_connections{database=\"main\",state=";
    assert_eq!(sample(address, &format!("{pool}\"idle\"}}")).as_deref(), Some("1"));
    assert_eq!(sample(address, &format!("{pool}\"used\"}}")).as_deref(), Some("0"));
    assert_eq!(sample(address, "mcp_tools_pool_waiting{database=\"main\"}").as_deref(), Some("0"));
    assert_eq!(sample(address, "mcp_tools_pool_wait_seconds_count{database=\"main\"}").as_deref(), Some("2"));

    std::thread::scope(|scope| {
        scope.spawn(|| server.call("waits", json!({})));
        let in_flight = || sample(address, "mcp_tools_requests_in_flight").filter(|count| count == "1");
        eventually_blocking("a request in flight", in_flight);
    });
    assert_eq!(
        sample(address, "mcp_tools_calls_total{outcome=\"timeout\",tool=\"waits\"}").as_deref(),
        Some("1")
    );
    assert_eq!(sample(address, "mcp_tools_requests_in_flight").as_deref(), Some("0"));

    // A name that no catalogue holds never becomes a label.
    server.request("tools/call", json!({ "name": "swf\"}", "arguments": {} }));
    assert!(!get(address, "GET /metrics").contains("swf"));
    for (request, status) in [("GET /", "404"), ("POST /metrics", "405"), ("nonsense", "400")] {
        assert!(get(address, request).starts_with(&format!("HTTP/1.1 {status} ")), "{request}");
    }
}

#[test]
fn an_address_of_metrics_that_is_taken_ends_the_start_with_its_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("an address").to_string();
    let home = tempfile::tempdir().expect("a directory");
    let socket = home.path().join("s.sock");
    let output = program()
        .args(["serve", "--catalog", "builtin", "--metrics", &address, "--socket"])
        .arg(&socket)
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains(&format!("cannot serve metrics on {address}: Address already in use")), "{told}");
    assert!(!socket.exists());
}
