//! Contract, section 7: connections, places in flight and the waiting line are bounded.

use crate::harness::{backend, call, eventually, guard, ok, post, result};

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config("[limits]\nconnections = 2").start().await;
    let mut kept = guard.connect().await;
    assert_eq!(kept.ask("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
    let mut other = guard.connect().await;
    assert_eq!(other.ask("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
    let mut third = guard.connect().await;
    let answer = third.answer().await;
    assert_eq!((answer.status(), answer.field("connection")), (503, Some("close")));
    assert!(answer.field("retry-after").is_some());
    assert_eq!(third.rest().await, b"");
    assert!(guard.metric("mcp_guard_connections_refused_total").await >= 1.0);
    drop(kept);
    eventually("a place is free again", || async { guard.metric("mcp_guard_connections").await < 2.0 }).await;
    assert_eq!(guard.connect().await.ask("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn calls_wait_for_a_place_in_line_and_beyond_the_line_they_are_refused() {
    let backend = backend().await;
    let limits = "[limits]\nin_flight = 1\nwaiting = 2\n[timeouts]\nwaiting = \"20s\"";
    let guard = guard().token("t").upstream(&backend).config(limits).start().await;
    let waiting = |count: f64| {
        let guard = &guard;
        eventually("calls wait", move || async move {
            guard.metric(r#"mcp_guard_waiting{slot="blue"}"#).await >= count
        })
    };
    let mut first = guard.connect().await;
    first.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    let mut second = guard.connect().await;
    second.send(post("t", "", &call(2, "tools/call"))).await;
    waiting(1.0).await;
    let mut third = guard.connect().await;
    third.send(post("t", "", &call(3, "tools/call"))).await;
    waiting(2.0).await;

    let json = guard.post(&call(4, "tools/call")).await.json();
    assert_eq!((&json["id"], &json["error"]["code"]), (&4.into(), &(-31503).into()));
    assert_eq!(json["error"]["data"]["reason"], "overloaded");
    assert_eq!(json["error"]["data"]["executed"], "no");

    // First come, first served, all on the one connection that is kept.
    for (id, client) in [(1, &mut first), (2, &mut second), (3, &mut third)] {
        if id > 1 {
            assert_eq!(peer.request().await.json()["id"], id);
        }
        peer.send(ok(&result(id))).await;
        assert_eq!(client.answer().await.json()["id"], id);
    }
}

#[tokio::test]
async fn nobody_waits_longer_than_the_line_allows() {
    let backend = backend().await;
    let limits = "[limits]\nin_flight = 1\n[timeouts]\nwaiting = \"100ms\"";
    let guard = guard().token("t").upstream(&backend).config(limits).start().await;
    let mut first = guard.connect().await;
    first.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    assert_eq!(guard.post(&call(2, "tools/call")).await.json()["error"]["data"]["reason"], "overloaded");
    peer.send(ok(&result(1))).await;
    assert_eq!(first.answer().await.json()["id"], 1);
}
