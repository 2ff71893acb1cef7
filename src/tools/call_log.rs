//! One line on standard error for each call: tool, milliseconds, rows, outcome.
//!
//! Never arguments and never results: they may hold what a log must not. Must not decide anything.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::handler::Done;

/// Writes the line of a call.
pub(super) fn record(tool: &str, read_only: bool, took: Duration, done: &Done) {
    let line = json!({
        "time": format!("{:.3}", jiff::Timestamp::now()),
        "event": "call",
        "tool": tool,
        "writes": !read_only,
        "ms": (took.as_secs_f64() * 1e6).round() / 1e3,
        "rows": done.rows,
        "outcome": done.outcome.as_str(),
    });
    write(&line);
}

/// Writes the line of something that happened to the server.
pub(super) fn event(name: &str, detail: &str) {
    let line = json!({ "time": format!("{:.3}", jiff::Timestamp::now()), "event": name, "detail": detail });
    write(&line);
}

fn write(line: &serde_json::Value) {
    // A lost log line must not cost the call: the reader of standard error may be gone.
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}
