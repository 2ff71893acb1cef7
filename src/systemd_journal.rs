//! What units have written to the systemd journal: how many lines, which of them are errors, and the last ones. Read by
//! `journalctl`, within bounds of time and memory.
//!
//! Must not know what the units do, nor whether an error matters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The units of the packaged installation, for `expand`.
pub(crate) const UNITS: [&str; 3] = ["mcp-guard.service", "mcp-tools@*.service", "mcp-watchdog.service"];

const PATIENCE: Duration = Duration::from_secs(60);
const ENTRY_BYTES_MAX: u64 = 1 << 20;
const NAMES_BYTES_MAX: u64 = 4 << 20;
const TEXT_CHARS_MAX: usize = 2_000;
const FIELDS: &str =
    "--output-fields=MESSAGE,PRIORITY,UNIT,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER,__REALTIME_TIMESTAMP";

/// What to read.
#[derive(Debug, Clone)]
pub(crate) struct SystemdQuery {
    /// Whole names, at least one: without any, the entries of all units would be read.
    pub(crate) units: Vec<String>,
    /// The age of the oldest entry; none for any age.
    pub(crate) since: Option<Duration>,
    /// At most this many entries, the latest.
    pub(crate) entries_max: Option<u32>,
    /// How many of the latest are returned with their text.
    pub(crate) keep: usize,
}

/// One entry. Its text is cut, and cannot drive a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemdLine {
    pub(crate) unit: String,
    /// Microseconds since 1970.
    pub(crate) at: u64,
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

/// What one unit has written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnitLog {
    pub(crate) lines: u64,
    pub(crate) errors: u64,
    pub(crate) last_error: Option<SystemdLine>,
}

/// What the units have written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SystemdJournal {
    pub(crate) units: BTreeMap<String, UnitLog>,
    /// The latest, oldest first.
    pub(crate) last: VecDeque<SystemdLine>,
}

/// Why the journal could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemdJournalError {
    #[error("cannot run journalctl: {0}")]
    Start(std::io::Error),
    #[error("journalctl did not end within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("journalctl failed: {0}")]
    Failed(String),
}

/// Reads the journal. It blocks. A unit without an entry is not in the result.
pub(crate) fn read(query: &SystemdQuery) -> Result<SystemdJournal, SystemdJournalError> {
    let mut arguments = vec!["--all".to_owned(), "--output=json".to_owned(), FIELDS.to_owned()];
    arguments.extend(query.units.iter().map(|unit| format!("--unit={unit}")));
    arguments.extend(query.since.map(|since| format!("--since=-{}s", since.as_secs())));
    arguments.extend(query.entries_max.map(|max| format!("--lines={max}")));
    let keep = query.keep;
    journalctl(arguments, move |output| collect(output, keep))
}

/// The units of which this user may read an entry.
pub(crate) fn known_units() -> Result<BTreeSet<String>, SystemdJournalError> {
    let mut units = BTreeSet::new();
    // The second is that of systemd's own entries about a unit, which may never have started.
    for field in ["--field=_SYSTEMD_UNIT", "--field=UNIT"] {
        let names = |output: BufReader<ChildStdout>| {
            output.take(NAMES_BYTES_MAX).lines().map_while(Result::ok).collect()
        };
        units.extend(journalctl::<Vec<String>>(vec![field.to_owned()], names)?);
    }
    Ok(units)
}

/// The units that a name or a pattern with one `*` means; `journalctl` refuses patterns that no unit fits. A name without a type is
/// that of a service.
pub(crate) fn expand(named: &str, known: &BTreeSet<String>) -> Vec<String> {
    match named.split_once('*') {
        Some((head, tail)) => {
            let fits = |unit: &&String| unit.starts_with(head) && unit.ends_with(tail);
            known.iter().filter(fits).cloned().collect()
        }
        None if named.contains('.') => vec![named.to_owned()],
        None => vec![format!("{named}.service")],
    }
}

