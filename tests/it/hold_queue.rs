//! Contract, sections 7 and 13: calls are held while no backend can be reached, and nothing is executed twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use mcp_testkit::{
    Message, SPAWNING, backend, backend_at, backend_on_tcp, call, eventually, in_time, ok, post, result,
};

use crate::guard;

fn id_of(request: &Message) -> u64 {
    request.json()["id"].as_u64().unwrap()
}

#[tokio::test]
async fn a_call_is_held_until_the_backend_comes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.sock");
    let address = format!("unix:{}", path.display());
    let guard = guard().token("t").upstream(address.as_str()).start().await;
    let mut clients = Vec::new();
    for id in 0..20 {
        let mut client = guard.connect().await;
        client.send(post("t", "", &call(id, "tools/call"))).await;
        clients.push(client);
    }
    eventually("calls are held", || async { guard.metric(r#"mcp_guard_held{slot="blue"}"#).await == 20.0 })
        .await;
    let backend = backend_at(&path).serve(|request| ok(&result(id_of(request))));
    for (id, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().await.json()["result"]["content"], serde_json::json!([]), "{id}");
    }
    assert_eq!(backend.requests(), 20);
}

#[tokio::test]
async fn more_calls_than_may_be_held_are_refused_at_once() {
    let config = "[limits]\nheld = 1\n[timeouts]\nhold = \"20s\"";
    let guard = guard().token("t").config(config).start().await;
    let mut held = guard.connect().await;
    held.send(post("t", "", &call(1, "tools/call"))).await;
    eventually("a call is held", || async { guard.metric(r#"mcp_guard_held{slot="blue"}"#).await == 1.0 })
        .await;
    let json = guard.post(&call(2, "tools/call")).await.json();
    assert_eq!(json["error"]["data"]["reason"], "backend_refused");
    assert_eq!(json["error"]["data"]["executed"], "no");
}

// "No request fails during .. backend restart": zero failed requests, none executed twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_can_be_restarted_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.sock");
    let seen: Arc<Mutex<HashMap<u64, u32>>> = Arc::default();
    let start = || {
        let seen = seen.clone();
        backend_at(&path).serve(move |request| {
            let id = id_of(request);
            *seen.lock().unwrap().entry(id).or_default() += 1;
            ok(&result(id))
        })
    };
    let mut serving = start();
    let guard = Arc::new(guard().token("t").upstream(&serving).start().await);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let workers: Vec<_> = (0..8_u64)
        .map(|worker| {
            let (guard, stop) = (guard.clone(), stop.clone());
            tokio::spawn(async move {
                let mut client = guard.connect().await;
                let mut count = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let id = worker * 1_000_000 + count;
                    // Reads may be repeated, so that an unlucky moment of the restart shows only if a rule is broken.
                    let answer = client.exchange(post("t", "", &call(id, "tools/list"))).await;
                    assert_eq!(answer.json()["id"], id, "{}", answer.text());
                    assert!(answer.json().get("error").is_none(), "{}", answer.text());
                    count += 1;
                }
                count
            })
        })
        .collect();
    for _ in 0..5 {
        let before = serving.requests();
        eventually("traffic flows", || std::future::ready(serving.requests() > before + 50)).await;
        serving.stop().await;
        std::fs::remove_file(&path).unwrap();
        eventually("calls are held", || async {
            guard.metric(r#"mcp_guard_held{slot="blue"}"#).await >= 8.0
        })
        .await;
        serving = start();
    }
    let before = serving.requests();
    eventually("traffic flows", || std::future::ready(serving.requests() > before + 50)).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut total = 0;
    for worker in workers {
        total += in_time("a worker ends", worker).await.unwrap();
    }
    assert!(total > 300, "{total}");
}

// "once one byte was sent, only `initialize`, `ping`, `*/list`, `server/discover` may be repeated. `tools/call` never is."
#[tokio::test]
async fn a_call_whose_backend_goes_away_is_not_sent_again_but_a_read_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.sock");
    let mut backend = backend_at(&path);
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    for (id, method) in [(1, "tools/call"), (2, "tools/list")] {
        client.send(post("t", "", &call(id, method))).await;
        let mut peer = backend.accept().await;
        assert_eq!(id_of(&peer.request().await), id);
        drop(backend);
        std::fs::remove_file(&path).unwrap();
        drop(peer);
        backend = backend_at(&path);
        if method == "tools/call" {
            let json = client.response().await.json();
            assert_eq!((&json["error"]["code"], &json["id"]), (&(-31502).into(), &1.into()));
            assert_eq!(json["error"]["data"]["executed"], "unknown");
        }
    }
    let mut successor = backend.accept().await;
    assert_eq!(id_of(&successor.request().await), 2);
    successor.send(ok(&result(2))).await;
    assert_eq!(client.response().await.json()["id"], 2);
    assert_eq!(guard.metric(r#"mcp_guard_retries_total{reason="repeatable",slot="blue"}"#).await, 1.0);
}

// Contract, section 7: "once one byte was sent, only `initialize`, `ping`, `*/list`, `server/discover` may be repeated.
// `tools/call` never is." A ping is not: it checks whether the backend responds.
#[tokio::test]
async fn a_call_whose_live_backend_hangs_up_is_retried_once_if_it_is_repeatable() {
    for method in ["tools/list", "initialize", "resources/list"] {
        let backend = backend().await;
        let guard = guard().token("t").upstream(&backend).start().await;
        let mut client = guard.connect().await;
        client.send(post("t", "", &call(1, method))).await;
        assert_eq!(id_of(&backend.accept().await.request().await), 1);
        // The connection that shows that the backend lives carries the second try.
        let mut peer = backend.accept().await;
        assert_eq!(id_of(&peer.request().await), 1, "{method}");
        peer.send(ok(&result(1))).await;
        assert_eq!(client.response().await.json()["id"], 1, "{method}");
        assert_eq!(guard.metric(r#"mcp_guard_retries_total{reason="repeatable",slot="blue"}"#).await, 1.0);
        // Not a third time.
        client.send(post("t", "", &call(2, method))).await;
        assert_eq!(id_of(&peer.request().await), 2);
        drop(peer);
        assert_eq!(id_of(&backend.accept().await.request().await), 2);
        assert_eq!(client.response().await.json()["error"]["data"]["reason"], "backend_reset", "{method}");
    }
}

#[tokio::test]
async fn a_call_that_may_act_is_never_sent_twice_to_a_live_backend_that_hangs_up() {
    // Where the response has begun, even a read is not sent again.
    for (method, begun) in [("tools/call", ""), ("ping", ""), ("tools/list", "HTTP/1.1 200 OK\r\n")] {
        let backend = backend().await;
        let guard = guard().token("t").upstream(&backend).start().await;
        let mut client = guard.connect().await;
        client.send(post("t", "", &call(1, method))).await;
        let mut peer = backend.accept().await;
        assert_eq!(id_of(&peer.request().await), 1);
        peer.send(begun).await;
        drop(peer);
        assert_eq!(client.response().await.json()["error"]["data"]["reason"], "backend_reset", "{method}");
        assert_eq!(guard.metric(r#"mcp_guard_retries_total{reason="repeatable",slot="blue"}"#).await, 0.0);
    }
}

// A pooled connection that the backend has closed meanwhile: nothing was sent, so even a call goes again.
#[tokio::test]
async fn a_dead_pooled_connection_is_never_noticed() {
    for tcp in [false, true] {
        let backend = if tcp { backend_on_tcp().await } else { backend().await };
        let guard = guard().token("t").upstream(&backend).start().await;
        let mut client = guard.connect().await;
        let _no_spawn = SPAWNING.lock().await;
        for id in 0..50 {
            client.send(post("t", "", &call(id, "tools/call"))).await;
            let mut peer = backend.accept().await;
            assert_eq!(id_of(&peer.request().await), id);
            peer.send(ok(&result(id))).await;
            assert_eq!(client.response().await.json()["id"], id);
            drop(peer);
            if tcp {
                // The end of a TCP connection has to arrive before it can be known.
                let idle =
                    || async { guard.metric(r#"mcp_guard_upstream_idle_connections{slot="blue"}"#).await };
                eventually("the closed connection is reaped", || async { idle().await == 0.0 }).await;
                if id == 2 {
                    break;
                }
            }
        }
    }
}
