//! Contract, sections 9, 11 and 12: what the guard says of slots and rollouts is so: who serves and why, who stands by, what a
//! target lacks, and what became of a rollout.

use std::time::Duration;

use serde_json::{Value, json};

use mcp_testkit::{Behaviour, Guard, McpBackend, call, eventually, in_time, mcp_backend};

use crate::guard;
use crate::rollout::{LONG, QUICK};

struct Pair {
    blue: McpBackend,
    green: McpBackend,
    guard: Guard,
    _folder: tempfile::TempDir,
}

async fn pair(tables: &str, plan: &str) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let started = guard().token("t").upstream(blue.address()).rollout(green.address(), plan).config(tables);
    let guard = started.start().await;
    guard.both_healthy().await;
    Pair { blue, green, guard, _folder: folder }
}

impl Pair {
    async fn health(&self, slot: &str, is: &str) {
        eventually(is, || async {
            let page = self.guard.metrics().await;
            page.contains(&format!("slot_healthy{{slot=\"{slot}\"}} {is}"))
        })
        .await;
    }

    async fn slots(&self) -> Value {
        serde_json::from_str(&self.guard.command_ok("slots list --json").await).expect("JSON")
    }
}

// "A stable slot that hangs keeps its traffic although the other one is healthy."
#[tokio::test]
async fn a_hung_stable_slot_is_stood_in_for_where_the_configuration_says_so() {
    let standby = QUICK.replace("[routing]", "[routing]\nstandby = true");
    for (behaviour, tables, expect) in [
        (Behaviour::FailsProbes, standby.as_str(), "green stands by for blue"),
        (Behaviour::FailsProbes, QUICK, "no slot stands by for blue: green has not been stable"),
    ] {
        let pair = pair(tables, LONG).await;
        let said = pair.slots().await["standby"].as_str().unwrap().to_owned();
        assert!(said.starts_with(expect), "{said}");
        assert!(pair.guard.command_ok("slots list").await.contains(expect));
        pair.blue.set_behaviour(behaviour);
        pair.health("blue", "0").await;
        if expect.starts_with("green") {
            let answer = pair.guard.post(&call(1, "tools/list")).await;
            assert!(answer.json().get("result").is_some(), "{}", answer.text());
            assert_eq!(pair.green.calls(), 1);
            let said = pair.slots().await["standby"].as_str().unwrap().to_owned();
            assert!(said.contains("green serves in place of blue"), "{said}");
        } else {
            let mut waits = pair.guard.connect().await;
            waits.send(mcp_testkit::post("t", "", &call(1, "tools/list"))).await;
            assert!(
                !waits.receives_within(Duration::from_millis(500)).await,
                "an unvetted candidate takes no calls"
            );
            assert_eq!(pair.green.calls(), 0);
        }
    }
}

#[tokio::test]
async fn a_slot_without_tools_is_not_healthy_and_a_switch_names_what_its_target_lacks() {
    let pair = pair(QUICK, LONG).await;
    pair.green.lists(2);
    let switched = pair.guard.command_ok("slots switch green").await;
    assert!(switched.contains("green lacks 1 of the 3 tools that blue lists: tool_2"), "{switched}");
    let back = pair.guard.command_ok("slots switch blue").await;
    assert!(!back.contains("lacks"), "{back}");
    pair.green.lists(0);
    let refused = pair.guard.command_when_healthy("slots switch green").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("green lists no tools (add --force"), "{refused:?}");
    pair.health("green", "0").await;
    assert!(pair.guard.command_ok("slots list").await.contains("it lists no tools"));
    let forced = pair.guard.command_ok("slots switch green --force").await;
    assert!(
        forced.contains("green lacks 3 of the 3 tools that blue lists: tool_0, tool_1, tool_2"),
        "{forced}"
    );
    // An empty list is no reason to begin a rollout, with whatever force.
    let other = pair.guard.command_when_healthy("slots switch blue").await;
    assert_eq!(other.code, 0, "{other:?}");
    assert_eq!(pair.guard.command("rollout start --force").await.code, 1);
}

#[tokio::test]
async fn a_switch_waits_for_a_backend_that_was_started_a_moment_ago() {
    let folder = tempfile::tempdir().unwrap();
    let blue = mcp_backend(&folder.path().join("blue"));
    let path = folder.path().join("green");
    let address = format!("unix:{}", path.display());
    let started = guard().token("t").upstream(blue.address()).rollout(address.as_str(), LONG).config(QUICK);
    let guard = started.start().await;
    let early = guard.command("slots switch green").await;
    assert!(early.code == 1 && early.stderr.contains("green is not healthy"), "{early:?}");
    let _green = mcp_backend(&path);
    let switched = guard.command_ok("slots switch green --wait 30").await;
    assert!(switched.contains("stable is green now"), "{switched}");
}

const CLIENTS: [&str; 4] = ["panda-bot", "testbed-bot", "watchdog", "claude"];

