//! Contract, section 6: what the backend receives.

use mcp_testkit::{Message, backend, backend_on_tcp, call, notification, ok, post, result};

use crate::guard;

/// Sends one request through a guard whose slot has these keys, and returns what the backend received.
async fn forwarded(slot: &str, fields: &str, body: &str) -> Message {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).slot(slot).start().await;
    let mut client = guard.connect().await;
    client.send(post("t", fields, body)).await;
    let mut peer = backend.accept().await;
    let request = peer.request().await;
    peer.send(ok(&result(1))).await;
    assert_eq!(client.response().await.status(), 200);
    request
}

#[tokio::test]
async fn the_body_passes_byte_exact() {
    let body = "{ \"jsonrpc\" :\t\"2.0\",\r\n\"id\":1.0e0 , \"method\":\"tools/call\",\
                \"params\":{\"name\":\"a\\u0062\",\"arguments\":{\"z\":1,\"a\":\"\u{fffd}\u{1f600}\",\"a\":2}}}"
        .replace("1.0e0", "10");
    let request = forwarded("", "", &body).await;
    assert_eq!(request.text(), body);
}

#[tokio::test]
async fn a_large_body_passes_byte_exact() {
    let text = "x".repeat(3_000_000);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","arguments":"{text}"}}}}"#
    );
    assert_eq!(forwarded("", "", &body).await.text(), body);
}

#[tokio::test]
async fn a_chunked_body_goes_to_the_backend_with_a_content_length() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    let body = call(1, "ping");
    let (front, back) = body.split_at(10);
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n\
                Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X-Guard-Auth\r\n\r\n";
    client.send(format!("{head}a;note=\"x\"\r\n{front}\r\n")).await;
    client.send(format!("{:X}\r\n{back}\r\n0\r\nX-Guard-Auth: ok\r\n\r\n", back.len())).await;
    let mut peer = backend.accept().await;
    let request = peer.request().await;
    assert_eq!(request.text(), body);
    assert_eq!(request.field("content-length"), Some(body.len().to_string().as_str()));
    for absent in ["transfer-encoding", "trailer", "x-guard-auth"] {
        assert_eq!(request.field(absent), None, "{absent}");
    }
}

// RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field". curl --http2 and java.net.http offer h2c with every
// plain request.
#[tokio::test]
async fn an_offered_upgrade_is_ignored_and_does_not_pass() {
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "Upgrade:\r\nUpgrade: a, b/2\r\n",
    ] {
        let request = forwarded("", fields, &call(1, "ping")).await;
        for gone in ["Upgrade", "HTTP2-Settings", "Connection", "Sec-WebSocket-Key"] {
            assert_eq!(request.field(gone), None, "{}", request.head);
        }
    }
}

// "copies that agree byte for byte, on one line or several, are one": `fetch` joins a configured field with its own.
#[tokio::test]
async fn copies_of_a_field_that_agree_are_passed_on_as_one() {
    let meta = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    for (fields, body, version) in [
        ("MCP-Protocol-Version: 2025-11-25, 2025-11-25\r\n".to_owned(), call(1, "ping"), "2025-11-25"),
        ("MCP-Protocol-Version: 2025-11-25\r\n".repeat(2), call(1, "ping"), "2025-11-25"),
        (
            "MCP-Protocol-Version: 2026-07-28,2026-07-28\r\nMcp-Method: ping\r\n".to_owned(),
            meta.to_owned(),
            "2026-07-28",
        ),
    ] {
        let session = "Mcp-Session-Id: s-1\r\nmcp-session-id: s-1, s-1\r\n";
        let request = forwarded("", &format!("{fields}{session}"), &body).await;
        for (name, value) in [("mcp-protocol-version", version), ("mcp-session-id", "s-1")] {
            let sent: Vec<_> =
                request.fields.iter().filter(|(sent, _)| sent.eq_ignore_ascii_case(name)).collect();
            assert_eq!(
                sent.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
                [value],
                "{}",
                request.head
            );
        }
    }
}

#[tokio::test]
async fn what_concerns_the_guard_or_this_hop_is_stripped() {
    let fields = "Cookie: a=b\r\nOrigin: http://localhost\r\nX-Remote-User: root\r\nX_Remote_User: root\r\n\
                  Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                  Proxy: http://evil\r\nProxy-Authorization: Basic x\r\nX-MCP-Client: root\r\nX-MCP-Subject: root\r\nX-Kept: yes\r\n";
    let request = forwarded("", fields, &call(1, "ping")).await;
    for absent in [
        "authorization",
        "cookie",
        "origin",
        "x-remote-user",
        "x_remote_user",
        "connection",
        "x-hop",
        "keep-alive",
        "te",
        "proxy",
        "proxy-authorization",
        "x-mcp-client",
        "x-mcp-subject",
    ] {
        assert_eq!(request.field(absent), None, "{absent}");
    }
    assert_eq!(request.field("x-kept"), Some("yes"));
}

