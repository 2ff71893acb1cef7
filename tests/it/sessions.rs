//! `slots.NAME.sessions`: `DELETE` and the `GET` event stream of a session pass to a slot that has them, and to no other.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use mcp_testkit::{
    Backend, Client, Guard, Message, Peer, backend, eventually, mcp_backend, ok, post, result,
};

use crate::guard;
use crate::limits::{client, tool_call};
use crate::streams::{EVENTS, chunk};

const POST_ONLY: &str =
    r#"{"error": "MCP endpoint accepts POST JSON-RPC only", "allowed_methods": ["POST"]}"#;
const STREAM: &str = "Accept: text/event-stream\r\nMcp-Session-Id: s-1\r\n";
const ID: &str = "Mcp-Session-Id: s-1\r\n";
const QUESTION: &str =
    "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"sampling/createMessage\",\"params\":{}}\n\n";

/// A request of a session: `fields` are further header lines.
fn asking(method: &str, token: &str, fields: &str) -> String {
    format!("{method} /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{fields}\r\n")
}

async fn open_guard(backend: &Backend, tables: &str) -> Guard {
    guard().token("t").slot("sessions = true").config(tables).upstream(backend).start().await
}

/// A stream of a session that has begun.
async fn stream(guard: &Guard, backend: &Backend, token: &str) -> (Client, Peer) {
    let mut client = guard.connect().await;
    client.send(asking("GET", token, STREAM)).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send(EVENTS).await;
    client.until("\r\n\r\n").await;
    (client, peer)
}

#[track_caller]
fn assert_post_only(answer: &Message, context: &str) {
    assert_eq!((answer.status(), answer.text()), (405, POST_ONLY), "{context}");
    assert_eq!(answer.field("allow"), Some("POST"), "{context}");
    assert_eq!(answer.field("www-authenticate"), None, "{context}");
}

// "Method check 4 (405 before auth)": clients take a 401 to their GET for an OAuth server.
#[tokio::test]
async fn without_sessions_get_and_delete_are_refused_before_auth() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    for method in ["GET", "DELETE"] {
        for token in ["t", "wrong"] {
            assert_post_only(&client.exchange(asking(method, token, STREAM)).await, method);
        }
        let bare = format!("{method} /mcp HTTP/1.1\r\nHost: evil\r\nOrigin: null\r\n{STREAM}\r\n");
        assert_post_only(&client.exchange(bare).await, method);
    }
    client.send(post("t", "", &tool_call(1, "x"))).await;
    assert!(backend.accept().await.request().await.start.starts_with("POST "), "nothing else came");
}

#[tokio::test]
async fn a_delete_of_a_session_passes_to_its_slot() {
    let backend = backend().await;
    let guard = open_guard(&backend, "").await;
    let mut client = guard.connect().await;
    let fields = format!(
        "{ID}MCP-Protocol-Version: 2025-06-18\r\nOrigin: http://localhost:6274\r\nContent-Length: 0\r\n"
    );
    client.send(asking("DELETE", "t", &fields)).await;
    let mut peer = backend.accept().await;
    let seen = peer.request().await;
    assert_eq!(seen.start, "DELETE /mcp HTTP/1.1");
    assert_eq!(seen.field("mcp-session-id"), Some("s-1"));
    assert_eq!(seen.field("mcp-protocol-version"), Some("2025-06-18"));
    for absent in ["authorization", "origin", "content-length", "transfer-encoding"] {
        assert_eq!(seen.field(absent), None, "{absent}");
    }
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.body.len()), (200, 0), "as the backend says it");
    let line = guard.log_line(|line| line["status"] == 200).await;
    assert_eq!(
        (&line["outcome"], &line["slot"], &line["client"]),
        (&"ok".into(), &"blue".into(), &"default".into())
    );
    assert_eq!(line["detail"], "DELETE of a session");
    // What the backend says of a session it does not know, the client reads itself.
    for (status, body) in [
        (404, r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"gone"}}"#),
        (405, ""),
    ] {
        client.send(asking("DELETE", "t", ID)).await;
        peer.request().await;
        peer.send(format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.text()), (status, body));
    }
    client.send(post("t", ID, &tool_call(7, "x"))).await;
    assert_eq!(peer.request().await.json()["id"], 7);
    peer.send(ok(&result(7))).await;
    assert_eq!(client.response().await.json()["id"], 7, "calls go on, on the same connections");
}

