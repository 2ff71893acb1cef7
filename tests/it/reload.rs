//! Contract, section 4: "Reload (SIGHUP or admin `reload`) swaps config and tokens atomically; a bad file is refused with
//! every problem listed, and the running one stays." Section 13: "No request fails during reload".

use std::sync::Arc;

use mcp_testkit::{Load, Message, backend, call, eventually, mcp_backend, ok, post, result};

use crate::guard;
use crate::limits::{client, tool_call};

#[tokio::test]
async fn a_bad_file_leaves_the_running_one_in_force_with_every_problem_listed() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard = guard().tokens(&client("bot", "")).admin().upstream(&backend).start().await;
    guard.set_tokens(&(client("bot", "rate = \"fast\"") + &client("new", "tools = 5")));
    guard.edit("[auth]", "[limits]\nin_flight = 0\n[auth]");
    let typed = guard.command("reload").await;
    assert_eq!(typed.code, 1, "{typed:?}");
    for problem in ["limits.in_flight: 0 is not allowed", "clients.bot.rate", "clients.new.tools"] {
        assert!(typed.stdout.contains(problem), "{problem}: {typed:?}");
    }
    assert!(typed.stderr.contains("not reloaded: 3 problems"), "{typed:?}");
    let ask = |token: &'static str| {
        let guard = &guard;
        async move { guard.connect().await.exchange(post(token, "", &call(1, "ping"))).await.status() }
    };
    assert_eq!((ask("bot").await, ask("new").await), (200, 403));

    guard.edit("in_flight = 0", "in_flight = 3");
    guard.set_tokens(&client("new", ""));
    assert!(guard.command_ok("reload").await.contains("reloaded: 1 clients"));
    assert_eq!((ask("bot").await, ask("new").await), (403, 200));
    assert_eq!(guard.metric(r#"mcp_guard_reloads_total{outcome="refused"}"#).await, 1.0);
    assert_eq!(guard.metric(r#"mcp_guard_reloads_total{outcome="done"}"#).await, 1.0);
}

#[tokio::test]
async fn what_cannot_change_is_named_and_everything_else_changes() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard = guard().token("t").admin().upstream(&backend).listen("threads = 1").start().await;
    guard.edit("threads = 1", "threads = 2");
    guard.edit("metrics = \"127.0.0.1:0\"", "metrics = \"off\"");
    guard.edit("state = \"state\"", "state = \"elsewhere\"");
    guard.edit(
        "[slots.blue]",
        "[paths]\nprefixes = [\"/only\"]\n[log]\nlevel = \"warn\"\nformat = \"text\"\n[errors]\nmode = \"http\"\n\
         [origin]\nhosts = [\"mcp.example\"]\n[slots.blue]",
    );
    let said = guard.command_ok("reload").await;
    for key in ["listen.threads", "listen.metrics", "listen.state"] {
        assert!(
            said.contains(&format!("{key}: what changed here takes effect at the next start or upgrade")),
            "{said}"
        );
    }
    assert!(!said.contains("listen.address") && !said.contains("listen.admin"), "{said}");
    let gone = guard.post(&call(1, "ping")).await;
    assert_eq!(gone.status(), 404);
    let request =
        post("t", "", &call(1, "ping")).replace("/mcp", "/only").replace("localhost", "mcp.example");
    assert_eq!(guard.connect().await.exchange(request).await.status(), 200);
    eventually("the log is for people now", || async {
        guard.log().iter().any(|line| line.contains("client=default") && line.contains(" status=200"))
    })
    .await;
    let informed = |line: &String| line.contains("reloaded: ");
    assert!(!guard.log().iter().any(informed), "the level changed before the end of the reload was told");
}

// "everything in the config that can change at run time does, atomically"
#[tokio::test]
async fn slots_routes_limits_deadlines_versions_and_tools_change_and_change_back() {
    let answer = |request: &Message, from: &str| {
        let id = request.try_id().unwrap_or_default();
        ok(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"from":"{from}","content":[]}}}}"#))
    };
    let first = backend().await.serve(move |request| answer(request, "first"));
    let second = backend().await.serve(move |request| answer(request, "second"));
    let guard = guard().token("t").admin().upstream(&first).start().await;
    let before = std::fs::read_to_string(guard.config()).unwrap();
    let file = "GET /files/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let large = call(1, &"x".repeat(400));
    let newer = "MCP-Protocol-Version: 2025-11-25\r\n";
    for _ in 0..2 {
        assert_eq!(guard.post(&call(1, "ping")).await.json()["result"]["from"], "first");
        assert_eq!(guard.connect().await.exchange(file).await.status(), 405, "no route leads there");
        assert_eq!(
            (guard.post(&large).await.status(), guard.post_with(newer, &call(1, "ping")).await.status()),
            (200, 200)
        );
        assert!(guard.post(&tool_call(1, "echo")).await.json().get("result").is_some());

        guard.edit(first.address(), second.address());
        guard.edit(
            "[slots.blue]",
            "[limits]\nbody_bytes = 300\n[limits.tools.echo]\nrate = \"1/h\"\n[protocol]\nmax_version = \"2025-06-18\"\n\
             [timeouts]\ntotal = \"20s\"\n[[route]]\nname = \"files\"\nprefix = \"/files\"\nslot = \"stable\"\nauth = \"none\"\n\
             [slots.blue]",
        );
        assert!(!guard.command_ok("reload").await.contains("next start"), "all of it changes");
        assert_eq!(
            guard.post(&call(1, "ping")).await.json()["result"]["from"],
            "second",
            "the slot leads elsewhere"
        );
        assert_eq!(guard.connect().await.exchange(file).await.status(), 200);
        assert_eq!(
            (guard.post(&large).await.status(), guard.post_with(newer, &call(1, "ping")).await.status()),
            (413, 400)
        );
        let _ = guard.post(&tool_call(1, "echo")).await;
        assert_eq!(guard.post(&tool_call(1, "echo")).await.json()["error"]["data"]["reason"], "rate_limited");

        std::fs::write(guard.config(), &before).unwrap();
        guard.command_ok("reload").await;
    }
}

