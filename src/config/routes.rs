//! `[[route]]`: what is open beside the endpoint, to whom, and where it leads.
//!
//! Routes are disjoint from each other and from what the guard serves itself: two that could serve one request are a
//! problem, so the order of rules does not matter. Must not know how a route is served.

use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::backend_address::{BackendAddress, Scheme};
use super::environment::Environment;
use super::model::{Config, RateKey, Route, RouteTarget};
use super::table::Table;
use super::{backend_address, slots, tls, tokens, tools, value};
use crate::config::diagnostics::{InvalidValue, quote};
use crate::policy::auth::TokenHash;
use crate::policy::routes::{ApiKey, Auth, HttpMethod, PathMatch, RouteRule, Upgrades};
use crate::upstream::{Accept, Backend, Slot, UpstreamAuthorization};

pub(super) const ROUTES_MAX: usize = 64;
const KEYS_MAX: usize = 64;
const KEY_FIELD: &str = "X-API-Key";

/// Reads every route; `config` is what has been read of the rest.
pub(super) fn read(
    root: &mut Table<'_>,
    config: &Config,
    folder: &Path,
    environment: &Environment<'_>,
) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for mut table in root.list_of_tables("route", ROUTES_MAX) {
        let route = route(&mut table, config, folder, environment);
        if let Some(route) = &route {
            check_places(&table, &route.rule, config);
            for other in &routes {
                check_pair(&table, &route.rule, &other.rule);
            }
        }
        table.finish();
        routes.extend(route);
    }
    routes
}

fn route(
    table: &mut Table<'_>,
    config: &Config,
    folder: &Path,
    environment: &Environment<'_>,
) -> Option<Route> {
    let rule = rule(table, config);
    let stripped = stripped(table, rule.as_ref());
    let target = target(table, config, folder, environment);
    let range = || Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
    let idle = table.duration("idle", range(), config.timeouts.stream_idle);
    let total = table.duration("total", range(), config.timeouts.total);
    let in_flight_max = table.count("in_flight", 1..=100_000, 128);
    let rate = tools::rate(table);
    let rate_key = rate_key(table, rule.as_ref());
    Some(Route { rule: rule?, target: target?, stripped, idle, total, in_flight_max, rate, rate_key })
}

fn rate_key(table: &mut Table<'_>, rule: Option<&RouteRule>) -> RateKey {
    let keys = [("caller", RateKey::Caller), ("address", RateKey::Address)];
    let Some(key) = table.text("rate_key", |text| value::choice(text, &keys)) else { return RateKey::Caller };
    if !table.has("rate") {
        table.error("rate_key", None, InvalidValue::new("says nothing without a rate"));
    }
    if key == RateKey::Address && rule.is_some_and(|rule| !matches!(rule.auth, Auth::None)) {
        let hint = "a client or an API key has a rate of its own, wherever it calls from";
        table.error("rate_key", None, InvalidValue::new("is only for auth = \"none\"").hint(hint));
    }
    key
}

fn rule(table: &mut Table<'_>, config: &Config) -> Option<RouteRule> {
    if !table.has("name") {
        table.error_missing("name", "a short name for logs and metrics, as in \"stream\"");
    }
    let name = table.text("name", value::label);
    if !table.has("prefix") {
        table.error_missing("prefix", "the path of the route, as in \"/orchestrator/stream\"");
    }
    let prefix = table.text("prefix", prefix);
    let path_match = if table.flag("exact", false) { PathMatch::Exact } else { PathMatch::Prefix };
    let upgrades = if table.flag("websocket", false) { Upgrades::WebSocket } else { Upgrades::Refused };
    let methods =
        table.list("methods", HttpMethod::ALL.len(), method).unwrap_or_else(|| vec![HttpMethod::Get]);
    let none_listed =
        table.entry("methods").and_then(|value| value.as_array()).is_some_and(|list| list.is_empty());
    if none_listed && upgrades == Upgrades::Refused {
        let hint = "remove the line to use the default, [\"GET\"]";
        table.error("methods", None, InvalidValue::new("needs at least one method").hint(hint));
    }
    let body_bytes_max = table.integer("body_bytes", 1..=1 << 30, config.limits.body_bytes_max);
    let auth = auth(table);
    Some(RouteRule {
        name: name?,
        prefix: prefix?,
        path_match,
        methods,
        upgrades,
        auth: auth?,
        body_bytes_max,
    })
}

