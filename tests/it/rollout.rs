//! Contract, sections 9 and 11: slots, rollouts and their commands, as an operator types them.

use std::path::Path;

use serde_json::json;

use mcp_testkit::{Behaviour, Guard, McpBackend, call, eventually, mcp_backend, old_mcp_backend};

use crate::guard;

/// Quick probes, of which a busy machine may delay some, and calls that go by their request: a handful of clients would
/// not spread.
pub(crate) const QUICK: &str =
    "[health]\ninterval = \"500ms\"\ntimeout = \"500ms\"\nrise = 1\n[routing]\nkey = \"request\"\n";
/// Two short steps.
const PLAN: &str = "[gate]\nparity = false\n\
                    [[step]]\nstage = \"canary\"\nweight = 50\nhold = \"200ms\"\nmin_samples = 5\n\
                    [[step]]\nstage = \"candidate_only\"\nhold = \"200ms\"\nmin_samples = 5\n";
/// A step that ends only by command or by trigger.
pub(crate) const LONG: &str = "[gate]\nparity = false\n\
                               [[step]]\nstage = \"canary\"\nweight = 50\nhold = \"1h\"\n\
                               [[step]]\nstage = \"bake\"\nhold = \"1h\"\n";

struct Pair {
    blue: McpBackend,
    green: McpBackend,
    guard: Guard,
    _folder: tempfile::TempDir,
}

fn sockets() -> (tempfile::TempDir, impl Fn(&str) -> std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, move |name: &str| path.join(name))
}

async fn pair_of(start_blue: impl Fn(&Path) -> McpBackend, config: &str, plan: &str) -> Pair {
    let (folder, socket) = sockets();
    let (blue, green) = (start_blue(&socket("blue")), mcp_backend(&socket("green")));
    let guard = guard()
        .token("t")
        .upstream(blue.address())
        .rollout(green.address(), plan)
        .config(config)
        .start()
        .await;
    guard.both_healthy().await;
    Pair { blue, green, guard, _folder: folder }
}

async fn pair(plan: &str) -> Pair {
    pair_of(mcp_backend, QUICK, plan).await
}

