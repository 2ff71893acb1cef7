//! Routes beside the endpoint: what belongs to one, who may use it, what its backend sees and what comes back.

use mcp_testkit::{Backend, Guard, Message, Peer, backend, call, eventually};

use crate::guard;

const KEY_HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const KEY: &str = "X-API-Key: secret\r\n";

/// A guard with one route at `/api` to a backend of its own; the slot points nowhere.
async fn opened(keys: &str) -> (Guard, Backend) {
    let backend = backend().await;
    let address = backend.address();
    let route = format!("[[route]]\nname = \"api\"\nprefix = \"/api\"\naddress = \"{address}\"\n{keys}");
    (guard().token("t").config(&route).start().await, backend)
}

const OPEN: &str = "auth = \"none\"\nmethods = [\"GET\", \"HEAD\", \"POST\"]";

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Sends `request`, lets the backend answer `reply`, and returns what each side saw.
async fn exchange(guard: &Guard, backend: &Backend, request: &str, reply: &str) -> (Message, Message) {
    let mut client = guard.connect().await;
    client.send(request).await;
    let mut peer: Peer = backend.accept().await;
    let seen = peer.request().await;
    peer.send(reply).await;
    drop(peer);
    (seen, client.response().await)
}

// "prefix stripping like Caddy's handle_path"; "the same header hygiene, request ids"
#[tokio::test]
async fn a_request_reaches_its_backend_clean_and_without_the_stripped_prefix() {
    let (guard, backend) = opened(&format!("{OPEN}\nstrip_prefix = \"/api\"")).await;
    let fields = "Authorization: Bearer x\r\nCookie: a=b\r\nX-Remote-User: root\r\nX_Remote_User: root\r\n\
                  Connection: x-hop, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\
                  X-Hop: 1\r\nTE: trailers\r\nAccept: text/plain\r\nX-Own: v\r\nLast-Event-ID: 7\r\n";
    let reply = "HTTP/1.1 201 Made\r\nServer: x\r\nSet-Cookie: s=1\r\nConnection: x-b\r\nX-B: 1\r\nX-Own: w\r\n\
                 Content-Length: 2\r\n\r\nhi";
    let (seen, told) = exchange(&guard, &backend, &get("/api/a/b?c=d&e", fields), reply).await;
    assert_eq!(seen.start, "GET /a/b?c=d&e HTTP/1.1");
    for gone in [
        "Authorization",
        "Cookie",
        "X-Remote-User",
        "X_Remote_User",
        "X-Hop",
        "TE",
        "Origin",
        "Upgrade",
        "HTTP2-Settings",
    ] {
        assert_eq!(seen.field(gone), None, "{}", seen.head);
    }
    for (name, value) in
        [("Accept", "text/plain"), ("X-Own", "v"), ("Last-Event-ID", "7"), ("Host", "localhost:80")]
    {
        assert_eq!(seen.field(name), Some(value), "{}", seen.head);
    }
    assert_eq!((told.status(), told.text()), (201, "hi"));
    for gone in ["Server", "Set-Cookie", "X-B"] {
        assert_eq!(told.field(gone), None, "{}", told.head);
    }
    assert_eq!(told.field("X-Own"), Some("w"));
    assert_eq!(told.field("X-Request-Id"), seen.field("X-Request-Id"));
    let line = guard.log_line(|line| line["route"] == "api").await;
    assert_eq!(
        (&line["status"], &line["outcome"], &line["bytes_out"]),
        (&201.into(), &"ok".into(), &2.into())
    );
    let series = "mcp_guard_route_requests_total{client=\"\",outcome=\"ok\",route=\"api\"}";
    assert_eq!(guard.metric(series).await, 1.0);
}

// "body framing validated by our own decoder"
#[tokio::test]
async fn a_chunked_body_arrives_with_a_length_and_the_connection_stays_open() {
    let (guard, backend) = opened(OPEN).await;
    let mut client = guard.connect().await;
    let chunked = "POST /api HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n";
    client.send(format!("{chunked}{}", get("/api/next", ""))).await;
    for (start, body) in [("POST /api HTTP/1.1", "abcde"), ("GET /api/next HTTP/1.1", "")] {
        let mut peer = backend.accept().await;
        let seen = peer.request().await;
        assert_eq!((seen.start.as_str(), seen.text()), (start, body));
        assert_eq!(seen.field("Transfer-Encoding"), None);
        assert_eq!(seen.field("X-Trailer"), None);
        peer.send(answer("done")).await;
        assert_eq!(client.response().await.text(), "done");
    }
}

