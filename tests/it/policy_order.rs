//! Contract, section 2: the decision order at the front door, and the exact answers.

use mcp_testkit::{Backend, Guard, Message, backend, call, ok, post, result};

use crate::guard;

/// The responses that no backend takes part in.
struct Expect {
    status: u16,
    body: &'static str,
    fields: &'static [(&'static str, &'static str)],
}

async fn fresh() -> (Guard, Backend) {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    (guard, backend)
}

async fn check(guard: &Guard, request: &str, expect: &Expect) {
    let answer = guard.connect().await.exchange(request).await;
    assert_eq!((answer.status(), answer.text()), (expect.status, expect.body), "{request}");
    for (name, value) in expect.fields {
        assert_eq!(answer.field(name), Some(*value), "{request}");
    }
    check_own_answer(&answer, request);
}

/// "Every answer of the guard is `application/json` with a `Content-Length`, carries `X-Request-Id`, keeps the connection
/// alive where the framing allows, and never echoes client input."
fn check_own_answer(answer: &Message, request: &str) {
    assert_eq!(answer.field("content-type"), Some("application/json"), "{request}");
    assert_eq!(answer.field("content-length"), Some(answer.body.len().to_string().as_str()), "{request}");
    assert!(answer.field("x-request-id").is_some_and(|id| id.len() == 32), "{request}");
    assert!(answer.field("date").is_some(), "{request}");
    assert_eq!(answer.field("connection"), None, "{request}");
    assert!(!answer.text().contains("CANARY"), "{request}");
}

const BEARER: &str = "Authorization: Bearer t\r\n";

#[tokio::test]
async fn health_has_these_exact_bytes_for_any_method_without_a_token() {
    let (guard, _backend) = fresh().await;
    let expect = Expect { status: 200, body: r#"{"status": "ok"}"#, fields: &[] };
    for path in ["/health", "/mcp/health", "/swf-monitor/mcp/health"] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            check(&guard, &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"), &expect).await;
        }
    }
}

