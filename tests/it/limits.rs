//! Contract, sections 7 and 8: rates and calls at a time, per client and per tool, and the responses beyond them.

use std::time::{Duration, Instant};

use mcp_testkit::{
    Backend, Client, Guard, Message, Peer, ServingBackend, backend, eventually, ok, post, result,
};

use crate::guard;

/// SHA-256 of `bot`, `second` and so on, as `token hash` prints them.
pub(crate) fn client(name: &str, keys: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[clients.{name}]\nsha256 = \"{hash}\"\n{keys}\n")
}

pub(crate) fn tool_call(id: u64, tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
    )
}

/// Calls a tool as the client whose token this is.
async fn call(guard: &Guard, token: &str, tool: &str) -> Message {
    guard.connect().await.exchange(post(token, "", &tool_call(7, tool))).await
}

fn is_result(answer: &Message) -> bool {
    answer.json().get("result").is_some()
}

async fn answering() -> ServingBackend {
    backend().await.serve(|request| ok(&result(request.json()["id"].as_u64().unwrap_or_default())))
}

#[tokio::test]
async fn of_two_rates_of_a_client_both_hold() {
    let backend = answering().await;
    let tokens = client("bot", "rate = [\"3/h\", \"2/m\"]") + &client("second", "rate = [\"1/m\", \"90/h\"]");
    let guard = guard().tokens(&tokens).upstream(&backend).start().await;
    let told = async |name: &str| {
        let refused = call(&guard, name, "echo").await.json()["error"]["data"].clone();
        (refused["reason"] == "rate_limited").then(|| refused["retryAfterMs"].as_u64().unwrap() / 1000)
    };
    assert_eq!((told("bot").await, told("bot").await), (None, None));
    assert!(told("bot").await.is_some_and(|seconds| (15..=30).contains(&seconds)), "two a minute");
    assert_eq!(told("second").await, None);
    assert!(told("second").await.is_some_and(|seconds| (45..=60).contains(&seconds)), "one a minute");
}

// "`200`, {… "code": -31429, "data": {"reason", "retryAfterMs", "requestId", "executed": "no"}}"; "`retryAfterMs` right to 10 %"
#[tokio::test]
async fn over_its_rate_a_client_gets_an_exact_retry_after() {
    let backend = answering().await;
    let tokens = client("bot", "rate = \"1800/h\"\nburst = 2") + &client("second", "");
    let guard = guard().tokens(&tokens).upstream(&backend).start().await;
    assert!(is_result(&call(&guard, "bot", "echo").await) && is_result(&call(&guard, "bot", "echo").await));
    let asked = Instant::now();
    let refused = call(&guard, "bot", "echo").await;
    let answered = Instant::now();
    let error = refused.json()["error"].clone();
    assert_eq!((refused.status(), &error["code"]), (200, &(-31429).into()));
    assert_eq!(
        (&error["data"]["reason"], &error["data"]["executed"]),
        (&"rate_limited".into(), &"no".into())
    );
    let told = Duration::from_millis(error["data"]["retryAfterMs"].as_u64().unwrap());
    assert!(told <= Duration::from_secs(2) && told > Duration::ZERO, "{told:?}");
    assert!(is_result(&call(&guard, "second", "echo").await), "others are not concerned");

    // A tenth too early is too early, even counted from before the question; then is right, counted from the answer.
    tokio::time::sleep((asked + told.mul_f64(0.9)).saturating_duration_since(Instant::now())).await;
    let early = call(&guard, "bot", "echo").await;
    if Instant::now() < asked + told {
        assert!(!is_result(&early), "it was early by a tenth and let in");
    }
    if !is_result(&early) {
        tokio::time::sleep((answered + told).saturating_duration_since(Instant::now())).await;
        assert!(is_result(&call(&guard, "bot", "echo").await), "it came when it was told to");
    }
    assert!(guard.metric(r#"mcp_guard_limited_total{limit="client_rate"}"#).await >= 1.0);
}

#[tokio::test]
async fn a_tool_has_a_rate_of_its_own_that_all_clients_share() {
    let backend = answering().await;
    let limits = "[limits.tools.\"slow_*\"]\nrate = \"1/h\"";
    let tokens = client("bot", "rate = \"3/h\"") + &client("second", "");
    let guard = guard().tokens(&tokens).config(limits).upstream(&backend).start().await;
    assert!(is_result(&call(&guard, "second", "slow_one").await));
    for _ in 0..5 {
        let refused = call(&guard, "bot", "slow_two").await.json();
        assert_eq!(refused["error"]["data"]["reason"], "rate_limited");
        assert!(refused["error"]["data"]["retryAfterMs"].as_u64().unwrap() > 3_500_000);
    }
    // What the tool refused is not counted against the client.
    for _ in 0..3 {
        assert!(is_result(&call(&guard, "bot", "quick").await));
    }
    assert!(!is_result(&call(&guard, "bot", "quick").await));
}

// "2026-07-28 era: the same body under the real status, with `Retry-After`"; "never 429 for discover"
#[tokio::test]
async fn a_modern_client_gets_the_real_status_and_discover_is_never_refused() {
    let backend = answering().await;
    let guard = guard().tokens(&client("bot", "rate = \"1/m\"")).upstream(&backend).start().await;
    let modern = |method: &str, name: &str| {
        let fields = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{name}");
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"echo",{meta}}}}}"#);
        post("bot", &fields, &body)
    };
    let mut connection = guard.connect().await;
    for _ in 0..5 {
        assert_eq!(connection.exchange(modern("server/discover", "")).await.status(), 200);
    }
    let refused = connection.exchange(modern("tools/call", "Mcp-Name: echo\r\n")).await;
    assert_eq!((refused.status(), &refused.json()["error"]["code"]), (429, &(-31429).into()));
    let seconds: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&seconds), "{seconds}");
}

