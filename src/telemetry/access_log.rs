//! The lines of the log, as JSON for machines and as text for people. Fields, not prose; never a body or a token.

use std::io::Write;

use jiff::Timestamp;

pub(crate) use super::record::Record;

/// Appends the JSON line of a request.
pub(crate) fn json(record: &Record<'_>, now: Timestamp, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{{\"time\":\"{now:.3}\",\"request_id\":");
    push_json_string(out, record.request_id);
    if let Some(peer) = record.peer {
        let _ = write!(out, ",\"peer\":\"{peer}\"");
    }
    let texts = [
        ("client", record.client),
        ("route", record.route),
        ("method", record.method.map(|method| method.as_str())),
        ("tool", record.tool),
        ("slot", record.slot.map(|slot| slot.as_str())),
    ];
    for (key, value) in texts.iter().filter_map(|(key, value)| Some((key, (*value)?))) {
        let _ = write!(out, ",\"{key}\":");
        push_json_string(out, value);
    }
    if let Some(status) = record.status {
        let _ = write!(out, ",\"status\":{status}");
    }
    let _ = write!(out, ",\"outcome\":\"{}\"", record.outcome.as_str());
    if let Some(denial) = record.denial {
        let _ = write!(out, ",\"denial\":\"{}\"", denial.code());
    }
    let total = Milliseconds(record.total);
    let _ = write!(
        out,
        ",\"bytes_in\":{},\"bytes_out\":{},\"total_ms\":{total}",
        record.bytes_in, record.bytes_out
    );
    if let Some(upstream) = record.upstream {
        let _ = write!(out, ",\"upstream_ms\":{}", Milliseconds(upstream));
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
        record.tool.unwrap_or("-"),
    );
    if let Some(route) = record.route {
        let _ = write!(out, " route={route}");
    }
    match record.status {
        Some(status) => drop(write!(out, " status={status}")),
        None => drop(write!(out, " status=-")),
    }
    let _ = write!(out, " outcome={}", record.outcome.as_str());
    if let Some(denial) = record.denial {
        let _ = write!(out, " denial={}", denial.code());
    }
    let total = Milliseconds(record.total);
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
struct Milliseconds(std::time::Duration);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let microseconds = self.0.as_micros();
        write!(f, "{}.{:03}", microseconds / 1000, microseconds % 1000)
    }
}

fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
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
    out.push(b'"');
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
            peer: Some([127, 0, 0, 1].into()),
            client: Some("bot \"7\""),
            client_label: "bot \"7\"",
            method: Some(Method::ToolsCall),
            tool: Some("add"),
            route: None,
            streamed: false,
            slot: Some(Slot::Blue),
            status: Some(200),
            outcome: Outcome::Ok,
            denial: None,
            bytes_in: 250,
            bytes_out: 300,
            total: Duration::from_micros(1_234),
            upstream: Some(Duration::from_micros(998)),
        }
    }

    #[test]
    fn a_request_is_one_line_of_valid_json() {
        let mut line = Vec::new();
        json(&record(), Timestamp::UNIX_EPOCH, &mut line);
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
            upstream: None,
            ..record()
        };
        let mut line = Vec::new();
        json(&refused, Timestamp::UNIX_EPOCH, &mut line);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["denial"], Denial::PathNotFound.code());
        for absent in ["client", "method", "tool", "slot", "peer", "upstream_ms"] {
            assert!(value.get(absent).is_none(), "{absent}");
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