// What load balancers and monitors send by default: HTTP/1.0, no Host or an empty one, HEAD, OPTIONS, a query.
#[tokio::test]
async fn probes_of_load_balancers_get_a_response() {
    let (guard, _backend) = fresh().await;
    for (request, status) in [
        ("OPTIONS /health HTTP/1.0\r\n\r\n", 200),
        ("GET /health HTTP/1.0\r\nUser-Agent: check_http/v2.3\r\nConnection: close\r\n\r\n", 200),
        ("HEAD /mcp/health HTTP/1.0\r\n\r\n", 200),
        ("GET /health HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 200),
        (
            "GET /health?lb=1 HTTP/1.1\r\nHost: 10.0.0.7:8001\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n",
            200,
        ),
        (
            "GET /health HTTP/1.1\r\nHost: 10.1.2.3:8001\r\nUser-Agent: kube-probe/1.31\r\nAccept: */*\r\n\r\n",
            200,
        ),
        ("HEAD /ready HTTP/1.0\r\n\r\n", 200),
        ("GET /ready HTTP/1.1\r\nHost: \r\n\r\n", 200),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        ("GET /.well-known/x HTTP/1.0\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /health HTTP/1.0\r\nHost: a/b\r\n\r\n", 400),
    ] {
        let mut client = guard.connect().await;
        client.send(request).await;
        client.finish().await;
        let answer = String::from_utf8(client.rest().await).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_local_reply_to_head_has_no_body() {
    let (guard, _backend) = fresh().await;
    let mut client = guard.connect().await;
    client.send("HEAD /health HTTP/1.1\r\nHost: h\r\n\r\nGET /health HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.contains("Content-Length: 16\r\n"), "{head}");
    assert_eq!(client.response().await.text(), r#"{"status": "ok"}"#);
}

#[tokio::test]
async fn oauth_probes_learn_that_there_is_no_oauth() {
    let (guard, _backend) = fresh().await;
    let metadata = Expect { status: 404, body: r#"{"error":"not_found"}"#, fields: &[] };
    for path in ["/.well-known/oauth-protected-resource", "/mcp/.well-known/x", "/a/.well-known/CANARY"] {
        check(&guard, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"), &metadata).await;
    }
    let register = Expect {
        status: 400,
        body: r#"{"error":"access_denied","error_description":"This server uses a static bearer token; set the Authorization header"}"#,
        fields: &[],
    };
    for path in ["/register", "/mcp/register", "/swf-monitor/mcp/register"] {
        check(&guard, &format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"), &register).await;
    }
}

#[tokio::test]
async fn only_post_is_accepted_and_that_is_judged_before_the_token() {
    let (guard, _backend) = fresh().await;
    let expect = Expect {
        status: 405,
        body: r#"{"error": "MCP endpoint accepts POST JSON-RPC only", "allowed_methods": ["POST"]}"#,
        fields: &[("allow", "POST")],
    };
    for method in ["GET", "DELETE", "PUT", "OPTIONS", "post"] {
        for authorization in ["", BEARER, "Authorization: Bearer CANARY\r\n"] {
            let request = format!("{method} /mcp HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n");
            check(&guard, &request, &expect).await;
        }
    }
}

// MCP 2025-11-25, Transports: "Servers MUST validate the Origin header on all incoming connections".
#[tokio::test]
async fn strange_origins_and_hosts_are_refused_before_the_token() {
    let (guard, _backend) = fresh().await;
    let origin = Expect { status: 403, body: r#"{"error": "Origin not allowed"}"#, fields: &[] };
    let request = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://CANARY.example\r\n\r\n";
    check(&guard, request, &origin).await;
    let host = Expect { status: 421, body: r#"{"error": "Host not allowed"}"#, fields: &[] };
    check(&guard, "POST /mcp HTTP/1.1\r\nHost: CANARY.example\r\n\r\n", &host).await;
}

#[tokio::test]
async fn a_missing_authorization_is_challenged() {
    let (guard, _backend) = fresh().await;
    let expect = Expect {
        status: 401,
        body: r#"{"error": "Authorization required"}"#,
        fields: &[("www-authenticate", r#"Bearer realm="mcp""#)],
    };
    for authorization in ["", "Authorization: Basic CANARY\r\n", "Authorization: t\r\n"] {
        let request = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n");
        check(&guard, &request, &expect).await;
    }
}

#[tokio::test]
async fn a_wrong_token_is_forbidden_and_a_token_in_the_query_is_none() {
    let (guard, _backend) = fresh().await;
    let invalid = Expect { status: 403, body: r#"{"error": "Invalid token"}"#, fields: &[] };
    for token in ["CANARY", "T", "tt", "t,t"] {
        let request =
            format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
        check(&guard, &request, &invalid).await;
    }
    let missing = Expect { status: 401, body: r#"{"error": "Authorization required"}"#, fields: &[] };
    check(&guard, "POST /mcp?token=t&access_token=t HTTP/1.1\r\nHost: localhost\r\n\r\n", &missing).await;
}

#[tokio::test]
async fn without_a_configured_token_the_guard_serves_health_and_refuses_the_rest() {
    let backend = backend().await;
    let guard = guard().upstream(&backend).start().await;
    let health = Expect { status: 200, body: r#"{"status": "ok"}"#, fields: &[] };
    check(&guard, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", &health).await;
    let missing = Expect { status: 401, body: r#"{"error": "Authorization required"}"#, fields: &[] };
    check(&guard, "POST /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n", &missing).await;
    let expect = Expect { status: 503, body: r#"{"error": "MCP token not configured"}"#, fields: &[] };
    let request = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\n");
    check(&guard, &request, &expect).await;
    assert!(guard.connect().await.exchange(&request).await.field("retry-after").is_some());
}

#[tokio::test]
async fn paths_are_judged_on_their_raw_bytes_after_the_token() {
    let (guard, _backend) = fresh().await;
    let expect = Expect { status: 404, body: r#"{"error": "Not found"}"#, fields: &[] };
    for path in [
        "/mcp/x",
        "/mcpx",
        "//mcp",
        "/mcp/../x",
        "/mcp%2f",
        "/mcp;x",
        "/swf-monitor",
        "/%6dcp",
        "/mcp//",
        "/MCP",
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\n");
        check(&guard, &request, &expect).await;
    }
}

#[tokio::test]
async fn every_form_of_the_endpoint_reaches_the_backend() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    let body = call(1, "ping");
    for path in ["/mcp", "/mcp/", "/swf-monitor/mcp", "/swf-monitor/mcp/", "/", "/mcp?a=b"] {
        let request = post("t", "", &body).replacen("/mcp", path, 1);
        assert_eq!(client.exchange(&request).await.status(), 200, "{path}");
    }
    let absolute = post("t", "", &body).replacen("/mcp", "http://localhost/mcp", 1);
    assert_eq!(client.exchange(&absolute).await.status(), 200);
    assert_eq!(backend.requests(), 7);
}

#[tokio::test]
async fn header_hygiene_comes_last_and_speaks_json_rpc() {
    let (guard, _backend) = fresh().await;
    let body = call(1, "ping");
    let post = |fields: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\n{BEARER}{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "Content-Type: application/json\r\n";
    for (fields, status) in [
        ("", 415),
        ("Content-Type: text/plain\r\n", 415),
        (&format!("{json}{json}"), 400),
        (&format!("{json}Mcp-Method: ping\r\nMCP-METHOD: ping\r\n"), 400),
        (&format!("{json}Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n"), 400),
        (&format!("{json}MCP-Protocol-Version: 2025-06-18\r\nMCP-Protocol-Version: 2025-03-26\r\n"), 400),
        (&format!("{json}MCP-Protocol-Version: 2025-06-18, 2025-03-26\r\n"), 400),
    ] {
        let mut client = guard.connect().await;
        let answer = client.exchange(post(fields)).await;
        assert_eq!(answer.status(), status, "{fields}");
        assert_eq!(answer.json()["jsonrpc"], "2.0", "{fields}");
        // The body was read although it was refused: the connection lives on.
        assert_eq!(
            client.exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.status(),
            200,
            "{fields}"
        );
    }
}