#[tokio::test]
async fn the_fields_that_a_backend_gets_by_default() {
    let request = forwarded("", "Accept: text/html\r\nUser-Agent: bot/1\r\n", &call(1, "ping")).await;
    assert_eq!(request.start, "POST /mcp HTTP/1.1");
    assert_eq!(request.field("host"), Some("localhost:80"));
    assert_eq!(request.field("accept"), Some("application/json, text/event-stream"));
    assert_eq!(request.field("content-type"), Some("application/json"));
    assert_eq!(request.field("user-agent"), Some("bot/1"));
    assert_eq!(request.field("via"), Some("1.1 mcp-guard"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("localhost"));
    assert_eq!(request.field("x-request-id").map(str::len), Some(32));
}

#[tokio::test]
async fn mcp_header_fields_pass_untouched() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let fields = "MCP-Protocol-Version: 2026-07-28\r\nMCP-METHOD: tools/call\r\nmcp-name:   add  \r\n\
                  Mcp-Param-user_id: =?base64?eA==?=\r\nLast-Event-ID: 7\r\nMcp-Session-Id: s1\r\n";
    let request = forwarded("", fields, body).await;
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "add"),
        ("mcp-param-user_id", "=?base64?eA==?="),
        ("last-event-id", "7"),
        ("mcp-session-id", "s1"),
    ] {
        assert_eq!(request.field(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn the_keys_of_a_slot_shape_the_request() {
    let slot = "path = \"/other\"\nhost = \"tools.example:81\"\naccept = \"json\"\nquery = true\nstrip_session = true\n\
                client_header = true\nset_headers = { \"X-Guard-Auth\" = \"ok\" }";
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).slot(slot).start().await;
    let mut client = guard.connect().await;
    let fields =
        "X-Guard-Auth: forged\r\nx_guard_auth: forged\r\nX_GUARD-AUTH: forged\r\nMcp-Session-Id: s\r\n";
    client.send(post("t", fields, &call(1, "ping")).replacen("/mcp", "/mcp?a=%20b", 1)).await;
    let request = backend.accept().await.request().await;
    assert_eq!(request.start, "POST /other?a=%20b HTTP/1.1");
    assert_eq!(request.field("host"), Some("tools.example:81"));
    assert_eq!(request.field("accept"), Some("application/json"));
    assert_eq!(request.field("x-mcp-client"), Some("default"));
    assert_eq!(request.field("mcp-session-id"), None);
    assert_eq!(request.field("x-guard-auth"), Some("ok"));
    assert!(!request.head.contains("forged"), "{}", request.head);
}

#[tokio::test]
async fn the_query_is_not_forwarded_unless_the_slot_says_so() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).slot("accept = \"pass\"").start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "Accept: a/b\r\n", &call(1, "ping")).replacen("/mcp", "/mcp?token=t", 1)).await;
    let request = backend.accept().await.request().await;
    assert_eq!(request.start, "POST /mcp HTTP/1.1");
    assert_eq!(request.field("accept"), Some("a/b"));
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_appended_to() {
    let backend = backend_on_tcp().await;
    let guard = guard().token("t").upstream(&backend).on_tcp().start().await;
    let mut client = guard.connect().await;
    let said = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: mcp.example\r\n\
                X-Request-Id: Zx9@apache-1\r\nVia: 1.1 apache\r\n";
    client.send(post("t", said, &call(1, "ping"))).await;
    let mut peer = backend.accept().await;
    let request = peer.request().await;
    assert_eq!(request.field("x-forwarded-for"), Some("203.0.113.7, 127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("x-forwarded-host"), Some("mcp.example"));
    assert_eq!(request.field("x-request-id"), Some("Zx9@apache-1"));
    let via: Vec<_> =
        request.fields.iter().filter(|(name, _)| name == "Via").map(|(_, v)| v.as_str()).collect();
    assert_eq!(via, ["1.1 apache", "1.1 mcp-guard"]);
    peer.send(ok(&result(1))).await;
    assert_eq!(client.response().await.field("x-request-id"), Some("Zx9@apache-1"));
}

#[tokio::test]
async fn x_real_ip_is_the_address_that_the_trusted_proxy_saw() {
    let backend = backend_on_tcp().await;
    let guard = guard().token("t").upstream(&backend).on_tcp().start().await;
    for (said, expected) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7"),
        // The entries before the last one, and X-Real-IP, may be the client's own claims.
        ("X-Forwarded-For: 6.6.6.6, 2001:db8::7\r\nX-Real-IP: 6.6.6.6\r\n", "2001:db8::7"),
        ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7"),
        ("X-Forwarded-For: unknown\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6,\r\n", "127.0.0.1"),
        ("X-Forwarded-For: _hidden-1.2\r\nX-Real-IP: 6.6.6.6\r\n", "127.0.0.1"),
    ] {
        let mut client = guard.connect().await;
        client.send(post("t", said, &call(1, "ping"))).await;
        let request = backend.accept().await.request().await;
        let real: Vec<_> = request.fields.iter().filter(|(name, _)| name == "X-Real-IP").collect();
        assert!(real.len() == 1 && real[0].1 == expected, "{said}: {}", request.head);
    }
}

// "never echoes client input": through a proxy that does not replace it, the client chooses the id.
#[tokio::test]
async fn a_chosen_request_id_is_not_repeated_without_a_token() {
    let backend = backend_on_tcp().await;
    let route =
        "[[route]]\nname = \"r\"\nprefix = \"/r\"\nmethods = [\"GET\"]\nauth = \"bearer\"\nslot = \"blue\"\n";
    let guard = guard().token("t").upstream(&backend).config(route).on_tcp().start().await;
    let chosen = "X-Request-Id: evil-client-id\r\n";
    let wrong = post("no", chosen, &call(1, "ping"));
    let missing = post("t", chosen, &call(1, "ping")).replace("Authorization: Bearer t\r\n", "");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{chosen}\r\n");
    for request in
        [wrong, missing, get("/mcp"), get("/health"), get("/ready"), get("/.well-known/x"), get("/r")]
    {
        let answer = guard.connect().await.exchange(&request).await;
        assert!(answer.field("x-request-id").is_some_and(|id| id.len() == 32), "{request}: {}", answer.head);
    }
    assert!(!guard.log().concat().contains("evil-client-id"));
}

#[tokio::test]
async fn an_untrusted_peer_cannot_set_forwarded_fields() {
    let backend = backend().await;
    let guard = guard()
        .token("t")
        .upstream(&backend)
        .listen("trusted_proxies = [\"192.0.2.1\"]")
        .on_tcp()
        .start()
        .await;
    let mut client = guard.connect().await;
    let said = "X-Forwarded-For: 203.0.113.7\r\nX_Forwarded_For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Host: evil\r\nX-Real-IP: 203.0.113.7\r\nForwarded: for=203.0.113.7\r\n\
                X-Request-Id: mine\r\n";
    client.send(post("t", said, &call(1, "ping"))).await;
    let request = backend.accept().await.request().await;
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("localhost"));
    assert_ne!(request.field("x-request-id"), Some("mine"));
    assert!(!request.head.contains("203.0.113.7"), "{}", request.head);
}

