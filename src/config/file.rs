//! The tables of the configuration file, each turned into its domain type, with the defaults of the contract.
//!
//! One function a table; a key lives in exactly one line. `validate` checks what concerns several keys. Must not know
//! how a key is read (`table`) nor what becomes of the result.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::environment::Environment;
use super::model::{Health, Listen, Log, LogFormat, MaxVersionSetting, SplitKey};
use super::table::Table;
use super::tokens::AuthTable;
use super::{tls, tools, value};
use crate::config::diagnostics::InvalidValue;
use crate::http1::HeadLimits;
use crate::policy::auth::WrongToken;
use crate::policy::reply::ErrorMode;
use crate::policy::{CredentialFields, Limits, Timeouts, ToolRules, auth, origin, paths};
use crate::upstream::{Address, Slot};
use crate::wire::ProtocolVersion;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What a listener is set to in order to have none.
pub(super) const OFF: &str = "off";

/// `[listen]`
pub(super) fn listen(mut table: Table<'_>, folder: &Path, environment: &Environment<'_>) -> Listen {
    let default = Address::Tcp(([127, 0, 0, 1], 8001).into());
    let off = |text: &str| text == OFF;
    let listen = Listen {
        address: table.text("address", |text| value::address(text, folder)).unwrap_or(default),
        mode: table.choice("mode", &[("0600", 0o600), ("0660", 0o660), ("0666", 0o666)], 0o660),
        metrics: table
            .text("metrics", |text| if off(text) { Ok(None) } else { value::tcp(text).map(Some) })
            .flatten(),
        admin: table
            .text("admin", |text| if off(text) { Ok(None) } else { socket_path(text, folder).map(Some) })
            .flatten(),
        state: table.text("state", |text| value::path(text, folder)),
        trusted_proxies: table
            .list("trusted_proxies", 64, ip)
            .unwrap_or_else(|| vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()]),
        threads: threads(&mut table),
        tls: tls::listen(&mut table, folder, environment),
    };
    table.finish();
    listen
}

/// `[auth]`, and the table of its issuers, which is not read yet.
pub(super) fn auth<'a>(mut table: Table<'a>, folder: &Path) -> (AuthTable, Option<Table<'a>>) {
    let auth = AuthTable {
        token_env: table
            .text("token_env", value::variable_name)
            .unwrap_or_else(|| "MCP_BEARER_TOKEN".to_owned()),
        tokens_file: table.text("tokens_file", |text| value::path(text, folder)),
        config: auth::AuthRules { wrong_token: wrong_token(&mut table) },
        credentials: credentials(&mut table),
        has_oauth: table.has("oauth"),
    };
    if auth.has_oauth && table.has("wrong_token_status") && auth.config.wrong_token == WrongToken::Forbidden {
        let reason = "has no effect beside [auth.oauth]: a token that is not valid is answered 401";
        table.warn("wrong_token_status", InvalidValue::new(reason).hint("remove the line"));
    }
    let oauth = auth.has_oauth.then(|| table.table("oauth"));
    table.finish();
    (auth, oauth)
}

/// `auth.header`: a name, or a list that begins with `authorization`.
fn credentials(table: &mut Table<'_>) -> CredentialFields {
    const NAMES: [&str; 2] = ["authorization", "x-api-key"];
    let name = |text: &str| value::choice(text, &NAMES.map(|name| (name, name)));
    let is_list = table.entry("header").is_some_and(DeValue::is_array);
    let names = if is_list {
        table.list("header", NAMES.len(), name)
    } else {
        table.text("header", name).map(|name| vec![name])
    };
    let Some(names) = names else { return CredentialFields::default() };
    if !names.contains(&NAMES[0]) {
        let hint = "header = [\"authorization\", \"x-api-key\"]";
        table.error("header", None, InvalidValue::new("must name \"authorization\" as well").hint(hint));
    }
    if names.contains(&NAMES[1]) {
        CredentialFields::AuthorizationOrApiKey
    } else {
        CredentialFields::Authorization
    }
}

