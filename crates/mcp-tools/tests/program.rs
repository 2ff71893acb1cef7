//! The program of this build: a running server of it, and its commands.

use std::process::{Command, Output, Stdio};

use mcp_testkit::ToolServer;
use tempfile::TempDir;

/// The program with nothing of the caller's environment that could change it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-tools"));
    command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

/// Runs a command of the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("mcp-tools runs")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts a server in a directory of its own.
pub(crate) fn start(arguments: &[&str]) -> ToolServer {
    start_in(tempfile::tempdir().expect("a directory"), arguments, &[])
}

/// Starts a server of this catalogue.
pub(crate) fn serve(catalogue: &str, arguments: &[&str]) -> ToolServer {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    std::fs::write(&file, catalogue).expect("writes");
    start_in(home, &[&["--catalog", &file.display().to_string()], arguments].concat(), &[])
}

/// The same on a database.
pub(crate) fn serve_on(url: &str, catalogue: &str) -> ToolServer {
    serve(catalogue, &["--database", url])
}

pub(crate) fn start_in(home: TempDir, arguments: &[&str], env: &[(&str, &str)]) -> ToolServer {
    ToolServer::start(program(), home, arguments, env)
}
