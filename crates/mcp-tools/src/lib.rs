//! mcp-tools: a minimal MCP tool server on a Unix socket, whose tools are declared as data.
//!
//! Read in this order: [`catalogue`] (TOML declarations, judged), [`registry`] (the tools of one moment, immutable),
//! [`handler`] (what a call does), [`database`] (SQLite and PostgreSQL), [`message`] (what a client sent), [`protocol`] (what it is
//! answered), [`cached_responses`] (answers made ahead), [`http`] (HTTP around it), [`server`] (the socket and the process). Must not know the guard.

mod call_log;
mod catalogue;
mod cli;
mod connections;
mod database;
mod handler;
mod http;
mod in_process;
mod protocol;
mod registry;
mod server;
mod service;
mod tls;

pub use in_process::{Answered, InProcess};

/// Runs the command line of `mcp-tools` and returns its exit code (0 done, 1 no, 2 could not run, 64 usage).
pub fn main() -> std::process::ExitCode {
    // Before anything else: a huge page that is there stays.
    mcp_host::process::take_small_pages();
    cli::main()
}

/// Judges the text of one catalogue file: the tools it declares, or every problem. For fuzzing.
#[doc(hidden)]
pub fn judge_catalogue(text: &str) -> Result<Vec<String>, String> {
    let source = catalogue::Source { name: "fuzz.toml".into(), text: text.into(), included: false };
    let registry = registry::build(&[source], "".into()).map_err(|problems| problems.to_string())?;
    Ok(registry.tools().iter().map(|tool| tool.name().to_owned()).collect())
}
