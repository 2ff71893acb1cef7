//! Contract, section 3: framing is judged before anything else, and nothing behind a refused request is acted upon.

use mcp_testkit::{Backend, Guard, backend, call, ok, post, result};

use crate::guard;

async fn fresh(tables: &str) -> (Guard, Backend) {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config(tables).start().await;
    (guard, backend)
}

/// The request is refused, the connection closes, and the good request behind it is not served.
async fn refuses(guard: &Guard, head: &str, status: u16) {
    let mut client = guard.connect().await;
    client.send(format!("{head}\r\n\r\nGET /health HTTP/1.1\r\nHost: h\r\n\r\n")).await;
    let answer = client.response().await;
    assert_eq!(answer.status(), status, "{head:?}");
    assert_eq!(answer.field("connection"), Some("close"), "{head:?}");
    assert_eq!(answer.field("content-type"), Some("application/json"), "{head:?}");
    assert_eq!(client.rest().await, b"", "{head:?}");
}

#[tokio::test]
async fn malformed_heads_are_refused_and_the_connection_closes() {
    let (guard, _backend) = fresh("").await;
    for head in [
        "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 4",
        "POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked",
        "POST /mcp HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked",
        "POST /mcp HTTP/1.1\r\nHost: h\r\nX: a\r\n b",
        "POST /mcp HTTP/1.1\r\nHost : h",
        "POST /mcp HTTP/1.1",
        "POST /mcp HTTP/1.1\r\nHost: h\r\nHost: h",
        "POST http://other/mcp HTTP/1.1\r\nHost: h",
        "POST /mcp HTTP/1.0",
        "POST /mcp HTTP/1.1\r\nHost:",
        "GET http://h/health HTTP/1.1\r\nHost:",
        "GET /health HTTP/1.1",
        "CONNECT h:80 HTTP/1.1\r\nHost: h:80",
        "TRACE / HTTP/1.1\r\nHost: h",
        "POST mcp HTTP/1.1\r\nHost: h",
        "POST /mcp HTTP/1.1\r\nHost: h\r\nConnection: authorization",
    ] {
        refuses(&guard, head, 400).await;
    }
}

#[tokio::test]
async fn a_bare_line_feed_is_refused_at_once() {
    let (guard, _backend) = fresh("").await;
    let mut client = guard.connect().await;
    client.send("POST /mcp HTTP/1.1\nHost: h\n").await;
    assert_eq!(client.response().await.status(), 400);
}

// A request line is judged as soon as it is complete, or one byte has spoiled it: not when the head ends, nor when the
// deadline strikes.
#[tokio::test]
async fn a_bad_request_line_is_refused_before_its_head_ends() {
    let (guard, _backend) = fresh("[timeouts]\nheader = \"60s\"").await;
    for begun in [
        b"GET /\r\n".as_slice(),
        b"hello\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET / HTTP/1.1x",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x80\x2e\x01\x03\x01",
        b"CONNECT h:80",
        b"POST /mcp HTTP/1.1\r\nHost : h\r\n",
    ] {
        let mut client = guard.connect().await;
        client.send(begun).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 400, "{}", begun.escape_ascii());
        assert_eq!(answer.field("connection"), Some("close"), "{}", begun.escape_ascii());
    }
    let mut client = guard.connect().await;
    client.send(format!("POST /{} HTTP/1.1\r\n", "a".repeat(17 * 1024))).await;
    assert_eq!(client.response().await.status(), 414);
}

#[tokio::test]
async fn heads_beyond_the_limits_have_their_own_statuses() {
    let (guard, _backend) = fresh("").await;
    let long = "a".repeat(17 * 1024);
    refuses(&guard, &format!("POST /mcp HTTP/1.1\r\nHost: h\r\nX: {long}"), 431).await;
    refuses(&guard, &format!("POST /{long} HTTP/1.1\r\nHost: h"), 414).await;
    let many = "X: a\r\n".repeat(101);
    refuses(&guard, &format!("POST /mcp HTTP/1.1\r\nHost: h\r\n{}", many.trim_end()), 431).await;
}

