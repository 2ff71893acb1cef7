//! `[[dependency]]`: what the backends depend on, and how each is checked. A critical check of a plan is one of these, too: by
//! name, or as a table of its own in the plan file.
//!
//! Must not know how a check is run, nor what its result leads to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::notify::{self, Program, Secret};
use super::table::Table;
use super::value;
use crate::config::diagnostics::{InvalidValue, quote};
use crate::upstream::Slot;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Each has a task of its own.
pub(super) const DEPENDENCIES_MAX: usize = 32;
const EXPECTED_BYTES_MAX: usize = 4096;
/// What `/ready` calls its own checks.
const RESERVED: [&str; 3] = ["listening", "tokens", "backend"];
const KINDS: &str = "exactly one of tool, tcp, http, redis and command";

/// One `[[dependency]]`, or one `[[critical_check]]` of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) check: Check,
    pub(crate) interval: Duration,
    /// Of one check, in all.
    pub(crate) timeout: Duration,
    pub(crate) rise: u32,
    pub(crate) fall: u32,
    /// Whether the guard is not ready without it.
    pub(crate) required: bool,
}

/// How a dependency is checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Check {
    /// Calls a tool of the backend in each of these slots; a result without `isError` that holds what is expected is good.
    Tool { name: String, arguments: JsonObject, expected: Expected, slots: Vec<Slot> },
    /// Connects.
    Tcp(Endpoint),
    /// `GET`; this status is good.
    Http { url: String, status: u16 },
    /// `PING` to Redis.
    Redis { endpoint: Endpoint, username: Option<String>, password: Option<Secret> },
    /// Runs a program; exit 0 is good.
    Command(Program),
}

pub(crate) type JsonObject = serde_json::Map<String, serde_json::Value>;

/// What the result of a tool must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Expected {
    /// A part of its text.
    pub(crate) text: Option<String>,
    /// Members of its object.
    pub(crate) json: Option<JsonObject>,
}

