//! Contract, section 12: metrics and the log.

use mcp_testkit::{Client, backend, call, eventually, ok, post, result};

use crate::guard;

#[tokio::test]
async fn a_call_is_counted_once_and_its_tool_only_by_a_name_the_slot_has_listed() {
    let backend = backend().await.serve(|request| {
        let id = request.json()["id"].as_u64().unwrap();
        match request.json()["method"].as_str() {
            Some("tools/list") => {
                ok(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{{"name":"add"}}]}}}}"#))
            }
            _ => ok(&result(id)),
        }
    });
    let guard = guard().token("t").upstream(&backend).start().await;
    let tool = |name: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#)
    };
    let counted = |method: &str, tool: &str| {
        format!(
            r#"mcp_guard_requests_total{{client="default",method="{method}",outcome="ok",slot="blue",tool="{tool}"}}"#
        )
    };
    guard.post(&tool("add")).await;
    guard.post(&call(1, "tools/list")).await;
    guard.log_line(|line| line["method"] == "tools/list").await;
    guard.post(&tool("add")).await;
    guard.post(&tool("unheard-of")).await;
    eventually("all are counted", || async {
        guard.metric(&counted("tools/call", "add")).await == 1.0
            && guard.metric(&counted("tools/call", "other")).await == 2.0
            && guard.metric(&counted("tools/list", "")).await == 1.0
    })
    .await;
    let text = guard.metrics().await;
    assert!(!text.contains("unheard-of"));
    for histogram in ["mcp_server_operation_duration_seconds", "mcp_client_operation_duration_seconds"] {
        assert!(text.contains(&format!("{histogram}_bucket{{")), "{histogram}");
    }
}

#[tokio::test]
async fn refusals_are_counted_by_code() {
    let guard = guard().token("t").start().await;
    let mut client = guard.connect().await;
    client.exchange(post("x", "", "{}")).await;
    client.exchange("GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.send("nonsense\r\n\r\n").await;
    client.response().await;
    for (series, count) in [
        (r#"mcp_guard_denials_total{code="token_invalid"}"#, 1.0),
        (r#"mcp_guard_denials_total{code="method_not_allowed"}"#, 1.0),
        (r#"mcp_guard_denials_total{code="no_backend"}"#, 0.0),
        (r#"mcp_guard_auth_failures_total{reason="token_invalid"}"#, 1.0),
    ] {
        eventually(series, || async { guard.metric(series).await == count }).await;
    }
    let framing = guard.log_line(|line| line["status"] == 400).await;
    assert!(framing["denial"].as_str().is_some_and(|code| code.starts_with("framing_")), "{framing}");
}

#[tokio::test]
async fn one_line_a_request_says_what_happened_and_holds_no_secret() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard = guard().token("very-secret-token").upstream(&backend).start().await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"secret-tool","arguments":"secret-argument"}}"#;
    let answer = guard.post(body).await;
    let line = guard.log_line(|line| line["method"] == "tools/call").await;
    assert_eq!(line["request_id"], answer.field("x-request-id").unwrap());
    for (key, value) in [("client", "default"), ("tool", "other"), ("slot", "blue"), ("outcome", "ok")] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!((&line["status"], &line["bytes_in"]), (&200.into(), &body.len().into()));
    assert_eq!(line["bytes_out"], answer.body.len());
    assert!(line["total_ms"].as_f64().unwrap() >= line["upstream_ms"].as_f64().unwrap());
    guard.connect().await.exchange(post("another-secret", "Cookie: secret=1\r\n", "{}")).await;
    guard.log_line(|line| line["denial"] == "token_invalid").await;
    let log = guard.log().join("\n");
    let metrics = guard.metrics().await;
    assert!(!log.contains("secret") && !metrics.contains("secret"), "{log}");
}

#[tokio::test]
async fn the_metrics_listener_serves_metrics_and_nothing_else() {
    let guard = guard().token("t").start().await;
    let page = guard.metrics().await;
    for family in ["mcp_guard_build_info", "mcp_guard_connections", "process_resident_memory_bytes"] {
        assert!(page.contains(&format!("# HELP {family} ")), "{family}");
    }
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        ("x\r\n\r\n", 400),
    ] {
        let stream = tokio::net::TcpStream::connect(guard.metrics_address()).await.unwrap();
        assert_eq!(Client::tcp(stream).exchange(request).await.status(), status, "{request}");
    }
    let stream = tokio::net::TcpStream::connect(guard.metrics_address()).await.unwrap();
    let mut head = Client::tcp(stream);
    head.send("HEAD /metrics HTTP/1.0\r\n\r\n").await;
    let answer = String::from_utf8(head.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

// "the refused Host or Origin (escaped, 100 bytes at most, no path, no token) in the log line"
#[tokio::test]
async fn the_log_line_of_a_refusal_names_what_was_refused() {
    let guard = guard().token("t").start().await;
    let good = post("t", "", "{}");
    for (request, denial, detail) in [
        (
            good.replace("Host: localhost", "Host: host.docker.internal:8001"),
            "host_not_allowed",
            "host.docker.internal:8001",
        ),
        (post("t", "Origin: https://app.test/p?q\r\n", "{}"), "origin_not_allowed", "https://app.test"),
        (good.replace("/mcp", "/mcp/s3cr3t"), "path_not_found", "below /mcp"),
        (post("t", "Mcp-Name: a\r\nMcp-Name: a\r\n", "{}"), "repeated_field", "mcp-name"),
        (good.replace("application/json", "text/plain"), "content_type", "text/plain"),
        (
            post("t", "MCP-Protocol-Version: 2026-07-28\r\n", &call(1, "tools/list")),
            "era_header_mismatch",
            "Mcp-Method is missing",
        ),
    ] {
        guard.connect().await.exchange(&request).await;
        assert_eq!(guard.log_line(|line| line["denial"] == denial).await["detail"], detail);
    }
    assert!(!guard.log().concat().contains("s3cr3t"));
}

#[tokio::test]
async fn the_log_can_be_read_by_people() {
    let guard = guard().token("t").config("[log]\nformat = \"text\"").start().await;
    guard.connect().await.exchange(post("x", "", "{}")).await;
    eventually("a line", || {
        let found =
            guard.log().iter().any(|line| line.contains(" denial=token_invalid ") && !line.starts_with('{'));
        std::future::ready(found)
    })
    .await;
}
