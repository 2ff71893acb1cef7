//! Contract, section 21: "Records: every deploy, rollback (also one by a trigger), restore and drill writes
//! `incidents/ID.json` and `.md`: timeline, cause, numbers, who"; `mcp-guard incident list|show`.

use serde_json::Value;

use mcp_testkit::{Behaviour, Guard, McpBackend, call, eventually, mcp_backend};

use crate::guard;
use crate::rollout::{LONG, QUICK};

struct Pair {
    green: McpBackend,
    guard: Guard,
    _rest: (McpBackend, tempfile::TempDir),
}

/// A rollout in its first step.
async fn started() -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let started = guard().token("t").upstream(blue.address()).rollout(green.address(), LONG);
    let empty = folder.path().join("releases");
    let releases = format!("{QUICK}\n[release]\ndirectory = \"{}\"\n", empty.display());
    let guard = started.config(&releases).start().await;
    guard.both_healthy().await;
    guard.command_ok("rollout start").await;
    Pair { green, guard, _rest: (blue, folder) }
}

/// The records that the command lists, once there are so many.
async fn records(guard: &Guard, number: usize) -> Vec<Value> {
    let list = async || -> Vec<Value> {
        serde_json::from_str(&guard.command_ok("incident list --json").await).unwrap()
    };
    eventually("the records", || async { list().await.len() >= number }).await;
    let found = list().await;
    assert_eq!(found.len(), number, "{found:#?}");
    found
}

#[tokio::test]
async fn a_rollback_by_a_trigger_leaves_a_record_with_cause_and_figures() {
    let mut pair = started().await;
    for id in 0..20 {
        pair.guard.post(&call(id, "tools/list")).await;
    }
    pair.green.set_behaviour(Behaviour::FailsProbes);
    pair.guard.transition("rolled_back", 0).await;
    let record = records(&pair.guard, 1).await.remove(0);
    assert_eq!((&record["kind"], &record["outcome"]), (&"rollout".into(), &"rolled_back".into()));
    assert_eq!((&record["who"], &record["slot"]), (&"mcp-guard".into(), &"green".into()));
    assert!(record["cause"].as_str().unwrap().contains("trigger candidate_health"), "{record:#}");
    let timeline = record["timeline"].as_array().unwrap();
    let said = |at: usize| timeline[at]["what"].as_str().unwrap();
    assert!(timeline.len() == 2 && said(0).starts_with("started") && said(1).starts_with("rolled_back"));
    let calls: u64 =
        record["figures"].as_array().unwrap().iter().map(|row| row["requests"].as_u64().unwrap()).sum();
    assert_eq!(calls, 20, "{record:#}");

    let id = record["id"].as_str().unwrap();
    pair.guard.logged(&format!("rollout: record {id}")).await;
    let shown = pair.guard.command_ok(&format!("incident show {id}")).await;
    assert!(shown.starts_with(&format!("# rollout {id}: rolled_back")), "{shown}");
    assert!(shown.contains("| stable (blue), ") && shown.contains("| candidate (green), "), "{shown}");
    let file = pair.guard.state().join("incidents").join(format!("{id}.md"));
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim_end(), shown.trim_end());

    // A process that ends between the transition and its record leaves it to the next one.
    std::fs::remove_dir_all(pair.guard.state().join("incidents")).unwrap();
    pair.guard.kill_and_start_again().await;
    // The new process has counted nothing that it could draw.
    let mut record = record;
    record.as_object_mut().unwrap().remove("picture");
    let mut again = records(&pair.guard, 1).await;
    again[0].as_object_mut().unwrap().remove("picture");
    assert_eq!(again, [record]);
}

#[tokio::test]
async fn a_rollback_leaves_a_picture_beside_its_record() {
    let pair = started().await;
    let uptime = async || -> u64 {
        let status: Value = serde_json::from_str(&pair.guard.command_ok("status --json").await).unwrap();
        status["uptime_seconds"].as_u64().unwrap()
    };
    let began = uptime().await;
    // Seconds are counted from the beginning of the rollout on, because there is no console.
    eventually("some seconds are counted", async || uptime().await >= began + 4).await;
    pair.guard.post(&call(1, "tools/list")).await;
    pair.green.set_behaviour(Behaviour::FailsProbes);
    pair.guard.transition("rolled_back", 0).await;
    // The record is there first, and its link when there is a picture.
    let linked = async || records(&pair.guard, 1).await.remove(0)["picture"].is_string();
    eventually("the link to the picture", linked).await;
    let record = records(&pair.guard, 1).await.remove(0);
    let id = record["id"].as_str().unwrap();
    assert_eq!(record["picture"], format!("{id}.svg"));
    let folder = pair.guard.state().join("incidents");
    let picture = std::fs::read_to_string(folder.join(format!("{id}.svg"))).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    assert_eq!(picture.matches("class=\"mark\"").count(), 2, "{picture}");
    for word in ["started", "rolled_back", "trigger candidate_health", ">blue</text>", ">green</text>"] {
        assert!(picture.contains(word), "{word}: {picture}");
    }
    let text = std::fs::read_to_string(folder.join(format!("{id}.md"))).unwrap();
    assert!(text.contains(&format!("]({id}.svg)")), "{text}");
}

#[tokio::test]
async fn an_operator_s_rollback_and_a_completion_each_leave_a_record() {
    let pair = started().await;
    pair.guard.command_ok("rollout rollback").await;
    let back = records(&pair.guard, 1).await.remove(0);
    assert_eq!(back["outcome"], "rolled_back");
    assert!(back["who"].as_str().unwrap().starts_with("uid ") && back.get("cause").is_none(), "{back:#}");
    pair.guard.command_ok("rollout start").await;
    for _ in 0..10 {
        if pair.guard.command("rollout promote --force").await.code != 0 {
            break;
        }
    }
    let all = records(&pair.guard, 2).await;
    let done = all.iter().find(|record| record["outcome"] == "completed").unwrap();
    assert!(done["id"].as_str().unwrap().contains("-rollout-completion-"), "{done:#}");
    assert_eq!(done["served_before"], "blue");
    // Each has the transitions of its own rollout.
    let first = done["timeline"][0]["what"].as_str().unwrap();
    assert!(first.starts_with("started"), "{done:#}");
    assert_eq!(pair.guard.command("incident show nothing").await.code, 1);
}