/// `[paths]`
pub(super) fn paths(mut table: Table<'_>) -> paths::PathRules {
    let default =
        || ["/swf-monitor/mcp", "/mcp", "/"].iter().flat_map(|text| paths::Prefix::parse(text)).collect();
    let prefixes = table.list("prefixes", 32, |text| {
        let text = value::prefix(text)?;
        paths::Prefix::parse(&text).map_err(|error| InvalidValue::new(error.to_string()))
    });
    if table.entry("prefixes").and_then(|value| value.as_array()).is_some_and(|list| list.is_empty()) {
        let hint = "remove the line to use the default";
        table.error("prefixes", None, InvalidValue::new("needs at least one prefix").hint(hint));
    }
    let prefixes = prefixes.unwrap_or_else(default);
    refuse_repeats(&table, "prefixes", &prefixes);
    table.finish();
    paths::PathRules { prefixes }
}

/// `[origin]`
pub(super) fn origin(mut table: Table<'_>) -> origin::OriginRules {
    let allowed = table.list("allowed", 1024, |text| {
        let text = value::origin(text)?;
        origin::Origin::parse(&text)
            .ok_or_else(|| InvalidValue::new("must be an origin: scheme://host or scheme://host:port"))
    });
    let hosts = table.list("hosts", 1024, |text| {
        let text = value::host_name(text)?;
        origin::Host::parse(&text)
            .ok_or_else(|| InvalidValue::new("must be a host name or an IP address, without a port"))
    });
    let (allowed, hosts) = (allowed.unwrap_or_default(), hosts.unwrap_or_default());
    refuse_repeats(&table, "allowed", &allowed);
    refuse_repeats(&table, "hosts", &hosts);
    table.finish();
    origin::OriginRules { allowed, hosts }
}

/// `[limits]`
pub(super) fn limits(mut table: Table<'_>) -> (Limits, ToolRules) {
    let header_bytes = table.integer("header_bytes", 512..=1 << 20, 16 << 10);
    let headers = table.integer("headers", 8..=1000, 100);
    let limits = Limits {
        head: HeadLimits {
            bytes_max: u32::try_from(header_bytes).unwrap_or(u32::MAX),
            fields_max: u16::try_from(headers).unwrap_or(u16::MAX),
        },
        body_bytes_max: table.integer("body_bytes", 1..=1 << 30, 4 << 20),
        bodies_bytes_max: table.count("bodies_bytes", 1..=1 << 40, 256 << 20),
        connections_max: table.count("connections", 1..=1_000_000, 1024),
        in_flight_max: table.count("in_flight", 1..=100_000, 32),
        waiting_max: table.count("waiting", 1..=100_000, 64),
        held_max: table.count("held", 1..=100_000, 256),
        streams_max: table.count("streams", 1..=1_000_000, 512),
        streams_per_client_max: table.count("streams_per_client", 1..=1_000_000, 16),
    };
    let rules = tools::rules(table.table("tools"));
    table.finish();
    (limits, rules)
}

/// `[timeouts]`
pub(super) fn timeouts(mut table: Table<'_>) -> Timeouts {
    let range = || MILLISECOND..=HOUR;
    let timeouts = Timeouts {
        header: table.duration("header", range(), SECOND * 10),
        body: table.duration("body", range(), SECOND * 30),
        keepalive_idle: table.duration("keepalive_idle", range(), SECOND * 75),
        connect: table.duration("connect", range(), SECOND),
        total: table.duration("total", range(), SECOND * 55),
        stream_idle: table.duration("stream_idle", range(), SECOND * 60),
        stream_ping: table.optional_duration("stream_ping", SECOND..=HOUR),
        stream_total: table.duration("stream_total", MILLISECOND..=HOUR * 24, SECOND * 600),
        waiting: table.duration("waiting", range(), SECOND * 2),
        hold: table.duration("hold", range(), SECOND * 10),
        drain: table.duration("drain", range(), SECOND * 15),
    };
    table.finish();
    timeouts
}

/// `[routing]`
pub(super) struct Routing {
    pub(super) stable: Slot,
    /// Whether the file says which slot is stable.
    pub(super) says_stable: bool,
    pub(super) key: SplitKey,
    pub(super) standby: bool,
}

/// `[routing]`; `first` is the slot that is stable when the file does not say.
pub(super) fn routing(mut table: Table<'_>, first: Slot) -> Routing {
    let slots = Slot::ALL.map(|slot| (slot.as_str(), slot));
    let says_stable = table.has("stable");
    let stable = table.choice("stable", &slots, first);
    let standby = table.flag("standby", false);
    let keys = [("client", SplitKey::Client), ("request", SplitKey::Request)];
    let key = table.choice("key", &keys, SplitKey::Client);
    table.finish();
    Routing { stable, says_stable, key, standby }
}