/// Where a dependency listens. A name is resolved at each check: whether it resolves is a part of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Dependency {
    /// The slots whose backends it asks; none where it asks something else.
    pub(crate) fn slots(&self) -> &[Slot] {
        match &self.check {
            Check::Tool { slots, .. } => slots,
            Check::Tcp(_) | Check::Http { .. } | Check::Redis { .. } | Check::Command(_) => &[],
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Tcp { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[[dependency]]`, all of them; `configured` are the slots with a backend.
pub(super) fn read(
    root: &mut Table<'_>,
    configured: &[Slot],
    folder: &Path,
    environment: &Environment<'_>,
) -> Vec<Dependency> {
    let mut all: Vec<Dependency> = Vec::new();
    for mut table in root.list_of_tables("dependency", DEPENDENCIES_MAX) {
        let found = dependency(&mut table, configured, folder, environment);
        if let Some(found) = &found
            && all.iter().any(|other| other.name == found.name)
        {
            let repeated = InvalidValue::new("is the name of another dependency, too");
            table.error("name", Some(quote(&found.name)), repeated);
        }
        table.finish();
        all.extend(found);
    }
    all
}

fn dependency(
    table: &mut Table<'_>,
    configured: &[Slot],
    folder: &Path,
    environment: &Environment<'_>,
) -> Option<Dependency> {
    if !table.has("name") {
        table.error_missing("name", "a short name for /ready, status and metrics, as in \"database\"");
    }
    let name = table.text("name", name);
    let interval = table.duration("interval", MILLISECOND * 100..=HOUR, SECOND * 10);
    let timeout = table.duration("timeout", MILLISECOND * 10..=SECOND * 60, SECOND * 2);
    if timeout > interval {
        let reason = format!("must not be longer than its interval, {}", value::show(interval));
        table.error("timeout", Some(value::show(timeout)), InvalidValue::new(reason));
    }
    let rise = count(table.integer("rise", 1..=100, 2));
    let fall = count(table.integer("fall", 1..=100, 3));
    let required = table.flag("required", false);
    let kinds = ["tool", "tcp", "http", "redis", "command"];
    let written = kinds.into_iter().filter(|kind| table.has(kind)).count();
    if written != 1 {
        let hint = "as in tcp = { address = \"127.0.0.1:5432\" }";
        table.error_whole(InvalidValue::new(format!("needs {KINDS}")).hint(hint));
    }
    let slots = slots(table, configured);
    // Each table is read whatever the others say, so that a misplaced key is not called unknown.
    let checks = [
        tool(table, slots),
        tcp(table, folder),
        http(table),
        redis(table, folder, environment),
        command(table, folder),
    ];
    let check = checks.into_iter().flatten().next();
    Some(Dependency { name: name?, check: check?, interval, timeout, rise, fall, required })
}

/// `slots`, of a tool.
fn slots(table: &mut Table<'_>, configured: &[Slot]) -> Vec<Slot> {
    let known = Slot::ALL.map(|slot| (slot.as_str(), slot));
    let Some(mut slots) = table.list("slots", known.len(), |text| value::choice(text, &known)) else {
        return configured.to_vec();
    };
    if !table.has("tool") {
        let invalid = InvalidValue::new("is only for a tool: nothing else is asked of a slot");
        table.error("slots", None, invalid.hint("remove the line"));
    }
    if table.entry("slots").and_then(|value| value.as_array()).is_some_and(|list| list.is_empty()) {
        let invalid = InvalidValue::new("needs a slot");
        table.error("slots", None, invalid.hint("without the line each configured slot is asked"));
    }
    slots.sort_unstable_by_key(|slot| slot.as_str());
    slots.dedup();
    if let Some(absent) = slots.iter().find(|slot| !configured.contains(slot)) {
        let invalid = InvalidValue::new(format!("{} is not configured", absent.as_str()));
        table.error("slots", None, invalid.hint(format!("add [slots.{}]", absent.as_str())));
    }
    slots
}

fn tool(table: &mut Table<'_>, slots: Vec<Slot>) -> Option<Check> {
    let mut inner = kind(table, "tool")?;
    let name = needed(&mut inner, "name", "the name of a read-only tool, as in \"db_ping\"", notify::word);
    let arguments = inner.text("arguments", notify::json_object).unwrap_or_default();
    let expected =
        Expected { text: inner.text("text", expected_text), json: inner.text("json", notify::json_object) };
    inner.finish();
    Some(Check::Tool { name: name?, arguments, expected, slots })
}

fn tcp(table: &mut Table<'_>, folder: &Path) -> Option<Check> {
    let mut inner = kind(table, "tcp")?;
    let endpoint = address(&mut inner, folder);
    inner.finish();
    Some(Check::Tcp(endpoint?))
}

fn http(table: &mut Table<'_>) -> Option<Check> {
    let mut inner = kind(table, "http")?;
    let url = needed(&mut inner, "url", "as in \"http://127.0.0.1:8080/health\"", url);
    let status = inner.integer("status", 200..=599, 200);
    inner.finish();
    Some(Check::Http { url: url?, status: u16::try_from(status).ok()? })
}

fn redis(table: &mut Table<'_>, folder: &Path, environment: &Environment<'_>) -> Option<Check> {
    let mut inner = kind(table, "redis")?;
    let endpoint = address(&mut inner, folder);
    let username = inner.text("username", notify::word);
    let password = inner.text("password", |text| password(text, environment));
    if username.is_some() && !inner.has("password") {
        inner.error_missing("password", "a username needs one, as in password = \"env:REDIS_PASSWORD\"");
    }
    inner.finish();
    Some(Check::Redis { endpoint: endpoint?, username, password })
}

fn command(table: &mut Table<'_>, folder: &Path) -> Option<Check> {
    let mut inner = kind(table, "command")?;
    if !inner.has("argv") {
        inner.error_missing("argv", "the program and its arguments, as in argv = [\"/usr/bin/pg_isready\"]");
    }
    let program = notify::command(&mut inner, "argv", folder);
    inner.finish();
    Some(Check::Command(program?))
}

/// The table of a kind, if it is written.
fn kind<'a>(table: &mut Table<'a>, key: &str) -> Option<Table<'a>> {
    let is_table = table.entry(key).is_some_and(|value| value.is_table());
    let inner = table.table(key);
    is_table.then_some(inner)
}

fn needed<T>(
    table: &mut Table<'_>,
    key: &str,
    hint: &str,
    parse: impl Fn(&str) -> Result<T, InvalidValue>,
) -> Option<T> {
    if !table.has(key) {
        table.error_missing(key, hint);
    }
    table.text(key, parse)
}

fn address(table: &mut Table<'_>, folder: &Path) -> Option<Endpoint> {
    needed(table, "address", "as in \"127.0.0.1:5432\"", |text| endpoint(text, folder))
}

/// `host:port` or `unix:/path`.
fn endpoint(text: &str, folder: &Path) -> Result<Endpoint, InvalidValue> {
    if let Some(socket) = text.strip_prefix("unix:") {
        let path = value::path(socket, folder)?;
        mcp_host::socket::check_path(&path).map_err(|too_long| InvalidValue::new(too_long.to_string()))?;
        return Ok(Endpoint::Unix(path));
    }
    let (host, port) = value::split_port(text);
    let port = port.and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    match (value::host_name(host), port) {
        (Ok(host), Some(port)) => Ok(Endpoint::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port }),
        (Ok(_) | Err(_), _) => Err(InvalidValue::new("must be host:port or unix:/path")
            .hint("as in \"127.0.0.1:5432\" or \"unix:/run/redis/redis.sock\"")),
    }
}

/// A URL without credentials: it is shown in status and log.
fn url(text: &str) -> Result<String, InvalidValue> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let clean = text.bytes().all(|byte| byte.is_ascii_graphic());
    match rest {
        Some(rest) if rest.contains(['@', '?', '#']) => {
            Err(InvalidValue::new("must not carry a user, a query or a fragment").secret())
        }
        Some(rest) if clean && !rest.is_empty() && !rest.starts_with(['/', ':']) => Ok(text.to_owned()),
        Some(_) | None => {
            Err(InvalidValue::new("must begin with http:// or https:// and a host, without spaces")
                .hint("as in \"http://127.0.0.1:8080/health\"")
                .secret())
        }
    }
}

/// `env:NAME`: a password never stands in the file.
fn password(text: &str, environment: &Environment<'_>) -> Result<Secret, InvalidValue> {
    let Some(name) = text.strip_prefix("env:") else {
        let hint = "\"env:NAME\" sends the password in the environment variable NAME";
        return Err(InvalidValue::new("must be \"env:NAME\"").hint(hint).secret());
    };
    let name = value::variable_name(name)?;
    let held = (environment.variable)(&name).and_then(|held| held.into_string().ok());
    held.filter(|held| !held.is_empty())
        .map(Secret)
        .ok_or_else(|| InvalidValue::new(format!("the environment variable {name} is not set")))
}

fn expected_text(text: &str) -> Result<String, InvalidValue> {
    if text.is_empty() || text.len() > EXPECTED_BYTES_MAX {
        return Err(InvalidValue::new(format!("must have 1 to {EXPECTED_BYTES_MAX} bytes")));
    }
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<String, InvalidValue> {
    if RESERVED.contains(&text) {
        return Err(InvalidValue::new("is the name of a check of /ready").hint("choose another one"));
    }
    value::label(text)
}

fn count(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// `critical`: dependencies that end a rollout, by name. One that does not ask each slot says nothing of some candidate.
pub(super) fn critical(
    root: &mut Table<'_>,
    dependencies: &[Dependency],
    configured: &[Slot],
) -> Vec<String> {
    let known: Vec<(&str, &Dependency)> =
        dependencies.iter().map(|dependency| (dependency.name.as_str(), dependency)).collect();
    let named = root.list("critical", DEPENDENCIES_MAX, |text| {
        if known.is_empty() {
            let hint = "add a [[dependency]] of this name to the guard's configuration";
            return Err(InvalidValue::new("there is no such dependency").hint(hint));
        }
        let dependency = value::choice(text, &known)?;
        let covers = |slot: &Slot| dependency.slots().contains(slot);
        if !dependency.slots().is_empty() && !configured.iter().all(covers) {
            let hint = "remove slots from that dependency";
            return Err(
                InvalidValue::new("is not asked of every slot, and each may be the candidate").hint(hint)
            );
        }
        Ok(text.to_owned())
    });
    named.unwrap_or_default()
}

/// `[[critical_check]]`, all of them: dependencies of the candidate, checked during a rollout only.
pub(super) fn critical_checks(tables: Vec<Table<'_>>, folder: &Path) -> Vec<Dependency> {
    tables.into_iter().filter_map(|table| critical_check(table, folder)).collect()
}

fn critical_check(mut table: Table<'_>, folder: &Path) -> Option<Dependency> {
    let interval = table.duration("interval", SECOND..=HOUR, SECOND * 10);
    let timeout = table.duration("timeout", SECOND..=SECOND * 60, SECOND * 5);
    let (has_tool, has_exec) = (table.has("tool"), table.has("exec"));
    let name = needed(&mut table, "name", "what the check is called in status and history", notify::word);
    let tool = table.text("tool", notify::word);
    let arguments = table.text("arguments", notify::json_object).unwrap_or_default();
    let exec = notify::command(&mut table, "exec", folder);
    let way = "a read-only tool of the candidate, or a program that exits with 0";
    match (has_tool, has_exec) {
        (false, false) => table.error_whole(InvalidValue::new("needs tool or exec").hint(way)),
        (true, true) => table.error_whole(InvalidValue::new("needs tool or exec, not both").hint(way)),
        (true, false) | (false, true) => {}
    }
    table.finish();
    let check = match tool {
        Some(name) => {
            Check::Tool { name, arguments, expected: Expected::default(), slots: Slot::ALL.to_vec() }
        }
        None => Check::Command(exec?),
    };
    // The trigger of the plan counts its failures: no rise, no fall.
    Some(Dependency { name: name?, check, interval, timeout, rise: 1, fall: 1, required: false })
}

#[cfg(test)]
mod tests;
