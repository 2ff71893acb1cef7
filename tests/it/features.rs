//! Contract, section 21: "Disable a feature without a rollback: `mcp-guard feature list|off NAME|on NAME` for what may be
//! switched at run time (a tool or pattern, a client, a route, shadow, the era fence); kept across restarts, shown in
//! `status`, audited".

use serde_json::{Value, json};

use mcp_testkit::{
    Guard, Message, ServingBackend, backend, call, eventually, mcp_backend, ok, old_mcp_backend, post,
};

use crate::guard;
use crate::limits::{client, tool_call};
use crate::rollout::QUICK;

const LIST: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"jobs_kill"},{"name":"jobs_list"}]}}"#;
const LEFT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"jobs_list"}]}}"#;
const UNKNOWN: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool"}}"#;
const MODERN: &str = "MCP-Protocol-Version: 2026-07-28\r\n";

/// Two clients, and one that is shown every tool it may not call.
async fn started() -> (Guard, ServingBackend) {
    let backend = backend().await.serve(|request| {
        let is_list = request.json()["method"] == "tools/list";
        if is_list { ok(LIST) } else { ok(&mcp_testkit::result(7)) }
    });
    let tokens = client("bot", "") + &client("batch", "") + &client("full", "tools_list = \"full\"");
    let guard = guard().tokens(&tokens).admin().upstream(&backend).start().await;
    (guard, backend)
}

async fn send(guard: &Guard, token: &str, fields: &str, body: &str) -> Message {
    guard.connect().await.exchange(post(token, fields, body)).await
}

fn modern(method: &str, params: &Value) -> (String, String) {
    let mut params = params.clone();
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let name = params["name"].as_str().map_or(String::new(), |name| format!("Mcp-Name: {name}\r\n"));
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    (format!("{MODERN}Mcp-Method: {method}\r\n{name}"), body.to_string())
}

/// Whether the tool `jobs_kill` is off, as clients of both eras see it.
async fn check_kill(guard: &Guard, is_off: bool) {
    for token in ["bot", "full"] {
        let listed = send(guard, token, "", &call(1, "tools/list")).await;
        assert_eq!(listed.text(), if is_off { LEFT } else { LIST }, "{token}");
        let called = send(guard, token, "", &tool_call(7, "jobs_kill")).await;
        assert_eq!((called.status(), called.text() == UNKNOWN), (200, is_off), "{}", called.text());
        let (fields, body) = modern("tools/call", &json!({"name": "jobs_kill", "arguments": {}}));
        let called = send(guard, token, &fields, &body).await;
        assert_eq!((called.status(), called.text() == UNKNOWN), (200, is_off), "{}", called.text());
        let (fields, body) = modern("tools/list", &json!({}));
        let listed = send(guard, token, &fields, &body).await;
        assert_eq!(listed.text(), if is_off { LEFT } else { LIST }, "{token}");
    }
    let other = send(guard, "bot", "", &tool_call(7, "jobs_list")).await;
    assert!(other.json().get("result").is_some(), "{}", other.text());
}

