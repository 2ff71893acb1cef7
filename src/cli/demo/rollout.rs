//! A rollout that goes wrong and is rolled back without an operator: what the demo shows of `mcp-guard rollout`.
//!
//! The commands are those that an operator types. Must not know how the guard decides.

use std::time::{Duration, Instant};

use serde_json::json;

use super::programs::Programs;
use super::shown::{Shown, TOOL, result_of, shortened};
use crate::cli::demo::workdir::Folder;
use crate::client::{Client, Session};

/// What is added to the demo's configuration: the second slot, and the plan.
const CANDIDATE: &str = "\n[slots.green]\naddress = \"unix:green.sock\"\n\n[rollout]\nplan = \"plan.toml\"\n";
/// The demo's only client goes to the candidate, which is measured for longer than the demo lasts.
const PLAN: &str = "[[step]]\nstage = \"canary\"\nweight = 50\nhold = \"10m\"\nmin_samples = 20\n\n\
                    [clients]\ncandidate = [\"default\"]\n";
/// Calls that the candidate gets before it fails.
const CALLS_BEFORE: usize = 20;
/// Health checks run twice a second, and three failures are needed.
const ROLLBACK_WAIT: Duration = Duration::from_secs(15);
const START_WAIT: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Starts the new version in the other slot, and the rollout.
pub(super) async fn start(folder: &Folder, programs: &mut Programs) -> Shown {
    let failed = |error: std::io::Error| error.to_string();
    folder.write_private("plan.toml", PLAN).map_err(failed)?;
    folder.write_private("guard.toml", CANDIDATE).map_err(failed)?;
    programs.start_candidate(folder).await.map_err(|error| error.to_string())?;
    let mut lines = vec!["$ mcp-guard reload".to_owned()];
    lines.extend(programs.command(folder, &["reload"]).await?);
    lines.push("$ mcp-guard rollout start".to_owned());
    let deadline = Instant::now() + START_WAIT;
    loop {
        match programs.command(folder, &["rollout", "start"]).await {
            Ok(shown) => break lines.extend(shown),
            // The slot counts as healthy after two checks.
            Err(refused) if refused.contains("is not healthy") && Instant::now() < deadline => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(refused) => return Err(refused),
        }
    }
    Ok(lines)
}

/// Kills the new version between two calls, calls on, and returns when the guard has rolled back.
pub(super) async fn fail(client: &Client, folder: &Folder, programs: &mut Programs) -> Shown {
    let session = Session::legacy(client).await.map_err(|error| error.to_string())?;
    let arguments = json!({});
    let (mut calls, mut killed) = (0, None::<Instant>);
    loop {
        let called = session.call_tool(TOOL, &arguments).await.map_err(|error| error.to_string())?;
        result_of(&called).map_err(|error| format!("call {calls} failed: {error}"))?;
        calls += 1;
        match killed {
            None if calls == CALLS_BEFORE => {
                programs.kill_candidate();
                killed = Some(Instant::now());
            }
            None => {}
            Some(since) => {
                let history = programs.command(folder, &["rollout", "history"]).await?;
                if let Some(line) = history.iter().find(|line| line.contains("rolled_back")) {
                    let count = format!(
                        "{calls} calls, 0 failed; rolled back {} ms after the kill",
                        since.elapsed().as_millis()
                    );
                    return Ok(vec![count, "$ mcp-guard rollout history".to_owned(), shortened(line)]);
                }
                if since.elapsed() > ROLLBACK_WAIT {
                    return Err(format!(
                        "no rollback within {} s: {}",
                        ROLLBACK_WAIT.as_secs(),
                        history.join(" ")
                    ));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}
