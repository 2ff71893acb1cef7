//! Contract, sections 5 and 6: what the client receives of a backend's answer, and what becomes of a bad one.

use mcp_testkit::{Backend, Client, Guard, Peer, backend, call, ok, post, result};

use crate::guard;

/// A call that a backend has got and not responded to.
pub(crate) struct InFlight {
    pub(crate) guard: Guard,
    pub(crate) client: Client,
    pub(crate) peer: Peer,
    pub(crate) backend: Backend,
}

/// Sends the call and waits until the backend has it.
pub(crate) async fn in_flight(body: &str) -> InFlight {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "", body)).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    InFlight { guard, client, peer, backend }
}

#[tokio::test]
async fn the_body_passes_byte_exact_and_the_backends_name_does_not() {
    let InFlight { mut client, mut peer, guard: _guard, .. } = in_flight(&call(1, "tools/call")).await;
    let body = "{ \"id\":1,\"jsonrpc\":\"2.0\" ,\r\n\"result\":{}}\n";
    let head = "HTTP/1.1 200 OK\r\nServer: uvicorn\r\nSet-Cookie: a=b\r\nKeep-Alive: timeout=5\r\nX-Own: v\r\n\
                Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nMcp-Session-Id: s1\r\nContent-Type: application/json\r\n";
    peer.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (200, body));
    for absent in ["server", "set-cookie", "keep-alive", "x-hop", "connection", "transfer-encoding"] {
        assert_eq!(answer.field(absent), None, "{absent}");
    }
    assert_eq!(answer.field("x-own"), Some("v"));
    assert_eq!(answer.field("mcp-session-id"), Some("s1"));
    // RFC 9110, 6.6.1: "A recipient with a clock that receives a response message without a Date header field MUST .."
    assert!(answer.field("date").is_some());
    assert_eq!(answer.field("x-request-id").map(str::len), Some(32));
}

#[tokio::test]
async fn a_large_response_passes_byte_exact_in_either_framing() {
    let text: String = (0..400_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{text}"}}"#);
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let length = format!("{json}Content-Length: {}\r\n\r\n{body}", body.len());
    let mut chunked = format!("{json}Transfer-Encoding: chunked\r\n\r\n");
    for chunk in body.as_bytes().chunks(70_001) {
        chunked.push_str(&format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()));
    }
    chunked.push_str("0\r\nX-Trailer: dropped\r\n\r\n");
    for answer in [length, chunked] {
        let InFlight { mut client, mut peer, guard, backend: _backend } =
            in_flight(&call(1, "tools/call")).await;
        let sending = tokio::spawn(async move {
            peer.send(answer).await;
            peer
        });
        assert!(client.response().await.text() == body, "the body differs");
        let line = guard.log_line(|line| line["outcome"] == "ok").await;
        assert_eq!(line["bytes_out"], body.len());
        // The connection to the backend lives on.
        let mut peer = sending.await.unwrap();
        client.send(post("t", "", &call(2, "ping"))).await;
        peer.request().await;
    }
}

#[tokio::test]
async fn a_short_chunked_response_gets_a_content_length() {
    let InFlight { mut client, mut peer, guard: _guard, .. } = in_flight(&call(1, "ping")).await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
        .await;
    let answer = client.response().await;
    assert_eq!((answer.field("content-length"), answer.text()), (Some("2"), "{}"));
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_complete_and_the_connection_is_not_reused() {
    let InFlight { mut client, mut peer, backend, guard: _guard, .. } = in_flight(&call(1, "ping")).await;
    let body = result(1);
    peer.send(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{body}")).await;
    drop(peer);
    assert_eq!(client.response().await.text(), body);
    client.send(post("t", "", &call(2, "ping"))).await;
    backend.accept().await.request().await;
}

// MCP 2026-07-28: unknown methods are 404 with a JSON-RPC body, header trouble 400. "A backend's 400/404 with a JSON-RPC
// body is an answer, not a failure: it passes untouched".
#[tokio::test]
async fn a_json_rpc_error_under_any_status_is_a_response() {
    for status in ["400 Bad Request", "404 Not Found", "500 Oops"] {
        let InFlight { mut client, mut peer, guard, .. } = in_flight(&call(7, "tools/call")).await;
        let body = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"no such method"}}"#;
        peer.send(ok(body).replacen("200 OK", status, 1)).await;
        let answer = client.response().await;
        assert_eq!(answer.status().to_string(), status[..3]);
        assert_eq!(answer.text(), body);
        assert_eq!(guard.log_line(|_| true).await["outcome"], "rpc_error");
    }
}

#[tokio::test]
async fn the_record_has_the_outcome_of_the_response() {
    for (body, outcome) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#, "ok"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#, "tool_error"),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}"#, "rpc_error"),
        ("{}", "upstream"),
    ] {
        let InFlight { mut client, mut peer, guard, .. } = in_flight(&call(1, "tools/call")).await;
        peer.send(ok(body)).await;
        assert_eq!(client.response().await.text(), body);
        assert_eq!(guard.log_line(|_| true).await["outcome"], outcome, "{body}");
    }
}