// "header block not complete within `timeouts.header` (total, not per read)"
#[tokio::test]
async fn a_dribbled_head_meets_one_total_deadline() {
    let (guard, _backend) = fresh("[timeouts]\nheader = \"3s\"").await;
    let mut client = guard.connect().await;
    let mut clock = tokio::time::interval(std::time::Duration::from_millis(50));
    // Without end: only a deadline that no byte puts off can cut it.
    for byte in b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Long: ".iter().chain(std::iter::repeat(&b'a')) {
        tokio::select! {
            biased;
            heard = client.receives_within(std::time::Duration::from_millis(50)) => if heard { break },
            _ = clock.tick() => {}
        }
        if !client.try_send([*byte]).await {
            break;
        }
    }
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (408, r#"{"error": "Request timeout"}"#));
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let (guard, _backend) = fresh("[timeouts]\nkeepalive_idle = \"100ms\"\nheader = \"3s\"").await;
    let mut client = guard.connect().await;
    assert_eq!(client.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
    assert_eq!(client.rest().await, b"");
    let mut silent = guard.connect().await;
    assert_eq!(silent.rest().await, b"");
}

#[tokio::test]
async fn pipelined_requests_get_their_responses_in_order() {
    let backend = backend().await.serve(|request| {
        let id = request.json()["id"].as_u64().unwrap();
        ok(&result(id))
    });
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    let requests: String = (0..100).map(|id| post("t", "", &call(id, "tools/call"))).collect();
    client.send(requests).await;
    for id in 0..100 {
        assert_eq!(client.response().await.json()["id"], id);
    }
}

#[tokio::test]
async fn pipelined_requests_that_arrive_during_a_call_wait_their_turn() {
    let (guard, backend) = fresh("").await;
    let mut client = guard.connect().await;
    client.send(post("t", "", &call(1, "ping"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    client.send(format!("GET /health HTTP/1.1\r\nHost: h\r\n\r\n{}", post("t", "", &call(2, "ping")))).await;
    peer.send(ok(&result(1))).await;
    assert_eq!(client.response().await.json()["id"], 1);
    assert_eq!(client.response().await.text(), r#"{"status": "ok"}"#);
    peer.request().await;
    peer.send(ok(&result(2))).await;
    assert_eq!(client.response().await.json()["id"], 2);
}

// "Requests pipelined behind a rejected one are never forwarded": what is rejected here is the framing.
#[tokio::test]
async fn nothing_behind_a_malformed_request_is_forwarded() {
    let (guard, backend) = fresh("").await;
    let mut client = guard.connect().await;
    let bad = post("t", "", "x").replace("Content-Length: 1", "Content-Length: one");
    client.send(format!("{bad}{}", post("t", "", &call(1, "ping")))).await;
    assert_eq!(client.response().await.status(), 400);
    assert_eq!(client.rest().await, b"");
    assert!(!backend.is_connected_within(std::time::Duration::from_millis(100)).await);
}

// A body in a refused request must not be read as the next request.
#[tokio::test]
async fn the_body_of_a_refused_request_is_discarded_and_the_connection_stays_open() {
    let (guard, _backend) = fresh("").await;
    let smuggled = "POST /mcp HTTP/1.1\r\nHost: h\r\n\r\n";
    let health = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";
    let length = format!("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", smuggled.len());
    let chunked = "POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for (head, body) in [(length.as_str(), smuggled), (chunked, chunk.as_str())] {
        let mut client = guard.connect().await;
        client.send(head).await;
        assert_eq!(client.response().await.status(), 401);
        client.send(body).await;
        assert_eq!(client.exchange(health).await.text(), r#"{"status": "ok"}"#);
        client.send(format!("{head}{body}{health}")).await;
        assert_eq!(client.response().await.status(), 401);
        assert_eq!(client.response().await.text(), r#"{"status": "ok"}"#);
    }
}

#[tokio::test]
async fn a_refused_body_that_is_too_long_to_forget_closes_the_connection() {
    let (guard, _backend) = fresh("").await;
    let mut client = guard.connect().await;
    client.send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.field("connection")), (401, Some("close")));
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_chunked_request_body_is_decoded_strictly() {
    let (guard, _backend) = fresh("").await;
    for chunks in
        ["2\n{}\r\n0\r\n\r\n", "0x2\r\n{}\r\n0\r\n\r\n", "2\r\n{}0\r\n\r\n", "-1\r\n", "2 ;\r\n{}\r\n"]
    {
        let mut client = guard.connect().await;
        let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n\
                    Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = client.exchange(format!("{head}{chunks}")).await;
        assert_eq!((answer.status(), answer.field("connection")), (400, Some("close")), "{chunks:?}");
    }
}

#[tokio::test]
async fn a_100_continue_is_sent_when_the_head_passes_and_only_then() {
    let (guard, backend) = fresh("").await;
    let body = call(1, "ping");
    let head = post("t", "Expect: 100-continue\r\n", &body).replace(&body, "");
    let mut client = guard.connect().await;
    client.send(&head).await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(&body).await;
    let mut peer = backend.accept().await;
    let request = peer.request().await;
    assert_eq!((request.text(), request.field("expect")), (body.as_str(), None));
    peer.send(ok(&result(1))).await;
    assert_eq!(client.response().await.status(), 200);

    let mut refused = guard.connect().await;
    refused.send(head.replace("Bearer t", "Bearer x")).await;
    let answer = refused.response().await;
    assert_eq!((answer.status(), answer.field("connection")), (403, Some("close")));
}

#[tokio::test]
async fn a_client_that_has_finished_sending_still_gets_its_response() {
    let (guard, backend) = fresh("").await;
    let mut client = guard.connect().await;
    client.send(post("t", "", &call(1, "tools/call"))).await;
    client.finish().await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send(ok(&result(1))).await;
    assert_eq!(client.response().await.json()["id"], 1);
    assert_eq!(client.rest().await, b"");
}

// RFC 9112, 9.6: a connection that is closed while bytes wait in it is reset, and the client may lose what it was sent.
#[tokio::test]
async fn a_connection_with_bytes_behind_its_last_request_is_closed_and_not_reset() {
    let to_the_end = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    let calls = [
        (post("t", "Connection: close\r\n", &call(1, "ping")), ok(&result(1))),
        (post("t", "", &call(1, "ping")).replace("HTTP/1.1", "HTTP/1.0"), ok(&result(1))),
        (
            post("t", "", &call(1, "ping")).replace("HTTP/1.1", "HTTP/1.0"),
            format!("{to_the_end}{}", result(1)),
        ),
    ];
    for (request, response) in calls {
        let (guard, backend) = fresh("").await;
        let mut client = guard.connect().await;
        // More than is read while the call is served.
        client.send(format!("{request}{}", "POST /mcp HTTP/1.1\r\nX: y\r\n".repeat(4000))).await;
        let mut peer = backend.accept().await;
        peer.request().await;
        peer.send(&response).await;
        drop(peer);
        assert_eq!(client.response().await.json()["id"], 1, "{request}");
        assert_eq!(client.rest().await, b"", "{request}");
    }
}

#[tokio::test]
async fn http_1_0_responses_say_whether_the_connection_stays_open() {
    let (guard, _backend) = fresh("").await;
    let mut client = guard.connect().await;
    let keep = client.exchange("GET /health HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!(keep.field("connection"), Some("keep-alive"));
    let close = client.exchange("GET /health HTTP/1.0\r\nHost: h\r\n\r\n").await;
    assert_eq!(close.field("connection"), Some("close"));
    assert_eq!(client.rest().await, b"");
}
