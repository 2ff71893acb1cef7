//! The lines of the log, as JSON for machines and as text for people. Fields, not prose; never a body or a token.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;

pub(crate) use super::record::Record;

/// Appends the JSON line of a request. By hand: every request pays for it, and formatting machinery would cost ten times
/// as much.
pub(crate) fn json(record: &Record<'_>, second: &mut SecondText, now: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    second.append(now, out);
    out.extend_from_slice(b"\",\"request_id\":");
    push_json_string(out, record.request_id);
    if let Some(trace) = record.trace {
        out.extend_from_slice(b",\"trace_id\":\"");
        out.extend_from_slice(&trace.context.trace_id.hex());
        out.push(b'"');
    }
    if let Some(peer) = record.peer {
        out.extend_from_slice(b",\"peer\":\"");
        out.extend_from_slice(peer.as_bytes());
        out.push(b'"');
    }
    push_text(out, ",\"client\":", record.client);
    push_text(out, ",\"subject\":", record.subject.as_ref().map(|subject| subject.text()));
    push_text(out, ",\"route\":", record.route);
    push_word(out, ",\"method\":\"", record.method.map(|method| method.as_str()));
    push_text(out, ",\"tool\":", record.tool.as_deref());
    push_word(out, ",\"slot\":\"", record.slot.map(|slot| slot.as_str()));
    if let Some(status) = record.status {
        push_number(out, b",\"status\":", u64::from(status));
    }
    out.extend_from_slice(b",\"outcome\":\"");
    out.extend_from_slice(record.outcome.as_str().as_bytes());
    out.push(b'"');
    if let Some(denial) = record.denial {
        out.extend_from_slice(b",\"denial\":\"");
        out.extend_from_slice(denial.code().as_bytes());
        out.push(b'"');
    }
    push_text(out, ",\"detail\":", record.detail.as_deref());
    push_number(out, b",\"bytes_in\":", record.bytes_in);
    push_number(out, b",\"bytes_out\":", record.bytes_out);
    push_milliseconds(out, b",\"total_ms\":", record.total.unwrap_or_default());
    if let Some(upstream) = record.upstream {
        push_milliseconds(out, b",\"upstream_ms\":", upstream);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the text line of a request.
pub(crate) fn text(record: &Record<'_>, now: Timestamp, out: &mut Vec<u8>) {
    let method = record.method.map_or("-", |method| method.as_str());
    let slot = record.slot.map_or("-", |slot| slot.as_str());
    let _ = write!(
        out,
        "{now:.3} {} client={} method={method} tool={} slot={slot}",
        record.request_id,
        record.client.unwrap_or("-"),
        record.tool.as_deref().unwrap_or("-"),
    );
    if let Some(subject) = &record.subject {
        let _ = write!(out, " subject={:?}", subject.text());
    }
    if let Some(route) = record.route {
        let _ = write!(out, " route={route}");
    }
    if let Some(trace) = record.trace {
        let _ = write!(out, " trace={}", trace.context.trace_id);
    }
    match record.status {
        Some(status) => drop(write!(out, " status={status}")),
        None => drop(write!(out, " status=-")),
    }
    let _ = write!(out, " outcome={}", record.outcome.as_str());
    if let Some(denial) = record.denial {
        let _ = write!(out, " denial={}", denial.code());
    }
    if let Some(detail) = &record.detail {
        let _ = write!(out, " detail={detail:?}");
    }
    let total = Milliseconds(record.total.unwrap_or_default());
    let _ = write!(out, " in={} out={} total={total}ms", record.bytes_in, record.bytes_out);
    if let Some(upstream) = record.upstream {
        let _ = write!(out, " upstream={}ms", Milliseconds(upstream));
    }
    out.push(b'\n');
}

/// Appends the JSON form of an operational line.
pub(crate) fn operational_json(record: &log::Record<'_>, now: Timestamp, out: &mut Vec<u8>) {
    let level = level_name(record.level());
    let _ = write!(out, "{{\"time\":\"{now:.3}\",\"level\":\"{level}\",\"target\":");
    push_json_string(out, record.target());
    out.extend_from_slice(b",\"message\":");
    push_json_string(out, &record.args().to_string());
    out.extend_from_slice(b"}\n");
}

/// Appends the text form of an operational line.
pub(crate) fn operational_text(record: &log::Record<'_>, now: Timestamp, out: &mut Vec<u8>) {
    // One record is one line, whatever its text holds.
    let message = record.args().to_string().replace(['\n', '\r'], " ");
    let _ = writeln!(out, "{now:.3} {} {message}", level_name(record.level()));
}

fn level_name(level: log::Level) -> &'static str {
    match level {
        log::Level::Error => "error",
        log::Level::Warn => "warn",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    }
}

/// A duration in milliseconds with three decimals.
struct Milliseconds(Duration);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let microseconds = self.0.as_micros();
        write!(f, "{}.{:03}", microseconds / 1000, microseconds % 1000)
    }
}

fn push_text(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.extend_from_slice(key.as_bytes());
        push_json_string(out, value);
    }
}

