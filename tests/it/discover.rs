//! Contract, section 5: "`server/discover` from a valid client is never answered by the guard with 401/403/429/5xx while any
//! backend can answer (the slot's last answer, seconds old at most, may stand in; a flood of discovers costs other clients
//! nothing)."

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcp_testkit::{Behaviour, backend, mcp_backend, ok, post};

use crate::guard;
use crate::limits::{client, tool_call};

fn discover(token: &str, id: &str, version: &str) -> String {
    let fields = format!("MCP-Protocol-Version: {version}\r\nMcp-Method: server/discover\r\n");
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"server/discover","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}}}}}"#
    );
    post(token, &fields, &body)
}

const MODERN: &str = "2026-07-28";

// Field note H3: with 200 connections that discover, 0 of 15 calls of another client were served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_discovers_costs_other_clients_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("b.sock"));
    backend.set_behaviour(Behaviour::Delayed(Duration::from_millis(50)));
    let limits = "[limits]\nin_flight = 4\nwaiting = 4\n[timeouts]\nwaiting = \"20s\"";
    let tokens = client("flood", "") + &client("polite", "");
    let guard = Arc::new(guard().tokens(&tokens).config(limits).upstream(backend.address()).start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..40_u64)
        .map(|caller| {
            let (guard, stop) = (guard.clone(), stop.clone());
            tokio::spawn(async move {
                let mut connection = guard.connect().await;
                let mut answered = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let id = caller * 1_000_000 + answered;
                    let answer = connection.exchange(discover("flood", &id.to_string(), MODERN)).await;
                    assert_eq!(
                        (answer.status(), &answer.json()["id"]),
                        (200, &id.into()),
                        "{}",
                        answer.text()
                    );
                    assert!(answer.json()["result"]["supportedVersions"].is_array(), "{}", answer.text());
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let mut polite = guard.connect().await;
    for id in 0..15 {
        let answer = polite.exchange(post("polite", "", &tool_call(id, "echo"))).await.json();
        assert!(answer.get("result").is_some(), "call {id}: {answer}");
        let answer = polite.exchange(discover("polite", "99", MODERN)).await;
        assert_eq!((answer.status(), &answer.json()["id"]), (200, &99.into()));
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for caller in callers {
        answered += caller.await.unwrap();
    }
    assert!(backend.calls() < answered, "{} calls for {answered} discovers", backend.calls());
    assert!(guard.metric(r#"mcp_guard_discover_kept_total{slot="blue"}"#).await >= 1.0);
}

#[tokio::test]
async fn over_its_rate_a_discover_gets_the_last_response_with_its_own_id() {
    let folder = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&folder.path().join("b.sock"));
    let tokens = client("bot", "rate = \"1/h\"") + &client("second", "");
    let guard = guard().tokens(&tokens).upstream(backend.address()).start().await;
    let mut connection = guard.connect().await;
    let first = connection.exchange(discover("bot", "1", MODERN)).await;
    for id in ["2", "\"a b\"", "-7", "\"\\u0041\""] {
        let answer = connection.exchange(discover("bot", id, MODERN)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.text(),
            first.text().replace("\"id\":1", &format!("\"id\":{id}")),
            "but for the id"
        );
        assert_eq!(answer.field("content-type"), first.field("content-type"));
        assert!(answer.field("x-request-id").is_some() && answer.field("date").is_some());
    }
    assert_eq!(backend.calls(), 1);
    // There is nothing kept for another version: then the backend gets the request, whatever the rate says.
    let other = connection.exchange(discover("bot", "3", "2025-11-25")).await;
    assert_eq!((other.status(), backend.calls()), (200, 2));
    // A client within its rate gets a response of its own.
    assert_eq!(guard.connect().await.exchange(discover("second", "4", MODERN)).await.status(), 200);
    assert_eq!(backend.calls(), 3);
}

#[tokio::test]
async fn only_a_complete_valid_response_without_a_session_is_cached() {
    let answer = |id: &str, rest: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},{rest}}}"#);
    let failed = answer("1", r#""error":{"code":-32603,"message":"oops"}"#);
    // One client's faulty request must not decide another one's response.
    let asked_wrongly = answer("1", r#""error":{"code":-32602,"message":"bad params"}"#);
    let good = answer("1", r#""result":{}"#);
    let session = ok(&good).replace("Content-Type", "Mcp-Session-Id: s\r\nContent-Type");
    for reply in [
        ok(&failed),
        ok(&asked_wrongly),
        session,
        ok(&answer("1", &format!(r#""result":{{"x":"{}"}}"#, "x".repeat(70_000)))),
    ] {
        let backend = backend().await.serve(move |_| reply.clone());
        let guard = guard().tokens(&client("bot", "rate = \"1/h\"")).upstream(&backend).start().await;
        let mut connection = guard.connect().await;
        for _ in 0..3 {
            assert_eq!(connection.exchange(discover("bot", "1", MODERN)).await.status(), 200);
        }
        assert_eq!(backend.requests(), 3, "each asked for itself");
    }
}
