//! Contract, section 4: "a token that appears in any log, metric, error or `/proc`-visible argument is a defect".
//!
//! Something secret stands in every place of a request and an answer that could find its way out, under load and with
//! errors of all kinds; then everything the process ever emitted is searched.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use mcp_testkit::{Guard, backend, ok, post};

use crate::guard;
use crate::limits::client;

/// In every planted text, and nowhere else.
const MARK: &str = "pLanTed";

fn planted(what: &str) -> String {
    format!("{MARK}-{what}-0123456789abcdef")
}

/// Requests that are answered, refused at every door, or not understood. `X-Request-Id` is left out: a trusted proxy's is
/// kept on purpose.
fn requests(token: &str) -> Vec<String> {
    let tool = |name: &str| {
        let secret = planted("argument");
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{{"a":"{secret}"}},"_meta":{{"m":"{secret}"}}}}}}"#
        )
    };
    let every: String = [
        "Cookie",
        "X-Api-Key",
        "Proxy-Authorization",
        "Referer",
        "User-Agent",
        "Mcp-Session-Id",
        "Mcp-Name",
        "Mcp-Param-City",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Remote-User",
        "traceparent",
        "Accept",
        "Last-Event-ID",
    ]
    .iter()
    .map(|name| format!("{name}: {}\r\n", planted(name)))
    .collect();
    let good = post(token, &every, &tool(&planted("tool")));
    let modern = format!(
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {}\r\n",
        planted("name")
    );
    let method = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, planted("method"));
    vec![
        good.clone(),
        good.replace("tools/call", "tools/list"),
        post(token, &modern, &tool("echo")),
        post(token, &every, &method),
        post(token, "", &format!("{{\"{}\": ", planted("syntax"))),
        post(token, "", &"x".repeat(5000).replacen("xxxxxxx", MARK, 1)),
        post(&planted("wrong-token"), &every, "{}"),
        post(token, &format!("Authorization: Bearer {}\r\n", planted("second")), "{}"),
        post(token, &format!("MCP-Protocol-Version: {}\r\n", planted("version")), &tool("echo")),
        good.replace("POST /mcp", &format!("POST /mcp/{}", planted("path"))),
        good.replace("POST /mcp", &format!("GET /mcp?access_token={}", planted("query"))),
        // A refused host and origin are named in the log, so that the operator can allow them; what stands behind is not.
        good.replace("Host: localhost", "Host: elsewhere.test"),
        good.replace("Cookie:", &format!("Origin: http://elsewhere.test/{}\r\nCookie:", planted("origin"))),
        good.replace("Cookie:", &format!("Origin: {}\r\nCookie:", planted("origin"))),
        good.replace("Bearer", "Basic"),
        good.replace("Cookie: ", &format!("Bad {} : ", planted("field"))),
        good.replace("application/json", &planted("type")),
        good.replace("Cookie: ", &format!("Cookie: {}", "y".repeat(20_000))),
        format!("{} {} HTTP/1.1\r\nHost: h\r\n\r\n", planted("verb"), planted("target")),
    ]
}

/// Answers, good and bad in turn, that hold a secret wherever there is room for one.
fn answer(number: usize) -> String {
    let secret = planted("answer");
    match number % 7 {
        0 => ok(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":["{secret}"]}}}}"#)),
        1 => ok(&format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32603,"message":"{secret}"}}}}"#)),
        2 => ok(&format!("<html>{secret}</html>")),
        3 => format!("HTTP/1.1 500 {secret}\r\nX-Debug: {secret}\r\nContent-Length: 51\r\n\r\n{secret:51}"),
        4 => format!("HTTP/1.1 200 OK\r\nBad {secret}\r\nContent-Length: 0\r\n\r\n"),
        5 => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{{\"{secret}\""
        ),
        _ => format!("{secret}\r\n\r\n"),
    }
}

