//! mcp-tools: a minimal MCP tool server on a Unix socket, whose tools are declared as data.
//!
//! Read in this order: [`catalogue`] (TOML declarations), [`handler`] (what a call does), [`database`] (SQLite and
//! PostgreSQL), [`registry`] (the tools at one time, immutable), [`protocol`] (messages, headers, replies), [`service`] (the
//! response to a message), [`http`] (HTTP around it), [`server`] (the socket and the process). Must not know the guard.

mod call_log;
mod catalogue;
mod cli;
mod connections;
mod database;
mod entrance;
mod exact;
mod examples;
mod handler;
mod http;
mod http_client;
mod import;
mod in_process;
mod json;
mod listener;
mod metrics;
mod metrics_endpoint;
mod protocol;
mod registry;
mod server;
mod service;
mod stdio;
mod traces;

pub use in_process::{InProcess, InProcessResponse};

/// Runs the command line of `mcp-tools` and returns its exit code (0 done, 1 no, 2 could not run, 64 usage).
pub fn main() -> std::process::ExitCode {
    // First: huge pages that are already allocated stay.
    mcp_host::process::take_small_pages();
    cli::main()
}

/// Checks the text of one catalogue file: its tool names, or every problem. For fuzzing.
#[doc(hidden)]
pub fn judge_catalogue(text: &str) -> Result<Vec<String>, String> {
    let source = catalogue::Source::new("fuzz.toml", text, false);
    let registry =
        registry::build(&[source], Some("".into())).map_err(|problems| catalogue::listed(&problems))?;
    Ok(registry.tools().iter().map(|tool| tool.name().to_owned()).collect())
}
