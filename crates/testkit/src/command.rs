//! Commands of the operator to a running guard.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::program::SPAWNING;
use crate::{Guard, eventually, in_time};

/// What a command printed, and how it ended.
#[derive(Debug, Clone)]
pub struct CommandOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Guard {
    /// Runs `mcp-guard` with these arguments.
    pub async fn command(&self, words: &str) -> CommandOutput {
        self.command_with_input(words, "").await
    }

    /// The same, with this text on its standard input.
    pub async fn command_with_input(&self, words: &str, input: &str) -> CommandOutput {
        let mut command = tokio::process::Command::new(self.binary());
        command.args(words.split_whitespace()).arg("--config").arg(self.config());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let starting = SPAWNING.lock().await;
        let mut child = command.spawn().expect("the guard's binary");
        drop(starting);
        if let Some(mut stdin) = child.stdin.take() {
            // A command that reads nothing may be gone by now.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.expect("a child of ours");
        CommandOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same. It is repeated where a backend did not respond to a probe in time, because a busy machine delays it.
    pub async fn command_when_healthy(&self, words: &str) -> CommandOutput {
        let mut last = self.command(words).await;
        let patient = async {
            while last.stderr.contains("is not healthy: no answer within") {
                last = self.command(words).await;
            }
        };
        in_time(words, patient).await;
        last
    }

    /// The same; it must succeed.
    pub async fn command_ok(&self, words: &str) -> String {
        let told = self.command_when_healthy(words).await;
        assert_eq!(told.code, 0, "{words}: {told:?}");
        told.stdout
    }

    /// `rollout status --json`
    pub async fn rollout(&self) -> Value {
        serde_json::from_str(&self.command_ok("rollout status --json").await).expect("JSON")
    }

    /// `rollout history --json`
    pub async fn history(&self) -> Vec<Value> {
        serde_json::from_str(&self.command_ok("rollout history --json").await).expect("a JSON list")
    }

    /// Waits until both slots are known to be healthy.
    pub async fn both_healthy(&self) {
        eventually("both slots are healthy", || async {
            let page = self.metrics().await;
            ["blue", "green"].iter().all(|slot| page.contains(&format!("slot_healthy{{slot=\"{slot}\"}} 1")))
        })
        .await;
    }

    /// Waits for the next transition of this kind after the one numbered `after`, and returns it.
    pub async fn transition(&self, kind: &str, after: u64) -> Value {
        in_time(kind, async {
            loop {
                let history = self.history().await;
                let wanted = |one: &Value| one["kind"] == kind && one["seq"].as_u64() > Some(after);
                if let Some(found) = history.into_iter().find(wanted) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }
}