async fn load(guard: &Arc<Guard>, token: &str) {
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (guard, requests) = (guard.clone(), requests(token));
        clients.spawn(async move {
            for request in requests.iter().cycle().take(requests.len() * 3) {
                let mut connection = guard.connect().await;
                // A refused request may not even be taken whole, and an answer may be cut.
                connection.try_send(request).await;
                let _ = connection.try_response().await;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

fn everything_below(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            everything_below(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_leaves_the_process_whatever_clients_and_backends_send() {
    let number = AtomicUsize::new(0);
    let backend = backend().await.serve(move |_| answer(number.fetch_add(1, Ordering::SeqCst)));
    let (own, named) = (planted("token"), planted("named"));
    let tokens = client(&named, "rate = \"50/s\"").replace(&format!("[clients.{named}]"), "[clients.bot]");
    let config = "[limits]\nbody_bytes = 4000\n[timeouts]\ntotal = \"300ms\"\n[log]\nlevel = \"trace\"";
    let guard = guard()
        .token(&own)
        .tokens(&tokens)
        .environment("UPSTREAM", &planted("upstream"))
        .slot("authorization = \"env:UPSTREAM\"")
        .config(config)
        .admin()
        .upstream(&backend)
        .start()
        .await;
    let guard = Arc::new(guard);
    load(&guard, &own).await;
    load(&guard, &named).await;
    let mut emitted = guard.metrics().await;
    for words in
        ["status --json", "token list --json", "rollout status --json", "rollout history --json", "reload"]
    {
        let typed = guard.command(words).await;
        emitted.push_str(&format!("{typed:?}"));
    }
    guard.set_tokens(
        &format!("[clients.bot]\nsha256 = \"{named}\"\n{MARK} = 1\n").replace(&format!("{MARK} = 1"), ""),
    );
    guard.edit("authorization = \"env:UPSTREAM\"", &format!("authorization = \"{}\"", planted("pasted")));
    let refused = guard.command("reload").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    emitted.push_str(&format!("{refused:?}"));
    everything_below(&guard.state(), &mut emitted);
    let proc = Path::new("/proc").join(guard.pid().to_string());
    emitted.push_str(&String::from_utf8_lossy(&std::fs::read(proc.join("cmdline")).unwrap()));
    for kind in [
        "token_invalid",
        "scan_syntax",
        "backend_invalid",
        "backend_status",
        "deadline",
        "body_too_large",
        "framing_",
    ] {
        guard.logged(kind).await;
    }
    let log = guard.log().join("\n");
    for line in emitted.lines().chain(log.lines()) {
        assert!(!line.contains(MARK), "{line}");
    }
    // A core dump would hold what nothing else does.
    let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[tokio::test]
async fn a_local_reply_repeats_nothing_of_the_request() {
    let guard =
        guard().token("t").upstream("127.0.0.1:1").config("[timeouts]\nhold = \"50ms\"").start().await;
    for request in requests("t") {
        let mut connection = guard.connect().await;
        connection.try_send(&request).await;
        if let Ok(answer) = connection.try_response().await {
            assert!(
                !answer.head.contains(MARK) && !answer.text().contains(MARK),
                "{}{}",
                answer.head,
                answer.text()
            );
        }
    }
}

// "`token list` shows name, fingerprint, expiry, last used"
#[tokio::test]
async fn the_list_of_tokens_says_when_each_was_last_used() {
    let backend = backend().await.serve(|_| ok(&mcp_testkit::result(1)));
    let tokens = client("bot", "not_after = 2099-01-31") + &client("idle", "");
    let guard = guard().tokens(&tokens).admin().upstream(&backend).start().await;
    guard.connect().await.exchange(post("bot", "", &mcp_testkit::call(1, "ping"))).await;
    for again in 0..2 {
        let listed: serde_json::Value =
            serde_json::from_str(&guard.command_ok("token list --json").await).unwrap();
        let last = |name: &str| {
            let found = listed.as_array().unwrap().iter().find(|one| one["client"] == name).unwrap();
            found["tokens"][0]["last_used"].clone()
        };
        assert!(last("bot").as_str().is_some_and(|when| when.starts_with("20")), "{listed}");
        assert!(last("idle").is_null(), "{listed}");
        let table = guard.command_ok("token list").await;
        assert!(table.contains("LAST USED") && table.contains("not since the guard started"), "{table}");
        assert!(table.contains("2099-01-31T23:59:59Z"), "{table}");
        if again == 0 {
            guard.command_ok("reload").await;
        }
    }
}