/// `[protocol]`
pub(super) fn protocol(mut table: Table<'_>) -> MaxVersionSetting {
    let parse = |text: &str| match text {
        "auto" => Ok(MaxVersionSetting::Auto),
        "any" => Ok(MaxVersionSetting::Unbounded),
        date => ProtocolVersion::parse(date.as_bytes()).map(MaxVersionSetting::Version).ok_or_else(|| {
            InvalidValue::new("must be \"auto\", \"any\" or a protocol version").hint("as in \"2025-11-25\"")
        }),
    };
    let max_version = table.text("max_version", parse).unwrap_or(MaxVersionSetting::Auto);
    table.finish();
    max_version
}

/// `[errors]`
pub(super) fn errors(mut table: Table<'_>) -> ErrorMode {
    let modes = [("survivable", ErrorMode::Survivable), ("http", ErrorMode::Http)];
    let mode = table.choice("mode", &modes, ErrorMode::Survivable);
    table.finish();
    mode
}

/// `[log]`
pub(super) fn log(mut table: Table<'_>) -> Log {
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let levels = [
        ("error", log::LevelFilter::Error),
        ("warn", log::LevelFilter::Warn),
        ("info", log::LevelFilter::Info),
        ("debug", log::LevelFilter::Debug),
        ("trace", log::LevelFilter::Trace),
    ];
    let log = Log {
        format: table.choice("format", &formats, LogFormat::Json),
        level: table.choice("level", &levels, log::LevelFilter::Info),
    };
    table.finish();
    log
}

/// `[health]`
pub(super) fn health(mut table: Table<'_>) -> Health {
    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let health = Health {
        interval: table.duration("interval", MILLISECOND * 10..=HOUR, SECOND * 5),
        timeout: table.duration("timeout", MILLISECOND * 10..=SECOND * 60, SECOND * 2),
        rise: count(table.integer("rise", 1..=100, 2)),
        fall: count(table.integer("fall", 1..=100, 3)),
    };
    table.finish();
    health
}

/// `[rollout]`
pub(super) fn rollout(mut table: Table<'_>, folder: &Path) -> Option<PathBuf> {
    let plan = table.text("plan", |text| {
        let plan = value::path(text, folder)?;
        if plan.is_file() {
            Ok(plan)
        } else {
            Err(InvalidValue::new(format!("there is no file {}", plan.display())))
        }
    });
    table.finish();
    plan
}

/// Worker threads: a number, or `"auto"` for one a core.
fn threads(table: &mut Table<'_>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    match table.entry("threads") {
        None => cores(),
        Some(value) if value.as_str() == Some("auto") => cores(),
        Some(value) if value.is_integer() => table.count("threads", 1..=256, 1),
        Some(value) => table.wrong_type("threads", value, "a whole number or \"auto\"").unwrap_or(1),
    }
}

fn wrong_token(table: &mut Table<'_>) -> WrongToken {
    let status = table.integer("wrong_token_status", 0..=u64::MAX, 403);
    let parsed = u16::try_from(status).ok().and_then(WrongToken::from_status);
    parsed.unwrap_or_else(|| {
        let invalid = InvalidValue::new("must be 403 or 401").hint("401 is the RFC 6750 mode");
        table.error("wrong_token_status", Some(status.to_string()), invalid);
        WrongToken::default()
    })
}

fn socket_path(text: &str, folder: &Path) -> Result<PathBuf, InvalidValue> {
    if text.starts_with("unix:") {
        return Err(InvalidValue::new("is a path").hint("leave out \"unix:\""));
    }
    let path = value::path(text, folder)?;
    mcp_host::socket::check_path(&path).map_err(|too_long| InvalidValue::new(too_long.to_string()))?;
    Ok(path)
}

fn ip(text: &str) -> Result<IpAddr, InvalidValue> {
    text.parse().map_err(|_| InvalidValue::new("must be an IP address").hint("as in \"127.0.0.1\""))
}

fn refuse_repeats<T: PartialEq + std::fmt::Display>(table: &Table<'_>, key: &str, items: &[T]) {
    for (index, item) in items.iter().enumerate() {
        if items.iter().take(index).any(|earlier| earlier == item) {
            table.error(key, Some(format!("\"{item}\"")), InvalidValue::new("is listed twice"));
        }
    }
}