/// One call at a time is held by the backend; the next one waits or is refused.
async fn hold_one(guard: &Guard, backend: &Backend, token: &str) -> (Client, Peer) {
    let mut first = guard.connect().await;
    first.send(post(token, "", &tool_call(1, "echo"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    (first, peer)
}

#[tokio::test]
async fn beyond_its_concurrency_a_client_waits_for_itself_and_no_other_client_does() {
    let backend = backend().await;
    let tokens = client("bot", "concurrency = 1") + &client("second", "");
    let config = "[timeouts]\nwaiting = \"5s\"";
    let guard = guard().tokens(&tokens).upstream(&backend).config(config).start().await;
    let (mut first, mut peer) = hold_one(&guard, &backend, "bot").await;
    let refused = call(&guard, "bot", "echo").await.json();
    assert_eq!(refused["error"]["code"], -31429);
    assert_eq!(refused["error"]["data"]["reason"], "concurrency_limited");
    let mut other = guard.connect().await;
    other.send(post("second", "", &tool_call(2, "echo"))).await;
    let mut second = backend.accept().await;
    second.request().await;
    second.send(ok(&result(2))).await;
    assert_eq!(other.response().await.json()["id"], 2);

    let mut waiting = guard.connect().await;
    waiting.send(post("bot", "", &tool_call(3, "echo"))).await;
    peer.send(ok(&result(1))).await;
    assert_eq!(first.response().await.json()["id"], 1);
    let answering = async {
        loop {
            tokio::select! {
                request = peer.try_request() => if request.is_ok() { return peer.send(ok(&result(3))).await },
                request = second.try_request() => if request.is_ok() { return second.send(ok(&result(3))).await },
            }
        }
    };
    let ((), answer) = tokio::join!(answering, waiting.response());
    assert_eq!(answer.json()["id"], 3);
    assert_eq!(guard.metric(r#"mcp_guard_limited_total{limit="client_concurrency"}"#).await, 1.0);
}

#[tokio::test]
async fn a_tool_may_have_a_deadline_of_its_own() {
    let backend = backend().await;
    let limits = "[limits.tools.quick]\ntotal = \"2s\"\n[limits.tools.narrow]\nconcurrency = 1";
    let guard = guard().token("t").config(limits).upstream(&backend).start().await;
    let asked = Instant::now();
    let late = guard.post(&tool_call(1, "quick")).await.json();
    assert_eq!(
        (&late["error"]["code"], &late["error"]["data"]["executed"]),
        (&(-31504).into(), &"unknown".into())
    );
    assert!(asked.elapsed() >= Duration::from_secs(2) && asked.elapsed() < Duration::from_secs(10));
    eventually("its place is free", || async {
        guard.metric(r#"mcp_guard_in_flight{slot="blue"}"#).await == 0.0
    })
    .await;
    let mut first = guard.connect().await;
    first.send(post("t", "", &tool_call(2, "narrow"))).await;
    eventually("it is in flight", || async {
        guard.metric(r#"mcp_guard_in_flight{slot="blue"}"#).await >= 1.0
    })
    .await;
    // Its own place in the tool's line ends when its client's patience does: the default is two seconds.
    let refused = guard.post(&tool_call(3, "narrow")).await.json();
    assert_eq!(refused["error"]["data"]["reason"], "concurrency_limited");
    assert_eq!(guard.metric(r#"mcp_guard_limited_total{limit="tool_concurrency"}"#).await, 1.0);
}

// A call that is not made counts nowhere.
#[tokio::test]
async fn what_its_concurrency_refuses_is_not_counted_against_a_client_s_rate() {
    let backend = backend().await;
    let tokens = client("bot", "rate = \"3/h\"\nburst = 3\nconcurrency = 1") + &client("second", "");
    let waiting = "[timeouts]\nwaiting = \"1s\"";
    let guard = guard().tokens(&tokens).config(waiting).upstream(&backend).start().await;
    let mut first = guard.connect().await;
    first.send(post("bot", "", &tool_call(1, "echo"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    for _ in 0..3 {
        let refused = call(&guard, "bot", "echo").await.json();
        assert_eq!(refused["error"]["data"]["reason"], "concurrency_limited");
    }
    peer.send(ok(&result(1))).await;
    first.response().await;
    drop(peer);
    eventually("its place is free", || async {
        guard.metric(r#"mcp_guard_in_flight{slot="blue"}"#).await == 0.0
    })
    .await;
    let backend = backend.serve(|request| ok(&result(request.json()["id"].as_u64().unwrap_or_default())));
    assert!(is_result(&call(&guard, "bot", "echo").await) && is_result(&call(&guard, "bot", "echo").await));
    assert_eq!(call(&guard, "bot", "echo").await.json()["error"]["data"]["reason"], "rate_limited");
    drop(backend);
}
