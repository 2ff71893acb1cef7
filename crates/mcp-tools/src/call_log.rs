//! One line on standard error for each call: tool, milliseconds, rows, outcome.
//!
//! Never arguments or results: they may be confidential. Must not decide anything.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Bytes of lines that are buffered until the next [`CallLog::flush`], at most.
const WAITING_BYTES_MAX: usize = 8 * 1024;
/// Bytes of lines that wait for a reader of standard error; further ones are dropped and counted.
const QUEUED_BYTES_MAX: usize = 256 * 1024;
/// How long lines gather between two writes: to wake the thread for each call costs more than the write.
const GATHER_TIME: Duration = Duration::from_millis(10);
/// How long the process waits at its end for a reader.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

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
    waiting: Option<Mutex<Lines>>,
}

/// Lines that wait for the next flush.
#[derive(Default)]
struct Lines {
    text: String,
    clock: Clock,
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
        waiting.add(call, jiff::Timestamp::now());
        if waiting.text.len() >= WAITING_BYTES_MAX {
            waiting.flush();
        }
    }

    /// Writes the buffered lines.
    pub(crate) fn flush(&self) {
        if let Some(waiting) = &self.waiting {
            waiting.lock().unwrap_or_else(PoisonError::into_inner).flush();
        }
    }
}

impl Lines {
    /// Adds the line of a call. It is written piece by piece: a formatter costs more than the rest of the line.
    fn add(&mut self, call: &FinishedCall<'_>, now: jiff::Timestamp) {
        let Lines { text, clock } = self;
        // A tool's name holds nothing that JSON would escape.
        for piece in
            ["{\"time\":\"", clock.at(now), "\",\"event\":\"call\",\"tool\":\"", call.tool, "\",\"writes\":"]
        {
            text.push_str(piece);
        }
        text.push_str(if call.writes { "true" } else { "false" });
        text.push_str(",\"ms\":");
        text.push_str(itoa::Buffer::new().format(call.took.as_millis()));
        text.push('.');
        push_three_digits(call.took.subsec_micros() % 1000, text);
        text.push_str(",\"rows\":");
        match call.rows {
            Some(rows) => text.push_str(itoa::Buffer::new().format(rows)),
            None => text.push_str("null"),
        }
        text.push_str(",\"outcome\":\"");
        text.push_str(call.outcome.as_str());
        // The reader of the header has refused what JSON would escape.
        if let Some(id) = call.request_id {
            text.push_str("\",\"request_id\":\"");
            text.push_str(id);
        }
        text.push_str("\"}\n");
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            write(self.text.as_bytes());
            self.text.clear();
        }
    }
}

/// The time of the last line as text: the next line is mostly of the same second.
#[derive(Default)]
struct Clock {
    second: Option<i64>,
    text: String,
}

impl Clock {
    /// Where the milliseconds begin: after `2026-07-28T12:00:00.`
    const MILLISECONDS_AT: usize = 20;

    /// The time with milliseconds.
    fn at(&mut self, now: jiff::Timestamp) -> &str {
        let milliseconds = u32::try_from(now.subsec_millisecond()).ok();
        match (self.second == Some(now.as_second()), milliseconds) {
            (true, Some(milliseconds)) => {
                self.text.truncate(Clock::MILLISECONDS_AT);
                push_three_digits(milliseconds, &mut self.text);
                self.text.push('Z');
            }
            (false, _) | (true, None) => {
                self.text = format!("{now:.3}");
                // Before 1970 a second counts backwards.
                let repeats =
                    now >= jiff::Timestamp::UNIX_EPOCH && self.text.len() == Clock::MILLISECONDS_AT + 4;
                self.second = repeats.then(|| now.as_second());
            }
        }
        &self.text
    }
}

fn push_three_digits(number: u32, into: &mut String) {
    for place in [100, 10, 1] {
        into.push(char::from_digit(number / place % 10, 10).unwrap_or('0'));
    }
}

/// Writes the line of a server event.
pub(crate) fn event(name: &str, detail: &str) {
    write(line(name, detail).as_bytes());
}

