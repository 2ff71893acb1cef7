//! Contract, section 6: nothing that the process holds as a secret is ever quoted from a backend's answer. A backend repeats
//! the token it was given, in every form that a framework prints, and each place that quotes backends is looked at.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

use mcp_testkit::{Message, SPAWNING, call, eventually, mcp_backend, read_message};

use crate::guard;

const TOKEN: &str = "upstream-S3cr3t/9876+43210<x>";
const OTHER: &str = "candidate-T0ken-5566778899";

/// Every form, each behind so much text that an excerpt would cut it in the middle at some place.
fn repeated(secret: &str) -> String {
    let forms = [
        format!("invalid credentials: Bearer {secret}"),
        json!({ "got": secret }).to_string(),
        secret.replace('/', "\\/").replace('<', "\\u003c").replace('>', "\\u003e"),
        secret.replace('/', "%2F").replace('+', "%2B").replace('<', "%3C").replace('>', "%3E"),
        secret.replace('<', "&lt;").replace('>', "&gt;"),
        format!("Basic {}", STANDARD.encode(format!("user:{secret}"))),
        STANDARD.encode(secret),
    ];
    let mut out = String::new();
    for (n, form) in forms.iter().enumerate() {
        out.push_str(&format!("{form} {}", ".".repeat(n * 7)));
    }
    out
}

/// What of a secret must not be readable, as it is or encoded.
#[track_caller]
fn assert_clean(place: &str, text: &str) {
    for secret in [TOKEN, OTHER] {
        let encoded = STANDARD.encode(secret);
        for piece in [&secret[..12], &secret[9..18], &encoded[..12], &encoded[4..20]] {
            assert!(!text.contains(piece), "{place} quotes {piece}:\n{text}");
        }
    }
}