impl Pair {
    async fn call(&self) {
        let answer = self.guard.post(&call(1, "tools/list")).await;
        assert!(answer.json().get("result").is_some(), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_switch_goes_there_and_back_by_the_same_command() {
    let pair = pair(PLAN).await;
    pair.call().await;
    assert_eq!((pair.blue.calls(), pair.green.calls()), (1, 0));
    let said = pair.guard.command_ok("slots switch green").await;
    assert!(said.contains("stable is green now (was blue)") && said.contains("blue is idle"), "{said}");
    pair.call().await;
    assert_eq!((pair.blue.calls(), pair.green.calls()), (1, 1));
    pair.guard.command_ok("slots switch blue").await;
    pair.call().await;
    assert_eq!((pair.blue.calls(), pair.green.calls()), (2, 1));
    let again = pair.guard.command("slots switch blue").await;
    assert_eq!((again.code, again.stderr.trim()), (1, "mcp-guard: blue is stable already"));
}

// "refuses an unhealthy target (says why, with the last probe's answer)"
#[tokio::test]
async fn a_switch_to_a_backend_that_does_not_respond_is_refused() {
    let pair = pair(PLAN).await;
    pair.green.set_behaviour(Behaviour::FailsProbes);
    // At once, before the health checks have counted: the target is looked at when the order comes.
    let refused = pair.guard.command("slots switch green").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("green is not healthy: no answer within 500 ms"), "{refused:?}");
    eventually("green is known to be unhealthy", || async {
        pair.guard.metric("mcp_guard_slot_healthy{slot=\"green\"}").await == 0.0
    })
    .await;
    let listed = pair.guard.command_ok("slots list").await;
    assert!(listed.contains("unhealthy") && listed.contains("no answer within 500 ms"), "{listed}");
    assert!(pair.guard.command("rollout start").await.stderr.contains("green is not healthy"));
    pair.call().await;
    assert_eq!(pair.green.calls(), 0);
}

// "A rollback while nothing is in rollout says so and changes nothing."
#[tokio::test]
async fn commands_without_a_rollout_say_so() {
    let pair = pair(PLAN).await;
    for words in ["rollout rollback", "rollout pause", "rollout resume", "rollout promote"] {
        let typed = pair.guard.command(words).await;
        let complained = "mcp-guard: nothing is in rollout: blue serves all traffic";
        assert_eq!((typed.code, typed.stderr.trim()), (1, complained), "{words}");
    }
    assert_eq!(pair.guard.history().await, Vec::<serde_json::Value>::new());
    assert_eq!(pair.guard.command("rollout rollback --to nowhere").await.code, 64);
}

// `routing.key = "request"`: a client that repeats one id must not stay with the slot it likes.
#[tokio::test]
async fn a_client_cannot_choose_its_slot_by_the_request_id() {
    let pair = pair(LONG).await;
    pair.guard.command_ok("rollout start").await;
    for _ in 0..40 {
        pair.guard.post_with("X-Request-Id: chosen\r\n", &call(1, "tools/list")).await;
    }
    let (blue, green) = (pair.blue.calls(), pair.green.calls());
    assert!(blue > 0 && green > 0, "all 40 calls of one id went to one slot: {blue}, {green}");
}

#[tokio::test]
async fn a_good_candidate_becomes_stable_by_itself() {
    let pair = pair(PLAN).await;
    let said = pair.guard.command_ok("rollout start").await;
    assert!(said.contains("started: stable -> canary 50 %"), "{said}");
    let status = pair.guard.rollout().await;
    let waits = status["status"]["run"]["waits_for"].as_str().unwrap().to_owned();
    assert!(waits.contains("hold") || waits.contains("of the 5 answers"), "{waits}");
    eventually("it is complete", || async {
        pair.call().await;
        pair.guard.rollout().await["status"]["run"].is_null()
    })
    .await;
    let history = pair.guard.history().await;
    let kinds: Vec<&str> = history.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["started", "advanced", "completed"]);
    assert!(history[2]["numbers"]["candidate"]["requests"].as_u64().unwrap() >= 5);
    assert_eq!(pair.guard.rollout().await["status"]["position"]["stable"], "green");
    let before = pair.blue.calls();
    pair.call().await;
    assert_eq!(pair.blue.calls(), before, "blue has retired");
}

// "`--watch` showing a live side-by-side of both slots (requests, errors, p50, p95) as it progresses, `--json` for scripts"
#[tokio::test]
async fn a_rollout_can_be_watched_to_its_end() {
    let pair = pair(PLAN).await;
    let calls = eventually("it is complete", || async {
        pair.call().await;
        pair.guard.history().await.len() == 3
    });
    let (watched, ()) = tokio::join!(pair.guard.command_when_healthy("rollout start --watch"), calls);
    assert_eq!(watched.code, 0, "{watched:?}");
    for words in ["blue (", "green (", "calls", "errors", "p50", "p95", "verdict", "green serves all traffic"]
    {
        assert!(watched.stdout.contains(words), "no `{words}` in {}", watched.stdout);
    }

    // A rollback is a no, for scripts as for people.
    pair.guard.command_ok("rollout start").await;
    let back = async { pair.guard.command("rollout rollback").await };
    let (watched, back) = tokio::join!(pair.guard.command("rollout status --watch --json"), back);
    assert_eq!((watched.code, back.code), (1, 0), "{watched:?}, {back:?}");
    for line in watched.stdout.lines() {
        let seen: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(seen["status"]["slots"].as_array().map(Vec::len), Some(2), "{seen}");
    }
}

#[tokio::test]
async fn a_rollout_can_be_stopped_hurried_and_taken_back() {
    let pair = pair(LONG).await;
    pair.guard.command_ok("rollout start").await;
    assert!(pair.guard.command_ok("rollout pause").await.contains("canary 50 % (paused)"));
    assert_eq!(pair.guard.command("rollout pause").await.code, 1);
    pair.guard.command_ok("rollout resume").await;
    assert!(pair.guard.command_ok("rollout promote").await.contains("promoted: canary 50 % -> bake 100 %"));
    for _ in 0..10 {
        pair.call().await;
    }
    assert_eq!((pair.blue.calls(), pair.green.calls()), (0, 10), "all clients are on the candidate");
    let back = pair.guard.command_ok("rollout rollback --to canary").await;
    assert!(back.contains("rolled_back: bake 100 % -> canary 50 % (paused)"), "{back}");
    let back = pair.guard.command_ok("rollout rollback").await;
    assert!(back.contains("-> stable") && back.contains("green is idle"), "{back}");
    pair.call().await;
    assert_eq!((pair.blue.calls(), pair.green.calls()), (1, 10));
    let shown = pair.guard.command_ok("rollout history").await;
    assert_eq!(shown.matches("rolled_back").count(), 2, "{shown}");
}

#[tokio::test]
async fn a_candidate_that_differs_is_refused_at_the_gate() {
    let pair = pair(&LONG.replace("parity = false", "parity = true")).await;
    pair.green.lists(2);
    let refused = pair.guard.command_when_healthy("rollout start").await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("tool-names: tool_2 - tool missing on the candidate"), "{refused:?}");
    let forced = pair.guard.command_ok("rollout start --force").await;
    assert!(forced.contains("note: the candidate does not match stable:"), "{forced}");
    pair.guard.command_ok("rollout rollback").await;
    pair.green.lists(3);
    assert!(pair.guard.command_ok("rollout start").await.contains("parity checks hold"));
}

