//! Contract, section 2, 4a: web pages of allowed origins call from a browser (Fetch standard, CORS protocol).

use mcp_testkit::{Guard, Message, backend, call, ok, post, result};

use crate::guard;

const PAGE: &str = "Origin: https://app.example.org\r\n";
const CONFIG: &str = "[origin]\nallowed = [\"https://app.example.org\", \"vscode-webview://0abc\"]\n\
                      [[route]]\nname = \"r\"\nprefix = \"/r\"\nmethods = [\"GET\", \"PUT\"]\nauth = \"bearer\"\nslot = \"blue\"\n";

fn preflight(path: &str, origin: &str, method: &str, fields: &str) -> String {
    format!(
        "OPTIONS {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n\
         Access-Control-Request-Headers: authorization,content-type{fields}\r\n\r\n"
    )
}

/// The answer may be read by the page, once, and only by it.
#[track_caller]
fn is_readable(answer: &Message, origin: &str) {
    let all = |name: &str| {
        let fields = answer.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(all("access-control-allow-origin"), [origin], "{}", answer.head);
    let exposed = "mcp-session-id, retry-after, x-request-id, www-authenticate";
    assert_eq!(all("access-control-expose-headers"), [exposed], "{}", answer.head);
    assert!(all("vary").contains(&"Origin"), "{}", answer.head);
    assert_eq!(all("access-control-allow-credentials"), Vec::<&str>::new(), "{}", answer.head);
}

#[track_caller]
fn is_not_readable(answer: &Message) {
    let cors = answer.fields.iter().find(|(name, _)| name.to_lowercase().starts_with("access-control-"));
    assert_eq!(cors, None, "{}", answer.head);
}

async fn fresh(config: &str) -> (Guard, mcp_testkit::Backend) {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config(config).start().await;
    (guard, backend)
}

// "`OPTIONS` with an allowed `Origin` and `Access-Control-Request-Method: POST`: answered before 4: 204, that origin, `POST`,
// the MCP request fields and `authorization`, `Access-Control-Max-Age`, `Vary: Origin`"
#[tokio::test]
async fn a_preflight_needs_no_token_and_the_call_follows_on_the_connection() {
    let (guard, backend) = fresh(CONFIG).await;
    for origin in
        ["https://app.example.org", "http://localhost:6274", "http://127.0.0.1", "vscode-webview://0abc"]
    {
        let mut client = guard.connect().await;
        let answer = client.exchange(preflight("/mcp", origin, "POST", ",mcp-param-city,x-own")).await;
        assert_eq!((answer.status(), answer.text()), (204, ""));
        is_readable(&answer, origin);
        assert_eq!(answer.field("access-control-allow-methods"), Some("POST"));
        assert_eq!(answer.field("access-control-max-age"), Some("600"));
        assert_eq!(answer.field("content-length"), None);
        assert!(answer.field("x-request-id").is_some());
        let sent = answer.field("access-control-allow-headers").unwrap();
        let sent: Vec<_> = sent.split(", ").collect();
        for name in [
            "authorization",
            "content-type",
            "accept",
            "mcp-protocol-version",
            "mcp-session-id",
            "mcp-method",
            "mcp-name",
            "last-event-id",
            "mcp-param-city",
        ] {
            assert!(sent.contains(&name), "{name}: {sent:?}");
        }
        assert!(!sent.contains(&"x-own") && !sent.contains(&"*"), "{sent:?}");
        client.send(post("t", &format!("Origin: {origin}\r\n"), &call(1, "ping"))).await;
        let mut peer = backend.accept().await;
        assert_eq!(peer.request().await.field("origin"), None);
        peer.send(ok(&result(1))).await;
        is_readable(&client.response().await, origin);
    }
}

#[tokio::test]
async fn a_page_that_is_not_allowed_learns_nothing() {
    let (guard, _backend) = fresh(CONFIG).await;
    for origin in [
        "https://evil.test",
        "null",
        "https://app.example.org.evil.test",
        "vscode-webview://1",
        "http://app.example.org",
    ] {
        for path in ["/mcp", "/r", "/health"] {
            let answer = guard.connect().await.exchange(preflight(path, origin, "POST", "")).await;
            assert_eq!(answer.status(), if path == "/health" { 200 } else { 405 }, "{origin} {path}");
            is_not_readable(&answer);
        }
        let refused = guard.connect().await.exchange(post("t", &format!("Origin: {origin}\r\n"), "{}")).await;
        assert_eq!(refused.status(), 403, "{origin}");
        is_not_readable(&refused);
    }
    let twice = post("t", &format!("{PAGE}{PAGE}"), "{}");
    is_not_readable(&guard.connect().await.exchange(twice).await);
    is_not_readable(&guard.connect().await.exchange(post("no", "", "{}")).await);
}

// "Every answer to an allowed origin, refusals too, carries `Access-Control-Allow-Origin` and `-Expose-Headers`."
#[tokio::test]
async fn every_refusal_can_be_read_by_an_allowed_page() {
    let config = format!("{CONFIG}[limits]\nbody_bytes = 100\n[timeouts]\nhold = \"1ms\"\n");
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).config(&config).start().await;
    drop(backend);
    let good = post("t", PAGE, &call(1, "ping"));
    let asked = |line: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\n{PAGE}\r\n");
    for (request, status) in [
        (asked("GET /mcp"), 405),
        (asked("OPTIONS /mcp"), 405),
        (preflight("/mcp", "https://app.example.org", "DELETE", ""), 405),
        (asked("GET /health"), 200),
        (asked("GET /.well-known/x"), 404),
        (asked("POST /register"), 400),
        (asked("POST /mcp"), 401),
        (asked("GET /r"), 401),
        (asked("PATCH /r"), 405),
        (good.replace("Bearer t", "Bearer no"), 403),
        (good.replace("Host: localhost", "Host: evil.test"), 421),
        (good.replace("/mcp", "/x"), 404),
        (good.replace("application/json", "text/plain"), 415),
        (post("t", PAGE, &"x".repeat(101)), 413),
        (post("t", PAGE, "nonsense"), 400),
        (good.replace("Content-Length: ", "Transfer-Encoding: chunked\r\nX: "), 400),
        (post("t", PAGE, &call(1, "initialize")), 503),
    ] {
        let answer = guard.connect().await.exchange(&request).await;
        assert_eq!(answer.status(), status, "{request}");
        is_readable(&answer, "https://app.example.org");
    }
}