/// A word of this program's own: nothing in it needs an escape. The key brings the opening quote.
fn push_word(out: &mut Vec<u8>, key: &str, value: Option<&'static str>) {
    if let Some(value) = value {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }
}

fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\' && byte != 0x7f;
    // No early exit, so that the compiler vectorises it.
    if text.bytes().fold(true, |fine, byte| fine & plain(byte)) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_escaped(out, text);
    }
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            control if control < ' ' || control == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            plain => out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn push_number(out: &mut Vec<u8>, key: &[u8], number: u64) {
    out.extend_from_slice(key);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_milliseconds(out: &mut Vec<u8>, key: &[u8], duration: Duration) {
    let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    push_number(out, key, microseconds / 1000);
    out.push(b'.');
    push_three_digits(out, microseconds % 1000);
}

/// The text of the current second, formatted at most once a second.
pub(crate) struct SecondText {
    second: i64,
    text: String,
}

impl SecondText {
    pub(crate) fn new() -> SecondText {
        SecondText { second: i64::MIN, text: String::new() }
    }

    /// Appends `2026-11-21T14:40:40.123Z`.
    fn append(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        let (second, millisecond) =
            (now.as_millisecond().div_euclid(1000), now.as_millisecond().rem_euclid(1000));
        if self.second != second {
            let text = Timestamp::from_second(second).unwrap_or_default().to_string();
            (self.second, self.text) = (second, text.trim_end_matches('Z').to_owned());
        }
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'.');
        push_three_digits(out, millisecond.unsigned_abs());
        out.push(b'Z');
    }
}

/// Appends a number below a thousand with its leading zeros.
fn push_three_digits(out: &mut Vec<u8>, number: u64) {
    out.extend([number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::record::Outcome;
    use super::*;
    use crate::policy::Denial;
    use crate::upstream::Slot;
    use crate::wire::Method;

    fn record() -> Record<'static> {
        Record {
            request_id: "0a1b",
            peer: Some("127.0.0.1"),
            client: Some("bot \"7\""),
            subject: None,
            client_label: "bot \"7\"",
            method: Some(Method::ToolsCall),
            tool: Some("add".to_owned()),
            route: None,
            streamed: false,
            slot: Some(Slot::Blue),
            status: Some(200),
            outcome: Outcome::Ok,
            denial: None,
            detail: None,
            bytes_in: 250,
            bytes_out: 300,
            total: Some(Duration::from_micros(1_234)),
            upstream: Some(Duration::from_micros(998)),
            trace: None,
        }
    }

    #[test]
    fn a_request_is_one_line_of_valid_json() {
        let mut line = Vec::new();
        json(&record(), &mut SecondText::new(), Timestamp::UNIX_EPOCH, &mut line);
        let text = String::from_utf8(line).unwrap();
        assert_eq!(
            text,
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"request_id\":\"0a1b\",\"peer\":\"127.0.0.1\",\
             \"client\":\"bot \\\"7\\\"\",\"method\":\"tools/call\",\"tool\":\"add\",\"slot\":\"blue\",\
             \"status\":200,\"outcome\":\"ok\",\"bytes_in\":250,\"bytes_out\":300,\"total_ms\":1.234,\
             \"upstream_ms\":0.998}\n"
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    #[test]
    fn a_refusal_says_which_and_leaves_out_what_is_not_known() {
        let refused = Record {
            client: None,
            method: None,
            tool: None,
            slot: None,
            peer: None,
            status: Some(404),
            outcome: Outcome::Denied,
            denial: Some(Denial::PathNotFound),
            detail: Some("below /mcp".to_owned()),
            upstream: None,
            ..record()
        };
        let mut line = Vec::new();
        json(&refused, &mut SecondText::new(), Timestamp::UNIX_EPOCH, &mut line);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["denial"], Denial::PathNotFound.code());
        assert_eq!(value["detail"], "below /mcp");
        let mut line = Vec::new();
        text(&refused, Timestamp::UNIX_EPOCH, &mut line);
        assert!(String::from_utf8(line).unwrap().contains(" denial=path_not_found detail=\"below /mcp\" "));
        for absent in ["client", "method", "tool", "slot", "peer", "upstream_ms"] {
            assert!(value.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn a_time_is_what_the_calendar_says() {
        let mut second = SecondText::new();
        let days = (0..40_000).map(|day| day * 86_400_000 + 86_399_999);
        for millisecond in days.chain([0, 951_782_400_000, 4_107_542_400_000, -1, 253_402_000_000_000]) {
            let now = Timestamp::from_millisecond(millisecond).unwrap();
            let mut out = Vec::new();
            second.append(now, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{now:.3}"));
        }
    }

    #[test]
    fn an_operational_line_stays_one_line() {
        for form in [operational_json, operational_text] {
            let mut line = Vec::new();
            let args = format_args!("a\r\nb \u{1b}[31m\"c\"");
            let record = log::Record::builder().args(args).level(log::Level::Warn).target("t").build();
            form(&record, Timestamp::UNIX_EPOCH, &mut line);
            assert_eq!(line.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count(), 1);
        }
    }
}
