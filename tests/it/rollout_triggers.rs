//! Contract, section 9: each trigger, driven by a backend that misbehaves, and held just under it by one that almost does.
//! Windows are short; what fires is the same code as with the shipped ones.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use mcp_testkit::{Behaviour, Guard, Load, McpBackend, eventually, mcp_backend};

use crate::guard;
use crate::rollout::{LONG, QUICK};

/// How long a candidate that almost misbehaves is watched for.
const WATCHED: Duration = Duration::from_millis(1_500);
const CLIENTS: u64 = 6;

struct Stage {
    blue: McpBackend,
    green: McpBackend,
    guard: Arc<Guard>,
    _folder: tempfile::TempDir,
}

/// A rollout at 50 %, in which only this trigger does anything.
async fn stage(trigger: &str, settings: &str) -> Stage {
    let mut plan = LONG.to_owned();
    for other in [
        "candidate_health",
        "critical_check",
        "breaker_open",
        "stage_stalled",
        "error_rate",
        "error_rate_sustained",
        "latency_p95",
        "memory",
        "protocol",
    ] {
        let settings = if other == trigger { settings } else { "action = \"off\"" };
        plan.push_str(&format!("[triggers.{other}]\n{settings}\n"));
    }
    if trigger == "critical_check" {
        plan.push_str("[[critical_check]]\nname = \"database\"\ntool = \"check\"\ninterval = \"1s\"\n");
    }
    if trigger == "stage_stalled" {
        plan = plan.replacen("hold = \"1h\"", "hold = \"100ms\"\nmin_samples = 1000000", 1);
    }
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let started = guard().token("t").upstream(blue.address()).rollout(green.address(), &plan).config(QUICK);
    let guard = Arc::new(started.start().await);
    guard.both_healthy().await;
    guard.command_ok("rollout start").await;
    Stage { blue, green, guard, _folder: folder }
}

impl Stage {
    /// The trigger fires and takes everything back.
    async fn fires(&self, trigger: &str) -> Value {
        let back = self.guard.transition("rolled_back", 0).await;
        assert_eq!(back["cause"]["by"], "trigger", "{back}");
        assert_eq!(back["cause"]["fired"]["trigger"], trigger, "{back}");
        assert_eq!(back["to"]["stage"], "stable", "{back}");
        let series =
            format!("mcp_guard_rollout_transitions_total{{cause=\"{trigger}\",kind=\"rolled_back\"}}");
        assert_eq!(self.guard.metric(&series).await, 1.0);
        back
    }

    /// The trigger has been watched long enough and did not fire.
    async fn holds(&self) {
        tokio::time::sleep(WATCHED).await;
        let history = self.guard.history().await;
        assert_eq!(history.len(), 1, "{history:#?}");
    }
}

#[tokio::test]
async fn candidate_health() {
    let settings = "window = \"0s\"";
    let sick = stage("candidate_health", settings).await;
    sick.green.set_behaviour(Behaviour::FailsProbes);
    sick.fires("candidate_health").await;

    let fit = stage("candidate_health", settings).await;
    // Slow, but within the time of a probe; and stable's trouble is not the candidate's.
    fit.green.set_behaviour(Behaviour::Delayed(Duration::from_millis(20)));
    fit.blue.set_behaviour(Behaviour::FailsProbes);
    let stable = "mcp_guard_slot_healthy{slot=\"blue\"}";
    eventually("stable is unhealthy", || async { fit.guard.metric(stable).await == 0.0 }).await;
    fit.holds().await;
}

#[tokio::test]
async fn critical_check() {
    let sick = stage("critical_check", "window = \"0s\"\nmin_samples = 2").await;
    sick.green.check_fails(true);
    let back = sick.fires("critical_check").await;
    let detail = back["cause"]["fired"]["detail"].as_str().unwrap();
    assert!(detail.contains("`database` fails: tool `check` answers isError"), "{detail}");

    let fit = stage("critical_check", "window = \"0s\"\nmin_samples = 1000").await;
    fit.green.check_fails(true);
    fit.holds().await;
}

#[tokio::test]
async fn breaker_open() {
    // The probes find nothing wrong: the calls do. Half-open again and again, it has been open all the time.
    let settings = "window = \"500ms\"";
    let sick = stage("breaker_open", settings).await;
    sick.green.set_behaviour(Behaviour::ClosesConnection);
    let load = Load::start(&sick.guard, CLIENTS);
    sick.fires("breaker_open").await;
    load.stop().await;

    let fit = stage("breaker_open", settings).await;
    // An error is an answer.
    fit.green.set_behaviour(Behaviour::InternalErrors(100));
    let load = Load::start(&fit.guard, CLIENTS);
    fit.holds().await;
    load.stop().await;
}

