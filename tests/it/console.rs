//! Contract, section 19: the HTTP admin interface: viewers and operators, orders with a reason, an event stream that resumes.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use mcp_testkit::{Client, Guard, McpBackend, Message, call, eventually, mcp_backend};

use crate::guard;
use crate::rollout::{LONG, QUICK};
use crate::upgrade::upgraded;

const VIEWER: &str = "viewer-0123456789abcdef";
const OPERATOR: &str = "operator-0123456789abcdef";
const PEOPLE: &str = "viewers = [\"env:TEST_VIEWER\"]\noperators = [\"env:TEST_OPERATOR\"]\n";

/// A guard with two backends and a console.
struct Watched {
    guard: Guard,
    address: String,
    _backends: [McpBackend; 2],
    _folder: tempfile::TempDir,
}

async fn watched() -> Watched {
    let folder = tempfile::tempdir().unwrap();
    let backends = ["blue", "green"].map(|slot| mcp_backend(&folder.path().join(slot)));
    // A port of its own, so that a new process finds the same one again.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let console = format!("[console]\naddress = \"{free}\"\n{PEOPLE}");
    let guard = guard()
        .token("t")
        .upstream(backends[0].address())
        .rollout(backends[1].address(), LONG)
        .config(&format!("{QUICK}{console}"))
        .environment("TEST_VIEWER", VIEWER)
        .environment("TEST_OPERATOR", OPERATOR)
        .start()
        .await;
    guard.both_healthy().await;
    let address = address(&guard);
    Watched { guard, address, _backends: backends, _folder: folder }
}

/// Where the console listens, as the log says.
fn address(guard: &Guard) -> String {
    let lines = guard.log().join("\n");
    let from =
        lines.rfind("console on http://").expect("the console does not listen") + "console on http://".len();
    lines[from..].split('/').next().unwrap_or_default().to_owned()
}

impl Watched {
    async fn send(&self, request: String) -> Message {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        Client::tcp(stream).exchange(request).await
    }

    async fn get(&self, token: &str, path: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: c\r\nAuthorization: Bearer {token}\r\n\r\n")).await
    }

    async fn read(&self, path: &str) -> Value {
        let response = self.get(VIEWER, path).await;
        assert_eq!(response.status(), 200, "{path}: {}", response.text());
        response.json()
    }

    async fn order(&self, token: &str, path: &str, body: &Value) -> Message {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: c\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(head + &body).await
    }

    /// An event stream, after its head.
    async fn events(&self, fields: &str) -> Client {
        let mut client = Client::tcp(TcpStream::connect(&self.address).await.unwrap());
        let path = "/api/v1/events";
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: c\r\nAuthorization: Bearer {VIEWER}\r\n{fields}\r\n"))
            .await;
        client
    }

    async fn calls(&self, count: usize) {
        for _ in 0..count {
            self.guard.post(&call(1, "tools/list")).await;
        }
    }
}

#[tokio::test]
async fn a_viewer_sees_everything_and_another_token_nothing() {
    let watched = watched().await;
    watched.calls(3).await;
    let paths =
        ["status", "slots", "tools", "clients", "rollout", "history", "shadow/diff", "series", "apil/status"];
    for path in paths.map(|path| format!("/api/v1/{path}")) {
        watched.read(&path).await;
        let refused = watched.get("wrong-0123456789abcdef", &path).await;
        assert_eq!(refused.status(), 401, "{path}");
        assert_eq!(refused.field("www-authenticate"), Some("Bearer realm=\"mcp-guard console\""));
        let bare = watched.send(format!("GET {path} HTTP/1.1\r\nHost: c\r\n\r\n")).await;
        let problem = bare.json();
        assert_eq!((bare.status(), problem["status"].as_u64()), (401, Some(401)), "{problem}");
        assert_eq!(bare.field("content-type"), Some("application/problem+json"));
    }
    // A token of the endpoint is none of the console.
    assert_eq!(watched.get("t", "/api/v1/status").await.status(), 401);
    eventually("the calls are in the series", async || {
        let series = watched.read("/api/v1/series").await;
        let calls = series["slots"]["blue"]["calls"].as_array().cloned().unwrap_or_default();
        calls.iter().filter_map(Value::as_u64).sum::<u64>() == 3
    })
    .await;
}

