//! Contract, sections 9, 10 and 12: in a shadow stage read-only calls are copied to the candidate and compared, and no client
//! notices.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use mcp_testkit::{Behaviour, Guard, McpBackend, Message, call, eventually, mcp_backend, post};

use crate::guard;
use crate::rollout::QUICK;

/// A shadow stage that ends only by command.
const LONG: &str = "[gate]\nparity = false\n\
                    [[step]]\nstage = \"shadow\"\nhold = \"1h\"\nmin_samples = 5\n\
                    [[step]]\nstage = \"canary\"\nweight = 50\nhold = \"1h\"\n";
/// One that the analysis ends.
const SHORT: &str = "[gate]\nparity = false\n[analysis]\non_fail = \"pause\"\n\
                     [[step]]\nstage = \"shadow\"\nhold = \"200ms\"\nmin_samples = 5\n\
                     [[step]]\nstage = \"canary\"\nweight = 50\nhold = \"1h\"\n";
const TOOLS: &str = "[shadow]\ntools = [\"read\"]\n";

struct Stage {
    blue: McpBackend,
    green: McpBackend,
    guard: Guard,
    _folder: tempfile::TempDir,
}

async fn stage(plan: &str, shadow: &str) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let config = format!("{QUICK}{shadow}");
    let guard = guard()
        .token("t")
        .upstream(blue.address())
        .rollout(green.address(), plan)
        .config(&config)
        .start()
        .await;
    guard.both_healthy().await;
    guard.command_ok("rollout start").await;
    Stage { blue, green, guard, _folder: folder }
}

impl Stage {
    async fn reads(&self, arguments: Value) -> Message {
        let params = json!({"name": "read", "arguments": arguments});
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        self.guard.post(&body.to_string()).await
    }

    async fn counts(&self) -> Value {
        self.guard.rollout().await["shadow"]["counts"].clone()
    }

    /// Waits until this many copies have come to this.
    async fn counted(&self, what: &str, times: u64) {
        eventually(&format!("{times} {what}"), || async { self.counts().await[what] == times }).await;
    }

    async fn diff(&self, flags: &str) -> Value {
        let typed = self.guard.command(&format!("shadow diff --json{flags}")).await;
        serde_json::from_str(&typed.stdout).unwrap_or_else(|error| panic!("{error}: {typed:?}"))
    }
}

fn text(value: &Value) -> Value {
    json!({"content": [{"type": "text", "text": value.to_string()}]})
}

#[tokio::test]
async fn equal_backends_match_and_only_what_reads_is_copied() {
    let stage = stage(LONG, TOOLS).await;
    for method in ["initialize", "ping", "tools/list", "prompts/list", "resources/list"] {
        stage.guard.post(&call(1, method)).await;
    }
    stage.reads(json!({"days": 1})).await;
    stage.counted("matched", 6).await;
    // A tool that no list marks as read-only, and methods that are not known to only read.
    for method in ["tools/call", "resources/read", "completion/complete", "logging/setLevel", "no/such"] {
        stage.guard.post(&call(2, method)).await;
    }
    stage.guard.post(&call(3, "tools/list")).await;
    stage.counted("matched", 7).await;
    assert_eq!((stage.blue.calls(), stage.green.calls(), stage.green.copies()), (12, 0, 7));
    assert_eq!(stage.blue.copies(), 0, "stable is not asked again where nothing differs");
    assert_eq!(stage.guard.command("shadow diff").await.code, 0);
    let series = "mcp_guard_shadow_copies_total{method=\"tools/list\",result=\"matched\"}";
    assert_eq!(stage.guard.metric(series).await, 2.0);
    let status = stage.guard.command_ok("rollout status").await;
    assert!(
        status.contains("copies     7 matched, 0 mismatched, 0 failed, 0 dropped, 0 skipped"),
        "{status}"
    );
}

