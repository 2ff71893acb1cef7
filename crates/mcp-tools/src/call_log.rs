//! One line on standard error for each call: tool, milliseconds, rows, outcome.
//!
//! Never arguments or results: they may be confidential. Must not decide anything.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// Bytes of lines that are buffered until the next [`CallLog::flush`], at most.
const WAITING_BYTES_MAX: usize = 8 * 1024;

/// The outcome of a call: one word for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    NotFound,
    Invalid,
    Refused,
    Unavailable,
    Timeout,
    /// The client went before the result.
    Abandoned,
    Failed,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::NotFound => "not_found",
            Outcome::Invalid => "invalid",
            Outcome::Refused => "refused",
            Outcome::Unavailable => "unavailable",
            Outcome::Timeout => "timeout",
            Outcome::Abandoned => "abandoned",
            Outcome::Failed => "failed",
        }
    }
}

/// The content of one call's line.
pub(crate) struct FinishedCall<'a> {
    pub(crate) tool: &'a str,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) writes: bool,
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
    pub(crate) rows: Option<usize>,
}

/// Buffers the lines of calls until the server is idle: one write for all calls that arrived together.
pub(crate) struct CallLog {
    /// `None` if calls are not logged.
    waiting: Option<Mutex<Vec<u8>>>,
}

impl CallLog {
    pub(crate) fn on_standard_error() -> CallLog {
        CallLog { waiting: Some(Mutex::default()) }
    }

    pub(crate) fn off() -> CallLog {
        CallLog { waiting: None }
    }

    /// Adds the line of a call.
    pub(crate) fn record(&self, call: &FinishedCall<'_>) {
        let Some(waiting) = &self.waiting else { return };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // A tool's name holds nothing that JSON would escape. Writing to memory cannot fail.
        let _ = write!(
            waiting,
            "{{\"time\":\"{:.3}\",\"event\":\"call\",\"tool\":\"{}\",\"writes\":{},\"ms\":{}.{:03},\"rows\":",
            jiff::Timestamp::now(),
            call.tool,
            call.writes,
            call.took.as_millis(),
            call.took.subsec_micros() % 1000,
        );
        let _ = match call.rows {
            Some(rows) => write!(waiting, "{rows}"),
            None => waiting.write_all(b"null"),
        };
        let _ = write!(waiting, ",\"outcome\":\"{}\"", call.outcome.as_str());
        let _ = match call.request_id {
            // The reader of the header has refused what JSON would escape.
            Some(id) => writeln!(waiting, ",\"request_id\":\"{id}\"}}"),
            None => writeln!(waiting, "}}"),
        };
        if waiting.len() >= WAITING_BYTES_MAX {
            flush(&mut waiting);
        }
    }

    /// Writes the buffered lines.
    pub(crate) fn flush(&self) {
        if let Some(waiting) = &self.waiting {
            flush(&mut waiting.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

fn flush(lines: &mut Vec<u8>) {
    if !lines.is_empty() {
        write(lines);
        lines.clear();
    }
}

/// Writes the line of a server event.
pub(crate) fn event(name: &str, detail: &str) {
    let line = json!({ "time": format!("{:.3}", jiff::Timestamp::now()), "event": name, "detail": detail });
    write(format!("{line}\n").as_bytes());
}

/// Writes the line of an event of one call.
pub(crate) fn call_event(name: &str, tool: &str, request_id: Option<&str>, detail: &str) {
    let mut line = json!({
        "time": format!("{:.3}", jiff::Timestamp::now()), "event": name, "tool": tool, "detail": detail,
    });
    if let (Some(id), Value::Object(line)) = (request_id, &mut line) {
        line.insert("request_id".to_owned(), Value::from(id));
    }
    write(format!("{line}\n").as_bytes());
}

fn write(lines: &[u8]) {
    // A lost log line must not fail the call: the reader of standard error may have ended.
    let _ = std::io::stderr().lock().write_all(lines);
}