#[tokio::test]
async fn a_part_of_the_series_can_be_asked_for_and_a_picture_of_it() {
    let watched = watched().await;
    watched.calls(3).await;
    let length = |series: &Value| series["slots"]["blue"]["calls"].as_array().map_or(0, Vec::len);
    eventually("two seconds are counted", async || length(&watched.read("/api/v1/series").await) >= 2).await;
    assert_eq!(length(&watched.read("/api/v1/series?of=slots&last=1").await), 1);
    let nothing = watched.read("/api/v1/series?tool=a%20b").await;
    assert_eq!((&nothing["slots"], &nothing["tools"]), (&json!({}), &json!({})));
    let refused = watched.get("wrong-0123456789abcdef", "/api/v1/series.svg").await;
    assert_eq!(refused.status(), 401);
    let picture = watched.get(VIEWER, "/api/v1/series.svg").await;
    assert_eq!(picture.field("content-type"), Some("image/svg+xml"));
    assert!(picture.text().starts_with("<svg ") && picture.text().ends_with("</svg>\n"));
}

// "Every order carries a `reason`, is audited with the name behind the token, and does what the command does"
#[tokio::test]
async fn an_operator_starts_and_rolls_back_and_a_viewer_does_not() {
    let watched = watched().await;
    let reason = json!({"reason": "planned, ticket 4711"});
    let refused = watched.order(VIEWER, "/api/v1/rollout/start", &reason).await;
    assert_eq!(refused.status(), 403, "{}", refused.text());
    let without = watched.order(OPERATOR, "/api/v1/rollout/start", &json!({})).await;
    assert_eq!(without.status(), 400, "{}", without.text());
    let idle = watched.order(OPERATOR, "/api/v1/rollout/rollback", &reason).await;
    assert_eq!(idle.status(), 409, "{}", idle.text());

    let started = watched.order(OPERATOR, "/api/v1/rollout/start", &reason).await;
    assert_eq!(started.status(), 200, "{}", started.text());
    assert_eq!(started.json()["transition"]["kind"], "started");
    watched
        .guard
        .logged("console: command=rollout start by=TEST_OPERATOR from=127.0.0.1 done, reason: planned, ticket 4711")
        .await;
    let who = watched.guard.history().await.last().unwrap()["cause"]["who"].clone();
    assert_eq!(who, "TEST_OPERATOR at the console: planned, ticket 4711");
    let triggers = watched.read("/api/v1/rollout").await["status"]["triggers"].clone();
    let armed: Vec<&str> =
        triggers.as_array().unwrap().iter().filter_map(|one| one["trigger"].as_str()).collect();
    assert!(armed.contains(&"error_rate") && armed.contains(&"latency_p95"), "{triggers}");

    // As the rollback procedure writes it.
    let back = json!({"target_stage": "dual_protocol", "reason": "drill"});
    let back = watched.order(OPERATOR, "/api/v1/apil/rollback", &back).await;
    assert_eq!((back.status(), back.json()["transition"]["kind"].as_str()), (200, Some("rolled_back")));
    let said = watched.guard.log().join("\n");
    assert!(!said.contains(OPERATOR) && !said.contains(VIEWER), "a token is in the log");
}

// docs/console.md: "with `"expected_seq": N` the order is refused unless transition N is the last one".
#[tokio::test]
async fn an_order_that_was_decided_before_another_transition_is_refused() {
    let watched = watched().await;
    let order = async |path: &str, expected_seq: u64| {
        let body = json!({"reason": "drill", "expected_seq": expected_seq});
        watched.order(OPERATOR, &format!("/api/v1/rollout/{path}"), &body).await
    };
    assert_eq!(order("start", 1).await.status(), 409);
    let started = order("start", 0).await;
    assert_eq!(started.status(), 200, "{}", started.text());
    let first = started.json()["transition"]["seq"].as_u64().unwrap();
    assert_eq!(order("pause", first).await.status(), 200);
    let late = order("rollback", first).await;
    assert_eq!(late.status(), 409);
    assert!(late.text().contains("is not the last transition"), "{}", late.text());
    assert_eq!(watched.read("/api/v1/rollout").await["last"]["kind"], "paused");
    watched.guard.logged("console: command=rollout rollback by=TEST_OPERATOR from=127.0.0.1 refused").await;
}

#[tokio::test]
async fn refused_tokens_are_counted_and_logged_without_them() {
    let watched = watched().await;
    let wrong = "wrong-0123456789abcdef";
    assert_eq!(watched.get(wrong, "/api/v1/status").await.status(), 401);
    assert_eq!(watched.order(VIEWER, "/api/v1/rollout/start", &json!({"reason": "x"})).await.status(), 403);
    assert_eq!(watched.get(wrong, "/").await.status(), 200, "the page needs no token");
    watched.guard.logged("console: refused a request from=127.0.0.1 reason=unknown_token").await;
    let count = async |reason: &str| {
        let series = format!("mcp_guard_console_refusals_total{{reason=\"{reason}\"}}");
        watched.guard.metric(&series).await
    };
    assert_eq!((count("unknown_token").await, count("role").await, count("no_token").await), (1.0, 1.0, 0.0));
    assert!(!watched.guard.log().join("\n").contains(wrong), "a token is in the log");
}

