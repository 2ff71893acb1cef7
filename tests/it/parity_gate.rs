//! Contract, sections 9 and 10: the same comparison stands before a rollout and before each of its stages.

use std::path::PathBuf;

use serde_json::{Value, json};

use mcp_testkit::{Guard, McpBackend, call, eventually, mcp_backend};

use crate::guard;
use crate::rollout::{LONG, QUICK};

/// Two steps, gated; nothing else ends the rollout.
const GATED: &str = "[triggers.protocol]\naction = \"off\"\n\
                     [[step]]\nstage = \"canary\"\nweight = 50\nhold = \"1h\"\n\
                     [[step]]\nstage = \"bake\"\nhold = \"1h\"\n";

struct Stage {
    blue: McpBackend,
    green: McpBackend,
    guard: Guard,
    folder: tempfile::TempDir,
}

async fn stage(plan: &str) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let told = folder.path().join("told");
    let tell =
        format!("[[notify]]\nkind = \"exec\"\nexec = [\"sh\", \"-c\", \"cat >> {}\"]\n", told.display());
    let plan = format!("{plan}{tell}");
    let started = guard().token("t").upstream(blue.address()).rollout(green.address(), &plan).config(QUICK);
    let guard = started.start().await;
    guard.both_healthy().await;
    Stage { blue, green, guard, folder }
}

impl Stage {
    fn accept(&self, entries: &str) -> PathBuf {
        let path = self.folder.path().join("accept.toml");
        std::fs::write(&path, entries).unwrap();
        path
    }

    /// What the receiver of notifications was sent, one transition a line.
    fn told(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("told")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Three tools, of which the second takes `days` with this default.
fn tools(days: u64) -> Value {
    let days = json!({"type": "object", "properties": {"days": {"type": "integer", "default": days}}});
    let tool = |name: &str, schema: &Value| json!({"name": name, "inputSchema": schema});
    json!({"tools": [tool("tool_0", &json!({"type": "object"})), tool("tool_1", &days), tool("tool_2", &json!({"type": "object"}))]})
}

fn entry(candidate: &str, more: &str) -> String {
    format!(
        "[[accept]]\ncheck = \"schemas\"\nsubject = \"tool_1\"\npath = \"days\"\nchange = \"default changed\"\n\
         candidate = \"{candidate}\"\nreason = \"agreed with the bots' owner\"\n{more}\n"
    )
}

const DIFFERS: &str = "schemas: tool_1 days - default changed (live 7, candidate 30)";

// "a break stops the rollout and shows the diff in CLI output, history and notification"
#[tokio::test]
async fn a_parity_difference_stops_the_start_and_is_shown_everywhere() {
    let stage = stage(GATED).await;
    stage.blue.answers("tools/list", &tools(7));
    stage.green.answers("tools/list", &tools(30));
    let refused = stage.guard.command_when_healthy("rollout start").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(refused.stderr.matches(DIFFERS).count(), 1, "both eras, told once: {refused:?}");
    let history = stage.guard.history().await;
    assert_eq!(history.len(), 1, "{history:#?}");
    assert_eq!((&history[0]["kind"], &history[0]["cause"]["by"]), (&json!("noted"), &json!("parity")));
    let difference = &history[0]["cause"]["differences"][0];
    assert_eq!((&difference["subject"], &difference["path"]), (&json!("tool_1"), &json!("days")));
    assert_eq!((&difference["live"], &difference["candidate"]), (&json!("7"), &json!("30")));
    assert!(stage.guard.command_ok("rollout history").await.contains(DIFFERS));
    eventually("it is told", || std::future::ready(!stage.told().is_empty())).await;
    assert!(stage.told()[0]["summary"].as_str().unwrap().contains(DIFFERS), "{:?}", stage.told());
    let noted = "mcp_guard_rollout_transitions_total{cause=\"parity\",kind=\"noted\"}";
    assert_eq!(stage.guard.metric(noted).await, 1.0);
    assert!(stage.guard.rollout().await["status"]["run"].is_null(), "nothing is in rollout");
}

// "`--accept FILE` (.. each with tool/path/verdict and a reason, expired or unused entries reported) lets it pass"
#[tokio::test]
async fn a_reviewed_difference_passes_at_every_stage_until_it_expires() {
    let mut stage = stage(GATED).await;
    stage.blue.answers("tools/list", &tools(7));
    stage.green.answers("tools/list", &tools(30));
    let start = |path: PathBuf| format!("rollout start --accept {}", path.display());

    let past = stage.accept(&entry("30", "expires = 2020-02-29"));
    let refused = stage.guard.command_when_healthy(&start(past)).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains(DIFFERS), "{refused:?}");
    assert!(refused.stderr.contains("accepted, but not any more: default changed"), "{refused:?}");

    let other = stage.accept(&entry("60", ""));
    assert_eq!(stage.guard.command_when_healthy(&start(other)).await.code, 1, "another value was reviewed");
    let bad = stage.accept(&entry("30", "expires = \"tomorrow\""));
    let unreadable = stage.guard.command(&start(bad)).await;
    assert_eq!((unreadable.code, unreadable.stderr.contains("expires")), (2, true), "{unreadable:?}");

    let reviewed = format!("{}{}", entry("30", "expires = 2999-12-31"), entry("90", ""));
    let started = stage.guard.command_ok(&start(stage.accept(&reviewed))).await;
    assert!(started.contains("default changed (accepted: agreed with the bots' owner)"), "{started}");
    assert!(started.contains("accepted, but not found any more: default changed"), "{started}");
    // What was reviewed holds for the whole rollout, and outlives the guard.
    stage.guard.kill_and_start_again().await;
    stage.guard.both_healthy().await;
    let promoted = stage.guard.command_ok("rollout promote").await;
    assert!(promoted.contains("canary 50 % -> bake") && promoted.contains("accepted: agreed"), "{promoted}");
    stage.guard.command_ok("rollout rollback").await;
    assert_eq!(stage.guard.command_when_healthy("rollout start").await.code, 1, "and only for that one");
}

#[tokio::test]
async fn an_operator_does_not_promote_past_a_difference_unless_forced() {
    let stage = stage(GATED).await;
    stage.guard.command_ok("rollout start").await;
    stage.green.lists(2);
    let refused = stage.guard.command_when_healthy("rollout promote").await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("tool-names: tool_2 - tool missing on the candidate"), "{refused:?}");
    let promoted = stage.guard.command_ok("rollout promote --force").await;
    assert!(promoted.contains("promoted: canary 50 %") && promoted.contains("tool_2"), "{promoted}");
}

