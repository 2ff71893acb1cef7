//! Contract, section 19: what `mcp-guard explain` says of limits and slots, beside what the guard then does.

use serde_json::{Value, json};

use mcp_testkit::{Behaviour, Builder, Client, Guard, backend, call, eventually, ok, post, result};

use crate::explain::{canary, explained, limit};
use crate::guard;
use crate::limits::{client, tool_call};

const BUSY: &str = "[timeouts]\nwaiting = \"60s\"\ntotal = \"90s\"\n[limits]\nin_flight = 1\n";

fn verdict(found: &Value) -> (&str, &str) {
    let verdict = &found["verdict"];
    (verdict["outcome"].as_str().unwrap(), verdict["code"].as_str().unwrap_or_default())
}

fn notes(found: &Value) -> String {
    found["notes"].to_string()
}

/// A call that is sent, and whose response is not waited for.
async fn sent(guard: &Guard, token: &str, body: &str) -> Client {
    let mut client = guard.connect().await;
    client.send(post(token, "", body)).await;
    client
}

/// Waits until the limit reads like this.
async fn reads(guard: &Guard, words: &str, of: &str, now: &str) {
    let is = async || {
        let found = explained(guard, words, "").await;
        let limits = found["limits"].as_array().unwrap().clone();
        limits.iter().any(|limit| limit["of"] == of && limit["now"].as_str() == Some(now))
    };
    eventually(now, is).await;
}

#[tokio::test]
async fn explain_says_405_where_the_slot_of_a_session_has_no_sessions() {
    let (guard, _backends, _folder) = canary(false, |guard| guard.slot("sessions = true")).await;
    let end = |token: &str| {
        format!(
            "DELETE /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nMcp-Session-Id: s\r\n\r\n"
        )
    };
    let found = explained(&guard, "--request -", &end("early")).await;
    assert_eq!(verdict(&found), ("refused", "method_not_allowed"), "{found:#}");
    assert!(found["verdict"]["why"].as_str().unwrap().contains("green has no `sessions`"), "{found:#}");
    assert!(found["checks"].as_array().unwrap().iter().all(|check| check["result"] == "passed"));
    let real = guard.connect().await.exchange(end("early")).await;
    assert_eq!(found["verdict"]["status"], real.status(), "{}", real.text());
    let found = explained(&guard, "--request -", &end("late")).await;
    assert_eq!((verdict(&found), &found["slot"]["slot"]), (("forwarded", ""), &json!("blue")), "{found:#}");
    assert_eq!(found["slot"]["fallback"], Value::Null, "a session lives in one backend");
    let call = explained(&guard, "--client late --method ping", "").await;
    assert_eq!(call["slot"]["fallback"], "green", "{call:#}");
}

#[tokio::test]
async fn explain_gives_a_full_queue_to_the_client_that_has_less_of_it() {
    let backend = backend().await;
    let tokens = client("bot", "") + &client("second", "");
    let limits = format!("{BUSY}waiting = 2\n");
    let guard = guard().tokens(&tokens).admin().config(&limits).upstream(&backend).start().await;
    // One call, so that it is known how long a permit is held.
    let mut first = sent(&guard, "bot", &tool_call(1, "echo")).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    peer.send(ok(&result(1))).await;
    first.response().await;
    first.send(post("bot", "", &tool_call(2, "echo"))).await;
    peer.request().await;
    let _third = sent(&guard, "bot", &tool_call(3, "echo")).await;
    reads(&guard, "--client bot --tool echo", "slot blue", "1 in progress, 1 waiting").await;
    let mut fourth = sent(&guard, "bot", &tool_call(4, "echo")).await;
    reads(&guard, "--client bot --tool echo", "slot blue", "1 in progress, 2 waiting").await;
    let own = explained(&guard, "--client bot --tool echo", "").await;
    assert_eq!(verdict(&own), ("refused", "overloaded"), "{own:#}");
    let real = guard.connect().await.exchange(post("bot", "", &tool_call(5, "echo"))).await;
    let data = real.json()["error"]["data"].clone();
    assert_eq!((&data["reason"], &own["verdict"]["status"]), (&json!("overloaded"), &json!(real.status())));
    assert_eq!(own["verdict"]["retry_after_ms"], data["retryAfterMs"], "{own:#}");
    let other = explained(&guard, "--client second --tool echo", "").await;
    assert_eq!(verdict(&other), ("waits", ""), "{other:#}");
    let _second = sent(&guard, "second", &tool_call(6, "echo")).await;
    let evicted = fourth.response().await.json();
    assert_eq!(
        evicted["error"]["data"]["reason"], "overloaded",
        "the other call waits in its place: {evicted}"
    );
    // What is no request has a reserve; a subscription needs a permit until its response has begun.
    let note = explained(&guard, "--client bot --method notifications/cancelled", "").await;
    assert_eq!((verdict(&note), &limit(&note, "in_flight")["result"]), (("forwarded", ""), &json!("passes")));
    let words = "--client bot --method subscriptions/listen --protocol 2026-07-28";
    let listen = explained(&guard, words, "").await;
    assert_eq!(verdict(&listen), ("refused", "overloaded"), "{listen:#}");
    assert_eq!(limit(&listen, "streams")["now"], "0 open (0 of this client)");
}