#[derive(Clone, Copy)]
enum EntryKind {
    Bearer,
    ApiKey,
    Anyone,
}

fn auth(table: &mut Table<'_>) -> Option<Auth> {
    if !table.has("auth") {
        let hint = "\"bearer\", \"api_key\", or \"none\": who may use a route is always spelled out";
        table.error_missing("auth", hint);
    }
    let kinds = [("bearer", EntryKind::Bearer), ("api_key", EntryKind::ApiKey), ("none", EntryKind::Anyone)];
    let kind = table.text("auth", |text| value::choice(text, &kinds));
    let given = table.has("api_keys");
    let field = table.text("api_key_header", key_field);
    let keys = api_keys(table.table("api_keys"));
    match kind? {
        EntryKind::ApiKey => {
            if keys.is_empty() && !given {
                let hint =
                    "api_keys = { NAME = \"HASH\" }; mcp-guard token hash reads a key and prints its hash";
                table.error_missing("api_keys", hint);
            }
            Some(Auth::ApiKey { field: field.unwrap_or_else(|| KEY_FIELD.to_owned()), keys })
        }
        kind @ (EntryKind::Bearer | EntryKind::Anyone) => {
            for key in ["api_keys", "api_key_header"].into_iter().filter(|key| table.has(key)) {
                table.error(key, None, InvalidValue::new("is only for auth = \"api_key\""));
            }
            Some(if matches!(kind, EntryKind::Bearer) { Auth::Bearer } else { Auth::None })
        }
    }
}

fn api_keys(mut table: Table<'_>) -> Vec<ApiKey> {
    let names = table.names();
    if names.len() > KEYS_MAX {
        table.error("", None, InvalidValue::new(format!("at most {KEYS_MAX} keys are allowed")));
    }
    let mut keys: Vec<ApiKey> = Vec::new();
    for name in names {
        if let Err(reason) = tokens::check_name(&name) {
            table.error(&name, None, InvalidValue::new(reason));
        }
        for hash in hashes(&mut table, &name) {
            if let Some(other) = keys.iter().find(|key| key.hash == hash) {
                let reason = format!("is the same key as {}: it could not be told who calls", other.name);
                table.error(&name, None, InvalidValue::new(reason));
            }
            keys.push(ApiKey { name: name.clone(), hash });
        }
    }
    table.finish();
    keys
}

/// One hash, or two while a key is being replaced.
fn hashes(table: &mut Table<'_>, name: &str) -> Vec<TokenHash> {
    match table.entry(name) {
        Some(DeValue::Array(_)) => table.list(name, 2, tokens::token_hash).unwrap_or_default(),
        Some(_) | None => table.text(name, tokens::token_hash).into_iter().collect(),
    }
}

fn target(
    table: &mut Table<'_>,
    config: &Config,
    folder: &Path,
    environment: &Environment<'_>,
) -> Option<RouteTarget> {
    let options = [
        ("blue", RouteTarget::Slot(Slot::Blue)),
        ("green", RouteTarget::Slot(Slot::Green)),
        ("stable", RouteTarget::Stable),
    ];
    let by_name = |text: &str| {
        let names: Vec<(&str, usize)> =
            options.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
        value::choice(text, &names).map(|at| options[at].1.clone())
    };
    let has_slot = table.has("slot");
    let slot = table.text("slot", by_name);
    let own = own_backend(table, folder, environment);
    match (has_slot, table.has("address")) {
        (true, true) => table.error(
            "address",
            None,
            InvalidValue::new("a route leads to a slot or to an address, not to both"),
        ),
        (false, false) => table.error_missing(
            "slot",
            "or address, as in \"unix:/run/orchestrator.sock\": where the route leads",
        ),
        (true, false) => {
            for key in ["host", "authorization", "set_headers", "client_header", "tls"]
                .into_iter()
                .filter(|key| table.has(key))
            {
                let hint = "the slot's own table says what its backend receives";
                table.error(
                    key,
                    None,
                    InvalidValue::new("is only for a route with an address of its own").hint(hint),
                );
            }
        }
        (false, true) => {}
    }
    if let Some(RouteTarget::Slot(wanted)) = slot
        && config.backend(wanted).is_none()
    {
        let hint = format!("add [slots.{}], or give the route an address", wanted.as_str());
        table.error(
            "slot",
            Some(quote(wanted.as_str())),
            InvalidValue::new("that slot is not configured").hint(hint),
        );
    }
    slot.or(own.map(|backend| RouteTarget::Own(Box::new(backend))))
}

