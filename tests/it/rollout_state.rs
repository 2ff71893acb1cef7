//! What of a rollout survives: the guard's death at any moment, a full disk, a directory that cannot be written, and a state
//! of a newer guard. `MCP_GUARD_KILLS` says how often the guard is killed; by default a few times only.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use mcp_testkit::{Guard, McpBackend, TIMEOUT, eventually, mcp_backend, measured};

use crate::guard;
use crate::rollout::{LONG, QUICK};

const KILLS: u64 = 25;

struct Stage {
    guard: Guard,
    blue: McpBackend,
    green: McpBackend,
    _folder: tempfile::TempDir,
}

async fn stage() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let started = guard().token("t").upstream(blue.address()).rollout(green.address(), LONG).config(QUICK);
    let guard = started.start().await;
    guard.both_healthy().await;
    Stage { guard, blue, green, _folder: folder }
}

/// Kills the guard when `after` has passed since these words were typed; whether they were obeyed before.
async fn type_and_kill(guard: &mut Guard, words: &str, after: Duration) -> bool {
    let kill = async {
        tokio::time::sleep(after).await;
        guard.signal(Signal::KILL);
    };
    let (typed, ()) = tokio::join!(guard.command(words), kill);
    let obeyed = typed.code == 0 && !typed.stdout.contains("not saved");
    guard.kill_and_start_again().await;
    eventually("the guard hears orders", || async { guard.command("rollout status").await.code == 0 }).await;
    obeyed
}

/// Where the rollout stands, and how many transitions led there.
async fn seen(guard: &Guard) -> (bool, usize) {
    let (status, history) = (guard.rollout().await, guard.history().await);
    let position = &status["status"]["position"];
    let last = history.last().expect("it was started");
    assert_eq!(&last["to"], position, "half of one state and half of another");
    assert_eq!((&position["stage"], &position["stable"]), (&"canary".into(), &"blue".into()));
    assert_eq!(status["problems"], Value::Array(Vec::new()), "{status}");
    (position["paused"].as_bool().unwrap(), history.len())
}

// "survives SIGKILL at any byte (a test kills it a few hundred times during transitions and checks that what comes back is
// one of the two legal states)". The bytes are src/control/state_file/tests.rs; this is the whole guard.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_killed_during_a_transition_comes_back_before_or_after_it() {
    let kills = std::env::var("MCP_GUARD_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut stage = stage().await;
    stage.guard.command_ok("rollout start").await;
    let begun = Instant::now();
    stage.guard.command_ok("rollout pause").await;
    let mut usual = begun.elapsed();
    let (mut paused, mut transitions) = seen(&stage.guard).await;
    assert!(paused);
    let (mut undone, mut done) = (0, 0);
    for number in 0..kills {
        let words = if paused { "rollout resume" } else { "rollout pause" };
        // Spread over the time that an order usually takes, and some more; what that is, is learned from kill to kill.
        let after = usual.mul_f64((number * 37 % 100) as f64 / 40.0);
        let obeyed = type_and_kill(&mut stage.guard, words, after).await;
        let now = seen(&stage.guard).await;
        if now == (!paused, transitions + 1) {
            done += 1;
            usual = usual.mul_f64(0.9);
        } else {
            assert_eq!(now, (paused, transitions), "kill {number}, neither before nor after `{words}`");
            assert!(!obeyed, "kill {number}: `{words}` was obeyed and is forgotten");
            undone += 1;
            usual = usual.mul_f64(1.1);
        }
        // Older transitions are forgotten one by one.
        (paused, transitions) = (now.0, now.1.min(199));
    }
    assert!(undone > 0 && done > 0, "{undone} before, {done} after: killed too early or too late");
    measured(&format!(
        "killed {kills} times during a transition: {undone} came back before it, {done} after it"
    ));
}

#[tokio::test]
async fn a_state_of_a_newer_guard_is_left_alone_and_the_configured_slot_serves() {
    let mut stage = stage().await;
    stage.guard.command_ok("slots switch green").await;
    let file = stage.guard.state().join("rollout.state");
    let text = String::from_utf8(std::fs::read(&file).unwrap()).unwrap();
    let newer = text.replacen("mcp-guard-rollout 1 ", "mcp-guard-rollout 2 ", 1);
    assert_ne!(newer, text);
    std::fs::write(&file, &newer).unwrap();
    stage.guard.kill_and_start_again().await;
    stage.guard.both_healthy().await;
    serves_from_blue(&stage, "was written by a newer mcp-guard (format 2, this one knows 1)").await;
    stage.guard.command_ok("slots switch green").await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), newer, "not overwritten either");
}

async fn serves_from_blue(stage: &Stage, problem: &str) {
    let (blue, green) = (stage.blue.calls(), stage.green.calls());
    let answer = stage.guard.post(&mcp_testkit::call(1, "tools/call")).await;
    assert!(answer.json().get("result").is_some(), "{}", answer.text());
    assert_eq!((stage.blue.calls(), stage.green.calls()), (blue + 1, green));
    let status = stage.guard.rollout().await;
    let told = status["problems"][0].as_str().unwrap_or_default();
    assert!(told.contains(problem), "{status}");
    stage.guard.logged(problem).await;
    let saved = "mcp_guard_rollout_state_saved";
    eventually("the metric says so", || async { stage.guard.metric(saved).await == 0.0 }).await;
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_prevents_neither_serving_nor_rolling_back() {
    let mut stage = stage().await;
    stage.guard.command_ok("slots switch green").await;
    std::fs::remove_dir_all(stage.guard.state()).unwrap();
    // Not even root can make a file there.
    symlink("/proc/self", stage.guard.state()).unwrap();
    stage.guard.kill_and_start_again().await;
    stage.guard.both_healthy().await;
    serves_from_blue(&stage, "rollout.lock").await;
    let said = stage.guard.command_ok("rollout start").await;
    assert!(said.contains("note: the state is not kept") || said.contains("rollout.lock"), "{said}");
    assert!(stage.guard.command_ok("rollout rollback").await.contains("-> stable"));
}

// "disk full: a clear message, and nothing lost"
#[tokio::test]
async fn a_full_disk_delays_no_rollback_and_the_state_is_saved_when_it_can_be() {
    let mut stage = stage().await;
    stage.guard.command_ok("rollout start").await;
    stage.guard.command_ok("rollout promote").await;
    // What the guard writes beside the state ends up in a device that is always full.
    let new = stage.guard.state().join("rollout.state.new");
    symlink("/dev/full", &new).unwrap();
    let begun = Instant::now();
    let said = stage.guard.command_ok("rollout rollback").await;
    assert!(said.contains("bake 100 % -> stable"), "{said}");
    assert!(said.contains("done, but not saved yet") && said.contains("No space left on device"), "{said}");
    assert!(begun.elapsed() < TIMEOUT / 2, "{:?}", begun.elapsed());
    serves_from_blue(&stage, "No space left on device").await;
    std::fs::remove_file(&new).unwrap();
    eventually("the state is saved", || async {
        stage.guard.metric("mcp_guard_rollout_state_saved").await == 1.0
    })
    .await;
    stage.guard.kill_and_start_again().await;
    assert_eq!(stage.guard.rollout().await["status"]["run"], Value::Null);
    assert_eq!(stage.guard.history().await.len(), 3);
}
