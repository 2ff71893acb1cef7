//! Contract, section 8: errors that clients survive.

use mcp_testkit::{backend, call, notification, ok, post};

use crate::guard;

const GONE: &str = "[timeouts]\nhold = \"50ms\"\ntotal = \"5s\"";

#[tokio::test]
async fn a_legacy_call_with_an_id_survives_under_200() {
    let guard = guard().token("t").config(GONE).start().await;
    for id in ["1", "\"a-b\"", "-7"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x"}}}}"#);
        let answer = guard.post(&body).await;
        assert_eq!((answer.status(), answer.field("retry-after")), (200, None));
        assert!(
            answer.text().starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-31503,"#))
        );
        let data = &answer.json()["error"]["data"];
        assert_eq!((&data["reason"], &data["executed"]), (&"no_backend".into(), &"no".into()));
        assert!(data["retryAfterMs"].is_u64());
        assert_eq!(data["requestId"], answer.field("x-request-id").unwrap());
    }
}

#[tokio::test]
async fn opening_a_session_and_notifying_get_the_real_status() {
    let guard = guard().token("t").config(GONE).start().await;
    let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let modern = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: server/discover\r\n";
    for (fields, body) in [
        ("", call(1, "initialize")),
        ("", notification("notifications/initialized")),
        (modern, discover.to_owned()),
    ] {
        let answer = guard.post_with(fields, &body).await;
        assert_eq!((answer.status(), answer.field("retry-after").is_some()), (503, true), "{body}");
        assert_eq!(answer.json()["error"]["code"], -31503, "{body}");
    }
}

#[tokio::test]
async fn the_translation_can_be_turned_off() {
    let config = format!("{GONE}\n[errors]\nmode = \"http\"");
    let guard = guard().token("t").config(&config).start().await;
    let answer = guard.post(&call(1, "tools/call")).await;
    assert_eq!((answer.status(), answer.field("retry-after").is_some()), (503, true));
    assert_eq!(answer.json()["id"], 1);
}

#[tokio::test]
async fn bodies_that_are_not_one_json_rpc_message_are_refused_and_never_echoed() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"CANARY","params":{}}}"#, "[".repeat(100));
    for (body, status, id, code) in [
        ("", 400, null(), -32700),
        ("CANARY", 400, null(), -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"CANARY"} x"#, 200, 1.into(), -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"CANARY"}{"id":2}"#, 400, null(), -32700),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"CANARY"}]"#, 400, null(), -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"CANARY"}"#, 200, 1.into(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"CANARY","method":"ping"}"#, 400, 1.into(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"CANARY"}"#, 400, null(), -32600),
        (r#"{"jsonrpc":"2.0","method":"CANARY"}"#, 400, null(), -32600),
        (deep.as_str(), 200, 1.into(), -32600),
    ] {
        let mut client = guard.connect().await;
        let answer = client.exchange(post("t", "", body)).await;
        assert_eq!(answer.status(), status, "{body}");
        let json = answer.json();
        assert_eq!((&json["id"], &json["error"]["code"]), (&id, &code.into()), "{body}");
        assert!(!answer.text().contains("CANARY"), "{body}");
        assert_eq!(client.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200, "{body}");
    }
}

fn null() -> serde_json::Value {
    serde_json::Value::Null
}

// "once the body has a readable `id` - also where something behind it is refused (depth, size, UTF-8 of an argument)".
// Python SDK 1 writes the id last, and any HTTP error ends all other calls of its session.
#[tokio::test]
async fn what_a_model_writes_into_an_argument_never_ends_a_session() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let deep = [b"[".repeat(70), b"]".repeat(70)].concat();
    let arguments: [(&[u8], &str); 4] = [
        (&deep, "scan_depth"),
        (b"\"\xff\"", "scan_utf8"),
        (b"NaN", "scan_syntax"),
        (b"\"\t\"", "scan_syntax"),
    ];
    for (argument, reason) in arguments {
        let params = [br#""params":{"name":"x","arguments":{"id":5,"a":"#, argument, b"}}"].concat();
        let envelope = br#""jsonrpc":"2.0","id":"a-9","method":"tools/call""#.as_slice();
        for body in [
            [b"{", envelope, b",", &params, b"}"].concat(),
            [b"{", params.as_slice(), b",", envelope, b"}"].concat(),
        ] {
            for (fields, status) in
                [("", 200), ("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n", 400)]
            {
                let mut client = guard.connect().await;
                client.send(post_bytes(fields, &body)).await;
                let answer = client.response().await;
                let json = answer.json();
                assert_eq!((answer.status(), &json["id"]), (status, &"a-9".into()), "{reason} {fields}");
                let data = &json["error"]["data"];
                assert_eq!((&data["reason"], &data["executed"]), (&reason.into(), &"no".into()));
                assert_eq!(data["requestId"], answer.field("x-request-id").unwrap());
                assert_eq!(client.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
            }
        }
    }
}

fn post_bytes(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = post("t", fields, "").replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
    [head.as_bytes(), body].concat()
}

// RFC 8259, 8.2, and JSON-RPC 2.0, 4: half a surrogate pair in a text is legal, and so is an id such as 1.0.
#[tokio::test]
async fn legal_json_reaches_the_backend_byte_for_byte() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    for (id, argument) in
        [("1.0", r#""\ud83d""#), ("1e2", r#""\udc00 \ud800""#), ("18446744073709551616", "1e999")]
    {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x","arguments":{{"a":{argument}}}}}}}"#
        );
        let mut client = guard.connect().await;
        client.send(post("t", "", &body)).await;
        let mut peer = backend.accept().await;
        assert_eq!(peer.request().await.text(), body);
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        peer.send(ok(&answer)).await;
        assert_eq!(client.response().await.text(), answer);
    }
}

// MCP 2026-07-28, Streamable HTTP: HeaderMismatch.
#[tokio::test]
async fn header_fields_that_disagree_with_the_body_are_refused() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    for fields in ["", "Mcp-Method: tools/call\r\n", "Mcp-Method: ping\r\nMcp-Name: add\r\n"] {
        let answer = guard.post_with(&format!("MCP-Protocol-Version: 2026-07-28\r\n{fields}"), body).await;
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (400, &(-32020).into()), "{fields}");
    }
}