/// A backend as a slot's, but for what belongs to MCP.
fn own_backend(table: &mut Table<'_>, folder: &Path, environment: &Environment<'_>) -> Option<Backend> {
    let address = table.text("address", |text| backend_address::parse(text, folder));
    let default_host =
        || address.as_ref().map_or_else(|| "localhost:80".to_owned(), BackendAddress::host_field);
    let host = table.text("host", slots::host_field).unwrap_or_else(default_host);
    let tls = tls::backend(table, folder, environment.now, address.as_ref());
    let authorization = table
        .text("authorization", |text| slots::authorization(text, environment))
        .unwrap_or(UpstreamAuthorization::Strip);
    let client_header = table.flag("client_header", false);
    let set_headers = slots::set_headers(table.table("set_headers"));
    // What is wrong with its settings is reported, and nothing may use it in clear.
    let address = address.filter(|address| address.scheme == Scheme::Http || tls.is_some());
    Some(Backend {
        address: address?.address,
        tls,
        path: "/".to_owned(),
        host,
        accept: Accept::Pass,
        authorization,
        pool: 1,
        pool_idle: Duration::from_secs(1),
        strip_session: false,
        sessions: false,
        set_headers,
        query: true,
        client_header,
    })
}

/// What is taken off a path: a leading part of the prefix, as Caddy's `handle_path` does.
fn stripped(table: &mut Table<'_>, rule: Option<&RouteRule>) -> usize {
    let Some(text) = table.text("strip_prefix", prefix) else { return 0 };
    let is_part = |rule: &RouteRule| {
        rule.prefix.strip_prefix(text.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if rule.is_some_and(|rule| !is_part(rule)) {
        let hint = "write the prefix itself, or the part of it that the backend does not know";
        table.error(
            "strip_prefix",
            Some(quote(&text)),
            InvalidValue::new("is not how the prefix begins").hint(hint),
        );
    }
    text.len()
}

/// A route must not stand in the way of what the guard serves itself.
fn check_places(table: &Table<'_>, rule: &RouteRule, config: &Config) {
    let error = |path: &str, what: &str| {
        let reason = format!("covers {path}, {what}");
        let invalid = InvalidValue::new(reason).hint("choose a prefix of its own, as in \"/orchestrator\"");
        table.error("prefix", Some(quote(&rule.prefix)), invalid);
    };
    for path in ["/health", "/ready", "/register"] {
        if rule.reaches(path) {
            return error(path, "which the guard answers itself");
        }
    }
    for prefix in config.paths.prefixes.iter().map(|prefix| prefix.as_str()).filter(|prefix| *prefix != "/") {
        if rule.reaches(prefix) {
            return error(prefix, "the MCP endpoint");
        }
        for name in ["health", "register"] {
            let path = format!("{prefix}/{name}");
            if rule.reaches(&path) {
                return error(&path, "which the guard answers itself");
            }
        }
    }
}

fn check_pair(table: &Table<'_>, rule: &RouteRule, other: &RouteRule) {
    if rule.name == other.name {
        table.error("name", Some(quote(&rule.name)), InvalidValue::new("is the name of another route, too"));
    }
    if rule.overlaps(other) {
        let reason = format!("overlaps the route \"{}\": a request could belong to both", other.name);
        let hint = "make one of them exact, or part them by prefix or methods";
        table.error("prefix", Some(quote(&rule.prefix)), InvalidValue::new(reason).hint(hint));
    }
}

fn prefix(text: &str) -> Result<String, InvalidValue> {
    if text == "/" {
        let hint = "as in \"/orchestrator\": what is not opened stays shut";
        return Err(InvalidValue::new("must name a path below the root").hint(hint));
    }
    let text = value::plain_path(text)?;
    if text.split('/').any(|segment| segment == ".well-known") {
        return Err(InvalidValue::new("is a path the guard answers itself").hint("choose another prefix"));
    }
    Ok(text)
}

fn method(text: &str) -> Result<HttpMethod, InvalidValue> {
    value::choice(text, &HttpMethod::ALL.map(|method| (method.as_str(), method)))
}

fn key_field(text: &str) -> Result<String, InvalidValue> {
    slots::header_name(text)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
