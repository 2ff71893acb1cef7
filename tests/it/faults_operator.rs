//! Drills with what operators and machines do to a running guard: full disks, lost directories, broken files, clocks.

use std::path::Path;
use std::sync::Arc;

use rustix::process::Signal;

use mcp_testkit::{Guard, Load, SPAWNING, call, eventually, mcp_backend};

use crate::guard;
use crate::rollout::{LONG, QUICK};

// Drills 26 and 27: "disk full / read-only state dir: keeps serving, last state kept, alarm metric". A directory in the
// way of the new file fails for root, too, as a full disk does.
#[tokio::test]
async fn a_state_that_cannot_be_written_is_said_and_changes_no_call() {
    let folder = tempfile::tempdir().unwrap();
    let (blue, green) = (mcp_backend(&folder.path().join("blue")), mcp_backend(&folder.path().join("green")));
    let guard = guard().token("t").upstream(blue.address()).rollout(green.address(), LONG).config(QUICK);
    let mut guard = guard.start().await;
    guard.both_healthy().await;
    guard.command_ok("slots switch green").await;
    let kept = std::fs::read(guard.state().join("rollout.state")).unwrap();
    let in_the_way = guard.state().join("rollout.state.new");
    std::fs::create_dir(&in_the_way).unwrap();

    let typed = guard.command_when_healthy("slots switch blue").await;
    assert_eq!(typed.code, 0, "{typed:?}");
    assert!(format!("{}{}", typed.stdout, typed.stderr).contains("not saved"), "{typed:?}");
    eventually("the alarm is raised", || async {
        guard.metric("mcp_guard_rollout_state_saved").await == 0.0
    })
    .await;
    assert_eq!(guard.post(&call(1, "tools/list")).await.json()["id"], 1);
    assert_eq!(std::fs::read(guard.state().join("rollout.state")).unwrap(), kept);

    std::fs::remove_dir(&in_the_way).unwrap();
    eventually("the state is saved again", || async {
        guard.metric("mcp_guard_rollout_state_saved").await == 1.0
    })
    .await;
    guard.kill_and_start_again().await;
    assert_eq!(guard.rollout().await["status"]["position"]["stable"], "blue");
}

// Drill 28: "reload with broken config: old config stays, message, 0 failed".
#[tokio::test]
async fn a_broken_file_is_refused_under_load_and_the_running_configuration_stays() {
    let folder = tempfile::tempdir().unwrap();
    let blue = mcp_backend(&folder.path().join("blue"));
    let guard = Arc::new(guard().token("t").upstream(blue.address()).start().await);
    let good = std::fs::read_to_string(guard.config()).unwrap();
    let load = Load::start(&guard, 4);
    let broken = [
        "".to_owned(),
        "[listen\n".to_owned(),
        good[..good.len() / 2].to_owned() + "\"",
        good.clone() + "\n[limits]\nin_flight = 0\n",
        good.clone() + "\n[auth]\ntokens_file = \"missing.toml\"\n",
    ];
    for (number, text) in broken.iter().enumerate() {
        std::fs::write(guard.config(), text).unwrap();
        guard.signal(Signal::HUP);
        eventually("the refusal is logged", || {
            let refused = guard.log().iter().filter(|line| refuses_reload(line)).count();
            std::future::ready(refused > number)
        })
        .await;
    }
    std::fs::remove_file(guard.config()).unwrap();
    guard.signal(Signal::HUP);
    eventually("the missing file is logged", || {
        let refused = guard.log().iter().filter(|line| refuses_reload(line)).count();
        std::future::ready(refused > broken.len())
    })
    .await;
    std::fs::write(guard.config(), &good).unwrap();
    guard.signal(Signal::HUP);
    let (made, told) = load.stop().await;
    assert!(made > 0 && told.is_empty(), "{told:?}");
}

fn refuses_reload(line: &str) -> bool {
    line.contains("the running configuration stays")
}

