//! The two programs of the demo: started, waited for, replaced, stopped.
//!
//! They run in process groups of their own, so that Ctrl-C reaches the demo alone and they are stopped in order.
//! Must not know what is shown with them.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::admin::client::{AdminError, send_command};
use crate::admin::{self, AdminCommand, AdminResponse};
use crate::cli::demo::workdir::Folder;

const TOOLS: &str = "mcp-tools";
const GUARD: &str = "mcp-guard";
const CANDIDATE: &str = "mcp-candidate";
const SOCKET: &str = "tools.sock";
const CANDIDATE_SOCKET: &str = "green.sock";
const START_WAIT: Duration = Duration::from_secs(20);
const STOP_WAIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOG_LINES_SHOWN: usize = 5;

/// Why a program is not running.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("there is no mcp-tools beside mcp-guard in {folder} (hint: cargo build --bins)")]
    NoToolServer { folder: PathBuf },
    #[error("cannot start {name}")]
    Spawn { name: &'static str, source: io::Error },
    #[error("{name} ended at once; the end of its log:\n{log}")]
    Ended { name: &'static str, log: String },
    #[error("{name} was not ready within {} s; the end of its log:\n{log}", START_WAIT.as_secs())]
    NotReady { name: &'static str, log: String },
}

/// The tool server and the guard, running.
pub(super) struct Programs {
    tools: Program,
    candidate: Option<Program>,
    guard: Program,
    admin: PathBuf,
    listen: String,
    metrics: String,
}

impl Programs {
    /// Starts both and returns when the guard serves.
    pub(super) async fn start(folder: &Folder, port: u16, token: &str) -> Result<Programs, StartError> {
        let failed = |name| move |source| StartError::Spawn { name, source };
        let config = format!(
            "[listen]\naddress = \"127.0.0.1:{port}\"\nmetrics = \"127.0.0.1:0\"\nadmin = \"admin.sock\"\nstate = \".\"\n\n\
             [slots.blue]\naddress = \"unix:tools.sock\"\n\n\
             [health]\ninterval = \"500ms\"\ntimeout = \"500ms\"\n"
        );
        folder.write_private("guard.toml", &config).map_err(failed(GUARD))?;
        let tools = start_tools(TOOLS, SOCKET, folder)?;
        let own = std::env::current_exe().map_err(failed(GUARD))?;
        let mut command = Command::new(own);
        command.arg("run").arg("--config").arg(folder.path("guard.toml")).env("MCP_BEARER_TOKEN", token);
        let guard = Program::start(GUARD, command, folder)?;
        let mut programs = Programs {
            tools,
            candidate: None,
            guard,
            admin: folder.path("admin.sock"),
            listen: String::new(),
            metrics: String::new(),
        };
        programs.wait_for_tools(folder).await?;
        let status = programs.wait_for_guard().await?;
        programs.listen = status.listen;
        programs.metrics = status.metrics.unwrap_or_default();
        Ok(programs)
    }

    /// The URL that clients use.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}/mcp", self.listen)
    }

    /// Address of the metrics listener.
    pub(super) fn metrics(&self) -> &str {
        &self.metrics
    }

    /// What the guard says of itself.
    pub(super) async fn status(&self) -> Result<admin::GuardStatus, AdminError> {
        status(self.admin.clone()).await
    }

    /// Stops the tool server.
    pub(super) async fn stop_tools(&mut self) {
        self.tools.stop().await;
    }

    /// Starts the tool server anew.
    pub(super) async fn start_tools(&mut self, folder: &Folder) -> Result<(), StartError> {
        self.tools = start_tools(TOOLS, SOCKET, folder)?;
        self.wait_for_tools(folder).await
    }

    /// Starts a second tool server, for the slot green.
    pub(super) async fn start_candidate(&mut self, folder: &Folder) -> Result<(), StartError> {
        let mut candidate = start_tools(CANDIDATE, CANDIDATE_SOCKET, folder)?;
        let ready = wait_for_socket(&mut candidate, folder.path(CANDIDATE_SOCKET)).await;
        self.candidate = Some(candidate);
        ready
    }

    /// Ends it without a chance to finish anything.
    pub(super) fn kill_candidate(&mut self) {
        self.candidate = None;
    }

    /// Runs a command of this program as an operator does; its lines, or what it complains of.
    pub(super) async fn command(&self, folder: &Folder, arguments: &[&str]) -> Result<Vec<String>, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = tokio::process::Command::new(own);
        command.args(arguments).arg("--config").arg(folder.path("guard.toml")).stdin(Stdio::null());
        let output = command.output().await.map_err(|error| error.to_string())?;
        let text = if output.status.success() { output.stdout } else { output.stderr };
        let lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        if output.status.success() { Ok(lines) } else { Err(lines.join(" ")) }
    }

    /// The name of a program that has ended, if one has.
    pub(super) fn ended(&mut self) -> Option<&'static str> {
        let programs = [&mut self.tools, &mut self.guard];
        programs.into_iter().find_map(|program| program.has_ended().then_some(program.name))
    }

    /// Stops both, the guard first: it still finishes what is in flight.
    pub(super) async fn stop(mut self) {
        self.guard.stop().await;
        self.tools.stop().await;
    }

    async fn wait_for_tools(&mut self, folder: &Folder) -> Result<(), StartError> {
        wait_for_socket(&mut self.tools, folder.path(SOCKET)).await
    }

    async fn wait_for_guard(&mut self) -> Result<admin::GuardStatus, StartError> {
        let deadline = Instant::now() + START_WAIT;
        loop {
            if let Ok(status) = self.status().await {
                return Ok(status);
            }
            self.guard.still_starting(deadline)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn status(socket: PathBuf) -> Result<admin::GuardStatus, AdminError> {
    let gone = |source| AdminError::Io { path: PathBuf::new(), source };
    let asked = tokio::task::spawn_blocking(move || send_command(&socket, &AdminCommand::Status));
    let response = asked.await.map_err(|error| gone(io::Error::other(error)))??;
    let AdminResponse::Status(status) = response else {
        return Err(gone(io::Error::other("the guard answered another question")));
    };
    Ok(*status)
}

async fn wait_for_socket(program: &mut Program, socket: PathBuf) -> Result<(), StartError> {
    program.wait_until(|| std::os::unix::net::UnixStream::connect(&socket).ok().map(drop)).await
}

fn start_tools(name: &'static str, socket: &str, folder: &Folder) -> Result<Program, StartError> {
    let failed = |source| StartError::Spawn { name, source };
    let own = std::env::current_exe().map_err(failed)?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let program = beside.join(TOOLS);
    if !program.is_file() {
        return Err(StartError::NoToolServer { folder: beside.to_owned() });
    }
    let mut command = Command::new(program);
    command.arg("serve").arg("--socket").arg(folder.path(socket));
    Program::start(name, command, folder)
}

/// A running program, killed if it is forgotten.
struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    fn start(name: &'static str, mut command: Command, folder: &Folder) -> Result<Program, StartError> {
        let failed = |source| StartError::Spawn { name, source };
        let log = format!("{}.log", name.trim_start_matches("mcp-"));
        let file = folder.open_private(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).process_group(0);
        let child = command.spawn().map_err(failed)?;
        Ok(Program { name, child, log: folder.path(&log) })
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    async fn wait_until(&mut self, ready: impl Fn() -> Option<()>) -> Result<(), StartError> {
        let deadline = Instant::now() + START_WAIT;
        while ready().is_none() {
            self.still_starting(deadline)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn still_starting(&mut self, deadline: Instant) -> Result<(), StartError> {
        if self.has_ended() {
            return Err(StartError::Ended { name: self.name, log: self.end_of_log() });
        }
        if Instant::now() > deadline {
            return Err(StartError::NotReady { name: self.name, log: self.end_of_log() });
        }
        Ok(())
    }

    fn end_of_log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// SIGTERM, and SIGKILL for a program that does not listen.
    async fn stop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + STOP_WAIT;
        while !self.has_ended() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.kill();
    }

    fn kill(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
