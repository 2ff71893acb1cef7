//! Contract, section 19: "`mcp-guard explain` [..]: which check decides and why, which limits apply, which slot and why; nothing is
//! sent". What is explained is compared with what the guard then does with the same bytes.

use serde_json::{Value, json};

use mcp_testkit::{
    Builder, Guard, backend, call, eventually, mcp_backend, ok, old_mcp_backend, post, result,
};

use crate::guard;
use crate::limits::{client, tool_call};

const MODERN: &str = "MCP-Protocol-Version: 2026-07-28\r\n";
/// Health checks that see the slots, and a split by client.
const STICKY: &str = "[health]\ninterval = \"500ms\"\ntimeout = \"500ms\"\nrise = 1\n";
/// A step that ends only by command.
const CANARY: &str = "[clients]\ncandidate = [\"early\"]\nstable = [\"late\"]\n[gate]\nparity = false\n\
                      [[step]]\nstage = \"canary\"\nweight = 50\nhold = \"1h\"\n[[step]]\nstage = \"bake\"\nhold = \"1h\"\n";

/// What a guard says of a saved request.
pub(crate) async fn explained(guard: &Guard, words: &str, request: &str) -> Value {
    let typed = guard.command_with_input(&format!("explain --json {words}"), request).await;
    let found: Value = serde_json::from_str(&typed.stdout).unwrap_or_else(|_| panic!("{typed:?}"));
    let refused = found["verdict"]["outcome"] == "refused";
    assert_eq!(typed.code, i32::from(refused), "{typed:?}");
    found
}

/// The check that decides; none where the request passes.
pub(crate) fn decider(found: &Value) -> &str {
    let checks = found["checks"].as_array().unwrap();
    let decides: Vec<&Value> = checks.iter().filter(|check| check["result"] == "decides").collect();
    assert!(decides.len() <= 1, "{checks:?}");
    let at = checks.iter().position(|check| check["result"] == "decides").unwrap_or(checks.len());
    assert!(checks[..at].iter().all(|check| check["result"] == "passed"), "{checks:?}");
    let rest = checks.get(at + 1..).unwrap_or_default();
    assert!(rest.iter().all(|check| check["result"] == "not_reached"), "{checks:?}");
    decides.first().map_or("", |check| check["check"].as_str().unwrap())
}

