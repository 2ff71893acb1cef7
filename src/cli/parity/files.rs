//! The files that `parity` reads: tokens, instructions, recorded calls, expected counts, reviewed differences.
//!
//! Every problem names the file, the place in it and what is wrong.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::parity::CheckId;
use crate::parity::accept::Acceptance;
use crate::parity::expectations::{ExpectedCount, RecordedCall};
use crate::parity::results::IgnoreRule;
use crate::upstream::Secrets;

/// More than any of these files needs; a device or a log named by mistake ends here.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A bearer token from an environment variable or a file; neither is no token.
pub(crate) fn token(variable: Option<&str>, file: Option<&Path>) -> Result<Option<String>, String> {
    let (token, place) = match (variable, file) {
        (None, None) => return Ok(None),
        (Some(name), _) => {
            let value =
                std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"))?;
            (value, format!("the environment variable {name}"))
        }
        (None, Some(path)) => (text(path)?, path.display().to_string()),
    };
    let token = token.trim();
    if token.is_empty() {
        return Err(format!("{place} holds no token"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{place} holds characters that no token has"));
    }
    Ok(Some(token.to_owned()))
}

/// A whole file as text.
pub(crate) fn text(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let shown = path.display();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{shown}: larger than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| format!("{shown}: not UTF-8: {error}"))
}

/// One line of the file of recorded calls. What a proxy or a client recorded (a whole JSON-RPC request) is read too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallLine {
    #[serde(alias = "name")]
    tool: String,
    #[serde(default)]
    arguments: Option<Value>,
    #[serde(default)]
    ignore: Vec<String>,
}

/// Recorded calls, one JSON object a line; empty lines and lines that start with `#` are passed over.
pub(super) fn calls(path: &Path) -> Result<Vec<RecordedCall>, String> {
    let mut calls = Vec::new();
    for (number, line) in text(path)?.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let at = |problem: String| format!("{}, line {}: {problem}", path.display(), number + 1);
        calls.push(call(line).map_err(at)?);
    }
    Ok(calls)
}