fn line(name: &str, detail: &str) -> String {
    let line = json!({ "time": format!("{:.3}", jiff::Timestamp::now()), "event": name, "detail": detail });
    format!("{line}\n")
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

/// The queue of the thread that writes, once there is one.
struct Writer {
    sender: Sender<Vec<u8>>,
    queued_bytes: AtomicUsize,
    dropped_lines: AtomicUsize,
}

static WRITER: OnceLock<Writer> = OnceLock::new();

/// Writes from here on in a thread: a reader of standard error that stops would stop every call.
pub(crate) fn write_in_background() {
    let (sender, lines) = channel();
    if std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&lines)).is_ok() {
        let (queued_bytes, dropped_lines) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let _ = WRITER.set(Writer { sender, queued_bytes, dropped_lines });
    }
}

fn write_all(queue: &Receiver<Vec<u8>>) {
    while let Ok(mut lines) = queue.recv() {
        while let Ok(more) = queue.try_recv() {
            lines.extend_from_slice(&more);
        }
        write_now(&lines);
        let Some(writer) = WRITER.get() else { continue };
        let dropped = writer.dropped_lines.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let detail = format!("{dropped} lines: standard error was not read");
            write_now(line("log_dropped", &detail).as_bytes());
        }
        writer.queued_bytes.fetch_sub(lines.len(), Ordering::Release);
        std::thread::sleep(GATHER_TIME);
    }
}

/// Waits for the queued lines at the end of the process, [`DRAIN_TIME_MAX`] at most.
pub(crate) fn drain() {
    let Some(writer) = WRITER.get() else { return };
    let begun = Instant::now();
    while writer.queued_bytes.load(Ordering::Acquire) > 0 && begun.elapsed() < DRAIN_TIME_MAX {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn write(lines: &[u8]) {
    let Some(writer) = WRITER.get() else { return write_now(lines) };
    let queued = writer.queued_bytes.fetch_add(lines.len(), Ordering::Relaxed);
    if queued + lines.len() > QUEUED_BYTES_MAX || writer.sender.send(lines.to_owned()).is_err() {
        writer.queued_bytes.fetch_sub(lines.len(), Ordering::Relaxed);
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        writer.dropped_lines.fetch_add(count, Ordering::Relaxed);
    }
}

fn write_now(lines: &[u8]) {
    // A lost log line must not fail the call: the reader of standard error may have ended.
    let _ = std::io::stderr().lock().write_all(lines);
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_time_of_a_line_is_written_as_if_it_stood_alone() {
        let mut clock = Clock::default();
        for start in ["2026-07-28T11:59:59.9Z", "1969-12-31T23:59:58Z", "-000001-01-01T00:00:00Z"] {
            let start: Timestamp = start.parse().unwrap();
            for step in 0..40 {
                let now = start + SignedDuration::from_micros(step * 77_777);
                assert_eq!(clock.at(now), format!("{now:.3}"));
            }
        }
    }

    #[test]
    fn the_line_of_a_call_is_json_with_its_milliseconds() {
        let mut lines = Lines::default();
        let mut call = FinishedCall {
            tool: "a_tool",
            request_id: None,
            writes: true,
            took: Duration::from_micros(12_034_005),
            outcome: Outcome::NotFound,
            rows: None,
        };
        lines.add(&call, Timestamp::UNIX_EPOCH);
        (call.request_id, call.rows, call.writes) = (Some("id-1"), Some(50), false);
        lines.add(&call, Timestamp::UNIX_EPOCH);
        let expected = [
            r#"{"time":"1970-01-01T00:00:00.000Z","event":"call","tool":"a_tool","writes":true,"ms":12034.005,"rows":null,"outcome":"not_found"}"#,
            r#"{"time":"1970-01-01T00:00:00.000Z","event":"call","tool":"a_tool","writes":false,"ms":12034.005,"rows":50,"outcome":"not_found","request_id":"id-1"}"#,
        ];
        assert_eq!(lines.text.lines().collect::<Vec<_>>(), expected);
        assert!(lines.text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    }
}
