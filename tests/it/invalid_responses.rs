//! Contract, section 8: "what is no MCP answer to a request - HTML, empty, 202, 204, a backend's own 401/403 - is a bad
//! upstream answer"; and what passes although it looks like trouble.

use serde_json::Value;

use mcp_testkit::{Guard, Message, backend, call, notification, ok, post, result};

use crate::guard;
use crate::responses::{InFlight, in_flight, serves_on};

/// An HTTP answer with this status line, these fields and this body.
fn http(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn typed(kind: &str, body: &str) -> String {
    http("200 OK", &format!("Content-Type: {kind}\r\n"), body)
}

fn chunked(kind: &str, body: &str) -> String {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
    format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// The client's response where this is the backend's.
async fn exchange(fields: &str, body: &str, answer: &str) -> (Message, Guard) {
    let answer = answer.to_owned();
    let backend = backend().await.serve(move |_| answer.clone());
    let guard = guard().token("t").upstream(&backend).start().await;
    let received = guard.connect().await.exchange(post("t", fields, body)).await;
    (received, guard)
}

const MODERN: &str = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: x\r\n";
const MODERN_CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

#[track_caller]
fn assert_refused(received: &Message, status: u16, reason: &str, context: &str) {
    let json: Value = received.json();
    assert_eq!((received.status(), &json["id"]), (status, &7.into()), "{context}");
    assert_eq!(json["error"]["code"], -31502, "{context}");
    assert_eq!(json["error"]["data"]["reason"], reason, "{context}");
    assert_eq!(json["error"]["data"]["executed"], "unknown", "{context}");
    for absent in ["www-authenticate", "location", "content-encoding", "mcp-session-id"] {
        assert_eq!(received.field(absent), None, "{context}");
    }
}

#[tokio::test]
async fn what_is_no_json_rpc_response_becomes_an_error() {
    let long = format!("<html>{}</html>", "x".repeat(100_000));
    let long_other = format!(r#"{{"jsonrpc":"2.0","id":[7],"result":{{"t":"{}"}}}}"#, "x".repeat(100_000));
    for bad in [
        typed("text/html", "<h1>It works!</h1>"),
        typed("text/html", &long),
        chunked("text/html", "<h1>It works!</h1>"),
        typed("text/plain", &result(7)),
        typed("application/json-rpc", &result(7)),
        typed("application/json", ""),
        typed("text/event-stream", ""),
        typed("application/json", "<h1>It works!</h1>"),
        typed("application/json", &long),
        chunked("application/json", "<h1>It works!</h1>"),
        chunked("application/json", "null"),
        typed("application/json", "\"ok\""),
        typed("application/json", &format!("[{}]", result(7))),
        typed("application/json", &long_other),
        chunked("application/json", &long_other),
        typed("application/json", r#"{"jsonrpc":"2.0","result":{}}"#),
        http("202 Accepted", "Content-Type: application/json\r\n", &result(7)),
        http("202 Accepted", "Content-Type: text/event-stream\r\n", &format!("data: {}\n\n", result(7))),
        http("205 Reset Content", "Content-Type: application/json\r\n", &result(7)),
        typed("text/event-stream", &format!("data: {}\n", result(7))),
        typed("text/event-stream", "data: {\"jso"),
        chunked("text/event-stream", "data: {\"jso"),
        typed("application/json", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"x"}}"#),
        typed("application/json", r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#),
        typed("application/json", r#"{"error":"unauthorized"}"#),
        typed("application/json\r\nContent-Encoding: gzip", "\u{1f}8"),
        typed("application/json\r\nContent-Encoding: br", &result(7)),
        http("200 OK", "", &result(7)),
        http("200 OK", "Content-Type: application/json\r\nContent-Type: text/html\r\n", &result(7)),
        http(
            "200 OK",
            "Content-Type: application/json\r\nMcp-Session-Id: a\r\nMcp-Session-Id: b\r\n",
            &result(7),
        ),
        http("202 Accepted", "", ""),
        http("202 Accepted", "Content-Type: application/json\r\n", ""),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ] {
        let (answer, guard) = exchange("", &call(7, "tools/call"), &bad).await;
        let context: String = bad.chars().take(200).collect();
        assert_refused(&answer, 200, "backend_invalid", &context);
        let line = guard.log_line(|_| true).await;
        let recorded = (line["outcome"].as_str(), line["denial"].as_str());
        assert_eq!(recorded, (Some("upstream"), Some("backend_invalid")), "{context}");
    }
    // 2026-07-28 clients and the opening of a session get the real status.
    let page = typed("text/html", "<h1>It works!</h1>");
    assert_refused(&exchange(MODERN, MODERN_CALL, &page).await.0, 502, "backend_invalid", "modern");
    assert_refused(
        &exchange("", &call(7, "initialize"), &page).await.0,
        502,
        "backend_invalid",
        "initialize",
    );
}

#[tokio::test]
async fn the_connection_serves_on_after_a_response_without_a_body() {
    let InFlight { mut client, mut peer, backend, guard: _guard } = in_flight(&call(7, "ping")).await;
    // What follows a 204 is not its body, and not the next answer either.
    peer.send("HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\nPOISONED").await;
    assert_refused(&client.response().await, 200, "backend_invalid", "204");
    serves_on(&mut client, &backend).await;
}

#[tokio::test]
async fn an_error_status_without_json_rpc_is_translated() {
    let challenge = "Content-Type: application/json\r\nWWW-Authenticate: Bearer resource_metadata=\"http://10.0.0.1/\"\r\n";
    let page = "<h1>Not Found</h1>";
    let rpc = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32001,"message":"no"}}"#;
    for (status, fields, body) in [
        ("401 Unauthorized", challenge, r#"{"error":"unauthorized"}"#),
        ("401 Unauthorized", challenge, rpc),
        ("403 Forbidden", challenge, r#"{"error":"unauthorized"}"#),
        ("403 Forbidden", challenge, rpc),
        ("400 Bad Request", "Content-Type: text/html\r\n", page),
        ("404 Not Found", "Content-Type: text/html\r\n", page),
        ("405 Method Not Allowed", "Allow: GET\r\n", ""),
        ("406 Not Acceptable", "Content-Type: application/json\r\n", r#"{"detail":"x"}"#),
        ("429 Too Many Requests", "Retry-After: 9\r\n", "slow down"),
        ("500 Internal Server Error", "Content-Type: text/html\r\n", "<h1>Server Error</h1>"),
        ("502 Bad Gateway", "Content-Type: application/json\r\n", r#"{"detail":"x"}"#),
        ("503 Service Unavailable", "", ""),
        ("307 Temporary Redirect", "Location: http://localhost:80/mcp/\r\n", ""),
    ] {
        let answer = http(status, fields, body);
        let (answer, guard) = exchange("", &call(7, "tools/call"), &answer).await;
        assert_refused(&answer, 200, "backend_status", status);
        assert_eq!(guard.log_line(|_| true).await["outcome"], "upstream", "{status}");
    }
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let answer = http(status, challenge, "{}");
        for (fields, body) in [("", call(7, "initialize")), (MODERN, MODERN_CALL.to_owned())] {
            assert_refused(&exchange(fields, &body, &answer).await.0, 502, "backend_status", status);
        }
        // Notifications too: the client's own token was good.
        let (answer, _guard) = exchange("", &notification("notifications/initialized"), &answer).await;
        assert_eq!((answer.status(), answer.field("www-authenticate")), (502, None), "{status}");
    }
}

// "A backend's 400/404 with a JSON-RPC body is an answer, not a failure: it passes untouched"
#[tokio::test]
async fn what_clients_read_by_its_status_passes_untouched() {
    let rpc = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"x"}}"#;
    let json = "Content-Type: application/json\r\n";
    let html = "Content-Type: text/html\r\n";
    let session = "Mcp-Session-Id: s1\r\n";
    let discover_fields = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: server/discover\r\n";
    let discover = MODERN_CALL.replace("tools/call", "server/discover").replace(r#""name":"x","#, "");
    let call = call(7, "tools/call");
    let note = notification("notifications/cancelled");
    for (fields, body, status, answer_fields, answer) in [
        ("", &call, "400 Bad Request", json, rpc),
        ("", &call, "404 Not Found", json, rpc),
        (session, &call, "404 Not Found", html, "<h1>gone</h1>"),
        (discover_fields, &discover, "404 Not Found", html, "<h1>what?</h1>"),
        (discover_fields, &discover, "400 Bad Request", html, "<h1>what?</h1>"),
        ("", &note, "400 Bad Request", html, "<h1>what?</h1>"),
    ] {
        let (received, _guard) = exchange(fields, body, &http(status, answer_fields, answer)).await;
        assert_eq!(
            (received.status().to_string().as_str(), received.text()),
            (&status[..3], answer),
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn a_redirect_of_a_backend_is_logged_and_hidden_from_the_client() {
    for (to, shown) in
        [("http://user:hunter2@inner:81/login?token=secret", "`http://inner:81/login`"), ("/mcp/", "`/mcp/`")]
    {
        let answer = http("307 Temporary Redirect", &format!("Location: {to}\r\n"), "");
        let (answer, guard) = exchange("", &call(7, "tools/call"), &answer).await;
        assert_refused(&answer, 200, "backend_status", to);
        guard.logged(shown).await;
        let log = guard.log().join("\n");
        assert!(!log.contains("secret") && !log.contains("hunter2"), "{log}");
    }
}

// MCP 2025-11-25, Sending Messages to the Server, 4: "If the server accepts the input, the server MUST return HTTP status
// code 202 Accepted with no body."
#[tokio::test]
async fn a_notification_is_acknowledged_with_202() {
    for answer in [
        http("200 OK", "Content-Type: application/json\r\n", ""),
        "HTTP/1.1 204 No Content\r\nX-Own: 1\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        http("202 Accepted", "", ""),
    ] {
        let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned();
        for body in [notification("notifications/initialized"), response] {
            let (received, guard) = exchange("", &body, &answer).await;
            assert_eq!(
                (received.status(), received.text(), received.field("content-length")),
                (202, "", Some("0")),
                "{answer}"
            );
            assert_eq!(guard.log_line(|_| true).await["outcome"], "ok", "{answer}");
        }
    }
    let (received, _guard) = exchange("", &notification("notifications/initialized"), &ok("{\"x\":1}")).await;
    assert_eq!((received.status(), received.text()), (200, "{\"x\":1}"));
}

// RFC 9110, 5.3: copies that agree are one value.
#[tokio::test]
async fn a_field_that_a_backend_repeats_is_passed_on_once() {
    let fields = "Content-Type: application/json\r\nMcp-Session-Id: s\r\n".repeat(2);
    let (received, guard) = exchange("", &call(7, "tools/call"), &http("200 OK", &fields, &result(7))).await;
    assert_eq!((received.status(), received.text()), (200, result(7).as_str()));
    assert_eq!(
        (received.field("content-type"), received.field("mcp-session-id")),
        (Some("application/json"), Some("s"))
    );
    assert_eq!(guard.log_line(|_| true).await["outcome"], "ok");
}

// What is plainly the answer goes out as it comes.
#[tokio::test]
async fn a_valid_response_in_pieces_is_not_held_back() {
    let InFlight { mut client, mut peer, guard: _guard, .. } = in_flight(&call(7, "tools/call")).await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for piece in [r#"{"jsonrpc":"2.0","#, r#""id":7,"result":{"a":1"#] {
        peer.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
    }
    client.until("\"a\":1\r\n").await;
    peer.send("2\r\n}}\r\n0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await, "2\r\n}}\r\n0\r\n\r\n");
}