/// A backend that answers as the test says.
fn answering(path: &Path, answer: impl Fn(&Message, &Value) -> String + Send + Sync + 'static) -> String {
    let listener = UnixListener::bind(path).unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while let Ok(question) = read_message(&mut stream, &mut buffer).await {
                    let body = serde_json::from_slice(&question.body).unwrap_or_default();
                    if stream.write_all(answer(&question, &body).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("unix:{}", path.display())
}

fn http(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
}

type Way = fn(&Value) -> String;

/// The ways in which a backend repeats what it was sent, by name: refusals, pages, JSON-RPC errors, and whole answers.
fn ways() -> Vec<(&'static str, Way)> {
    fn everything() -> String {
        repeated(TOKEN) + &repeated(OTHER)
    }
    fn result(body: &Value, result: &Value) -> String {
        let message = json!({"jsonrpc": "2.0", "id": body["id"], "result": result});
        http("200 OK", "application/json", &message.to_string())
    }
    vec![
        ("401", |_| http("401 Unauthorized", "text/plain", &everything())),
        ("403", |_| http("403 Forbidden", "application/json", &everything())),
        ("500", |_| http("500 Internal Server Error", "text/html", &everything())),
        ("a page under 200", |_| http("200 OK", "text/html", &everything())),
        ("a media type", |_| http("200 OK", &format!("text/{}", TOKEN.to_lowercase()), "x")),
        ("an error", |body| {
            let error = json!({"code": -32603, "message": everything()});
            let message = json!({"jsonrpc": "2.0", "id": body["id"], "error": error});
            http("200 OK", "application/json", &message.to_string())
        }),
        ("a list", |body| match body["method"].as_str().unwrap_or_default() {
            "server/discover" => {
                let server = json!({"io.modelcontextprotocol/serverInfo": {"name": everything()}});
                result(
                    body,
                    &json!({"supportedVersions": ["2026-07-28", everything()],
                    "instructions": everything(), "_meta": server}),
                )
            }
            "initialize" => result(
                body,
                &json!({"protocolVersion": "2025-11-25", "instructions": everything(),
                        "serverInfo": {"name": everything()}, "capabilities": {"tools": {}}}),
            ),
            "tools/list" => {
                let schema = json!({"type": "object", "properties": {"a": {"enum": [everything()]}}});
                let named = json!({"name": format!("tool_{TOKEN}"), "inputSchema": {}});
                result(
                    body,
                    &json!({"tools": [named, {"name": "tool_0", "description": everything(),
                    "inputSchema": schema, "annotations": {"title": everything()}}]}),
                )
            }
            _ => result(body, &json!({"isError": true, "content": [{"type": "text", "text": everything()}]})),
        }),
    ]
}

async fn typed(words: &[&str]) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-guard"));
    command.args(words).env("LIVE", TOKEN).env("CANDIDATE", OTHER).env_remove("MCP_BEARER_TOKEN");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let starting = SPAWNING.lock().await;
    let child = command.spawn().unwrap();
    drop(starting);
    let output = child.wait_with_output().await.unwrap();
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const PLAN: &str = "[[notify]]\nkind = \"exec\"\nexec = [\"sh\", \"-c\", \"cat >> told\"]\n\
                    [[critical_check]]\nname = \"echo\"\ntool = \"tool_0\"\ninterval = \"1s\"\ntimeout = \"1s\"\n\
                    [[step]]\nstage = \"canary\"\nweight = 5\nhold = \"1h\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_quoted_by_log_status_history_doctor_or_notification() {
    for (way, answer) in ways() {
        let folder = tempfile::tempdir().unwrap();
        let blue = mcp_backend(&folder.path().join("blue"));
        let green = answering(&folder.path().join("green"), move |_, body| answer(body));
        let told = folder.path().join("told");
        let plan = PLAN.replace("cat >> told", &format!("cat >> {}", told.display()));
        let tables = "[health]\ninterval = \"500ms\"\ntimeout = \"500ms\"\nrise = 1\nfall = 1\n";
        let started = guard()
            .token("t")
            .environment("UPTOK", TOKEN)
            .environment("OTHER", OTHER)
            .upstream(green.as_str())
            .slot(
                "authorization = \"env:UPTOK\"\nset_headers = { \"X-Key\" = \"candidate-T0ken-5566778899\" }",
            )
            .rollout(blue.address(), &plan)
            .config(tables);
        let guard = started.start().await;
        eventually(way, || async {
            let page = guard.metrics().await;
            page.contains("slot_healthy{slot=\"green\"} 1")
                && (page.contains("slot_healthy{slot=\"blue\"} 1")
                    || guard.log().iter().any(|line| line.contains("slot blue: not healthy")))
        })
        .await;
        let started = guard.command("rollout start --force").await;
        for words in
            ["slots list --json", "slots list", "rollout status --json", "rollout history --json", "doctor"]
        {
            let typed = guard.command(words).await;
            assert_clean(&format!("{way}: {words}"), &format!("{typed:?}"));
        }
        let compared = guard.command("rollout start").await;
        for (place, text) in [
            ("rollout start --force", format!("{started:?}")),
            ("rollout start", format!("{compared:?}")),
            ("the log", guard.log().join("\n")),
            ("metrics", guard.metrics().await),
            ("a notification", std::fs::read_to_string(&told).unwrap_or_default()),
        ] {
            assert_clean(&format!("{way}: {place}"), &text);
        }
    }
}

/// What a backend may answer a call with that the guard logs, or could: the ways above, redirects, and heads that are none.
fn answers() -> Vec<(String, String)> {
    let whole = json!({"id": 1, "method": "tools/call"});
    let mut answers: Vec<(String, String)> =
        ways().into_iter().map(|(way, answer)| (way.to_owned(), answer(&whole))).collect();
    for to in [
        format!("/login/{TOKEN}/x"),
        format!("http://{OTHER}.example/"),
        format!("http://{TOKEN}@host/{OTHER}?{TOKEN}"),
        format!("/{}/x", TOKEN.replace('/', "%2F").replace('<', "%3C")),
        format!("/{}{TOKEN}", "x".repeat(185)),
    ] {
        answers.push((to.clone(), format!("HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")));
    }
    for head in [
        format!("HTTP/1.1 {TOKEN} X\r\n\r\n"),
        format!("{TOKEN}\r\n\r\n"),
        format!("HTTP/1.1 200 {TOKEN}\r\n{TOKEN}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {TOKEN}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{TOKEN}\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\nMcp-Session-Id: {TOKEN}\r\nMcp-Session-Id: {OTHER}\r\nContent-Length: 0\r\n\r\n"
        ),
    ] {
        answers.push((head.clone(), head));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_quoted_from_the_response_to_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let answers = answers();
    let served = answers.clone();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let backend = answering(&folder.path().join("blue"), move |_, body| {
        // Probes get plain responses: the other tests look at them.
        if body["method"] != "tools/call" {
            return http("500 Internal Server Error", "text/html", "");
        }
        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        served.get(at).map(|(_, answer)| answer.clone()).unwrap_or_default()
    });
    let guard = guard()
        .token("t")
        .environment("UPTOK", TOKEN)
        .upstream(backend.as_str())
        .slot("authorization = \"env:UPTOK\"\nset_headers = { \"X-Key\" = \"candidate-T0ken-5566778899\" }")
        .start()
        .await;
    for (way, _) in &answers {
        guard.post(&call(1, "tools/call")).await;
        assert_clean(way, &guard.log().join("\n"));
    }
    guard.logged("/login/[secret]/x").await;
    guard.logged("malformed").await;
    assert_clean("all", &guard.log().join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_quoted_by_parity_or_watchdog() {
    for (way, answer) in ways() {
        let folder = tempfile::tempdir().unwrap();
        let plain = mcp_backend(&folder.path().join("plain"));
        let repeats = answering(&folder.path().join("repeats"), move |_, body| answer(body));
        let tokens = ["--live-token-env", "LIVE", "--candidate-token-env", "CANDIDATE", "--samples", "1"];
        for (live, candidate) in [(plain.address(), repeats.as_str()), (repeats.as_str(), plain.address())] {
            for form in [vec![], vec!["--json"], vec!["--junit"], vec!["-v"]] {
                let servers = ["parity", "--live-url", live, "--candidate-url", candidate];
                let words = [&servers[..], &tokens[..], &form[..]].concat();
                assert_clean(&format!("{way}: {form:?}"), &typed(&words).await);
            }
        }
        let words = ["watchdog", "--url", &repeats, "--token-env", "LIVE"];
        // The other token is not the watchdog's to know.
        let said = typed(&words).await;
        for piece in [&TOKEN[..12], &TOKEN[9..18]] {
            assert!(!said.contains(piece), "{way}: {said}");
        }
    }
}