fn call(line: &str) -> Result<RecordedCall, String> {
    let mut value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(method) = value.get("method") {
        if method != "tools/call" {
            return Err("only tools/call can be replayed".to_owned());
        }
        value = value.get("params").cloned().unwrap_or_default();
        if let Value::Object(params) = &mut value {
            params.remove("_meta");
        }
    }
    let line: CallLine = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let arguments = line.arguments.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    if !arguments.is_object() {
        return Err("`arguments` must be an object".to_owned());
    }
    let rule = |text: &String| {
        IgnoreRule::parse(text).ok_or_else(|| {
            format!("`{text}` names no path; write `content[*].text.items[*].age`, or `**.age` for any depth")
        })
    };
    let ignore = line.ignore.iter().map(rule).collect::<Result<_, _>>()?;
    Ok(RecordedCall { tool: line.tool, arguments, ignore })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountsFile {
    client: Vec<CountEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountEntry {
    name: String,
    prefixes: Vec<String>,
    count: usize,
}

/// `[[client]]` tables: name, prefixes, count.
pub(super) fn counts(path: &Path) -> Result<Vec<ExpectedCount>, String> {
    let file: CountsFile = parsed(path)?;
    let entry = |entry: CountEntry| ExpectedCount {
        client: entry.name,
        prefixes: entry.prefixes,
        count: entry.count,
    };
    Ok(file.client.into_iter().map(entry).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptFile {
    #[serde(default)]
    accept: Vec<AcceptEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptEntry {
    check: String,
    subject: Option<String>,
    #[serde(default)]
    path: String,
    change: String,
    candidate: Option<String>,
    reason: String,
    expires: Option<toml::value::Datetime>,
}

/// `[[accept]]` tables: check, subject, path, change, candidate, reason, expires.
pub(crate) fn acceptances(path: &Path) -> Result<Vec<Acceptance>, String> {
    let file: AcceptFile = parsed(path)?;
    let entry = |(number, entry): (usize, AcceptEntry)| {
        let at = format!("{}, entry {}", path.display(), number + 1);
        let names = || CheckId::ALL.map(CheckId::code).join(", ");
        let check = CheckId::from_code(&entry.check)
            .ok_or_else(|| format!("{at}: `{}` is no check; must be one of {}", entry.check, names()))?;
        if entry.reason.trim().is_empty() {
            return Err(format!("{at}: a reviewed difference needs a reason"));
        }
        let expires = entry.expires.as_ref().map(end_of_day).transpose();
        let expires = expires.map_err(|problem| format!("{at}: expires: {problem}"))?;
        let AcceptEntry { subject, path, change, candidate, reason, .. } = entry;
        Ok(Acceptance { check, subject, path, change, candidate, reason, expires })
    };
    file.accept.into_iter().enumerate().map(entry).collect()
}

/// The end of a day, as in `expires = 2026-12-31`, in seconds since the epoch.
fn end_of_day(date: &toml::value::Datetime) -> Result<u64, String> {
    let not_a_day = || format!("{date} is not a day; write it as 2026-12-31, without quotes");
    let toml::value::Datetime { date: Some(day), time: None, offset: None } = date else {
        return Err(not_a_day());
    };
    let year = i16::try_from(day.year).map_err(|_| not_a_day())?;
    let (month, day) = (i8::try_from(day.month), i8::try_from(day.day));
    let (Ok(month), Ok(day)) = (month, day) else { return Err(not_a_day()) };
    let day = jiff::civil::Date::new(year, month, day).map_err(|_| not_a_day())?;
    let next = day.tomorrow().map_err(|_| not_a_day())?;
    let midnight = next.to_zoned_datetime(jiff::tz::TimeZone::UTC).map_err(|_| not_a_day())?;
    u64::try_from(midnight.timestamp().as_second()).map_err(|_| not_a_day())
}

fn parsed<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    toml::from_str(&text(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

/// What a command holds and must not quote: the tokens it was given, and the one in the environment.
pub(in crate::cli) fn secrets<const N: usize>(tokens: [&Option<String>; N]) -> Secrets {
    let default = std::env::var("MCP_BEARER_TOKEN").ok();
    Secrets::new(tokens.into_iter().flatten().chain(&default).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_calls_in_both_forms() {
        let short = call(r#"{"tool": "t", "arguments": {"a": 1}, "ignore": ["**.age"]}"#).expect("a call");
        assert_eq!((short.tool.as_str(), short.ignore.len()), ("t", 1));
        let recorded = call(
            r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"t","arguments":{"a":1},"_meta":{}}}"#,
        );
        assert_eq!(recorded.expect("a call").arguments, short.arguments);
    }

    #[test]
    fn says_what_is_wrong_with_a_call() {
        for (line, expect) in [
            ("{", "EOF"),
            (r#"{"arguments": {}}"#, "missing field `tool`"),
            (r#"{"tool": "t", "argument": {}}"#, "unknown field `argument`"),
            (r#"{"tool": "t", "arguments": []}"#, "must be an object"),
            (r#"{"tool": "t", "ignore": ["a["]}"#, "names no path"),
            (r#"{"method": "initialize"}"#, "only tools/call"),
        ] {
            let error = call(line).expect_err("it must be refused");
            assert!(error.contains(expect), "{line}: {error}");
        }
    }

    #[test]
    fn a_token_is_trimmed_and_never_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "swf_abc\n").expect("written");
        assert_eq!(token(None, Some(&path)), Ok(Some("swf_abc".to_owned())));
        std::fs::write(&path, "\n").expect("written");
        assert!(token(None, Some(&path)).is_err_and(|error| error.contains("holds no token")));
        assert_eq!(token(None, None), Ok(None));
    }

    #[test]
    fn the_shipped_counts_are_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/parity/clients.toml");
        let counts = counts(&path).expect("they are valid");
        assert_eq!(counts.iter().map(|client| client.count).collect::<Vec<_>>(), [22, 53]);
    }
}