#[tokio::test]
async fn a_shadow_difference_has_examples_whose_arguments_are_hidden_by_default() {
    let stage = stage(LONG, TOOLS).await;
    stage.blue.answers("tools/call read", &text(&json!({"items": [{"name": "a"}], "total": 1})));
    stage.green.answers("tools/call read", &text(&json!({"items": [{"name": "b"}], "total": 1})));
    for days in 0..5 {
        assert!(stage.reads(json!({"secret": days})).await.text().contains("\\\"a\\\""), "stable answers");
    }
    stage.counted("mismatched", 5).await;
    let diff = stage.diff("").await;
    let entry = &diff["entries"][0];
    assert_eq!(diff["entries"].as_array().map(Vec::len), Some(1), "{diff:#}");
    let place = json!({"question": "tools/call read", "path": "content[*].text.items[*].name",
        "change": "value differs", "count": 5});
    assert_eq!(entry["place"], place);
    assert_eq!(entry["examples"].as_array().map(Vec::len), Some(3), "the first ones");
    let example = &entry["examples"][0];
    assert_eq!((&example["live"], &example["candidate"]), (&json!("\"a\""), &json!("\"b\"")));
    assert_eq!(example["arguments"], json!({"secret": "…"}));
    let shown = stage.guard.command("shadow diff --show-arguments").await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(
        shown.stdout.contains("{\"secret\":0}") && shown.stdout.contains("5 x tools/call read"),
        "{shown:?}"
    );
    stage.guard.logged("shadow diff --show-arguments uid=").await;
    let status = stage.guard.command_ok("rollout status").await;
    assert!(status.contains("5 x tools/call read content[*].text.items[*].name - value differs"), "{status}");
}

// "noise is cancelled by calling stable twice and subtracting paths that differ with themselves"
#[tokio::test]
async fn a_field_in_which_stable_differs_from_itself_is_no_shadow_difference() {
    let stage = stage(LONG, TOOLS).await;
    let answer =
        |age: &str, name: &str| json!({"content": [], "structuredContent": {"age": age, "name": name}});
    stage.blue.answers("tools/call read", &answer("$n", "a"));
    stage.green.answers("tools/call read", &answer("another", "a"));
    for _ in 0..5 {
        stage.reads(json!({})).await;
    }
    stage.counted("matched", 5).await;
    assert_eq!(stage.blue.copies(), 5, "stable was asked a second time");
    stage.green.answers("tools/call read", &answer("another", "b"));
    stage.reads(json!({})).await;
    stage.counted("mismatched", 1).await;
    assert_eq!(stage.diff("").await["entries"][0]["place"]["path"], "structuredContent.name");
}

#[tokio::test]
async fn a_candidate_that_does_its_worst_disturbs_no_client() {
    let stage = stage(LONG, "[shadow]\ntimeout = \"10s\"\nin_flight = 2\nqueue = 4\n").await;
    let moods = [
        (Behaviour::NeverResponds, "timeout"),
        (Behaviour::NotJsonRpc, "not_json_rpc"),
        (Behaviour::Status500, "http_5xx"),
        (Behaviour::ClosesConnection, "no_connection"),
        (Behaviour::InternalErrors(100), "internal_error"),
    ];
    for (number, (behaviour, how)) in moods.into_iter().enumerate() {
        stage.green.set_behaviour(behaviour);
        let answer = stage.guard.post(&call(1, "tools/list")).await;
        assert!(answer.json()["result"]["tools"].is_array(), "{behaviour:?}: {}", answer.text());
        if behaviour == Behaviour::NeverResponds {
            let failed = r#"mcp_guard_shadow_copies_total{method="tools/list",result="failed"}"#;
            assert_eq!(stage.guard.metric(failed).await, 0.0, "the client waited for the copy");
        }
        stage.counted("failed", number as u64 + 1).await;
        let diff = stage.diff("").await;
        let told =
            diff["entries"].as_array().is_some_and(|all| all.iter().any(|one| one["place"]["change"] == how));
        assert!(told, "{behaviour:?} is not told as {how}: {diff:#}");
    }
    eventually("the analysis knows", || async {
        stage.guard.rollout().await["status"]["run"]["shadow"]["failures"] == 5
    })
    .await;
}