// SPEC 5, era fence: "requests with a newer MCP-Protocol-Version get 400 .. and a message that lists the supported
// versions; .. It lifts when the rollout completes."
#[tokio::test]
async fn newer_versions_are_held_back_while_the_way_back_does_not_speak_them() {
    let pair = pair_of(old_mcp_backend, QUICK, LONG).await;
    let discover = || async {
        let fields = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: server/discover\r\n";
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "server/discover", "params": {"_meta": meta}});
        pair.guard.post_with(fields, &body.to_string()).await
    };
    pair.guard.command_ok("rollout start").await;
    pair.guard.command_ok("rollout promote").await;
    let fenced = discover().await;
    assert_eq!(fenced.status(), 400, "{}", fenced.text());
    assert_eq!(fenced.json()["error"]["code"], -32600);
    assert!(fenced.text().contains("2025-11-25"), "{}", fenced.text());
    assert_eq!(pair.green.calls(), 0, "the candidate was not asked");
    assert_eq!(pair.guard.metric("mcp_guard_era_fence").await, 1.0);
    pair.guard.command_ok("rollout promote").await;
    let open = discover().await;
    assert_eq!(open.status(), 200, "{}", open.text());
    let refused = pair.guard.command_when_healthy("slots switch blue").await;
    assert!(refused.stderr.contains("blue does not speak protocol 2026-07-28"), "{refused:?}");
}

#[tokio::test]
async fn calls_are_held_for_a_switch_while_stable_is_away() {
    let (_folder, socket) = sockets();
    let (blue, green) = (mcp_backend(&socket("blue")), mcp_backend(&socket("green")));
    let guard = guard()
        .token("t")
        .upstream(blue.address())
        .rollout(green.address(), PLAN)
        .config(QUICK)
        .start()
        .await;
    guard.both_healthy().await;
    blue.kill().await;
    let mut clients = Vec::new();
    for id in 0..10 {
        let mut client = guard.connect().await;
        client.send(mcp_testkit::post("t", "", &call(id, "tools/call"))).await;
        clients.push(client);
    }
    eventually("calls are held", || async { guard.metric(r#"mcp_guard_held{slot="blue"}"#).await == 10.0 })
        .await;
    assert_eq!(green.calls(), 0, "a slot that was never tried does not stand in unasked");
    guard.command_ok("slots switch green").await;
    for client in &mut clients {
        assert!(client.response().await.json().get("result").is_some());
    }
    assert_eq!(green.calls(), 10);
}

#[tokio::test]
async fn a_rollout_survives_the_guards_death_at_every_step() {
    let mut pair = pair(LONG).await;
    let steps = ["rollout start", "rollout pause", "rollout resume", "rollout promote", "rollout rollback"];
    for (number, words) in steps.iter().cycle().take(20).enumerate() {
        pair.guard.both_healthy().await;
        pair.guard.command_ok(words).await;
        let before = pair.guard.rollout().await["status"]["position"].clone();
        pair.guard.kill_and_start_again().await;
        assert_eq!(pair.guard.rollout().await["status"]["position"], before, "{words}");
        assert_eq!(pair.guard.history().await.len(), number + 1, "{words}");
    }
}

// "a damaged or foreign file is refused with a clear message and the guard serves from the configured stable slot"
#[tokio::test]
async fn a_damaged_state_is_refused_and_the_configured_slot_serves() {
    let mut pair = pair(LONG).await;
    pair.guard.command_ok("slots switch green").await;
    let file = pair.guard.state().join("rollout.state");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    pair.guard.kill_and_start_again().await;
    pair.call().await;
    assert_eq!((pair.blue.calls(), pair.green.calls()), (1, 0));
    pair.guard.logged("is damaged (its checksum does not fit)").await;
    assert_eq!(std::fs::read(pair.guard.state().join("rollout.state.refused")).unwrap(), bytes);

    std::fs::write(&file, "not ours").unwrap();
    pair.guard.kill_and_start_again().await;
    pair.call().await;
    assert_eq!(pair.green.calls(), 0);
    let status = pair.guard.rollout().await;
    assert!(status["problems"][0].as_str().unwrap().contains("is no rollout state of mcp-guard"), "{status}");
    assert_eq!(std::fs::read(&file).unwrap(), b"not ours");
}

// What a failed candidate held for a read is free while stable responds: a slow stable must not fill the candidate.
#[tokio::test]
async fn a_read_that_falls_back_to_stable_gives_the_candidates_permit_back() {
    let config = "[health]\ninterval = \"500ms\"\ntimeout = \"500ms\"\nrise = 1\n";
    let plan = format!("{LONG}[clients]\ncandidate = [\"default\"]\n");
    let pair = pair_of(mcp_backend, config, &plan).await;
    pair.guard.command_ok("rollout start").await;
    pair.green.set_behaviour(Behaviour::InternalErrors(100));
    pair.blue.set_behaviour(Behaviour::NeverResponds);
    let mut client = pair.guard.connect().await;
    client.send(mcp_testkit::post("t", "", &call(1, "tools/list"))).await;
    eventually("stable has the call", || async { pair.blue.calls() == 1 }).await;
    assert_eq!(pair.green.calls(), 1, "the candidate failed it first");
    let in_flight = |slot: &str| format!("mcp_guard_in_flight{{slot=\"{slot}\"}}");
    assert_eq!(pair.guard.metric(&in_flight("blue")).await, 1.0);
    assert_eq!(pair.guard.metric(&in_flight("green")).await, 0.0);
}