#[tokio::test]
async fn a_call_under_way_finishes_on_what_it_began_with_and_is_still_counted() {
    let backend = backend().await;
    let config = "[limits]\nin_flight = 1\n[timeouts]\nwaiting = \"200ms\"";
    let guard = guard().token("t").admin().upstream(&backend).config(config).start().await;
    let mut first = guard.connect().await;
    first.send(post("t", "", &call(1, "tools/call"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    guard.edit("waiting = \"200ms\"", "waiting = \"201ms\"\ntotal = \"1ms\"");
    guard.edit("[slots.blue]", "[slots.blue]\nhost = \"localhost:81\"");
    guard.command_ok("reload").await;
    // The place is still taken, although everything about the slot has changed.
    let refused = guard.post(&call(2, "tools/call")).await.json();
    assert!(refused["error"]["code"] == -31503 || refused["error"]["code"] == -31504, "{refused}");
    assert_eq!(guard.metric(r#"mcp_guard_in_flight{slot="blue"}"#).await, 1.0);
    peer.send(ok(&result(1))).await;
    assert_eq!(first.response().await.json()["id"], 1);
}

#[tokio::test]
async fn what_was_used_of_a_rate_outlives_a_reload_for_a_client_that_stays() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let tokens = client("bot", "rate = \"2/h\"");
    let limits = "[limits.tools.rare]\nrate = \"1/h\"";
    let guard = guard().tokens(&tokens).config(limits).admin().upstream(&backend).start().await;
    let called = |tool: &'static str| {
        let guard = &guard;
        async move { guard.connect().await.exchange(post("bot", "", &tool_call(1, tool))).await.json() }
    };
    assert!(called("rare").await.get("result").is_some());
    guard.set_tokens(&(client("a-new-one", "") + &tokens));
    guard.edit("[limits.tools.rare]", "[limits.tools.another]\nrate = \"1/h\"\n[limits.tools.rare]");
    guard.command_ok("reload").await;
    assert_eq!(called("rare").await["error"]["data"]["reason"], "rate_limited");
    assert!(called("other").await.get("result").is_some());
    assert_eq!(called("other").await["error"]["data"]["reason"], "rate_limited", "two in an hour");
}

// "test: 50 reloads under load, zero failures"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_under_load_fail_no_call() {
    let directory = tempfile::tempdir().unwrap();
    let backend = mcp_backend(&directory.path().join("b.sock"));
    let tokens = client("some", "rate = \"5/s\"");
    let guard = guard().token("t").tokens(&tokens).admin().upstream(backend.address()).start().await;
    let guard = Arc::new(guard);
    let load = Load::start(&guard, 4);
    let (mut made, mut pool) = (0, 32);
    for number in 0..50_u32 {
        // Every second one changes something about everything, alternately by command and by signal.
        guard.set_tokens(&client("some", &format!("rate = \"{}/s\"", number + 1)));
        let line = format!("pool = {}", 8 + number % 7);
        let old = format!("pool = {pool}");
        if number == 0 {
            guard.edit("[slots.blue]\n", &format!("[slots.blue]\n{line}\n"));
        } else {
            guard.edit(&old, &line);
        }
        pool = 8 + number % 7;
        if number % 2 == 0 {
            guard.command_ok("reload").await;
        } else {
            guard.signal(rustix::process::Signal::HUP);
        }
        let done = f64::from(number + 1);
        eventually("it is reloaded", || async {
            guard.metric(r#"mcp_guard_reloads_total{outcome="done"}"#).await >= done
        })
        .await;
        let before = made;
        eventually("calls go on", || {
            made = load.made();
            std::future::ready(made > before)
        })
        .await;
    }
    let (made, told) = load.stop().await;
    assert!(told.is_empty(), "{told:?}");
    assert!(made >= 50, "{made}");
    assert_eq!(guard.metric(r#"mcp_guard_reloads_total{outcome="refused"}"#).await, 0.0);
}