async fn off(guard: &Guard) -> Vec<String> {
    let status: Value = serde_json::from_str(&guard.command_ok("status --json").await).unwrap();
    let off = status["features"]["off"].as_array().unwrap();
    off.iter().map(|change| change["feature"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_tool_that_is_off_does_not_exist_for_any_client_over_reload_and_restart() {
    let (mut guard, _backend) = started().await;
    check_kill(&guard, false).await;
    let typed = guard.command("feature off tool:jobs_k* --reason ticket-4711").await;
    assert_eq!((typed.code, typed.stdout.as_str()), (0, "tool:jobs_k* is off\n"), "{typed:?}");
    check_kill(&guard, true).await;
    guard.logged("features: tool:jobs_k* is off, by uid ").await;
    guard.logged("ticket-4711").await;
    let status = guard.command_ok("status").await;
    assert!(status.contains("off         tool:jobs_k*  (since 20"), "{status}");

    // An operator may be editing the file: a switch does not need it.
    guard.edit("[auth]", "[limits]\nin_flight = 0\n[auth]");
    guard.command_ok("feature off client:batch").await;
    guard.edit("in_flight = 0", "in_flight = 3");
    guard.command_ok("reload").await;
    check_kill(&guard, true).await;
    guard.kill_and_start_again().await;
    check_kill(&guard, true).await;
    assert_eq!(off(&guard).await, ["tool:jobs_k*", "client:batch"]);

    guard.command_ok("feature on tool:jobs_k*").await;
    check_kill(&guard, false).await;
    guard.kill_and_start_again().await;
    check_kill(&guard, false).await;
    assert_eq!(off(&guard).await, ["client:batch"]);
    let history = guard.command_ok("feature list --history").await;
    assert!(history.contains("ticket-4711") && history.contains("client:batch"), "{history}");
}

// "a client switched off gets 403 as an unknown token does"
#[tokio::test]
async fn a_client_that_is_off_gets_the_response_of_an_unknown_token() {
    let (guard, _backend) = started().await;
    let unknown = send(&guard, "nobody", "", &call(1, "tools/list")).await;
    assert_eq!(send(&guard, "batch", "", &call(1, "tools/list")).await.status(), 200);
    let kept = &mut guard.connect().await;
    assert_eq!(kept.exchange(post("batch", "", &call(1, "tools/list"))).await.status(), 200);
    guard.command_ok("feature off client:batch").await;
    let refused = kept.exchange(post("batch", "", &call(1, "tools/list"))).await;
    assert_eq!((refused.status(), refused.text()), (403, unknown.text()));
    assert_eq!(send(&guard, "bot", "", &call(1, "tools/list")).await.status(), 200);
    guard.command_ok("feature on client:batch").await;
    assert_eq!(send(&guard, "batch", "", &call(1, "tools/list")).await.status(), 200);
}

#[tokio::test]
async fn a_route_that_is_off_is_as_shut_as_one_that_is_not_configured() {
    let tools = backend().await.serve(|_| ok(&mcp_testkit::result(1)));
    let rest = backend().await;
    let route = format!(
        "[[route]]\nname = \"api\"\nprefix = \"/api\"\naddress = \"{}\"\nauth = \"none\"",
        rest.address()
    );
    let _rest = rest.serve(|_| ok("{}"));
    let guard = guard().token("t").admin().upstream(&tools).config(&route).start().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let status = async |path: &str| guard.connect().await.exchange(get(path)).await.status();
    let shut = status("/elsewhere").await;
    assert_eq!(status("/api/x").await, 200);
    assert!(guard.command_ok("feature list").await.contains("route:api"));
    guard.command_ok("feature off route:api").await;
    assert_eq!(status("/api/x").await, shut);
    assert_eq!(guard.post(&call(1, "tools/list")).await.status(), 200);
    guard.command_ok("feature on route:api").await;
    assert_eq!(status("/api/x").await, 200);
}

#[tokio::test]
async fn the_era_fence_and_shadow_go_off_during_a_rollout() {
    const PLAN: &str = "[gate]\nparity = false\n[[step]]\nstage = \"shadow\"\nhold = \"1h\"\n\
                        [[step]]\nstage = \"canary\"\nweight = 50\nhold = \"1h\"\n";
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) =
        (old_mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let pair = guard().token("t").upstream(blue.address()).rollout(green.address(), PLAN).config(QUICK);
    let guard = pair.start().await;
    guard.both_healthy().await;
    guard.command_ok("rollout start").await;
    guard.post(&call(1, "ping")).await;
    eventually("a call is copied", || async { green.copies() == 1 }).await;
    guard.command_ok("feature off shadow").await;
    for _ in 0..5 {
        guard.post(&call(1, "ping")).await;
    }
    guard.command_ok("feature on shadow").await;
    guard.post(&call(1, "ping")).await;
    eventually("the last call is copied", || async { green.copies() == 2 }).await;

    // Whether a backend gets a request of the newer version; the old one refuses it, too.
    let reaches = async || {
        let before = blue.calls() + green.calls();
        let (fields, body) = modern("server/discover", &json!({}));
        guard.post_with(&fields, &body).await;
        blue.calls() + green.calls() > before
    };
    guard.command_ok("rollout promote").await;
    assert!(!reaches().await, "fenced");
    guard.command_ok("feature off era-fence").await;
    assert!(reaches().await);
    guard.command_ok("feature on era-fence").await;
    assert!(!reaches().await);
}

#[tokio::test]
async fn a_feature_that_is_not_there_is_refused_with_what_is() {
    let (guard, _backend) = started().await;
    for (name, code, said) in [
        ("client:nobody", 1, "no client is named nobody"),
        ("route:api", 1, "no route is named api"),
        ("nonsense", 64, "`nonsense` is no feature (hint: tool:NAME-or-pattern"),
    ] {
        let typed = guard.command(&format!("feature off {name}")).await;
        assert_eq!(typed.code, code, "{typed:?}");
        assert!(typed.stderr.contains(said), "{typed:?}");
    }
    // What is not there cannot be told from what no backend has listed yet.
    let typed = guard.command("feature off tool:no_such").await;
    assert!(typed.code == 0 && typed.stderr.contains("matches no_such"), "{typed:?}");
    let twice = guard.command("feature off tool:no_such").await;
    assert!(twice.code == 0 && twice.stderr.contains("was off already"), "{twice:?}");
    guard.command_ok("feature on tool:no_such").await;
    assert!(off(&guard).await.is_empty());
}

// "never guessed when damaged"
#[tokio::test]
async fn a_damaged_file_switches_nothing_and_is_shown_and_kept() {
    let (mut guard, _backend) = started().await;
    guard.command_ok("feature off tool:jobs_kill").await;
    let file = guard.state().join("features.state");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    guard.kill_and_start_again().await;
    check_kill(&guard, false).await;
    let status = guard.command("status").await;
    assert!(status.stderr.contains("features.state is damaged"), "{status:?}");
    guard.command_ok("feature off tool:jobs_kill").await;
    assert_eq!(guard.command("status").await.stderr, "");
    assert_eq!(std::fs::read(file.with_extension("state.refused")).unwrap(), bytes);
    guard.kill_and_start_again().await;
    check_kill(&guard, true).await;
    // From the second switch on, what was off before the last one is known.
    guard.command_ok("feature off shadow").await;
    std::fs::write(&file, "x").unwrap();
    guard.kill_and_start_again().await;
    check_kill(&guard, true).await;
    let status = guard.command("status").await;
    assert!(status.stderr.contains("what was off before the last switch"), "{status:?}");
}
