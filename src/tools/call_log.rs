//! One line on standard error for each call: tool, milliseconds, rows, outcome.
//!
//! Never arguments and never results: they may hold what a log must not. Must not decide anything.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::handler::Outcome;
use super::registry::Tool;

/// Where the lines of calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallsTo {
    StandardError,
    Nowhere,
}

/// Writes the line of a call.
pub(super) fn record(to: CallsTo, tool: &Tool, took: Duration, outcome: Outcome, rows: Option<usize>) {
    if to == CallsTo::Nowhere {
        return;
    }
    // A tool's name holds nothing that JSON would escape.
    let rows = rows.map_or("null".to_owned(), |rows| rows.to_string());
    let line = format!(
        "{{\"time\":\"{:.3}\",\"event\":\"call\",\"tool\":\"{}\",\"writes\":{},\"ms\":{:.3},\"rows\":{rows},\"outcome\":\"{}\"}}\n",
        jiff::Timestamp::now(),
        tool.name(),
        !tool.read_only(),
        took.as_secs_f64() * 1e3,
        outcome.as_str(),
    );
    write(&line);
}

/// Writes the line of something that happened to the server.
pub(super) fn event(name: &str, detail: &str) {
    let line = json!({ "time": format!("{:.3}", jiff::Timestamp::now()), "event": name, "detail": detail });
    write(&format!("{line}\n"));
}

fn write(line: &str) {
    // A lost log line must not cost the call: the reader of standard error may be gone.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
