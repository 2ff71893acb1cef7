//! Critical checks of what the candidate depends on: a call of one of its tools, or a program of the operator.
//!
//! Bounded in time, and a program gets nothing of this process's environment but `PATH`: tokens live there.

use std::process::Stdio;

use tokio::io::AsyncReadExt;

use crate::client::{Client, Limits, RpcResponse, Session, Target};
use crate::config::notify::{CriticalCheck, Probe, Program};
use crate::upstream::{Backend, Secrets};

const WORDS_MAX: u64 = 200;

/// Runs the check once. Returns the reason of a failure.
pub(super) async fn check(check: &CriticalCheck, candidate: &Backend, secrets: &Secrets) -> Option<String> {
    let outcome = async {
        match &check.probe {
            Probe::Tool { name, arguments } => {
                let limits = Limits { connect: check.timeout, total: check.timeout, ..Limits::default() };
                let client = Client::new(Target::of_backend(candidate), limits).with_secrets(secrets);
                call(&client, name, &serde_json::Value::Object(arguments.clone())).await
            }
            // Its output may quote the backend.
            Probe::Exec(command) => run(command).await.map_err(|why| secrets.clean_text(&why)),
        }
    };
    match tokio::time::timeout(check.timeout, outcome).await {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_elapsed) => Some(format!("no outcome within {} s", check.timeout.as_secs())),
    }
}

async fn call(client: &Client, tool: &str, arguments: &serde_json::Value) -> Result<(), String> {
    let session = Session::open(client).await.map_err(|error| error.to_string())?;
    let answered = session.call_tool(tool, arguments).await.map_err(|error| error.to_string())?;
    match answered.answer {
        RpcResponse::Error { code, .. } => {
            Err(format!("tool `{tool}` is answered with JSON-RPC error {code}"))
        }
        RpcResponse::Result(result) if result.get("isError") == Some(&true.into()) => {
            Err(format!("tool `{tool}` answers isError"))
        }
        RpcResponse::Result(_) => Ok(()),
    }
}

async fn run(command: &Program) -> Result<(), String> {
    let named = command.program.display();
    let mut child = prepare(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {named}: {error}"))?;
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // The first words hold the reason. The pipe is closed after them, so that a longer output does not block the program.
        let _ = stderr.take(WORDS_MAX).read_to_end(&mut words).await;
    }
    let status = child.wait().await.map_err(|error| format!("cannot wait for {named}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let words: String = String::from_utf8_lossy(&words).chars().filter(|char| !char.is_control()).collect();
    let colon = if words.is_empty() { "" } else { ": " };
    Err(format!("{named} ended with {status}{colon}{}", words.trim()))
}

/// The program with only `PATH` in its environment; it is killed when the task that waits for it ends.
pub(super) fn prepare(command: &Program) -> tokio::process::Command {
    let mut prepared = tokio::process::Command::new(&command.program);
    prepared.args(&command.arguments).env_clear().kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        prepared.env("PATH", path);
    }
    prepared
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shell(script: &str) -> Program {
        Program { program: "sh".into(), arguments: vec!["-c".to_owned(), script.to_owned()] }
    }

    #[tokio::test]
    async fn a_program_says_yes_with_exit_0_and_otherwise_why_not() {
        assert_eq!(run(&shell("exit 0")).await, Ok(()));
        let why = run(&shell("echo connection refused >&2; exit 3")).await.unwrap_err();
        assert_eq!(why, "sh ended with exit status: 3: connection refused");
        let missing = Program { program: "/nonexistent/program".into(), arguments: Vec::new() };
        assert!(run(&missing).await.unwrap_err().starts_with("cannot run /nonexistent/program"));
    }

    #[tokio::test]
    async fn a_program_that_talks_without_end_is_not_listened_to_without_end() {
        let talks = shell("while :; do echo x >&2 || exit 1; done");
        let talking = tokio::time::timeout(Duration::from_secs(20), run(&talks));
        assert!(talking.await.expect("it ends").is_err());
    }

    #[tokio::test]
    async fn a_program_sees_no_environment_of_ours() {
        // CARGO_MANIFEST_DIR stands for what is set in this process; tokens would be, too.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert_eq!(run(&shell("test -z \"$CARGO_MANIFEST_DIR\" && test -n \"$PATH\"")).await, Ok(()));
    }
}
