//! `mcp-guard load` through a real guard: its exit codes, its numbers, and the comparison with a baseline.
//!
//! Requirements: a load check before and after a change (errors, connections, p95), so that "restored" is measurable.

use mcp_testkit::{CommandOutput, Guard, McpBackend, mcp_backend};
use serde_json::{Value, json};

use crate::guard;

async fn pair(folder: &std::path::Path, tokens: &str) -> (McpBackend, Guard) {
    let backend = mcp_backend(&folder.join("blue"));
    let tools = json!({"tools": [
        {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}},
        {"name": "change", "inputSchema": {"type": "object"}},
    ]});
    backend.answers("tools/list", &tools);
    backend.answers("tools/call look", &json!({"content": []}));
    let guard = guard().tokens(tokens).admin().upstream(backend.address()).start().await;
    (backend, guard)
}

/// Runs `load` as the client `bot`.
async fn load(guard: &Guard, words: &str) -> CommandOutput {
    let token = guard.config().with_file_name("bot.token");
    std::fs::write(&token, "bot").unwrap();
    guard.command(&format!("load --token-file {} {words}", token.display())).await
}

fn numbers(output: &CommandOutput) -> Value {
    let shown: Value = serde_json::from_str(&output.stdout).unwrap();
    shown["result"]["load"].clone()
}

#[tokio::test]
async fn a_load_passes_and_is_a_baseline_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, guard) = pair(folder.path(), &crate::limits::client("bot", "")).await;
    let file = folder.path().join("before.json");
    let save = format!("--tool look -n 60 -c 3 --json --save {}", file.display());
    let output = load(&guard, &save).await;
    assert_eq!(output.code, 0, "{output:?}");
    let found = numbers(&output);
    assert_eq!(
        (&found["requests"], &found["failed"], &found["connections"]),
        (&json!(60), &json!(0), &json!(3))
    );
    assert!(
        found["p50_ms"].as_f64() <= found["p95_ms"].as_f64()
            && found["p95_ms"].as_f64() <= found["p99_ms"].as_f64()
    );

    let compare = format!("--tool look -n 60 -c 3 --factor 1000 --baseline {}", file.display());
    let output = load(&guard, &compare).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("not worse than the baseline"), "{output:?}");

    // Seen before any request, as nothing listens there.
    let other = format!("--url unix:/nowhere/guard.sock -n 60 -c 3 --baseline {}", file.display());
    let other = load(&guard, &other).await;
    assert_eq!(other.code, 2, "{other:?}");
    assert!(other.stderr.contains("the baseline is another load"), "{other:?}");

    backend.answers("tools/call look", &json!({"content": [], "isError": true}));
    let output = load(&guard, &compare).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stdout.contains("worse: 100.00 % of the requests failed"), "{output:?}");
}

#[tokio::test]
async fn a_slower_server_is_worse_than_its_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let (_backend, guard) = pair(folder.path(), &crate::limits::client("bot", "")).await;
    let file = folder.path().join("before.json");
    assert_eq!(load(&guard, &format!("-n 20 --save {}", file.display())).await.code, 0);
    // A baseline of a server that is faster than any: what is measured here is beyond it for sure.
    let mut saved: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for time in ["p50_ms", "p95_ms", "p99_ms"] {
        saved["load"][time] = json!(-1000.0);
    }
    std::fs::write(&file, saved.to_string()).unwrap();
    let output = load(&guard, &format!("-n 20 --baseline {}", file.display())).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stdout.contains("worse: p95 is "), "{output:?}");
}

#[tokio::test]
async fn refused_requests_are_failures_with_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = crate::limits::client("bot", "rate = \"60/h\"\nburst = 20");
    let (_backend, guard) = pair(folder.path(), &tokens).await;
    let output = load(&guard, "-n 60 -c 2 --json").await;
    let found = numbers(&output);
    assert_eq!((output.code, &found["requests"]), (1, &json!(60)), "{output:?}");
    assert!(found["failed"].as_u64() > Some(30) && found["failed"].as_u64() < Some(60), "{found}");
    assert!(found["failures"][0]["reason"].as_str().unwrap().contains("Rate limit reached"), "{found}");
}

#[tokio::test]
async fn a_load_that_cannot_begin_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (_backend, guard) = pair(folder.path(), &crate::limits::client("bot", "")).await;
    for (words, why) in [
        ("--tool change", "read-only"),
        ("--tool absent", "not listed"),
        ("--tool look --arguments [1]", "must be a JSON object"),
        ("--baseline /nowhere/before.json", "cannot read /nowhere/before.json"),
        ("--url unix:/nowhere/guard.sock", "cannot connect"),
        ("--factor 0.5 --baseline /nowhere/before.json", "--factor"),
    ] {
        let output = load(&guard, words).await;
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{words}: {output:?}");
        assert!(output.stderr.contains(why), "{words}: {output:?}");
    }
}