#[tokio::test]
async fn what_a_backend_says_of_cors_does_not_pass() {
    let (guard, backend) = fresh(CONFIG).await;
    let own = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
               access-control-expose-headers: x\r\nVary: Accept\r\n";
    let event = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
    let stream = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{own}Content-Length: {}\r\n\r\n{event}",
        event.len()
    );
    let json = ok(&result(1)).replacen("\r\n", &format!("\r\n{own}"), 1);
    let get = |fields: &str| {
        format!("GET /r/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n{fields}\r\n")
    };
    for answer in [&json, &stream] {
        for (request, readable) in [
            (post("t", PAGE, &call(1, "ping")), true),
            (post("t", "", &call(1, "ping")), false),
            (get(PAGE), true),
            (get(""), false),
        ] {
            let mut client = guard.connect().await;
            client.send(request).await;
            let mut peer = backend.accept().await;
            peer.request().await;
            peer.send(answer).await;
            let told = client.response().await;
            assert_eq!(told.status(), 200, "{}", told.head);
            assert!(told.head.contains("\r\nVary: Accept\r\n"), "{}", told.head);
            if readable {
                is_readable(&told, "https://app.example.org");
            } else {
                is_not_readable(&told);
            }
        }
    }
}

// A route: the methods that it takes there, and the fields that the preflight lists.
#[tokio::test]
async fn a_preflight_on_a_route_allows_what_the_route_takes() {
    let (guard, _backend) = fresh(CONFIG).await;
    let mut client = guard.connect().await;
    let answer = client.exchange(preflight("/r/a", "https://app.example.org", "PUT", ",x-own")).await;
    assert_eq!((answer.status(), answer.field("access-control-allow-methods")), (204, Some("GET, PUT")));
    let fields = answer.field("access-control-allow-headers").unwrap();
    assert!(fields.ends_with(", x-own") && !fields.contains('*'), "{fields}");
    is_readable(&answer, "https://app.example.org");
    let other = client.exchange(preflight("/r/a", "https://app.example.org", "DELETE", "")).await;
    assert_eq!(other.status(), 405);
    is_readable(&other, "https://app.example.org");
}