/// A canary whose green slot serves one call, has one in its queue, and finishes neither.
async fn with_full_candidate(
    more: impl FnOnce(Builder) -> Builder,
) -> (Guard, [mcp_testkit::McpBackend; 2], tempfile::TempDir, [Client; 2]) {
    let tables = format!("{BUSY}waiting = 1\n");
    let (guard, backends, folder) = canary(false, |guard| more(guard.config(&tables))).await;
    backends[1].set_behaviour(Behaviour::NeverResponds);
    let calls = [
        sent(&guard, "early", &tool_call(1, "echo")).await,
        sent(&guard, "early", &tool_call(2, "echo")).await,
    ];
    reads(&guard, "--client early --tool echo", "slot green", "1 in progress, 1 waiting").await;
    (guard, backends, folder, calls)
}

#[tokio::test]
async fn explain_sends_a_read_to_stable_where_the_candidate_is_full() {
    let (guard, _backends, _folder, _calls) = with_full_candidate(|guard| guard).await;
    let found = explained(&guard, "--client early --tool echo", "").await;
    assert_eq!(verdict(&found), ("refused", "overloaded"), "{found:#}");
    let real = guard.connect().await.exchange(post("early", "", &tool_call(7, "echo"))).await;
    assert_eq!(real.json()["error"]["data"]["reason"], "overloaded", "{}", real.text());
    let found = explained(&guard, "--client early --method tools/list", "").await;
    assert_eq!(verdict(&found), ("forwarded", ""), "{found:#}");
    assert!(found["verdict"]["why"].as_str().unwrap().ends_with("blue"), "{found:#}");
    assert!(notes(&found).contains("blue takes a read over"), "{found:#}");
    let real = guard.connect().await.exchange(post("early", "", &call(8, "tools/list"))).await;
    assert!(real.json().get("result").is_some(), "{}", real.text());
}

#[tokio::test]
async fn explain_leaves_the_slot_open_where_each_request_is_assigned() {
    let key = "[routing]\nkey = \"request\"\n";
    let (guard, backends, _folder, _calls) = with_full_candidate(|guard| guard.config(key)).await;
    let found = explained(&guard, "--client a --tool echo", "").await;
    assert_eq!((verdict(&found), &found["slot"]["slot"]), (("forwarded", ""), &Value::Null), "{found:#}");
    assert!(found["slot"]["why"].as_str().unwrap().contains("`routing.key` is `request`"), "{found:#}");
    let of: Vec<&str> =
        found["limits"].as_array().unwrap().iter().filter_map(|row| row["of"].as_str()).collect();
    assert!(of.contains(&"slot blue") && of.contains(&"slot green"), "{of:?}");
    assert!(notes(&found).contains("refused if it is assigned to green"), "{found:#}");
    // Only stable is left once the candidate is ejected.
    backends[1].set_behaviour(Behaviour::FailsProbes);
    eventually("the candidate is ejected", || async {
        explained(&guard, "--client a --tool echo", "").await["slot"]["slot"] == "blue"
    })
    .await;
    let found = explained(&guard, "--client a --tool echo", "").await;
    let of: Vec<&str> =
        found["limits"].as_array().unwrap().iter().filter_map(|row| row["of"].as_str()).collect();
    assert!(!of.contains(&"slot green"), "{found:#}");
}

#[tokio::test]
async fn explain_tells_the_longer_wait_of_two_windows() {
    let backend = backend().await.serve(|_| ok(&result(7)));
    let tokens = client("bot", "rate = [\"2/m\", \"2/h\"]") + &client("second", "");
    let guard = guard().tokens(&tokens).admin().upstream(&backend).start().await;
    for _ in 0..2 {
        guard.connect().await.exchange(post("bot", "", &tool_call(7, "echo"))).await;
    }
    let found = explained(&guard, "--client bot --tool echo", "").await;
    let real = guard.connect().await.exchange(post("bot", "", &tool_call(7, "echo"))).await;
    let real = real.json()["error"]["data"]["retryAfterMs"].as_u64().unwrap();
    let told = found["verdict"]["retry_after_ms"].as_u64().unwrap();
    assert!(told > 60_000 && told >= real && told - real < 60_000, "{told} {real}");
}