#[tokio::test]
async fn copies_share_connections_that_end_with_the_stage() {
    let stage = stage(LONG, &format!("{TOOLS}in_flight = 2\n")).await;
    let begun = Instant::now();
    for number in 1..=40 {
        stage.reads(json!({"days": number})).await;
    }
    stage.counted("matched", 40).await;
    let (opened, open) = stage.green.copy_connections();
    let lifetimes = 1 + begun.elapsed().as_secs() / 5;
    assert!(opened <= 2 * lifetimes && open >= 1, "{opened} connections for 40 copies, {open} are open");
    stage.guard.command_ok("rollout rollback").await;
    eventually("the connections are closed", || async { stage.green.copy_connections().1 == 0 }).await;
}

#[tokio::test]
async fn a_candidate_that_closes_connections_between_copies_fails_none() {
    let stage = stage(LONG, TOOLS).await;
    stage.green.set_behaviour(Behaviour::ClosesBehindResponse);
    for number in 1..=20 {
        stage.reads(json!({"days": number})).await;
        stage.counted("matched", number).await;
    }
    assert_eq!(stage.counts().await["failed"], 0);
    assert!(stage.green.copy_connections().0 >= 20);
}

#[tokio::test]
async fn a_response_that_is_cut_on_a_shared_connection_is_a_failure() {
    let stage = stage(LONG, TOOLS).await;
    stage.reads(json!({"days": 0})).await;
    stage.counted("matched", 1).await;
    stage.green.set_behaviour(Behaviour::CutsResponse);
    stage.reads(json!({"days": 1})).await;
    stage.counted("failed", 1).await;
    assert_eq!(stage.green.copies(), 2, "it is not asked again");
}

// "dropped first under load (dropped is counted)"
#[tokio::test]
async fn a_full_queue_drops_copies_and_counts_them() {
    let stage = stage(LONG, "[shadow]\ntimeout = \"20s\"\nin_flight = 1\nqueue = 2\n").await;
    stage.green.set_behaviour(Behaviour::NeverResponds);
    let series = "mcp_guard_shadow_copies_total{method=\"tools/list\",result=\"dropped\"}";
    let numbers =
        || async { (stage.guard.metric(series).await, stage.guard.metric("mcp_guard_shadow_waiting").await) };
    // One is under way, one has been taken from the queue for the next place, two wait. A copy is queued behind the last
    // byte of its response and taken by another one, each in its time: until both have happened, others may find room.
    let (mut sent, mut dropped) = (0.0, 0.0);
    while sent - dropped < 4.0 {
        assert!(stage.guard.post(&call(1, "tools/list")).await.json().get("result").is_some());
        sent += 1.0;
        let in_place = async |sent: f64| {
            let (dropped, waiting) = numbers().await;
            (waiting == (sent - dropped - 2.0).max(0.0), dropped)
        };
        eventually("all is in its place", || async { in_place(sent).await.0 }).await;
        dropped = in_place(sent).await.1;
    }
    eventually("one is under way", || async { stage.green.copies() == 1 }).await;
    for _ in 0..16 {
        assert!(stage.guard.post(&call(1, "tools/list")).await.json().get("result").is_some());
    }
    eventually("all but those that wait are dropped", || async { numbers().await == (dropped + 16.0, 2.0) })
        .await;
    assert_eq!(stage.counts().await["dropped"], dropped + 16.0);
    assert_eq!(stage.blue.calls() as f64, sent + 16.0);
    // What waits is forgotten with the stage.
    stage.guard.command_ok("rollout rollback").await;
    assert!(stage.guard.post(&call(1, "tools/list")).await.json().get("result").is_some());
    let book = stage.counts().await;
    assert_eq!(book["dropped"], dropped + 16.0, "nothing is copied any more; the book can still be read");
}