#[tokio::test]
async fn stage_stalled() {
    let sick = stage("stage_stalled", "window = \"300ms\"").await;
    let load = Load::start(&sick.guard, CLIENTS);
    // It lacks nothing but calls, which says nothing against the candidate.
    let stopped = sick.guard.transition("paused", 0).await;
    assert_eq!(stopped["cause"]["fired"]["trigger"], "stage_stalled", "{stopped}");
    let detail = stopped["cause"]["fired"]["detail"].as_str().unwrap();
    assert!(detail.contains("of the 1000000 answers of the candidate that a verdict needs"), "{detail}");
    load.stop().await;

    // Long enough for the order to arrive on a busy machine, and watched for longer.
    let fit = stage("stage_stalled", "window = \"3s\"").await;
    fit.guard.command_ok("rollout pause").await;
    tokio::time::sleep(Duration::from_secs(3) + WATCHED).await;
    assert!(fit.guard.rollout().await["status"]["run"].is_object(), "who waits for a person does not stall");
}

/// A candidate with this behaviour, under load; whether it is to be rolled back.
async fn under_load(trigger: &str, settings: &str, behaviour: Behaviour, fires: bool) {
    let stage = stage(trigger, settings).await;
    stage.green.set_behaviour(behaviour);
    let load = Load::start(&stage.guard, CLIENTS);
    if fires {
        drop(stage.fires(trigger).await)
    } else {
        stage.holds().await
    }
    eventually("more calls: few prove little", || std::future::ready(load.made() > 20)).await;
    load.stop().await;
}

#[tokio::test]
async fn error_rate() {
    let settings = "threshold = \"10%\"\nwindow = \"10s\"\nmin_samples = 50";
    under_load("error_rate", settings, Behaviour::InternalErrors(25), true).await;
    // Per call of the candidate: a list that fails there is a failure, though its client is answered by stable.
    under_load("error_rate", settings, Behaviour::InternalErrors(4), false).await;
}

#[tokio::test]
async fn error_rate_by_tool_errors() {
    let settings = "threshold = \"10%\"\nwindow = \"10s\"\nmin_samples = 50";
    under_load("error_rate", settings, Behaviour::ToolErrors(60), true).await;
    under_load("error_rate", settings, Behaviour::ToolErrors(8), false).await;
}

#[tokio::test]
async fn error_rate_by_garbage_and_by_status() {
    // The breaker lets few calls through, and all of them fail.
    let settings = "threshold = \"10%\"\nwindow = \"10s\"\nmin_samples = 10";
    under_load("error_rate", settings, Behaviour::NotJsonRpc, true).await;
    under_load("error_rate", settings, Behaviour::Status500, true).await;
}

#[tokio::test]
async fn error_rate_sustained() {
    let settings = "threshold = \"5%\"\nwindow = \"1s\"\nmin_samples = 50";
    under_load("error_rate_sustained", settings, Behaviour::InternalErrors(15), true).await;
    under_load("error_rate_sustained", settings, Behaviour::InternalErrors(1), false).await;
}

#[tokio::test]
async fn latency() {
    let settings = "threshold = \"60ms\"\nwindow = \"1s\"\nmin_samples = 10";
    under_load("latency_p95", settings, Behaviour::Delayed(Duration::from_millis(90)), true).await;
    let settings = "threshold = \"10s\"\nwindow = \"1s\"\nmin_samples = 10";
    under_load("latency_p95", settings, Behaviour::Delayed(Duration::from_millis(20)), false).await;
}

// The backends of these tests live in this process: its memory is what is read, through the socket's peer.
#[tokio::test]
async fn memory() {
    let sick = stage("memory", "threshold = \"0.0001%\"\nwindow = \"1s\"\nmin_samples = 3").await;
    let back = sick.fires("memory").await;
    let detail = back["cause"]["fired"]["detail"].as_str().unwrap();
    assert!(detail.contains("green uses") && detail.contains("% of its memory"), "{detail}");
    assert!(sick.guard.metric("mcp_guard_backend_memory_ratio{slot=\"green\"}").await > 0.0);

    stage("memory", "threshold = \"100%\"\nwindow = \"1s\"\nmin_samples = 1").await.holds().await;
}

#[tokio::test]
async fn protocol() {
    let sick = stage("protocol", "min_samples = 2").await;
    sick.green.lists(2);
    let back = sick.fires("protocol").await;
    let detail = back["cause"]["fired"]["detail"].as_str().unwrap();
    assert!(detail.contains("lists 2 tools, 3 at the start of the rollout"), "{detail}");

    let fit = stage("protocol", "min_samples = 2").await;
    fit.blue.lists(2);
    fit.holds().await;
}
