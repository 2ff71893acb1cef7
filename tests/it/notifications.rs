//! Contract, section 7: "rates hold for notifications, responses and discover too"; section 8: "notifications: the real
//! status". A client that has used up what it may call must still be able to cancel, and the other way round.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use mcp_testkit::{Backend, Client, Guard, Message, backend, eventually, ok, post, result};

use crate::guard;
use crate::limits::{client, tool_call};

const CANCELLED: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"x"}}"#;
const HANGING: &str = r#"{"jsonrpc":"2.0","method":"notifications/hanging"}"#;
/// Everything that a client sends without expecting a result.
const ONE_WAY: [&str; 4] = [
    CANCELLED,
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    r#"{"jsonrpc":"2.0","id":"q","result":{}}"#,
    r#"{"jsonrpc":"2.0","id":"q","error":{"code":-1,"message":"no"}}"#,
];

/// A backend that answers the tool `stuck` when something is cancelled, and `notifications/hanging` never.
struct Cancelling {
    address: String,
    received: watch::Sender<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Cancelling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cancelling {
    fn of(backend: Backend) -> Cancelling {
        let address = backend.address().to_owned();
        let (received, cancelled) = (watch::Sender::new(0), watch::Sender::new(false));
        let counted = received.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut peer, counted, cancelled) =
                    (backend.accept_any().await, counted.clone(), cancelled.clone());
                connections.spawn(async move {
                    while let Ok(request) = peer.try_request().await {
                        counted.send_modify(|count| *count += 1);
                        let text = String::from_utf8_lossy(&request.body).into_owned();
                        let has_method = text.contains("\"method\"");
                        if text.contains("hanging") {
                            std::future::pending::<()>().await;
                        }
                        if text.contains("\"stuck\"") {
                            cancelled.subscribe().wait_for(|cancelled| *cancelled).await.unwrap();
                        }
                        if text.contains("cancelled") {
                            cancelled.send_replace(true);
                        }
                        let answer = match request.try_id().filter(|_| has_method) {
                            Some(id) => ok(&result(id)),
                            None => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
                        };
                        if !peer.try_send(answer).await {
                            return;
                        }
                    }
                });
            }
        });
        Cancelling { address, received, task }
    }

    fn received(&self) -> usize {
        *self.received.borrow()
    }
}

async fn send(guard: &Guard, token: &str, body: &str) -> Message {
    guard.connect().await.exchange(post(token, "", body)).await
}

async fn calls(guard: &Guard, token: &str) -> bool {
    send(guard, token, &tool_call(7, "echo")).await.json().get("result").is_some()
}

/// The client sends these and does not wait for what comes of them.
async fn leaves(guard: &Guard, token: &str, bodies: impl IntoIterator<Item = String>) -> Vec<Client> {
    let mut left = Vec::new();
    for body in bodies {
        let mut connection = guard.connect().await;
        connection.send(post(token, "", &body)).await;
        left.push(connection);
    }
    left
}

async fn in_flight(guard: &Guard, expected: f64) {
    let seen = || async { guard.metric(r#"mcp_guard_in_flight{slot="blue"}"#).await == expected };
    eventually("so many are in flight", seen).await;
}

fn stuck(count: u64) -> impl Iterator<Item = String> {
    (0..count).map(|id| tool_call(id, "stuck"))
}

async fn is_refused_call(guard: &Guard, token: &str) {
    let answer = send(guard, token, &tool_call(7, "echo")).await.json();
    assert_eq!(answer["error"]["data"]["reason"], "concurrency_limited");
}

/// It is refused under its real status, and the backend does not see it.
#[track_caller]
fn is_refused(answer: &Message, status: u16, reason: &str) {
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status(), &error["data"]["reason"]), (status, &reason.into()), "{}", answer.text());
    assert!(answer.field("retry-after").is_some(), "{}", answer.text());
}

