//! Contract, section 7: connections, places in flight and the waiting line are bounded.

use std::time::Duration;

use mcp_testkit::{backend, call, eventually, in_time, ok, post, result};

use crate::guard;

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config("[limits]\nconnections = 2").start().await;
    let (mut first, mut second) = (guard.connect().await, guard.connect().await);
    let mut peers = Vec::new();
    for client in [&mut first, &mut second] {
        client.send(post("t", "", &call(1, "tools/call"))).await;
        peers.push(backend.accept().await);
    }
    let mut third = guard.connect().await;
    let answer = third.response().await;
    assert_eq!((answer.status(), answer.field("connection")), (503, Some("close")));
    assert!(answer.field("retry-after").is_some());
    assert_eq!(third.rest().await, b"");
    assert!(guard.metric("mcp_guard_connections_refused_total").await >= 1.0);
    peers[0].request().await;
    peers[0].send(ok(&result(1))).await;
    assert_eq!(first.response().await.json()["id"], 1);
    drop(first);
    eventually("a place is free again", || async { guard.metric("mcp_guard_connections").await < 2.0 }).await;
    assert_eq!(guard.connect().await.exchange(HEALTH).await.status(), 200);
}

// Field note L8: 1,024 idle keep-alive connections, without a token, and the next client got 503.
#[tokio::test]
async fn when_there_are_too_many_the_idlest_connection_makes_room() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard = guard().token("t").upstream(&backend).config("[limits]\nconnections = 3").start().await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut client = guard.connect().await;
        assert_eq!(client.exchange(HEALTH).await.status(), 200);
        tokio::time::sleep(Duration::from_millis(5)).await;
        idle.push(client);
    }
    assert_eq!(idle[0].exchange(HEALTH).await.status(), 200, "now the second is the idlest");
    assert_eq!(guard.post(&call(1, "tools/call")).await.json()["id"], 1);
    assert_eq!(idle.remove(1).rest().await, b"");
    for client in &mut idle {
        assert_eq!(client.exchange(HEALTH).await.status(), 200, "the others live on");
    }
    assert_eq!(guard.metric("mcp_guard_connections_evicted_total").await, 1.0);
    assert_eq!(guard.metric("mcp_guard_connections_refused_total").await, 0.0);
}

#[tokio::test]
async fn calls_wait_in_the_queue_and_beyond_it_they_are_refused() {
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
        assert_eq!(client.response().await.json()["id"], id);
    }
}

#[tokio::test]
async fn no_call_waits_longer_than_the_queue_allows() {
    let backend = backend().await;
    let limits = "[limits]\nin_flight = 1\n[timeouts]\nwaiting = \"100ms\"";
    let guard = guard().token("t").upstream(&backend).config(limits).start().await;
    let mut first = guard.connect().await;
    first.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    assert_eq!(guard.post(&call(2, "tools/call")).await.json()["error"]["data"]["reason"], "overloaded");
    peer.send(ok(&result(1))).await;
    assert_eq!(first.response().await.json()["id"], 1);
}

// Memory has an end: all bodies together take no more than the operator says, and what they took is given back.
#[tokio::test]
async fn a_body_for_which_there_is_no_room_is_refused_and_the_room_is_given_back() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let limits = "[limits]\nbody_bytes = 100_000\nbodies_bytes = 100_000";
    let guard = guard().token("t").upstream(&backend).config(limits).start().await;
    let pad = "x".repeat(90_000);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"pad":"{pad}"}}}}"#);
    let counted = post("t", "", &body);
    let head = post("t", "", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let chunked = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for request in [&counted, &chunked] {
        let (most, rest) = request.split_at(80_000);
        let other = async || {
            let mut other = guard.connect().await;
            other.try_send(&counted).await;
            other.response().await
        };
        // What it has sent arrives in its time: until then there is room for others, who may even be quicker, so that the
        // slow one finds none.
        in_time("there is no room for another", async {
            loop {
                let mut slow = guard.connect().await;
                slow.send(most).await;
                let refused = other().await;
                if refused.json().get("result").is_some() {
                    continue;
                }
                assert_eq!((refused.status(), refused.field("connection")), (200, None));
                let json = refused.json();
                assert_eq!((&json["id"], &json["error"]["code"]), (&1.into(), &(-31503).into()));
                assert_eq!(json["error"]["data"]["executed"], "no");
                assert_eq!(
                    guard.post(&call(1, "tools/call")).await.json()["id"],
                    1,
                    "a small one needs none"
                );
                slow.send(rest).await;
                if slow.response().await.json().get("result").is_some() {
                    break;
                }
            }
        })
        .await;
        eventually("there is room again", || async { other().await.json().get("result").is_some() }).await;
    }
}
