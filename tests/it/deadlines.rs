//! Contract, section 7: every wait is finite, and what a client gets when one ends.

use std::time::{Duration, Instant};

use mcp_testkit::{backend, call, eventually, ok, post, result};

use crate::guard;

const SHORT: &str =
    "[timeouts]\ntotal = \"1s\"\nbody = \"1s\"\nconnect = \"500ms\"\nwaiting = \"500ms\"\nhold = \"500ms\"";

fn modern(method: &str, id: u64) -> (String, String) {
    let fields = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n");
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"_meta":{meta}}}}}"#);
    (fields, body)
}

#[tokio::test]
async fn a_call_without_a_response_in_time_is_refused_and_its_backend_connection_closed() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config(SHORT).start().await;
    let mut client = guard.connect().await;
    let begun = Instant::now();
    client.send(post("t", "", &call(4, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    let answer = client.response().await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(answer.status(), 200);
    let json = answer.json();
    assert_eq!((&json["id"], &json["error"]["code"]), (&4.into(), &(-31504).into()));
    assert_eq!(json["error"]["data"]["executed"], "unknown");
    assert_eq!(json["error"]["data"]["requestId"], answer.field("x-request-id").unwrap());
    peer.closed().await;
    assert_eq!(guard.log_line(|_| true).await["outcome"], "timeout");
    // The client's connection lives on.
    assert_eq!(client.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn the_modern_era_gets_the_real_status() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config(SHORT).start().await;
    let (fields, body) = modern("tools/list", 4);
    let answer = guard.post_with(&fields, &body).await;
    assert_eq!((answer.status(), &answer.json()["error"]["code"]), (504, &(-31504).into()));
    assert!(answer.field("retry-after").is_some());
}

#[tokio::test]
async fn a_response_that_stalls_meets_the_same_deadline() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config("[timeouts]\ntotal = \"4s\"").start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    let begin = r#"{"jsonrpc":"2.0","id":1,"result":{"a""#;
    peer.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{begin}"
    ))
    .await;
    client.until(begin).await;
    assert_eq!(client.rest().await, b"");
    peer.closed().await;
}

#[tokio::test]
async fn a_body_has_one_total_deadline() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config(SHORT).start().await;
    for request in [
        post("t", "", &call(1, "ping")).replace("\"id\"", ""),
        post("t", "", "").replace("Content-Length: 0", "Transfer-Encoding: chunked"),
    ] {
        let mut client = guard.connect().await;
        client.send(request.trim_end_matches('}')).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.field("connection")), (408, Some("close")));
        assert_eq!(answer.json()["jsonrpc"], "2.0");
    }
}

#[tokio::test]
async fn the_deadline_starts_anew_with_each_request() {
    let backend = backend().await;
    // Long enough for a request on a busy machine; the connection lives longer.
    let guard = guard().token("t").upstream(&backend).config("[timeouts]\ntotal = \"4s\"").start().await;
    let mut client = guard.connect().await;
    let begun = Instant::now();
    client.send(post("t", "", &call(0, "ping"))).await;
    let mut peer = backend.accept().await;
    let mut id = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        peer.request().await;
        peer.send(ok(&result(id))).await;
        assert_eq!(client.response().await.json()["id"], id);
        id += 1;
        client.send(post("t", "", &call(id, "ping"))).await;
    }
    peer.request().await;
    assert_eq!(client.response().await.json()["error"]["code"], -31504);
}

// MCP 2026-07-28, Transports: disconnection is cancellation. Before: "Disconnection SHOULD NOT be interpreted as the
// client cancelling its request".
#[tokio::test]
async fn a_modern_client_that_leaves_cancels_its_call_and_a_legacy_one_does_not() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    let (fields, body) = modern("tools/list", 1);
    client.send(post("t", &fields, &body)).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    drop(client);
    peer.closed().await;
    assert_eq!(guard.log_line(|_| true).await["outcome"], "client_gone");

    let mut client = guard.connect().await;
    client.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    drop(client);
    eventually("the guard idles again", || async { guard.metric("mcp_guard_connections").await <= 1.0 })
        .await;
    assert!(guard.metric(r#"mcp_guard_in_flight{slot="blue"}"#).await >= 1.0);
    peer.send(ok(&result(1))).await;
    guard.log_line(|line| line["method"] == "tools/call").await;
}