/// Runs `journalctl` and reads what it prints.
fn journalctl<T: Send + 'static>(
    arguments: Vec<String>,
    read: impl FnOnce(BufReader<ChildStdout>) -> T + Send + 'static,
) -> Result<T, SystemdJournalError> {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(SystemdJournalError::Start)?;
    let (finished, done) = mpsc::channel();
    if let (Some(output), Some(complaint)) = (child.stdout.take(), child.stderr.take()) {
        // Ends with the child, which is killed when it takes too long.
        std::thread::spawn(move || {
            let found = read(BufReader::new(output));
            let mut said = Vec::new();
            let _partial = complaint.take(4_096).read_to_end(&mut said);
            let _too_late = finished.send((found, printable(&String::from_utf8_lossy(&said))));
        });
    }
    let Ok((found, said)) = done.recv_timeout(PATIENCE) else {
        end(&mut child);
        return Err(SystemdJournalError::Slow);
    };
    match child.wait() {
        Ok(status) if status.success() => Ok(found),
        Ok(status) if said.is_empty() => Err(SystemdJournalError::Failed(status.to_string())),
        Ok(_) => Err(SystemdJournalError::Failed(said)),
        Err(error) => Err(SystemdJournalError::Start(error)),
    }
}

fn end(child: &mut Child) {
    let _ended = child.kill().and_then(|()| child.wait());
}

/// An entry as `journalctl --output=json` prints it: every field is text, or a list of bytes that are no UTF-8.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "PRIORITY", default)]
    priority: Value,
    /// The unit that an entry of systemd's own is about.
    #[serde(rename = "UNIT", default)]
    about: Value,
    #[serde(rename = "_SYSTEMD_UNIT", default)]
    unit: Value,
    #[serde(rename = "SYSLOG_IDENTIFIER", default)]
    identifier: Value,
    #[serde(rename = "__REALTIME_TIMESTAMP", default)]
    at: Value,
}

fn collect(mut output: impl BufRead, keep: usize) -> SystemdJournal {
    let (mut journal, mut line) = (SystemdJournal::default(), Vec::new());
    loop {
        line.clear();
        match output.by_ref().take(ENTRY_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return journal,
            Ok(_) => {}
        }
        let Ok(entry) = serde_json::from_slice::<Entry>(&line) else { continue };
        let line = entry.line();
        let unit = journal.units.entry(line.unit.clone()).or_default();
        unit.lines += 1;
        if line.is_error {
            unit.errors += 1;
            unit.last_error = Some(line.clone());
        }
        if keep > 0 {
            if journal.last.len() == keep {
                journal.last.pop_front();
            }
            journal.last.push_back(line);
        }
    }
}

impl Entry {
    fn line(self) -> SystemdLine {
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let text = text_of(&self.message);
        let by_systemd = self.identifier.as_str() == Some("systemd");
        let unit = if self.about.is_string() { self.about } else { self.unit };
        let is_error = number(&self.priority).is_some_and(|priority: u64| priority <= 3)
            || by_systemd && text.contains(": Failed with result")
            || says_error(&text);
        SystemdLine {
            unit: unit.as_str().unwrap_or("(no unit)").to_owned(),
            at: number(&self.at).unwrap_or_default(),
            text: printable(&text),
            is_error,
        }
    }
}