/// The row of a limit.
pub(crate) fn limit(found: &Value, name: &str) -> Value {
    let limits = found["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["limit"] == name).cloned().unwrap_or_default()
}

/// A guard with clients of every kind, of which nothing is used yet.
async fn with_clients(more: &str) -> (Guard, mcp_testkit::ServingBackend) {
    let backend = backend().await.serve(|request| ok(&result(request.json()["id"].as_u64().unwrap_or(1))));
    let tokens = client("bot", "")
        + &client("narrow", "tools = [\"jobs_*\"]\ndeny_tools = [\"jobs_kill*\"]")
        + &client("reader", "read_only = true")
        + &client("old", "not_after = 2020-01-01")
        + &client("gone", "");
    let limits = format!("[limits]\nbody_bytes = 1000\n[tools]\nread_only = [\"jobs_list\"]\n{more}");
    let guard = guard().tokens(&tokens).admin().config(&limits).upstream(&backend).start().await;
    guard.command_ok("feature off client:gone").await;
    guard.command_ok("feature off tool:jobs_purge").await;
    (guard, backend)
}

fn modern_call(tool: &str, name: &str) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params":
        {"name": tool, "arguments": {}, "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}});
    post("bot", &format!("{MODERN}Mcp-Method: tools/call\r\nMcp-Name: {name}\r\n"), &body.to_string())
}

fn chunked(body: &str) -> String {
    let head = post("bot", "", body).replacen(body, "", 1);
    let head = head.replacen(&format!("Content-Length: {}", body.len()), "Transfer-Encoding: chunked", 1);
    format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// One request for each check that can refuse it: the check, the code, and the bytes.
fn refused() -> Vec<(&'static str, &'static str, String)> {
    let list = call(7, "tools/list");
    let to = |token: &str, tool: &str| post(token, "", &tool_call(7, tool));
    let good = post("bot", "", &list);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    vec![
        ("framing", "framing_bare_lf", good.replacen("\r\n", "\n", 1)),
        (
            "framing",
            "framing_length_conflict",
            good.replacen("Host", "Transfer-Encoding: chunked\r\nHost", 1),
        ),
        ("oauth probe", "oauth_metadata", get("/.well-known/oauth-authorization-server")),
        ("http method", "method_not_allowed", get("/mcp")),
        (
            "origin and host",
            "origin_not_allowed",
            good.replacen("Host", "Origin: https://evil.test\r\nHost", 1),
        ),
        ("origin and host", "host_not_allowed", good.replacen("Host: localhost", "Host: evil.test", 1)),
        ("credential", "authorization_missing", good.replacen("Authorization", "X-Nothing", 1)),
        ("credential", "token_invalid", post("nobody", "", &list)),
        ("credential", "token_expired", post("old", "", &list)),
        ("client switched off", "token_invalid", post("gone", "", &list)),
        ("path", "path_not_found", good.replacen("POST /mcp", "POST /mcpx", 1)),
        ("header fields", "content_type", good.replacen("application/json", "text/plain", 1)),
        ("framing", "framing_space_before_colon", "POST /mcp HTTP/1.1\r\nHost : a\r\n".to_owned()),
        ("body", "body_too_large", to("bot", &"x".repeat(1_000))),
        // One that comes in chunks is read on for its call, within bounds.
        ("body", "body_too_large", chunked(&tool_call(7, &"x".repeat(1_000)))),
        ("body", "body_too_large", chunked(&tool_call(7, &"x".repeat(9_000)))),
        ("json", "scan_syntax", post("bot", "", "hello")),
        ("json", "scan_missing_id", post("bot", "", r#"{"jsonrpc":"2.0","method":"ping"}"#)),
        ("protocol version", "era_header_mismatch", modern_call("echo", "other")),
        ("method and tool", "unknown_tool", to("narrow", "other")),
        ("method and tool", "unknown_tool", to("narrow", "jobs_kill_all")),
        ("method and tool", "unknown_tool", to("reader", "jobs_start")),
        ("method and tool", "unknown_method", post("narrow", "", &call(7, "workflow/start"))),
        ("tool switched off", "unknown_tool", to("bot", "jobs_purge")),
    ]
}

#[tokio::test]
async fn explain_names_the_check_that_refuses_and_the_guard_does_as_it_says() {
    let (guard, backend) = with_clients("").await;
    for (check, code, request) in refused() {
        let found = explained(&guard, "--request -", &request).await;
        assert_eq!((decider(&found), found["verdict"]["code"].as_str()), (check, Some(code)), "{found:#}");
        let real = guard.connect().await.exchange(&request).await;
        assert_eq!(found["verdict"]["status"], real.status(), "{check} {code}: {}", real.text());
        let id = real.field("x-request-id").unwrap();
        let logged = guard.log_line(|line| line["request_id"] == id).await;
        assert_eq!((&logged["denial"], &logged["status"]), (&json!(code), &json!(real.status())), "{logged}");
    }
    assert_eq!(backend.requests(), 0, "nothing was sent");
    for (line, outcome, check) in [
        ("GET /health", "answered", "health"),
        ("GET /ready", "answered", "ready"),
        ("OPTIONS /mcp", "answered", "preflight"),
    ] {
        let fields = "Host: localhost\r\nOrigin: http://localhost\r\nAccess-Control-Request-Method: POST\r\n";
        let found = explained(&guard, "--request -", &format!("{line} HTTP/1.1\r\n{fields}\r\n")).await;
        assert_eq!((&found["verdict"]["outcome"], decider(&found)), (&json!(outcome), check), "{found:#}");
    }
}

#[tokio::test]
async fn explain_says_why_a_tool_is_refused_and_what_is_switched_off() {
    let (guard, _backend) = with_clients("").await;
    for (words, why) in [
        ("--client narrow --tool other", "no pattern of the client's `tools` allows it"),
        ("--client narrow --tool jobs_kill_all", "a pattern of the client's `deny_tools` denies it"),
        ("--client reader --tool jobs_start", "not known to change nothing"),
        ("--client reader --method logging/setLevel", "the method changes something"),
        ("--client bot --method Tools/Call", "a backend could read the method as another one"),
        ("--client bot --tool jobs_purge", "switched off by tool:jobs_purge"),
        ("--client gone --tool jobs_list", "the client is switched off"),
        ("--client old --tool jobs_list", "its `not_after` has passed"),
    ] {
        let found = explained(&guard, words, "").await;
        let said = found["verdict"]["why"].as_str().unwrap();
        assert!(said.contains(why), "{words}: {said}");
    }
    let off = explained(&guard, "--client bot --tool jobs_purge", "").await;
    assert_eq!(off["off"][0]["feature"], "tool:jobs_purge", "{off:#}");
    let text = guard.command("explain --client bot --tool jobs_purge").await;
    for part in [
        "NO.",
        "14   tool switched off",
        "DECIDES",
        "off       tool:jobs_purge",
        "refused with 200 unknown_tool",
    ] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    let empty = guard.command_with_input("explain --request -", "\r\n").await;
    assert!(empty.code == 2 && empty.stderr.contains("there is no request"), "{empty:?}");
    let unknown = guard.command("explain --client nobody --method ping").await;
    assert!(unknown.code == 2 && unknown.stderr.contains("no client is named nobody"), "{unknown:?}");
}

// "a token in it is never printed"
#[tokio::test]
async fn explain_prints_no_token_wherever_it_stands_in_the_request() {
    const TOKEN: &str = "swf_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let backend = backend().await.serve(|_| ok(&result(7)));
    let guard = guard().token(TOKEN).admin().upstream(&backend).start().await;
    let list = call(7, "tools/list");
    for request in [
        post(TOKEN, "", &list),
        post("wrong", "", &tool_call(7, TOKEN)),
        post(TOKEN, "", &tool_call(7, TOKEN)),
        post(TOKEN, "", &call(7, TOKEN)),
        post("x", &format!("Origin: https://{TOKEN}\r\n"), &list),
        post(TOKEN, "", &list).replacen("Host: localhost", &format!("Host: {TOKEN}"), 1),
        format!("POST /{TOKEN} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"),
        format!("> POST / HTTP/1.1\n> Host: localhost\n> Authorization: Bearer {TOKEN}\n>\n"),
        format!("{TOKEN}: {TOKEN}\r\n\r\n"),
    ] {
        for words in
            ["explain --request -", "explain --json --request -", "explain --request - --client default"]
        {
            let typed = guard.command_with_input(words, &request).await;
            assert!(typed.code < 2, "{typed:?}");
            assert!(!typed.stdout.contains(TOKEN) && !typed.stderr.contains(TOKEN), "{typed:?}");
        }
    }
    let named = guard.command(&format!("explain --method ping --client {TOKEN}")).await;
    assert!(named.code == 2 && named.stderr.contains("no client is named [token]"), "{named:?}");
    assert!(guard.log().iter().all(|line| !line.contains(TOKEN)));
}

#[tokio::test]
async fn explain_shows_what_is_left_of_each_limit_and_uses_nothing_of_it() {
    let backend = backend().await;
    let address = backend.address().to_owned();
    let tokens = client("bot", "rate = \"3/h\"\nconcurrency = 1") + &client("second", "");
    let limits = "[limits.tools.\"slow_*\"]\nrate = \"60/m\"\nburst = 2\n[timeouts]\nwaiting = \"1s\"\ntotal = \"20s\"";
    let guard = guard().tokens(&tokens).admin().config(limits).upstream(address.as_str()).start().await;
    for _ in 0..5 {
        let found = explained(&guard, "--client bot --tool slow_one", "").await;
        assert_eq!(limit(&found, "client_rate")["left"], 3, "{found:#}");
        assert_eq!(limit(&found, "client_rate")["allows"], "3 an hour, 3 at once");
        assert_eq!(limit(&found, "tool_rate")["left"], 2);
        assert_eq!(limit(&found, "tool_rate")["of"], "slow_*");
        assert_eq!(limit(&found, "time")["allows"], "20 s in all");
        assert_eq!(found["verdict"]["outcome"], "forwarded");
    }
    let mut first = guard.connect().await;
    first.send(post("bot", "", &tool_call(1, "echo"))).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    let found = explained(&guard, "--client bot --tool slow_one", "").await;
    assert_eq!(limit(&found, "client_rate")["left"], 2);
    assert_eq!(limit(&found, "client_concurrency")["result"], "waits", "{found:#}");
    assert_eq!(limit(&found, "in_flight")["now"], "1 in progress (1 of this client), 0 waiting");
    assert_eq!(found["verdict"]["outcome"], "waits");
    let other = explained(&guard, "--client second --tool echo", "").await;
    assert_eq!(other["verdict"]["outcome"], "forwarded", "{other:#}");
    peer.send(ok(&result(1))).await;
    first.response().await;
    let serving = backend.serve(|_| ok(&result(7)));
    for _ in 0..2 {
        guard.connect().await.exchange(post("bot", "", &tool_call(7, "echo"))).await;
    }
    let found = explained(&guard, "--client bot --tool echo", "").await;
    assert_eq!((decider(&found), &found["verdict"]["code"]), ("limits", &json!("rate_limited")), "{found:#}");
    let told = found["verdict"]["retry_after_ms"].as_u64().unwrap();
    let real = guard.connect().await.exchange(post("bot", "", &tool_call(7, "echo"))).await;
    let data = real.json()["error"]["data"].clone();
    assert_eq!(data["reason"], "rate_limited");
    assert!(data["retryAfterMs"].as_u64().unwrap().abs_diff(told) < 60_000, "{data} {told}");
    let discover = explained(&guard, "--client bot --method server/discover --protocol 2026-07-28", "").await;
    assert_eq!(discover["verdict"]["outcome"], "forwarded", "{discover:#}");
    drop(serving);
}

/// Two healthy slots in a canary at half of the keys.
pub(crate) async fn canary(
    blue_is_old: bool,
    more: impl FnOnce(Builder) -> Builder,
) -> (Guard, [mcp_testkit::McpBackend; 2], tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blue");
    let blue = if blue_is_old { old_mcp_backend(&path) } else { mcp_backend(&path) };
    let green = mcp_backend(&folder.path().join("green"));
    let clients = ["early", "late", "a", "b", "c", "d", "e", "f"].map(|name| client(name, ""));
    let cohort = ["red1", "red2"].map(|name| client(name, "cohort = \"red\""));
    let tokens = [&clients[..], &cohort[..]].concat().concat();
    let started = guard().tokens(&tokens).upstream(blue.address()).rollout(green.address(), CANARY);
    let guard = more(started.config(STICKY)).start().await;
    guard.both_healthy().await;
    guard.command_ok("rollout start").await;
    (guard, [blue, green], folder)
}

#[tokio::test]
async fn explain_names_the_slot_that_a_call_then_goes_to_and_why() {
    let (guard, [blue, green], _folder) = canary(false, |guard| guard).await;
    let mut slots = Vec::new();
    for name in ["early", "late", "a", "b", "c", "d", "e", "f", "red1", "red2"] {
        let found = explained(&guard, &format!("--client {name} --method ping"), "").await;
        let slot = found["slot"]["slot"].as_str().unwrap().to_owned();
        let before = [blue.calls(), green.calls()];
        let real = guard.connect().await.exchange(post(name, "", &call(7, "ping"))).await;
        assert!(real.json().get("result").is_some(), "{}", real.text());
        let went = if blue.calls() > before[0] { "blue" } else { "green" };
        assert_eq!(slot, went, "{name}: {found:#}");
        let why = found["slot"]["why"].as_str().unwrap();
        let expect = match name {
            "early" => "`[clients] candidate` of the plan puts this client on green",
            "late" => "`[clients] stable` of the plan keeps this client on blue",
            "red1" | "red2" => "the key \"red\" lies at ",
            _ => "% of the circle",
        };
        assert!(why.contains(expect), "{name}: {why}");
        let point = found["slot"]["point"].as_f64();
        let is_below = point.is_some_and(|point| point < 50.0);
        assert!(point.is_none() || is_below == (slot == "green"), "{found:#}");
        slots.push((name, slot, found["slot"]["key"].clone()));
    }
    assert!(
        slots.iter().any(|(_, slot, _)| slot == "blue") && slots.iter().any(|(_, slot, _)| slot == "green")
    );
    let of =
        |name: &str| slots.iter().find(|(one, ..)| *one == name).map(|(_, slot, key)| (slot, key)).unwrap();
    assert_eq!(of("red1"), of("red2"), "one cohort");
    let found = explained(&guard, "--client a --method ping", "").await;
    assert_eq!((&found["rollout"], &found["slot"]["candidate_weight"]), (&json!("canary 50 %"), &json!(50)));
    // An ejected candidate.
    green.set_behaviour(mcp_testkit::Behaviour::FailsProbes);
    eventually("the candidate is ejected", || async {
        explained(&guard, "--client early --method ping", "").await["slot"]["slot"] == "blue"
    })
    .await;
    let found = explained(&guard, "--client early --method ping", "").await;
    let why = found["slot"]["why"].as_str().unwrap();
    // Its health may roll the rollout back as well: then no other slot has a share.
    assert!(
        why.contains("green is ejected, and blue stands in") || why.contains("no other slot has a share"),
        "{why}"
    );
}

#[tokio::test]
async fn explain_shows_the_era_fence_and_its_end() {
    let (guard, _backends, _folder) = canary(true, |guard| guard).await;
    let words = "--client a --tool echo --protocol 2026-07-28";
    let found = explained(&guard, words, "").await;
    assert_eq!(
        (decider(&found), &found["verdict"]["code"]),
        ("protocol version", &json!("era_fenced")),
        "{found:#}"
    );
    let why = found["verdict"]["why"].as_str().unwrap();
    assert!(why.contains("the newest that passes is 2025-11-25 (the era fence)"), "{why}");
    assert_eq!((&found["fenced"], &found["newest_version"]), (&json!(true), &json!("2025-11-25")));
    assert_eq!(explained(&guard, "--client a --tool echo", "").await["verdict"]["outcome"], "forwarded");
    // Another fault of a version is not the fence's.
    let malformed = post("a", "MCP-Protocol-Version: 2025 11 25\r\n", &call(7, "ping"));
    let found = explained(&guard, "--request -", &malformed).await;
    let why = found["verdict"]["why"].as_str().unwrap();
    assert!(decider(&found) == "protocol version" && !why.contains("the newest that passes"), "{found:#}");
    guard.command_ok("feature off era-fence").await;
    let found = explained(&guard, words, "").await;
    assert_eq!(
        (&found["verdict"]["outcome"], &found["off"][0]["feature"]),
        (&json!("forwarded"), &json!("era-fence"))
    );
}

#[tokio::test]
async fn explain_goes_by_the_saved_state_where_no_guard_runs() {
    let (mut guard, _backends, _folder) = canary(false, |guard| guard).await;
    guard.command_ok("feature off tool:jobs_kill").await;
    let words = ["--client early --tool echo", "--client a --tool echo", "--client a --tool jobs_kill"];
    let mut running = Vec::new();
    for words in words {
        running.push(explained(&guard, words, "").await);
    }
    guard.signal(rustix::process::Signal::TERM);
    guard.ended().await;
    for (words, running) in words.iter().zip(&running) {
        let found = explained(&guard, words, "").await;
        assert_eq!((&found["source"], &running["source"]), (&json!("configuration"), &json!("guard")));
        for same in ["/slot/slot", "/slot/point", "/verdict/code", "/rollout", "/client", "/off/0/feature"] {
            assert_eq!(found.pointer(same), running.pointer(same), "{words} {same}: {found:#}");
        }
        assert!(found["notes"].to_string().contains("no guard was asked"), "{found:#}");
    }
}