// "dropped first under load": who waits for a place on stable must not wait behind a comparison's second question.
#[tokio::test]
async fn where_clients_wait_for_places_no_copy_is_made() {
    const CALLS: u64 = 8;
    let stage = stage(LONG, "[limits]\nin_flight = 1\n[timeouts]\nwaiting = \"20s\"\n").await;
    stage.blue.set_behaviour(Behaviour::Delayed(Duration::from_millis(200)));
    let mut clients = Vec::new();
    for _ in 0..CALLS {
        let mut client = stage.guard.connect().await;
        client.send(post(stage.guard.token(), "", &call(1, "tools/list"))).await;
        clients.push(client);
    }
    for mut client in clients {
        let answer = client.response().await;
        assert!(answer.json().get("result").is_some(), "{}", answer.text());
    }
    let counted = async || {
        let counts = stage.counts().await;
        (counts["matched"].as_u64().unwrap(), counts["dropped"].as_u64().unwrap())
    };
    // A copy is made, or dropped, after the response.
    eventually("each is compared or dropped", || async {
        let (matched, dropped) = counted().await;
        matched + dropped == CALLS
    })
    .await;
    assert!(counted().await.1 > 0, "seven of eight had to wait, and each was copied");
}

#[tokio::test]
async fn large_bodies_and_a_part_of_the_calls_are_left_out() {
    let stage = stage(LONG, "[shadow]\nbody_bytes = 400\nsample = \"50%\"\n").await;
    for _ in 0..10 {
        stage.guard.post(&call(1, "tools/list")).await;
    }
    stage.counted("matched", 5).await;
    stage.blue.answers("tools/list", &json!({"tools": [{"name": "x".repeat(500)}]}));
    for _ in 0..2 {
        stage.guard.post(&call(1, "tools/list")).await;
    }
    let skipped = "mcp_guard_shadow_copies_total{method=\"tools/list\",result=\"skipped\"}";
    eventually("it is skipped", || async { stage.guard.metric(skipped).await == 1.0 }).await;
    assert_eq!(stage.green.copies(), 5);
}

// "analysis of the stage (minimum samples, mismatch threshold -> pause/rollback by plan; inconclusive holds)"
#[tokio::test]
async fn the_shadow_stage_passes_with_enough_equal_responses_holds_with_few_and_stops_on_differences() {
    let passes = stage(SHORT, "").await;
    for _ in 0..4 {
        passes.guard.post(&call(1, "tools/list")).await;
    }
    passes.counted("matched", 4).await;
    eventually("one answer is lacking", || async {
        let waits = passes.guard.rollout().await["status"]["run"]["waits_for"].clone();
        waits == "4 of the 5 answers of the candidate that a verdict needs"
    })
    .await;
    passes.guard.post(&call(1, "tools/list")).await;
    let on = passes.guard.transition("advanced", 0).await;
    assert_eq!(
        (&on["to"]["stage"], &on["numbers"]["shadow"]["requests"]),
        (&json!("canary"), &json!(5)),
        "{on}"
    );
    let told = passes.guard.command_ok("rollout history").await;
    assert!(told.contains("shadow 5 copies judged, 0 differ, 0 failed"), "{told}");

    let fails = stage(SHORT, "").await;
    fails.green.lists(2);
    for _ in 0..5 {
        fails.guard.post(&call(1, "tools/list")).await;
    }
    let stopped = fails.guard.transition("paused", 0).await;
    let finding = &stopped["cause"]["conclusion"]["findings"][0];
    assert_eq!((&finding["finding"], &finding["mismatched"]), (&json!("mismatches"), &json!(5)), "{stopped}");
}