// "every stage run[s] the parity comparison between the two slots"
#[tokio::test]
async fn a_difference_under_way_stops_the_rollout_before_the_next_stage() {
    let stage = stage(&GATED.replacen("hold = \"1h\"", "hold = \"200ms\"\nmin_samples = 5", 1)).await;
    stage.guard.command_ok("rollout start").await;
    // Stable changes: for the protocol trigger, which watches the candidate, that is nothing.
    stage.blue.answers("tools/list", &tools(7));
    let stopped = call_until(&stage, "paused").await;
    assert_eq!(stopped["cause"]["by"], "parity", "{stopped}");
    assert_eq!((&stopped["to"]["stage"], &stopped["to"]["paused"]), (&json!("canary"), &json!(true)));
    assert!(stage.guard.command_ok("rollout history").await.contains("schemas: tool_1 days"), "{stopped}");
    let paused = "mcp_guard_rollout_transitions_total{cause=\"parity\",kind=\"paused\"}";
    assert_eq!(stage.guard.metric(paused).await, 1.0);
    // Resumed as it is, it stops again; once both agree, it goes on.
    stage.guard.command_ok("rollout resume").await;
    eventually("it stops again", || async { stage.guard.metric(paused).await == 2.0 }).await;
    stage.green.answers("tools/list", &tools(7));
    stage.guard.command_ok("rollout resume").await;
    let on = call_until(&stage, "advanced").await;
    assert_eq!(on["to"]["stage"], "bake", "{on}");
}

async fn call_until(stage: &Stage, kind: &str) -> Value {
    eventually(kind, || async {
        stage.guard.post(&call(1, "tools/list")).await;
        stage.guard.history().await.iter().any(|one| one["kind"] == kind)
    })
    .await;
    let history = stage.guard.history().await;
    history.into_iter().find(|one| one["kind"] == kind).unwrap_or_default()
}

// "drift of tool list/schema during the rollout is the `protocol` trigger"
#[tokio::test]
async fn a_schema_that_changes_under_way_is_the_protocol_trigger() {
    let stage = stage(&LONG.replace("parity = false", "parity = true")).await;
    stage.blue.answers("tools/list", &tools(7));
    stage.green.answers("tools/list", &tools(7));
    stage.guard.command_ok("rollout start").await;
    stage.green.answers("tools/list", &tools(30));
    let back = stage.guard.transition("rolled_back", 0).await;
    assert_eq!(back["cause"]["fired"]["trigger"], "protocol", "{back}");
    let detail = back["cause"]["fired"]["detail"].as_str().unwrap();
    assert!(detail.contains("lists tools that differ from those at the start of the rollout"), "{detail}");
}
