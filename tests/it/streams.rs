//! Server-sent events: flushed as they come, bounded by silence and not by length.

use std::time::Duration;

use mcp_testkit::{Client, Guard, Peer, backend, call, post};

use crate::guard;

pub(crate) const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A guard with a stream under way; the client has sent `body`.
pub(crate) async fn streaming(tables: &str, body: &str) -> (Guard, Client, Peer) {
    streaming_with(tables, "", body).await
}

/// The same, where the client has sent further header lines.
pub(crate) async fn streaming_with(tables: &str, fields: &str, body: &str) -> (Guard, Client, Peer) {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config(tables).start().await;
    let mut client = guard.connect().await;
    client.send(post("t", fields, body)).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send(EVENTS).await;
    (guard, client, peer)
}

pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

// "SSE flushed per chunk, never buffered"
#[tokio::test]
async fn each_event_arrives_before_the_next_one_is_sent() {
    let (guard, mut client, mut peer) = streaming("", &call(1, "tools/call")).await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.contains("Content-Type: text/event-stream\r\n"), "{head}");
    for event in [
        "event: a\ndata: 1\n\n",
        ": keep-alive\n\n",
        "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n",
    ] {
        peer.send(chunk(event)).await;
        assert_eq!(client.until("\r\n").await, format!("{:x}\r\n", event.len()));
        assert_eq!(client.until("\n\n\r\n").await, format!("{event}\r\n"));
    }
    peer.send("0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
    assert_eq!(guard.log_line(|_| true).await["outcome"], "ok");
    assert_eq!(client.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn a_stream_outlives_the_deadline_of_calls_but_not_silence() {
    let times = "[timeouts]\ntotal = \"3s\"\nconnect = \"500ms\"\nwaiting = \"500ms\"\nhold = \"500ms\"\n\
                 stream_idle = \"5s\"";
    let (guard, mut client, mut peer) = streaming(times, &call(1, "tools/call")).await;
    client.until("\r\n\r\n").await;
    let begun = std::time::Instant::now();
    let mut silent = begun;
    let mut clock = tokio::time::interval(Duration::from_millis(100));
    while begun.elapsed() < Duration::from_millis(4500) {
        clock.tick().await;
        silent = std::time::Instant::now();
        peer.send(chunk(": x\n\n")).await;
        client.until(": x\n\n\r\n").await;
    }
    assert!(client.until("0\r\n\r\n").await.contains(r#""id":1,"error":{"code":-31504"#));
    assert!(silent.elapsed() >= Duration::from_millis(4900), "{:?}", silent.elapsed());
    assert_eq!(guard.log_line(|_| true).await["outcome"], "timeout");
    peer.closed().await;
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_ends_it_at_the_backend() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    let fields = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n";
    client.send(post("t", fields, body)).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send(EVENTS).await;
    client.until("\r\n\r\n").await;
    drop(client);
    peer.closed().await;
    assert_eq!(guard.log_line(|_| true).await["outcome"], "client_gone");
}

// "Optional keep-alive comments": between events only, and no sign of life of the backend's.
#[tokio::test]
async fn comments_fill_the_silence_of_a_stream_but_never_an_event() {
    let times = "[timeouts]\nstream_ping = \"1s\"\nstream_idle = \"8s\"";
    let (guard, mut client, mut peer) = streaming(times, &call(1, "tools/call")).await;
    client.until("\r\n\r\n").await;
    assert_eq!(client.until("\n\n\r\n").await, "4\r\n: \n\n\r\n");
    peer.send(chunk("data: {\"a\"")).await;
    client.until("{\"a\"\r\n").await;
    assert!(!client.receives_within(Duration::from_millis(1500)).await, "a comment inside an event");
    peer.send(chunk(":1}\n\n")).await;
    client.until(":1}\n\n\r\n").await;
    let silent = std::time::Instant::now();
    let rest = client.until("0\r\n\r\n").await;
    assert!(silent.elapsed() < Duration::from_secs(20), "comments are no sign of life of the backend");
    assert!(rest.starts_with("4\r\n: \n\n\r\n4\r\n: \n\n\r\n"), "{rest}");
    assert!(rest.contains(r#""id":1,"error":{"code":-31504"#), "{rest}");
    assert_eq!(guard.log_line(|_| true).await["outcome"], "timeout");
}