#[tokio::test]
async fn a_fenced_version_is_refused_with_the_supported_ones() {
    let backend = backend().await;
    let guard = guard()
        .token("t")
        .upstream(&backend)
        .config("[protocol]\nmax_version = \"2025-11-25\"")
        .start()
        .await;
    let answer = guard
        .post_with(
            "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: server/discover\r\n",
            &call(1, "server/discover"),
        )
        .await;
    let json = answer.json();
    assert_eq!((answer.status(), &json["error"]["code"]), (400, &(-32600).into()));
    let message = json["error"]["message"].as_str().unwrap();
    assert!(message.contains("Unsupported protocol version") && message.contains("2025-11-25"), "{message}");
}

#[tokio::test]
async fn a_body_far_beyond_the_limit_is_refused_before_it_is_read() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config("[limits]\nbody_bytes = 1000").start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "", "").replace("Content-Length: 0", "Content-Length: 8001")).await;
    let answer = client.response().await;
    assert_eq!((answer.status(), &answer.json()["jsonrpc"]), (413, &"2.0".into()));

    let mut client = guard.connect().await;
    let chunked = post("t", "", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    client.send(format!("{chunked}1f41\r\n")).await;
    assert_eq!(client.response().await.status(), 413);
}

// "For 413 within some multiple of the cap: read on, keep only the id."
#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_under_its_id() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config("[limits]\nbody_bytes = 20000").start().await;
    let params = format!(r#""params":{{"name":"x","arguments":{{"id":5,"a":"{}"}}}}"#, "x".repeat(100_000));
    let envelope = r#""jsonrpc":"2.0","id":9,"method":"tools/call""#;
    let modern = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: x\r\n";
    for body in [format!("{{{envelope},{params}}}"), format!("{{{params},{envelope}}}")] {
        for (fields, status) in [("", 200), (modern, 413)] {
            let chunked = post("t", fields, "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
            let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
            let (first, second) = body.split_at(19_000);
            let in_chunks = format!("{chunked}{}{}0\r\n\r\n", chunk(first), chunk(second));
            let expecting = post("t", &format!("Expect: 100-continue\r\n{fields}"), &body);
            for request in [post("t", fields, &body), in_chunks, expecting] {
                let mut client = guard.connect().await;
                client.send(request).await;
                let answer = client.response().await;
                let json = answer.json();
                assert_eq!((answer.status(), &json["id"]), (status, &9.into()), "{fields}");
                assert_eq!(json["error"]["data"]["reason"], "body_too_large");
                assert_eq!(json["error"]["data"]["executed"], "no");
                assert_eq!(client.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200);
            }
        }
    }
}