// A backend may close an idle connection at any time, and DELETE and GET may be sent twice (RFC 9110, 9.2.2).
#[tokio::test]
async fn a_session_request_that_meets_a_closed_connection_is_sent_again() {
    let backend = backend().await;
    let guard = open_guard(&backend, "").await;
    let mut client = guard.connect().await;
    client.send(asking("DELETE", "t", ID)).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    drop(peer);
    let mut looked_after = backend.accept().await;
    assert_eq!(looked_after.request().await.start, "DELETE /mcp HTTP/1.1");
    looked_after.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 204);
}

#[tokio::test]
async fn the_stream_of_a_session_passes_each_event_at_once() {
    let backend = backend().await;
    let guard = open_guard(&backend, "").await;
    let mut client = guard.connect().await;
    client
        .send(asking(
            "GET",
            "t",
            &format!("Accept: application/json, text/event-stream\r\n{ID}Last-Event-ID: 4\r\n"),
        ))
        .await;
    let mut peer = backend.accept().await;
    let seen = peer.request().await;
    assert_eq!((seen.start.as_str(), seen.field("accept")), ("GET /mcp HTTP/1.1", Some("text/event-stream")));
    assert_eq!((seen.field("mcp-session-id"), seen.field("last-event-id")), (Some("s-1"), Some("4")));
    assert_eq!((seen.field("content-length"), seen.field("authorization")), (None, None));
    peer.send(EVENTS).await;
    client.until("\r\n\r\n").await;
    for event in [QUESTION, ": ping\r\n\r\n"] {
        peer.send(chunk(event)).await;
        client.until(&chunk(event)).await;
    }
    // It is due no answer: a backend that ends it has said all, and one that breaks it off has not.
    peer.send("0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
    assert_eq!(guard.log_line(|_| true).await["outcome"], "ok");
    client.send(asking("GET", "t", STREAM)).await;
    peer.request().await;
    peer.send(format!("{EVENTS}{}", chunk(QUESTION))).await;
    client.until(&chunk(QUESTION)).await;
    drop(peer);
    assert_eq!(client.rest().await, b"", "no end, and no unexpected error");
}

#[tokio::test]
async fn a_session_request_passes_every_check_on_the_head() {
    let backend = backend().await;
    let guard = open_guard(&backend, "[protocol]\nmax_version = \"2025-06-18\"").await;
    let mut client = guard.connect().await;
    let modern = "MCP-Protocol-Version: 2026-07-28\r\n";
    for (method, fields) in [("GET", STREAM), ("DELETE", ID)] {
        let with = |more: &str| asking(method, "t", &format!("{fields}{more}"));
        let plain = with("");
        for (request, status) in [
            (plain.replace("Authorization: Bearer t\r\n", ""), 401),
            (plain.replace("Bearer t", "Basic t"), 401),
            (plain.replace("Bearer t", "Bearer wrong"), 403),
            (with("Origin: https://evil.test\r\n"), 403),
            (plain.replace("localhost", "evil.test"), 421),
            (with("Mcp-Session-Id: s-2\r\n"), 400),
            (with("MCP-Protocol-Version: 2025-06-18\r\nMCP-Protocol-Version: 2025-03-26\r\n"), 400),
            (with("MCP-Protocol-Version: a b\r\n"), 400),
            (with(modern), 400),
            (with("MCP-Protocol-Version: 2025-11-25\r\n"), 400),
            (with("Content-Length: 2\r\n") + "{}", 413),
            (with("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 413),
        ] {
            let answer = client.exchange(&request).await;
            assert_eq!(answer.status(), status, "{request}\n{}", answer.text());
        }
        assert_post_only(&client.exchange(plain.replace("/mcp", "/other")).await, "another path");
        for method in ["PUT", "PATCH", "OPTIONS"] {
            assert_post_only(&client.exchange(asking(method, "t", fields)).await, method);
        }
    }
    for (method, fields) in [
        ("GET", ID),
        ("GET", "Accept: */*\r\nMcp-Session-Id: s-1\r\n"),
        ("GET", "Accept: text/event-stream;q=0\r\n"),
        ("DELETE", ""),
        ("DELETE", "Accept: text/event-stream\r\n"),
        ("DELETE", "Mcp-Session-Id:\r\n"),
    ] {
        let asked = asking(method, "t", fields);
        assert_post_only(&client.exchange(&asked).await, &asked);
        assert_post_only(&client.exchange(asked.replace("Bearer t", "Bearer wrong")).await, "before auth");
    }
    assert_eq!(
        guard.metric(r#"mcp_guard_upstream_connections_total{slot="blue",result="opened"}"#).await,
        0.0
    );
}

// 2026-07-28 knows neither: such a server "MUST return HTTP 405 Method Not Allowed".
#[tokio::test]
async fn a_modern_client_has_no_session() {
    let backend = backend().await;
    let guard = open_guard(&backend, "[protocol]\nmax_version = \"any\"").await;
    let mut client = guard.connect().await;
    for (method, fields) in [("GET", STREAM), ("DELETE", ID)] {
        let asked = asking(method, "t", &format!("{fields}MCP-Protocol-Version: 2026-07-28\r\n"));
        assert_post_only(&client.exchange(asked).await, method);
    }
}

// A stream that is resumed repeats what was sent on another one: a list of tools that was edited, say.
#[tokio::test]
async fn a_client_that_is_shown_its_own_tools_resumes_no_stream() {
    let backend = backend().await;
    let tokens = client("bot", "tools = [\"echo\"]") + &client("second", "");
    let guard = guard().tokens(&tokens).slot("sessions = true").upstream(&backend).start().await;
    let resumed = format!("{STREAM}Last-Event-ID: 4\r\n");
    assert_post_only(&guard.connect().await.exchange(asking("GET", "bot", &resumed)).await, "bot");
    let mut second = guard.connect().await;
    second.send(asking("GET", "second", &resumed)).await;
    let mut peer = backend.accept().await;
    assert_eq!(peer.request().await.field("last-event-id"), Some("4"));
    let mut bot = guard.connect().await;
    bot.send(asking("GET", "bot", STREAM)).await;
    assert_eq!(backend.accept().await.request().await.start, "GET /mcp HTTP/1.1");
}

#[tokio::test]
async fn a_slot_without_sessions_gets_none() {
    let (blue, green) = (backend().await, backend().await);
    let other = format!("[slots.green]\naddress = \"{}\"\nsessions = true", green.address());
    let guard = guard().token("t").config(&other).upstream(&blue).start().await;
    let mut client = guard.connect().await;
    for (method, fields) in [("GET", STREAM), ("DELETE", ID)] {
        let asked = asking(method, "t", fields);
        assert_post_only(&client.exchange(&asked).await, method);
        let stranger = client.exchange(asked.replace("Bearer t", "Bearer wrong")).await;
        assert_eq!(stranger.status(), 403, "whose slot it is depends on the client");
    }
    assert_eq!(guard.metric("mcp_guard_streams").await, 0.0);
    client.send(post("t", "", &tool_call(1, "x"))).await;
    assert!(blue.accept().await.request().await.start.starts_with("POST "), "nothing else came");
}

#[tokio::test]
async fn the_streams_of_sessions_are_bounded_like_subscriptions() {
    let backend = backend().await;
    let tokens = client("bot", "") + &client("second", "");
    let limits = "[limits]\nin_flight = 1\nstreams_per_client = 2\n[timeouts]\nwaiting = \"100ms\"";
    let guard =
        guard().tokens(&tokens).slot("sessions = true").config(limits).upstream(&backend).start().await;
    let mut open = Vec::new();
    for token in ["bot", "bot", "second"] {
        open.push(stream(&guard, &backend, token).await);
    }
    eventually("no place is held", || async {
        guard.metric(r#"mcp_guard_in_flight{slot="blue"}"#).await == 0.0
    })
    .await;
    assert_eq!(guard.metric("mcp_guard_streams").await, 3.0);
    let refused = guard.connect().await.exchange(asking("GET", "bot", STREAM)).await;
    let error = refused.json()["error"].clone();
    assert_eq!((refused.status(), &error["data"]["reason"]), (503, &"streams_limited".into()));
    assert!(refused.field("retry-after").is_some());
    let (client, mut peer) = open.remove(0);
    drop(client);
    peer.closed().await;
    eventually("its stream is closed", || async { guard.metric("mcp_guard_streams").await == 2.0 }).await;
    open.push(stream(&guard, &backend, "bot").await);
}

#[tokio::test]
async fn a_session_request_counts_to_the_rate_of_its_client() {
    let backend = backend().await;
    let tokens = client("bot", "rate = \"1/h\"\nburst = 1");
    let guard = guard().tokens(&tokens).slot("sessions = true").upstream(&backend).start().await;
    let _open = stream(&guard, &backend, "bot").await;
    for (method, fields) in [("GET", STREAM), ("DELETE", ID)] {
        let refused = guard.connect().await.exchange(asking(method, "bot", fields)).await;
        assert_eq!((refused.status(), refused.field("retry-after").is_some()), (429, true), "{method}");
    }
}

#[tokio::test]
async fn a_session_stream_ends_by_silence_and_not_by_length() {
    let backend = backend().await;
    let times = "[timeouts]\ntotal = \"500ms\"\nconnect = \"400ms\"\nwaiting = \"400ms\"\nhold = \"400ms\"\n\
                 stream_total = \"700ms\"\nstream_idle = \"5s\"";
    let guard = open_guard(&backend, times).await;
    let (mut client, mut peer) = stream(&guard, &backend, "t").await;
    let begun = Instant::now();
    let mut silent = begun;
    let mut clock = tokio::time::interval(Duration::from_millis(100));
    while begun.elapsed() < Duration::from_secs(2) {
        clock.tick().await;
        silent = Instant::now();
        peer.send(chunk(": x\n\n")).await;
        client.until(&chunk(": x\n\n")).await;
    }
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n", "it ends properly, and the client asks again");
    assert!(silent.elapsed() >= Duration::from_millis(4900), "{:?}", silent.elapsed());
    assert_eq!(guard.log_line(|_| true).await["outcome"], "timeout");
    peer.closed().await;
    client.send(asking("DELETE", "t", ID)).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    assert_eq!(client.response().await.status(), 504, "a DELETE has the total of a call");
}

#[tokio::test]
async fn a_drain_ends_session_streams_behind_a_whole_event() {
    let backend = backend().await;
    let mut guard = open_guard(&backend, "[timeouts]\ndrain = \"60s\"").await;
    let (mut quiet, mut beside) = stream(&guard, &backend, "t").await;
    let (mut busy, mut peer) = stream(&guard, &backend, "t").await;
    peer.send(chunk("data: {\"jsonrpc\"")).await;
    busy.until("jsonrpc\"\r\n").await;
    guard.signal(Signal::TERM);
    assert_eq!(quiet.until("0\r\n\r\n").await, "0\r\n\r\n", "it does not hold up the drain");
    beside.closed().await;
    peer.send(chunk(":\"2.0\"}\n\n")).await;
    assert_eq!(busy.until("0\r\n\r\n").await, format!("{}0\r\n\r\n", chunk(":\"2.0\"}\n\n")));
    assert!(guard.ended().await.success());
    assert_eq!(guard.log_line(|line| line["status"] == 200).await["outcome"], "ok");
}

#[tokio::test]
async fn a_session_of_a_backend_that_is_gone_gets_the_real_status() {
    let guard =
        guard().token("t").slot("sessions = true").config("[timeouts]\nhold = \"50ms\"").start().await;
    for (method, fields) in [("GET", STREAM), ("DELETE", ID)] {
        let answer = guard.connect().await.exchange(asking(method, "t", fields)).await;
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (503, &(-31503).into()), "{method}");
    }
}

// A session lives in one backend. A call reaches the standby, whose response says that the session is over.
#[tokio::test]
async fn a_session_request_is_never_passed_to_the_slot_that_stands_by() {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let config = format!(
        "[slots.green]\naddress = \"{}\"\nsessions = true\n[health]\ninterval = \"1h\"\nrise = 1\n\
         [timeouts]\nhold = \"200ms\"",
        green.address()
    );
    let guard = guard()
        .token("t")
        .admin()
        .slot("sessions = true")
        .config(&config)
        .upstream(blue.address())
        .start()
        .await;
    guard.both_healthy().await;
    guard.command_ok("slots switch green").await;
    green.kill().await;
    for (method, fields) in [("GET", STREAM), ("DELETE", ID)] {
        let refused = guard.connect().await.exchange(asking(method, "t", fields)).await;
        assert_eq!((refused.status(), &refused.json()["error"]["code"]), (503, &(-31503).into()), "{method}");
    }
    assert_eq!(blue.calls(), 0);
    let call = guard.connect().await.exchange(post("t", "", &tool_call(1, "x"))).await;
    assert!(call.json().get("result").is_some(), "{}", call.text());
    assert_eq!(blue.calls(), 1, "it stands by for calls");
}
