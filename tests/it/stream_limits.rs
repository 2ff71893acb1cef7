//! Contract, section 7: "open streams apart from those places (`limits.streams` 512, 16 a client, a total for streams that
//! answer a call)".

use std::time::{Duration, Instant};

use mcp_testkit::{Backend, Client, Guard, Peer, backend, eventually, ok, post, result};

use crate::guard;
use crate::limits::{client, tool_call};

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn subscription(token: &str) -> String {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let fields = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n";
    post(token, fields, body)
}

/// A request whose answer streams until the peer is dropped.
async fn stream(guard: &Guard, backend: &Backend, request: String) -> (Client, Peer) {
    let mut client = guard.connect().await;
    client.send(request).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send(EVENTS).await;
    client.until("\r\n\r\n").await;
    (client, peer)
}

async fn call(guard: &Guard, backend: &Backend, token: &str) -> serde_json::Value {
    let mut client = guard.connect().await;
    client.send(post(token, "", &tool_call(7, "echo"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send(ok(&result(7))).await;
    client.response().await.json()
}

async fn in_flight(guard: &Guard) -> f64 {
    guard.metric(r#"mcp_guard_in_flight{slot="blue"}"#).await
}

// Field note H2: 32 honest clients with one subscription each ended the service for all.
#[tokio::test]
async fn streams_hold_no_places_in_flight() {
    let backend = backend().await;
    let tokens = client("bot", "concurrency = 1") + &client("second", "");
    let limits = "[limits]\nin_flight = 2\nstreams_per_client = 8\n[timeouts]\nwaiting = \"100ms\"";
    let guard = guard().tokens(&tokens).config(limits).upstream(&backend).start().await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(stream(&guard, &backend, subscription("bot")).await);
        open.push(stream(&guard, &backend, post("second", "", &tool_call(1, "echo"))).await);
    }
    eventually("no place is held", || async { in_flight(&guard).await == 0.0 }).await;
    assert_eq!(guard.metric("mcp_guard_streams").await, 8.0);
    for token in ["bot", "second"] {
        assert!(call(&guard, &backend, token).await.get("result").is_some(), "{token}");
    }
    drop(open);
    eventually("every stream is closed", || async { guard.metric("mcp_guard_streams").await == 0.0 }).await;
}

#[tokio::test]
async fn a_client_has_so_many_streams_and_all_together_so_many() {
    let backend = backend().await;
    let tokens = client("bot", "") + &client("second", "") + &client("third", "");
    let limits = "[limits]\nstreams = 3\nstreams_per_client = 2";
    let guard = guard().tokens(&tokens).config(limits).upstream(&backend).start().await;
    let mut open = Vec::new();
    for token in ["bot", "bot", "second"] {
        open.push(stream(&guard, &backend, subscription(token)).await);
    }
    for token in ["bot", "third"] {
        let refused = guard.connect().await.exchange(subscription(token)).await;
        let error = refused.json()["error"].clone();
        assert_eq!((refused.status(), &error["code"]), (503, &(-31503).into()), "{token}");
        assert_eq!(
            (&error["data"]["reason"], &error["data"]["executed"]),
            (&"streams_limited".into(), &"no".into())
        );
        assert!(refused.field("retry-after").is_some());
    }
    // Beyond the bound a call whose answer streams is not refused: it was executed. It holds its place instead.
    let (mut late, mut peer) = stream(&guard, &backend, post("bot", "", &tool_call(3, "echo"))).await;
    assert_eq!(in_flight(&guard).await, 1.0);
    let event = "data: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n\n";
    peer.send(format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len())).await;
    assert!(late.until("0\r\n\r\n").await.contains(event));
    open.remove(0);
    eventually("its stream is closed", || async { guard.metric("mcp_guard_streams").await == 2.0 }).await;
    let mut third = guard.connect().await;
    third.send(subscription("third")).await;
    assert_eq!(
        peer.request().await.json()["method"],
        "subscriptions/listen",
        "on the connection that is kept"
    );
}

// The bound of one client may be set higher than what all of them share.
#[tokio::test]
async fn the_last_streams_are_left_to_other_clients() {
    let backend = backend().await;
    let tokens = client("bot", "") + &client("second", "");
    let guard = guard().tokens(&tokens).config("[limits]\nstreams = 4").upstream(&backend).start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(stream(&guard, &backend, subscription("bot")).await);
    }
    assert_eq!(guard.connect().await.exchange(subscription("bot")).await.status(), 503);
    open.push(stream(&guard, &backend, subscription("second")).await);
    assert_eq!(guard.metric("mcp_guard_streams").await, 4.0);
}

/// Comments, until the client's connection ends, or for this long; returns how long that took.
async fn lasts(client: &mut Client, peer: &mut Peer, most: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !peer.try_send("5\r\n: x\n\n\r\n").await || client.ended_within(Duration::from_millis(1)).await {
            return begun.elapsed();
        }
        if begun.elapsed() > most {
            return begun.elapsed();
        }
    }
}

#[tokio::test]
async fn a_stream_that_responds_to_a_call_ends_in_time_and_a_subscription_does_not() {
    let backend = backend().await;
    let config = "[timeouts]\nstream_total = \"700ms\"\n[limits.tools.long]\nstream_total = \"10s\"\n";
    let guard = guard().token("t").config(config).upstream(&backend).start().await;
    let (mut client, mut peer) = stream(&guard, &backend, post("t", "", &tool_call(1, "echo"))).await;
    let most = Duration::from_secs(20);
    let time = lasts(&mut client, &mut peer, most).await;
    assert!(time < most, "{time:?}");
    assert_eq!(guard.log_line(|_| true).await["outcome"], "timeout");
    for request in [post("t", "", &tool_call(1, "long")), subscription("t")] {
        let (mut client, mut peer) = stream(&guard, &backend, request).await;
        let most = Duration::from_secs(2);
        assert!(lasts(&mut client, &mut peer, most).await >= most);
    }
}

// What is counted for a client outlives a reload, while the order of the clients changes with the file.
#[tokio::test]
async fn the_streams_of_a_client_that_was_removed_are_not_counted_for_another() {
    let backend = backend().await;
    let tokens = client("bot", "") + &client("second", "") + &client("third", "");
    let limits = "[limits]\nstreams_per_client = 2";
    let guard = guard().tokens(&tokens).config(limits).admin().upstream(&backend).start().await;
    let _streams = [
        stream(&guard, &backend, subscription("bot")).await,
        stream(&guard, &backend, subscription("bot")).await,
    ];
    guard.set_tokens(&(client("second", "") + &client("third", "")));
    guard.command_ok("reload").await;
    for token in ["second", "third"] {
        let _stream = stream(&guard, &backend, subscription(token)).await;
    }
    assert_eq!(guard.connect().await.exchange(subscription("bot")).await.status(), 403);
}
