//! `[release]`: where releases are installed, and how a slot's unit is named and awaited.
//!
//! Must not know what a release is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::table::Table;
use super::value;
use crate::config::diagnostics::InvalidValue;

const DIRECTORY: &str = "/var/lib/mcp-releases";
const UNIT: &str = "mcp-tools@{slot}.service";
const SECOND: Duration = Duration::from_secs(1);

/// `[release]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// Releases, slots, backups and records lie below it.
    pub(crate) directory: PathBuf,
    /// The unit of a slot, with `{slot}` for its name.
    pub(crate) unit: String,
    /// For a started slot to become healthy.
    pub(crate) ready_timeout: Duration,
    /// Backups that are kept; the oldest goes first.
    pub(crate) backups: usize,
    /// Address of an Alertmanager that is silenced during an operation.
    pub(crate) alertmanager: Option<String>,
    /// For how long a silence holds if the operation does not end it.
    pub(crate) silence: Duration,
    /// Labels that the silenced alerts have besides their name: an Alertmanager may serve several guards.
    pub(crate) silence_labels: Vec<(String, String)>,
    /// The load check: a tool that only reads, without which `tools/list` is called.
    pub(crate) load_tool: Option<String>,
    /// Requests of the load check.
    pub(crate) load_requests: usize,
    /// How many times the recorded p95 the load check may need, beyond 25 ms.
    pub(crate) load_slowdown: u64,
}

impl Default for Release {
    fn default() -> Release {
        Release {
            directory: DIRECTORY.into(),
            unit: UNIT.to_owned(),
            ready_timeout: SECOND * 60,
            backups: 10,
            alertmanager: None,
            silence: SECOND * 3_600,
            silence_labels: Vec::new(),
            load_tool: None,
            load_requests: 100,
            load_slowdown: 3,
        }
    }
}

pub(super) fn release(mut table: Table<'_>, folder: &Path) -> Release {
    let default = Release::default();
    let release = Release {
        directory: table.text("directory", |text| value::path(text, folder)).unwrap_or(default.directory),
        unit: table.text("unit", unit).unwrap_or(default.unit),
        ready_timeout: table.duration("ready_timeout", SECOND..=SECOND * 3_600, default.ready_timeout),
        backups: table.count("backups", 1..=1_000, default.backups as u64),
        alertmanager: table.text("alertmanager", alertmanager),
        silence: table.duration("silence", SECOND * 60..=SECOND * 86_400, default.silence),
        silence_labels: silence_labels(table.table("silence_labels")),
        load_tool: table.text("load_tool", |text| Ok(text.to_owned())),
        load_requests: table.count("load_requests", 10..=10_000, default.load_requests as u64),
        load_slowdown: table.integer("load_slowdown", 1..=100, default.load_slowdown),
    };
    table.finish();
    release
}

fn unit(text: &str) -> Result<String, InvalidValue> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"@:_.-{}".contains(&byte);
    if text.matches("{slot}").count() == 1 && !text.starts_with('-') && text.bytes().all(known) {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::new("must be the name of a unit with {slot} in it")
        .hint("as in \"mcp-tools@{slot}.service\""))
}

fn silence_labels(mut table: Table<'_>) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    for name in table.names() {
        let value = table.text(&name, |text| Ok(text.to_owned()));
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || name == "alertname" {
            let hint = "as in silence_labels = { instance = \"web1:9464\" }; alertname is given already";
            table.error(&name, None, InvalidValue::new("must be the name of a label").hint(hint));
        }
        labels.extend(value.map(|value| (name, value)));
    }
    table.finish();
    labels
}

fn alertmanager(text: &str) -> Result<String, InvalidValue> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['@', '?', '#']);
    if plain && (text.starts_with("http://") || text.starts_with("https://")) {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(InvalidValue::new("must be an http or https URL without a user or a query")
        .hint("as in \"http://127.0.0.1:9093\""))
}