fn text_of(message: &Value) -> String {
    match message {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            let bytes =
                bytes.iter().filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
            String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// Whether a line without such a priority is an error all the same: the guard's record of a request that ended without a response of
/// the backend, and what Python and Rust programs print.
fn says_error(text: &str) -> bool {
    if text.starts_with('{')
        && let Ok(fields) = serde_json::from_str::<Value>(text)
    {
        let is = |field: &str, values: &[&str]| {
            fields.get(field).and_then(Value::as_str).is_some_and(|value| values.contains(&value))
        };
        return is("level", &["error"]) || is("outcome", &["timeout", "upstream"]);
    }
    let mut words = text.split(|char: char| !char.is_ascii_alphanumeric());
    words.any(|word| matches!(word, "ERROR" | "CRITICAL" | "FATAL"))
        || text.starts_with("Traceback (most recent call last)")
        || text.contains("' panicked at ")
}

fn printable(text: &str) -> String {
    let chars = text.trim_end().chars().take(TEXT_CHARS_MAX);
    chars.map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[Value], keep: usize) -> SystemdJournal {
        let text: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
        collect(text.as_bytes(), keep)
    }

    fn entry(priority: &str, message: impl Into<Value>) -> Value {
        serde_json::json!({
            "MESSAGE": message.into(), "PRIORITY": priority, "_SYSTEMD_UNIT": "a.service", "__REALTIME_TIMESTAMP": "1700000000000000"
        })
    }

    #[track_caller]
    fn check(priority: &str, message: impl Into<Value>, is_error: bool) {
        let found = of(&[entry(priority, message)], 1);
        assert_eq!(found.last[0].is_error, is_error, "{:?}", found.last[0]);
        assert_eq!(found.units["a.service"].errors, u64::from(is_error));
    }

    #[test]
    fn an_error_is_told_by_its_priority_its_record_or_its_words() {
        check("3", "cannot read the file", true);
        check("0", "panic", true);
        check("4", "a warning", false);
        check("6", "terror and FATALITY, an error is none", false);
        check("6", r#"{"level":"error","message":"x"}"#, true);
        check("6", r#"{"level":"warn","message":"ERROR"}"#, false);
        check("6", r#"{"request_id":"1","status":200,"outcome":"timeout"}"#, true);
        check("6", r#"{"request_id":"1","status":502,"outcome":"upstream"}"#, true);
        check("6", r#"{"request_id":"1","status":200,"outcome":"tool_error"}"#, false);
        check("6", "2026-01-01 12:00:00,001 ERROR django.request: Internal Server Error", true);
        check("6", "[CRITICAL] WORKER TIMEOUT", true);
        check("6", "Traceback (most recent call last):", true);
        check("6", "thread 'main' panicked at src/main.rs:1", true);
        check("6", "ERROR \u{ff}".bytes().map(Value::from).collect::<Vec<_>>(), true);
        check("6", Value::Null, false);
    }

    #[test]
    fn a_pattern_means_the_units_that_fit_and_a_name_itself() {
        let known = ["mcp-tools@blue.service", "mcp-tools@green.service", "mcp-tools@.socket", "ssh.service"];
        let known: BTreeSet<String> = known.map(str::to_owned).into();
        assert_eq!(
            expand("mcp-tools@*.service", &known),
            ["mcp-tools@blue.service", "mcp-tools@green.service"]
        );
        assert_eq!(expand("other@*.service", &known), Vec::<String>::new());
        assert_eq!(expand("absent", &known), ["absent.service"]);
        assert_eq!(expand("mcp-guard.socket", &known), ["mcp-guard.socket"]);
    }

    #[test]
    fn the_words_of_systemd_belong_to_the_unit_they_are_about() {
        let failed = serde_json::json!({
            "MESSAGE": "b.service: Failed with result 'exit-code'.", "PRIORITY": "4", "UNIT": "b.service",
            "_SYSTEMD_UNIT": "init.scope", "SYSLOG_IDENTIFIER": "systemd"
        });
        assert_eq!(of(&[failed], 0).units["b.service"].errors, 1);
    }

    #[test]
    fn the_latest_lines_are_kept_and_cannot_drive_a_terminal() {
        let lines: Vec<Value> = (0..5).map(|number| entry("6", format!("{number}\u{1b}[2J"))).collect();
        let found = of(&lines, 2);
        let texts: Vec<&str> = found.last.iter().map(|line| line.text.as_str()).collect();
        assert_eq!((found.units["a.service"].lines, texts), (5, vec!["3 [2J", "4 [2J"]));
        assert_eq!(of(&[entry("6", "x".repeat(9_000))], 1).last[0].text.len(), TEXT_CHARS_MAX);
    }
}