#[tokio::test]
async fn an_invalid_response_becomes_a_refusal_and_its_connection_is_not_reused() {
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "garbage\r\n\r\n",
    ] {
        let InFlight { mut client, mut peer, backend, guard: _guard, .. } =
            in_flight(&call(5, "tools/call")).await;
        peer.send(bad).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 502, "{bad:?}");
        let json = answer.json();
        assert_eq!((&json["id"], &json["error"]["code"]), (&5.into(), &(-31502).into()), "{bad:?}");
        assert_eq!(json["error"]["data"]["executed"], "unknown", "{bad:?}");
        peer.closed().await;
        client.send(post("t", "", &call(6, "ping"))).await;
        backend.accept().await.request().await;
    }
}

#[tokio::test]
async fn informational_responses_are_skipped_but_not_without_end() {
    let InFlight { mut client, mut peer, guard: _guard, .. } = in_flight(&call(1, "tools/call")).await;
    peer.send(format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n{}",
        ok(&result(1))
    ))
    .await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.field("link")), (200, None));

    let InFlight { mut client, mut peer, guard: _guard, .. } = in_flight(&call(1, "tools/call")).await;
    peer.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(2000)).await;
    assert_eq!(client.response().await.json()["error"]["code"], -31502);
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let InFlight { mut client, mut peer, guard: _guard, .. } = in_flight(&call(1, "tools/call")).await;
    let flood = tokio::spawn(async move {
        peer.send("HTTP/1.1 200 OK\r\n").await;
        let line = format!("X: {}\r\n", "a".repeat(1000));
        for _ in 0..70 {
            peer.send(&line).await;
        }
    });
    assert_eq!(client.response().await.json()["error"]["code"], -31502);
    let _ = flood.await;
}

// "never a clean-looking truncated answer"
#[tokio::test]
async fn a_short_response_that_is_cut_becomes_a_refusal() {
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for cut in [
        String::new(),
        "HTTP/1.1 200 OK\r\nContent-Le".to_owned(),
        format!("{json}Content-Length: 10\r\n\r\n{{}}"),
        format!("{json}Transfer-Encoding: chunked\r\n\r\n"),
        format!("{json}Transfer-Encoding: chunked\r\n\r\n5\r\n"),
    ] {
        let InFlight { mut client, mut peer, guard: _guard, .. } = in_flight(&call(3, "tools/call")).await;
        peer.send(&cut).await;
        drop(peer);
        let json = client.response().await.json();
        assert_eq!((&json["id"], &json["error"]["code"]), (&3.into(), &(-31502).into()), "{cut:?}");
    }
}

#[tokio::test]
async fn a_long_response_that_is_cut_looks_cut() {
    let begin = r#"{"jsonrpc":"2.0","id":1,"result":""#;
    let part = format!("{begin}{}", "x".repeat(40_000 - begin.len()));
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for cut in [
        format!("{json}Content-Length: 100000\r\n\r\n{part}"),
        format!("{json}Transfer-Encoding: chunked\r\n\r\n9c40\r\n{part}\r\n"),
        format!("{json}Transfer-Encoding: chunked\r\n\r\n9c40\r\n{part}\r\nxyz\r\n"),
    ] {
        let InFlight { mut client, mut peer, guard, .. } = in_flight(&call(1, "tools/call")).await;
        peer.send(&cut).await;
        drop(peer);
        assert!(client.try_response().await.is_err(), "the answer looks complete");
        assert_eq!(guard.log_line(|_| true).await["outcome"], "upstream");
    }
}

/// The client's connection serves its next call, on another one to the backend.
pub(crate) async fn serves_on(client: &mut Client, backend: &Backend) {
    client.send(post("t", "", &call(2, "ping"))).await;
    let mut fresh = backend.accept().await;
    fresh.request().await;
    fresh.send(ok(&result(2))).await;
    assert_eq!(client.response().await.json()["id"], 2);
}

#[tokio::test]
async fn bytes_behind_a_response_are_never_the_next_response() {
    let InFlight { mut client, mut peer, backend, guard: _guard, .. } = in_flight(&call(1, "ping")).await;
    peer.send(format!("{}{}", ok(&result(1)), ok(&result(666)))).await;
    assert_eq!(client.response().await.json()["id"], 1);
    serves_on(&mut client, &backend).await;
}

#[tokio::test]
async fn an_early_response_to_a_large_request_reaches_the_client() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let text = "x".repeat(3_000_000);
    let params = format!(r#"{{"name":"x","arguments":{{"text":"{text}"}}}}"#);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let mut client = guard.connect().await;
    client.send(post("t", "", &body)).await;
    let mut peer = backend.accept().await;
    let early = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"too large"}}"#;
    peer.send(ok(early).replacen("200 OK", "413 Content Too Large", 1)).await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (413, early));
}

#[tokio::test]
async fn an_old_client_gets_a_length_or_the_end_of_its_connection() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    let body = result(1);
    let (front, back) = body.split_at(9);
    client
        .send(post("t", "Connection: keep-alive\r\n", &call(1, "ping")).replace("HTTP/1.1", "HTTP/1.0"))
        .await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    peer.send(format!("9\r\n{front}\r\n")).await;
    peer.send(format!("{:x}\r\n{back}\r\n0\r\n\r\n", back.len())).await;
    let answer = client.response().await;
    assert_eq!(answer.field("content-length"), Some(body.len().to_string().as_str()));
    assert_eq!((answer.text(), answer.field("connection")), (body.as_str(), Some("keep-alive")));
}