// W3C Trace Context, 3.2.
#[tokio::test]
async fn a_traceparent_passes_if_it_is_valid() {
    let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = forwarded("", &format!("traceparent: {valid}\r\n"), &call(1, "ping")).await;
    assert_eq!(request.field("traceparent"), Some(valid));
    for invalid in [
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
    ] {
        let request = forwarded("", &format!("traceparent: {invalid}\r\n"), &call(1, "ping")).await;
        assert_eq!(request.field("traceparent"), None, "{invalid}");
    }
}

#[tokio::test]
async fn a_configured_upstream_token_replaces_the_clients_own() {
    let backend = backend().await;
    let guard = guard()
        .token("t")
        .environment("UPSTREAM", "secret")
        .upstream(&backend)
        .slot("authorization = \"env:UPSTREAM\"")
        .start()
        .await;
    let mut client = guard.connect().await;
    client.send(post("t", "", &call(1, "ping"))).await;
    let request = backend.accept().await.request().await;
    assert_eq!(request.field("authorization"), Some("Bearer secret"));
}

#[tokio::test]
async fn a_notification_is_acknowledged_without_a_body() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    let body = notification("notifications/initialized");
    client.send(post("t", "", &body)).await;
    let mut peer = backend.accept().await;
    assert_eq!(peer.request().await.text(), body);
    peer.send("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.field("content-length")), (202, Some("0")));
    let line = guard.log_line(|line| line["status"] == 202).await;
    assert_eq!(line["outcome"], "ok");
}

#[tokio::test]
async fn a_kept_connection_is_used_again_last_one_first() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "", &call(1, "ping"))).await;
    let mut peer = backend.accept().await;
    for id in 1..=5 {
        peer.request().await;
        peer.send(ok(&result(id))).await;
        assert_eq!(client.response().await.json()["id"], id);
        client.send(post("t", "", &call(id + 1, "ping"))).await;
    }
    peer.request().await;
}