// Field note M2: 200 of 200 notifications and 200 of 200 responses were forwarded for a client with one call a second.
#[tokio::test]
async fn beyond_its_rate_notifications_are_refused_under_the_real_status_and_calls_are_not() {
    for message in ONE_WAY {
        let backend = Cancelling::of(backend().await);
        let tokens = client("bot", "rate = \"3/h\"") + &client("second", "rate = \"3/h\"");
        let guard = guard().tokens(&tokens).upstream(backend.address.as_str()).start().await;
        for _ in 0..3 {
            assert_eq!(send(&guard, "bot", message).await.status(), 202, "{message}");
        }
        for more in ONE_WAY {
            is_refused(&send(&guard, "bot", more).await, 429, "rate_limited");
        }
        assert_eq!(backend.received(), 3, "{message}");
        // It still has every call that it may make.
        for _ in 0..3 {
            assert!(calls(&guard, "bot").await, "{message}");
        }
        assert!(!calls(&guard, "bot").await, "{message}");
        assert_eq!(guard.metric(r#"mcp_guard_limited_total{limit="client_rate"}"#).await, 5.0);
        // And the other way round: without calls left, it can still cancel those that it has made.
        for _ in 0..3 {
            assert!(calls(&guard, "second").await);
        }
        assert!(!calls(&guard, "second").await);
        assert_eq!(send(&guard, "second", message).await.status(), 202);
    }
}

#[tokio::test]
async fn beyond_its_concurrency_a_client_still_cancels_and_discovers() {
    let backend = Cancelling::of(backend().await);
    let config = "[timeouts]\nwaiting = \"200ms\"";
    let tokens = client("bot", "concurrency = 1") + &client("second", "concurrency = 1");
    let guard = guard().tokens(&tokens).config(config).upstream(backend.address.as_str()).start().await;
    let _hanging = leaves(&guard, "bot", [HANGING.to_owned()]).await;
    in_flight(&guard, 1.0).await;
    is_refused(&send(&guard, "bot", CANCELLED).await, 429, "concurrency_limited");
    assert!(calls(&guard, "bot").await, "a notification that hangs is no call");
    // The place of that call is given back after its last byte.
    in_flight(&guard, 1.0).await;
    let mut stuck = leaves(&guard, "second", stuck(1)).await;
    in_flight(&guard, 2.0).await;
    is_refused_call(&guard, "second").await;
    let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let fields = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: server/discover\r\n";
    for _ in 0..3 {
        assert_eq!(guard.connect().await.exchange(post("second", fields, discover)).await.status(), 200);
    }
    assert_eq!(send(&guard, "second", CANCELLED).await.status(), 202);
    assert!(stuck.remove(0).response().await.json().get("result").is_some(), "it was cancelled");
}

#[tokio::test]
async fn a_tool_that_is_used_up_does_not_stop_notifications_and_is_not_called_by_one() {
    let backend = Cancelling::of(backend().await);
    let config = "[limits.tools.\"*\"]\nrate = \"1/h\"\nconcurrency = 1\n";
    let guard = guard().token("t").config(config).upstream(backend.address.as_str()).start().await;
    assert!(calls(&guard, "t").await && !calls(&guard, "t").await);
    for message in ONE_WAY {
        assert_eq!(send(&guard, "t", message).await.status(), 202, "{message}");
    }
    let without_id = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo"}}"#;
    assert_eq!(send(&guard, "t", without_id).await.status(), 400);
    assert_eq!(backend.received(), 1 + ONE_WAY.len());
}

// A client whose calls hang has no place left but must be able to cancel them: alone, and beside others.
#[tokio::test]
async fn a_client_whose_calls_hang_still_cancels_them() {
    for (others, share) in [("", 8), (client("second", "").as_str(), 6)] {
        let backend = Cancelling::of(backend().await);
        let tokens = client("bot", "") + others;
        let config = "[limits]\nin_flight = 8\n[timeouts]\nwaiting = \"20s\"";
        let guard = guard().tokens(&tokens).config(config).upstream(backend.address.as_str()).start().await;
        let hanging = leaves(&guard, "bot", stuck(10)).await;
        in_flight(&guard, f64::from(share)).await;
        let begun = Instant::now();
        assert_eq!(send(&guard, "bot", CANCELLED).await.status(), 202);
        // It would have waited for this long with the others.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        for mut call in hanging {
            assert!(call.response().await.json().get("result").is_some(), "it was cancelled");
        }
        assert!(calls(&guard, "bot").await);
    }
}

#[tokio::test]
async fn notifications_that_hang_are_bounded_and_cost_other_clients_nothing() {
    let backend = Cancelling::of(backend().await);
    let tokens = client("bot", "") + &client("second", "");
    let config = "[limits]\nin_flight = 8\nwaiting = 2\n[timeouts]\nwaiting = \"200ms\"";
    let guard = guard().tokens(&tokens).config(config).upstream(backend.address.as_str()).start().await;
    // Three quarters of the places, and of the reserve of four.
    let _hanging = leaves(&guard, "bot", [HANGING; 9].map(str::to_owned)).await;
    in_flight(&guard, 9.0).await;
    is_refused(&send(&guard, "bot", CANCELLED).await, 503, "overloaded");
    let full = leaves(&guard, "second", stuck(2)).await;
    in_flight(&guard, 11.0).await;
    assert_eq!(
        send(&guard, "second", CANCELLED).await.status(),
        202,
        "the last of the reserve is left to it"
    );
    for mut call in full {
        assert!(call.response().await.json().get("result").is_some());
    }
}