// Drill 29: "token file rotated, emptied, deleted, unreadable: old or new token, never 'no token'; fail closed".
#[tokio::test]
async fn a_damaged_token_file_admits_and_removes_no_client() {
    let folder = tempfile::tempdir().unwrap();
    let (blue, tokens) = (mcp_backend(&folder.path().join("blue")), folder.path().join("tokens.toml"));
    write_client(&tokens, "old");
    let config = format!("[auth]\ntokens_file = \"{}\"", tokens.display());
    let guard = guard().upstream(blue.address()).config(&config).start().await;
    assert_eq!(status(&guard, "old").await, 200);

    write_client(&tokens, "new");
    guard.signal(Signal::HUP);
    let changed = || async { status(&guard, "new").await == 200 };
    eventually("the new token is known", changed).await;
    assert_eq!(status(&guard, "old").await, 403);

    let refused = |guard: &Guard| guard.log().iter().filter(|line| refuses_reload(line)).count();
    for damage in ["[clients.bot]\nsha256 = \"\"\n", "[clients.bot", "\u{0}"] {
        let before = refused(&guard);
        std::fs::write(&tokens, damage).unwrap();
        guard.signal(Signal::HUP);
        eventually("the refusal is logged", || std::future::ready(refused(&guard) > before)).await;
        assert_eq!((status(&guard, "new").await, status(&guard, "").await), (200, 401), "{damage:?}");
        assert_eq!(status(&guard, "other").await, 403);
    }
    std::fs::remove_file(&tokens).unwrap();
    let before = refused(&guard);
    guard.signal(Signal::HUP);
    eventually("the refusal is logged", || std::future::ready(refused(&guard) > before)).await;
    assert_eq!((status(&guard, "new").await, status(&guard, "other").await), (200, 403));

    // Emptied on purpose, it is a valid file of no clients: every client is refused.
    std::fs::write(&tokens, "").unwrap();
    guard.signal(Signal::HUP);
    eventually("no client is known", || async { status(&guard, "new").await == 503 }).await;
}

fn write_client(tokens: &Path, token: &str) {
    use sha2::Digest;
    let hash: String = sha2::Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(tokens, format!("[clients.bot]\nsha256 = \"{hash}\"\n")).unwrap();
}

/// The status that a call with this token gets; without one if it is empty.
async fn status(guard: &Guard, token: &str) -> u16 {
    let mut request = mcp_testkit::post(token, "", &call(1, "tools/list"));
    if token.is_empty() {
        request = request.replace("Authorization: Bearer \r\n", "");
    }
    guard.connect().await.exchange(request).await.status()
}

// Drill 31: "path taken: clear error, exit code".
#[tokio::test]
async fn a_second_guard_on_the_same_socket_says_so_and_ends() {
    let first = guard().token("t").start().await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mcp-guard"));
    command.args(["run", "--config"]).arg(first.config()).stderr(std::process::Stdio::piped());
    let starting = SPAWNING.lock().await;
    let second = command.spawn().unwrap();
    drop(starting);
    let output = second.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("g.sock"), "{said}");
    assert!(first.accepts().await);
}

// Drill 30: "timeouts on monotonic clock unaffected; token expiry as documented". The clock of the day is read for what is
// dated: a token's end, log lines, the Date field, a transition's moment, a step of a release, the end of a silence. Whatever waits, waits on the other clock.
#[test]
fn the_clock_of_the_day_is_read_only_for_what_is_dated() {
    const DATED: &[&str] = &[
        "src/app/features.rs",
        "src/app/mod.rs",
        "src/app/watch.rs",
        "src/config/environment.rs",
        "src/console/feed.rs",
        "src/control/clock.rs",
        "src/control/parity_check.rs",
        "src/fleet/member.rs",
        "src/fleet/mod.rs",
        "src/identity/fetch.rs",
        "src/proxy/date.rs",
        "src/release/calls.rs",
        "src/release/journal.rs",
        "src/release/silence.rs",
        "src/telemetry/log.rs",
    ];
    let mut pending = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = Vec::new();
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
            if shipped.contains("SystemTime::now") || shipped.contains("Timestamp::now") {
                let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
                found.push(name);
            }
        }
    }
    // Commands run once and wait for nothing by this clock; the tool server dates what its tools return.
    found.retain(|name| !name.starts_with("src/cli/"));
    found.sort();
    assert_eq!(found, DATED);
}