#[tokio::test]
async fn a_response_to_head_has_its_length_and_no_body() {
    let (guard, backend) = opened(OPEN).await;
    let mut client = guard.connect().await;
    client.send("HEAD /api HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.contains("Content-Length: 10\r\n"), "{head}");
    assert_eq!(client.exchange(get("/health", "")).await.status(), 200);
}

// "nothing of a route is reachable without its [[route]]"
#[tokio::test]
async fn what_no_route_names_is_as_shut_as_before() {
    let (guard, backend) = opened(OPEN).await;
    for path in [
        "/",
        "/ap",
        "/apix",
        "/API",
        "//api",
        "/api/../x",
        "/api/%2e%2e/x",
        "/api//x",
        "/api/.",
        "/api\\x",
        "/api%2fx",
        "/%61pi",
        "/api/;/x",
        "/api/..;/x",
        "/x/api",
    ] {
        let told = guard.connect().await.exchange(get(path, "")).await;
        assert!(matches!(told.status(), 405 | 400), "{path}: {}", told.head);
    }
    assert_eq!(guard.connect().await.exchange(get("/api/.well-known/x", "")).await.status(), 404);
    let told = guard.connect().await.exchange(get("/health", "")).await;
    assert_eq!(told.text(), r#"{"status": "ok"}"#);
    assert!(!backend.is_connected_within(std::time::Duration::from_millis(50)).await);
}

#[tokio::test]
async fn other_methods_are_refused_with_those_that_are_taken() {
    let keys =
        format!("auth = \"api_key\"\nmethods = [\"GET\", \"PUT\"]\napi_keys = {{ a = \"{KEY_HASH}\" }}");
    let (guard, _backend) = opened(&keys).await;
    let told = guard.connect().await.exchange("DELETE /api HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((told.status(), told.field("Allow")), (405, Some("GET, PUT")));
    assert_eq!(told.text(), r#"{"error": "Method not allowed"}"#);
}

// "`bearer`, `api_key` header or explicit `none`"
#[tokio::test]
async fn a_key_opens_its_route_and_nothing_else_does() {
    let keys = format!("auth = \"api_key\"\napi_keys = {{ ui = \"{KEY_HASH}\" }}\nclient_header = true");
    let (guard, backend) = opened(&keys).await;
    for (fields, status, body) in [
        ("", 401, r#"{"error": "API key required"}"#),
        ("X-API-Key:\r\n", 401, r#"{"error": "API key required"}"#),
        ("X_API_Key: secret\r\n", 401, r#"{"error": "API key required"}"#),
        ("Authorization: Bearer t\r\n", 401, r#"{"error": "API key required"}"#),
        ("X-API-Key: secre\r\n", 401, r#"{"error": "Invalid API key"}"#),
        ("X-API-Key: Secret\r\n", 401, r#"{"error": "Invalid API key"}"#),
        (
            "X-API-Key: secret\r\nX-Api-Key: x\r\n",
            400,
            r#"{"error": "A header field that must be single is repeated"}"#,
        ),
    ] {
        let told = guard.connect().await.exchange(get("/api?X-API-Key=secret", fields)).await;
        assert_eq!((told.status(), told.text()), (status, body), "{fields}");
        assert_eq!(told.field("WWW-Authenticate").is_some(), status == 401, "{fields}");
    }
    let fields = format!("{KEY}X_api_key: other\r\n");
    let (seen, told) = exchange(&guard, &backend, &get("/api", &fields), &answer("in")).await;
    assert_eq!(told.text(), "in");
    assert_eq!(seen.field("X-MCP-Client"), Some("ui"));
    assert!(!seen.head.to_ascii_lowercase().replace('_', "-").contains("api-key"), "{}", seen.head);
    let line = guard.log_line(|line| line["status"] == 200).await;
    assert_eq!(line["client"], "ui");
    assert!(guard.log().iter().all(|line| !line.contains("secret")));
}

#[tokio::test]
async fn a_bearer_route_takes_the_tokens_of_the_endpoint() {
    let (guard, backend) = opened("auth = \"bearer\"").await;
    for (fields, status) in [("", 401), ("Authorization: Bearer no\r\n", 403), (KEY, 401)] {
        assert_eq!(guard.connect().await.exchange(get("/api", fields)).await.status(), status, "{fields}");
    }
    for (fields, status) in [("Origin: https://evil.test\r\n", 403), ("Origin: http://localhost:1\r\n", 401)]
    {
        assert_eq!(guard.connect().await.exchange(get("/api", fields)).await.status(), status, "{fields}");
    }
    let fields = "Authorization: Bearer t\r\n";
    let (_, told) = exchange(&guard, &backend, &get("/api", fields), &answer("in")).await;
    assert_eq!(told.text(), "in");
    assert_eq!(guard.log_line(|line| line["status"] == 200).await["client"], "default");
}

// "5 per minute on the expensive ones"
#[tokio::test]
async fn a_rate_holds_for_each_caller_and_says_when_to_come_again() {
    let other = "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7";
    let keys =
        format!("auth = \"api_key\"\nrate = \"2/m\"\napi_keys = {{ a = \"{KEY_HASH}\", b = \"{other}\" }}");
    let (guard, backend) = opened(&keys).await;
    let backend = backend.serve(|_| answer("ok"));
    for status in [200, 200, 429] {
        let told = guard.connect().await.exchange(get("/api", KEY)).await;
        assert_eq!(told.status(), status);
        if status == 429 {
            let wait: u64 = told.field("Retry-After").unwrap().parse().unwrap();
            assert!((20..=30).contains(&wait), "{wait}");
            assert_eq!(told.text(), r#"{"error": "Rate limit reached; retry later"}"#);
        }
    }
    assert_eq!(guard.connect().await.exchange(get("/api", "X-API-Key: world\r\n")).await.status(), 200);
    assert_eq!(backend.requests(), 3);
}

// "rate limit key: client address"
#[tokio::test]
async fn a_rate_by_address_holds_for_the_address_that_a_trusted_proxy_names_last() {
    let keys = format!("{OPEN}\nrate = \"2/m\"\nrate_key = \"address\"");
    let (guard, backend) = opened(&keys).await;
    let backend = backend.serve(|_| answer("ok"));
    let status = async |fields: &str| guard.connect().await.exchange(get("/api", fields)).await.status();
    // What stands before the last address is the client's own claim.
    for (fields, expect) in [
        ("X-Forwarded-For: 192.0.2.1\r\n", 200),
        ("X-Forwarded-For: 192.0.2.9, 192.0.2.1\r\n", 200),
        ("X-Forwarded-For: 192.0.2.8\r\nX-Forwarded-For: 192.0.2.1\r\n", 429),
        ("X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n", 200),
        ("X-Forwarded-For: 2001:db8::1\r\n", 200),
        ("X-Forwarded-For: 2001:db8::2\r\n", 200),
        ("X-Forwarded-For: 2001:db8::3\r\n", 429),
        // Behind a Unix socket no other address is known: these count together.
        ("", 200),
        ("X-Forwarded-For: unknown\r\n", 200),
        ("", 429),
    ] {
        assert_eq!(status(fields).await, expect, "{fields}");
    }
    assert_eq!(backend.requests(), 7);
}

#[tokio::test]
async fn a_rate_by_address_does_not_believe_a_stranger() {
    let backend = backend().await;
    let route = format!(
        "[[route]]\nname = \"api\"\nprefix = \"/api\"\naddress = \"{}\"\n{OPEN}\nrate = \"1/m\"\nrate_key = \"address\"\n",
        backend.address()
    );
    let backend = backend.serve(|_| answer("ok"));
    let guard = guard().token("t").config(&route).listen("trusted_proxies = [\"192.0.2.7\"]");
    let guard = guard.on_tcp().start().await;
    for (address, expect) in [("192.0.2.1", 200), ("192.0.2.2", 429)] {
        let fields = format!("X-Forwarded-For: {address}\r\n");
        assert_eq!(guard.connect().await.exchange(get("/api", &fields)).await.status(), expect);
    }
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn body_and_time_are_bounded_for_each_route() {
    let (guard, backend) = opened(&format!("{OPEN}\nbody_bytes = 4\ntotal = \"1s\"")).await;
    let declared = "POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde";
    let chunked =
        "POST /api HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    for request in [declared, chunked] {
        let told = guard.connect().await.exchange(request).await;
        assert_eq!((told.status(), told.text()), (413, r#"{"error": "Request body too large"}"#));
    }
    let mut client = guard.connect().await;
    client.send(get("/api", "")).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    assert_eq!(client.response().await.status(), 504);
    peer.closed().await;
}

#[tokio::test]
async fn no_more_requests_than_places_are_inside() {
    let (guard, backend) = opened(&format!("{OPEN}\nin_flight = 1")).await;
    let mut first = guard.connect().await;
    first.send(get("/api", "")).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    assert_eq!(guard.metric("mcp_guard_route_in_flight{route=\"api\"}").await, 1.0);
    assert_eq!(guard.connect().await.exchange(get("/api", "")).await.status(), 503);
    peer.send(answer("x")).await;
    assert_eq!(first.response().await.status(), 200);
    let inside = "mcp_guard_route_in_flight{route=\"api\"}";
    eventually("the place is free again", || async { guard.metric(inside).await == 0.0 }).await;
    let (_, told) = exchange(&guard, &backend, &get("/api", ""), &answer("y")).await;
    assert_eq!(told.text(), "y");
}

// "What comes back is judged as strictly": the guard's own 502, never a clean-looking truncated answer.
#[tokio::test]
async fn a_malformed_response_is_never_passed_on() {
    let (guard, backend) = opened(OPEN).await;
    for reply in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        &"HTTP/1.1 100 Continue\r\n\r\n".repeat(20),
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        "",
    ] {
        let (_, told) = exchange(&guard, &backend, &get("/api", ""), reply).await;
        assert_eq!(told.status(), 502, "{reply:?}: {}", told.head);
        assert!(told.json()["error"].is_string());
    }
    for (reply, end) in [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "0x3\r\nabc\r\n0\r\n\r\n"),
    ] {
        let mut client = guard.connect().await;
        client.send(get("/api", "")).await;
        let mut peer = backend.accept().await;
        peer.request().await;
        peer.send(reply).await;
        client.until("abc\r\n").await;
        peer.send(end).await;
        drop(peer);
        assert_eq!(client.rest().await, b"", "a cut answer looks cut");
    }
    assert_eq!(guard.log_line(|line| line["outcome"] == "upstream").await["route"], "api");
}

// docs/routes.md lists what Pingora repairs before the guard checks the head.
#[tokio::test]
async fn a_response_that_pingora_repairs_gets_the_framing_of_the_guard() {
    let (guard, backend) = opened(OPEN).await;
    for (reply, line) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n",
        ),
        ("HTTP/1.1 200 OK\nContent-Length: 1\n\nx", "Content-Length: 1\r\n"),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\nx", "X: a b\r\n"),
        ("HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx", "Content-Length: 1\r\n"),
    ] {
        let (_, told) = exchange(&guard, &backend, &get("/api", ""), reply).await;
        assert_eq!((told.status(), told.text()), (200, "x"), "{reply:?}: {}", told.head);
        assert!(told.head.contains(line), "{reply:?}: {}", told.head);
        let framings = told.head.matches("Content-Length").count() + told.head.matches("Transfer-").count();
        assert_eq!(framings, 1, "{reply:?}: {}", told.head);
    }
}

#[tokio::test]
async fn bytes_behind_the_end_of_a_response_go_nowhere() {
    let (guard, backend) = opened(OPEN).await;
    let smuggled = format!("{}{}", answer("one"), answer("two"));
    let mut client = guard.connect().await;
    for _ in 0..2 {
        client.send(get("/api", "")).await;
        let mut peer = backend.accept().await;
        peer.request().await;
        peer.send(&smuggled).await;
        assert_eq!(client.response().await.text(), "one");
    }
}

#[tokio::test]
async fn a_route_whose_backend_is_away_is_503_and_the_endpoint_still_serves() {
    let route = "[[route]]\nname = \"x\"\nprefix = \"/x\"\naddress = \"127.0.0.1:1\"\nauth = \"none\"";
    let tools = backend().await;
    let guard = guard().token("t").upstream(&tools).config(route).start().await;
    let _tools = tools.serve(|_| mcp_testkit::ok(&mcp_testkit::result(1)));
    let told = guard.connect().await.exchange(get("/x", "")).await;
    assert_eq!((told.status(), told.field("Retry-After")), (503, Some("2")));
    assert_eq!(guard.post(&call(1, "tools/list")).await.status(), 200);
    eventually("the denial is counted", || async {
        guard.metric("mcp_guard_denials_total{code=\"backend_refused\"}").await == 1.0
    })
    .await;
}

// Section 3, on a route: nothing behind a rejected request is forwarded.
#[tokio::test]
async fn framing_is_as_strict_as_at_the_endpoint() {
    let (guard, backend) = opened(OPEN).await;
    let hidden = get("/api/hidden", "");
    for (fields, body) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", "x"),
        ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0x1\r\nx\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1\nx\n0\n\n"),
        ("Host: other\r\n", ""),
        ("X-A: b\r\n c\r\n", ""),
        ("X-A: b\nX-B: c\r\n", ""),
        ("Connection: Content-Length\r\nContent-Length: 1\r\n", "x"),
    ] {
        let mut client = guard.connect().await;
        client.send(format!("POST /api HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}{hidden}")).await;
        assert_eq!(client.response().await.status(), 400, "{fields}");
        assert_eq!(client.rest().await, b"", "{fields}");
    }
    assert!(!backend.is_connected_within(std::time::Duration::from_millis(50)).await);
}