// docs/console.md: "Where all connections are taken, a new one displaces the oldest without a valid token, and never one with a
// token. A connection without a valid token has one response."
#[tokio::test]
async fn connections_without_a_token_never_keep_an_operator_out() {
    let watched = watched().await;
    let mut kept = Client::tcp(TcpStream::connect(&watched.address).await.unwrap());
    let status = format!("GET /api/v1/status HTTP/1.1\r\nHost: c\r\nAuthorization: Bearer {VIEWER}\r\n\r\n");
    assert_eq!(kept.exchange(&status).await.status(), 200);
    // Silent ones, and ones that ask again and again and read nothing.
    let mut strangers = Vec::new();
    for number in 0..100 {
        let mut client = Client::tcp(TcpStream::connect(&watched.address).await.unwrap());
        if number % 2 == 0 {
            client.try_send("GET / HTTP/1.1\r\nHost: c\r\n\r\n".repeat(100)).await;
        }
        strangers.push(client);
    }
    let paused =
        watched.order(OPERATOR, "/api/v1/slots/switch", &json!({"reason": "x", "slot": "green"})).await;
    assert_eq!(paused.status(), 200, "{}", paused.text());
    assert_eq!(kept.exchange(&status).await.status(), 200, "one with a token stays");
    for path in ["/", "/nowhere", "/api/v1/status"] {
        let mut client = Client::tcp(TcpStream::connect(&watched.address).await.unwrap());
        let response = client.exchange(format!("GET {path} HTTP/1.1\r\nHost: c\r\n\r\n")).await;
        assert_eq!(response.field("connection"), Some("close"), "{path}");
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test]
async fn a_stream_of_events_resumes_and_ends_with_its_token() {
    let watched = watched().await;
    let mut stream = watched.events("").await;
    stream.until("event: state\n").await;
    stream.until("event: second\n").await;
    watched.order(OPERATOR, "/api/v1/slots/switch", &json!({"reason": "x", "slot": "green"})).await;
    stream.until("event: transition\n").await;
    drop(stream);

    let mut resumed = watched.events("Last-Event-ID: 1\r\n").await;
    let missed = resumed.until("event: state\n").await;
    assert!(missed.contains("event: seconds\n") && missed.contains("\"switched\""), "{missed}");
    let mut later = watched.events(&format!("Last-Event-ID: {}\r\n", u64::MAX)).await;
    later.until("event: state\n").await;
    drop(later);

    // "revocation takes effect when the command says so"
    watched.guard.edit("viewers = [\"env:TEST_VIEWER\"]\n", "");
    watched.guard.command_ok("reload").await;
    assert_eq!(watched.get(VIEWER, "/api/v1/status").await.status(), 401);
    resumed.until("\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn an_upgrade_hands_the_console_over() {
    let watched = watched().await;
    let before = watched.read("/api/v1/status").await["pid"].clone();
    let request = format!("GET /api/v1/status HTTP/1.1\r\nHost: c\r\nAuthorization: Bearer {VIEWER}\r\n\r\n");
    let mut kept = Client::tcp(TcpStream::connect(&watched.address).await.unwrap());
    assert_eq!(kept.exchange(&request).await.status(), 200);
    let _successor = upgraded(&watched.guard).await;
    assert_ne!(watched.read("/api/v1/status").await["pid"], before, "the old console accepts no more");
    // On a machine so busy that two seconds have passed, it is closed.
    if kept.try_send(&request).await
        && let Ok(refused) = kept.try_response().await
    {
        assert_eq!((refused.status(), refused.field("connection")), (503, Some("close")));
    }
}

#[tokio::test]
async fn malformed_requests_get_a_problem_or_an_end() {
    let watched = watched().await;
    for (request, status) in [
        ("GET /nowhere HTTP/1.1\r\nHost: c\r\n\r\n".to_owned(), 404),
        ("DELETE /api/v1/status HTTP/1.1\r\nHost: c\r\n\r\n".to_owned(), 405),
        (
            format!(
                "POST /api/v1/rollout/pause HTTP/1.1\r\nHost: c\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
            415,
        ),
        (
            format!(
                "GET /api/v1/series?step=0 HTTP/1.1\r\nHost: c\r\nAuthorization: Bearer {VIEWER}\r\n\r\n"
            ),
            400,
        ),
        (format!("GET / HTTP/1.1\r\nHost: c\r\nX: {}\r\n\r\n", "x".repeat(20_000)), 431),
    ] {
        let response = watched.send(request.clone()).await;
        assert_eq!(response.status(), status, "{}", &request[..40]);
    }
    let large = json!({"reason": "x".repeat(20_000)});
    let refused = watched.order(OPERATOR, "/api/v1/rollout/pause", &large).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
}