// "none of the 4 clients is in this share; name some under [clients] candidate"
#[tokio::test]
async fn a_rollout_whose_share_holds_no_client_says_so_at_its_start_and_while_it_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let plan = LONG.replace("weight = 50", "weight = 5");
    let tokens: String =
        CLIENTS.map(|name| format!("[clients.{name}]\nsha256 = \"{}\"\n", hash(name))).concat();
    let tables = QUICK.replace("key = \"request\"", "key = \"client\"");
    let started =
        guard().tokens(&tokens).upstream(blue.address()).rollout(green.address(), &plan).config(&tables);
    let guard = started.start().await;
    guard.both_healthy().await;
    let told = "none of the 4 clients is in this share; name some under [clients] candidate";
    let said = guard.command_ok("rollout start").await;
    assert!(said.contains(told), "{said}");
    let waits = guard.rollout().await["status"]["run"]["waits_for"].clone();
    assert!(waits.as_str().unwrap().contains(told), "{waits}");
    guard.logged(told).await;
    // All clients are in the last share.
    let promoted = guard.command_ok("rollout promote").await;
    assert!(!promoted.contains("none of the"), "{promoted}");
}

fn hash(token: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

// "`routing.stable` never lies."
#[tokio::test]
async fn start_reload_and_check_say_which_slot_serves_where_file_and_state_differ() {
    let tables = QUICK.replace("[routing]", "[routing]\nstable = \"blue\"");
    let mut pair = pair(&tables, LONG).await;
    let told = "routing.stable: green serves, as the saved state says; the file's blue counts only where there is no state";
    let agree = pair.guard.command_ok("reload").await;
    assert!(!agree.contains("routing.stable"), "{agree}");
    pair.guard.command_ok("slots switch green").await;
    let reloaded = pair.guard.command_ok("reload").await;
    assert!(reloaded.contains(told), "{reloaded}");
    let checked = pair.guard.command_ok("check").await;
    assert!(checked.contains(told) && checked.contains("green (stable)"), "{checked}");
    pair.guard.kill_and_start_again().await;
    pair.guard.logged(told).await;
    let answer = pair.guard.post(&call(1, "tools/list")).await;
    assert!(answer.json().get("result").is_some() && pair.green.calls() == 1);
}

#[tokio::test]
async fn a_reload_cannot_remove_the_slot_that_serves_and_what_is_removed_leaves_the_metrics() {
    let pair = pair(QUICK, LONG).await;
    let green = format!("[slots.green]\naddress = \"{}\"\n", pair.green.address());
    pair.guard.command_ok("slots switch green").await;
    pair.guard.edit(&green, "");
    let refused = pair.guard.command("reload").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("slots.green: green serves and must not be removed"), "{refused:?}");
    let answer = pair.guard.post(&call(1, "tools/list")).await;
    assert!(answer.json().get("result").is_some() && pair.green.calls() == 1);
    pair.guard.command_ok("slots switch blue").await;
    pair.guard.command_ok("reload").await;
    in_time("green leaves", async {
        loop {
            let page = pair.guard.metrics().await;
            let gauges = [
                "slot_healthy",
                "slot_reachable",
                "in_flight",
                "waiting",
                "held",
                "idle_connections",
                "split_weight",
                "rollout_error_ratio",
                "rollout_p95_seconds",
                "backend_memory_ratio",
            ];
            let left = |name: &&str| {
                page.lines().any(|line| {
                    line.starts_with("mcp_guard_") && line.contains(*name) && line.contains("slot=\"green\"")
                })
            };
            if !gauges.iter().any(left) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

// "The first probe runs at once; tool names are learnt from the probes' own lists."
#[tokio::test]
async fn tool_names_are_labels_before_any_client_has_listed_them() {
    let folder = tempfile::tempdir().unwrap();
    let blue = mcp_backend(&folder.path().join("blue"));
    let guard = guard().token("t").admin().upstream(blue.address()).start().await;
    eventually("the first probe", || async {
        guard.metric("mcp_guard_slot_healthy{slot=\"blue\"}").await >= 0.0
            && guard.command_ok("slots list --json").await.contains("\"tools\":3")
    })
    .await;
    let params = r#"{"name":"tool_1","arguments":{}}"#;
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    guard.post(&body).await;
    let line = guard.log_line(|line| line["method"] == "tools/call").await;
    assert_eq!(line["tool"], "tool_1");
}

#[tokio::test]
async fn rollouts_are_numbered_in_a_row_and_their_end_is_reported() {
    let pair = pair(QUICK, LONG).await;
    for id in ["r1", "r2"] {
        let started = pair.guard.command_ok("rollout start").await;
        assert!(started.contains("started"), "{started}");
        assert_eq!(pair.guard.rollout().await["status"]["run"]["id"], id);
        pair.guard.command_ok("rollout pause").await;
        pair.guard.command_ok("rollout rollback").await;
        pair.guard.command_ok("slots drain green").await;
    }
    let drained = pair.guard.history().await.into_iter().rfind(|one| one["kind"] == "retired").unwrap();
    assert_eq!(drained["slot"], json!("green"));
    let again = pair.guard.command_ok("rollout start").await;
    assert!(again.contains("started"), "{again}");
    pair.green.set_behaviour(Behaviour::FailsProbes);
    pair.guard.transition("rolled_back", drained["seq"].as_u64().unwrap()).await;
    let status = pair.guard.command_ok("rollout status").await;
    assert!(
        status.contains("latest") && status.contains("rolled_back") && status.contains("candidate_health"),
        "{status}"
    );
}
