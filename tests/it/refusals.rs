//! Contract, section 8: errors that clients survive.

use crate::harness::{backend, call, guard, notification, post};

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
    for (body, code) in [
        ("", -32700),
        ("CANARY", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"CANARY"} x"#, -32700),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"CANARY"}]"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"CANARY"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"CANARY","method":"ping"}"#, -32600),
        (deep.as_str(), -32600),
    ] {
        let mut client = guard.connect().await;
        let answer = client.ask(post("t", "", body)).await;
        assert_eq!(answer.status(), 400, "{body}");
        let json = answer.json();
        assert_eq!((&json["id"], &json["error"]["code"]), (&serde_json::Value::Null, &code.into()), "{body}");
        assert!(!answer.text().contains("CANARY"), "{body}");
        assert_eq!(client.ask("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(), 200, "{body}");
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
async fn a_fenced_version_is_told_what_is_supported() {
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
async fn a_body_beyond_the_limit_is_refused_before_it_is_read() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config("[limits]\nbody_bytes = 1000").start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "", "").replace("Content-Length: 0", "Content-Length: 1001")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), &answer.json()["jsonrpc"]), (413, &"2.0".into()));

    let mut client = guard.connect().await;
    let chunked = post("t", "", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    client.send(format!("{chunked}3e9\r\n")).await;
    assert_eq!(client.answer().await.status(), 413);
}
