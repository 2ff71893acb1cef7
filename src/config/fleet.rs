//! `[fleet]`: the store that the guards of one fleet share, and who this guard is in it.
//!
//! A URL may hold a password, so neither it nor the key is ever quoted. Must not know what is kept in the store, nor how.

use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use toml::de::DeValue;

use super::environment::Environment;
use super::notify::{self, Secret};
use super::table::Table;
use super::{tls, value};
use crate::config::diagnostics::InvalidValue;

/// Sentinels, or the first nodes of a cluster.
const URLS_MAX: usize = 32;
const URL_BYTES_MAX: usize = 2048;
const NAME_BYTES_MAX: usize = 64;
const KEY_BYTES_MIN: usize = 32;
const MACHINE_ID: &str = "/etc/machine-id";
/// This program's own, made once at random: another one makes another name of every machine.
const APPLICATION_ID: u128 = 0x288c_fbf9_75c9_42cf_b449_a2ee_aafc_5643;
/// Of SHA-256.
const HMAC_BLOCK_BYTES: usize = 64;
const FORMS: &str =
    "as in \"rediss://USER:PASSWORD@HOST:6379\", \"unix:///run/redis/redis.sock\" or \"env:NAME\"";

/// `[fleet]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fleet {
    /// The same on all its guards.
    pub(crate) name: String,
    /// This guard, unique in its fleet.
    pub(crate) member: String,
    pub(crate) store: FleetStore,
    /// What members prove with that they have written a value.
    pub(crate) key: Secret,
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FleetStore {
    /// More than one only with Sentinel or in a cluster.
    pub(crate) urls: Vec<StoreUrl>,
    pub(crate) topology: Topology,
    /// Authorities in PEM that prove the servers; without it those of the machine.
    pub(crate) ca: Option<String>,
}

/// How the servers of the store stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topology {
    Single,
    /// The URLs are those of Sentinels, which know the primary by this name.
    Sentinel {
        primary: String,
    },
    Cluster,
}

/// One address of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreUrl {
    /// With user and password.
    pub(crate) text: Secret,
    /// Without them, to be shown.
    pub(crate) shown: String,
    /// None for a Unix socket.
    pub(crate) host: Option<String>,
    pub(crate) is_encrypted: bool,
    login: Login,
}

/// What a server is asked with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Login {
    user: Option<String>,
    password: Option<Secret>,
    database: u16,
}

impl Fleet {
    /// What must never be quoted.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.key.0.as_str()).chain(self.store.urls.iter().flat_map(StoreUrl::secrets))
    }
}

impl StoreUrl {
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let password = self.login.password.as_ref().map(|password| password.0.as_str());
        password.into_iter().chain(self.login.password.is_some().then_some(self.text.0.as_str()))
    }

    fn is_local(&self) -> bool {
        self.host.as_deref().is_none_or(|host| {
            let address = host.parse::<std::net::IpAddr>();
            host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
        })
    }
}

/// The table; none without it, or where something is wrong with it.
pub(super) fn fleet(root: &mut Table<'_>, folder: &Path, environment: &Environment<'_>) -> Option<Fleet> {
    let is_given = root.has("fleet");
    let mut table = root.table("fleet");
    for (key, hint) in [
        ("store", FORMS),
        ("name", "the same short name on every guard of the fleet, as in \"prod\""),
        ("key", "key = \"env:MCP_GUARD_FLEET_KEY\": the same secret on every guard of the fleet"),
    ] {
        if is_given && !table.has(key) {
            table.error_missing(key, hint);
        }
    }
    let name = table.text("name", name);
    let member = member(&mut table, is_given, environment);
    let key = table.text("key", |text| key(text, environment));
    let store = store(&mut table, folder, environment);
    table.finish();
    Some(Fleet { name: name?, member: member?, store: store?, key: key? })
}

fn store(table: &mut Table<'_>, folder: &Path, environment: &Environment<'_>) -> Option<FleetStore> {
    let parse = |text: &str| url(text, environment);
    let is_list = table.entry("store").is_some_and(DeValue::is_array);
    let urls = if is_list {
        table.list("store", URLS_MAX, parse)
    } else {
        table.text("store", parse).map(|url| vec![url])
    };
    let primary = table.text("sentinel", notify::word);
    let is_cluster = table.flag("cluster", false);
    let ca = tls::authorities(table, "ca", folder);
    if is_cluster && table.has("sentinel") {
        let reason = "contradicts fleet.sentinel: a cluster has no Sentinels";
        table.error("cluster", None, InvalidValue::new(reason).hint("remove one of the two"));
    }
    let topology = match primary {
        Some(primary) => Topology::Sentinel { primary },
        None if is_cluster => Topology::Cluster,
        None => Topology::Single,
    };
    let urls = urls?;
    check(table, &urls, &topology);
    Some(FleetStore { urls, topology, ca })
}

/// What several addresses, and the keys beside them, must agree on.
fn check(table: &Table<'_>, urls: &[StoreUrl], topology: &Topology) {
    let error = |key: &str, reason: &str, hint: &str| {
        table.error(key, None, InvalidValue::new(reason).hint(hint));
    };
    let Some(first) = urls.first() else {
        return error("store", "needs an address", FORMS);
    };
    if table.has("ca") && !urls.iter().any(|url| url.is_encrypted) {
        error("ca", "says nothing without TLS", "rediss:// is an address with TLS");
    }
    if urls.iter().any(|url| !url.is_encrypted && !url.is_local()) {
        let reason = "user, password and what guards count cross the network in clear";
        table.warn("store", InvalidValue::new(reason).hint("rediss:// is an address with TLS"));
    }
    if *topology == Topology::Single {
        if urls.len() > 1 && !table.has("sentinel") {
            let hint = "sentinel = \"NAME\" where these are Sentinels, cluster = true where they are nodes";
            error("store", "has several addresses, but one server has one", hint);
        }
        return;
    }
    if urls.iter().any(|url| url.host.is_none()) {
        let hint = "redis:// or rediss:// addresses, with a host that every guard reaches";
        return error("store", "is a Unix socket, beside which there is no other server", hint);
    }
    if urls.iter().any(|url| url.is_encrypted != first.is_encrypted) {
        let hint = "all redis:// or all rediss://";
        error("store", "mixes addresses with and without TLS", hint);
    }
    if urls.iter().any(|url| url.login != first.login) {
        let reason = "has addresses with different users, passwords or databases";
        error("store", reason, "the first one's are used for all servers: write the same in each");
    }
    if *topology == Topology::Cluster && first.login.database != 0 {
        error("store", "names a database, but a cluster has database 0 only", "remove the number at its end");
    }
}

/// A URL, or the variable that holds it.
fn url(text: &str, environment: &Environment<'_>) -> Result<StoreUrl, InvalidValue> {
    let Some(name) = text.strip_prefix("env:") else { return store_url(text) };
    let (name, held) = variable(name, environment)?;
    store_url(&held).map_err(|invalid| InvalidValue {
        reason: format!("the address in {name} {}", invalid.reason),
        ..invalid
    })
}

fn store_url(text: &str) -> Result<StoreUrl, InvalidValue> {
    let invalid = |reason: &str| InvalidValue::new(reason).hint(FORMS).secret();
    let is_plain = text.len() <= URL_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let parts = text.split_once("://").filter(|_| is_plain);
    let (scheme, rest) =
        parts.ok_or_else(|| invalid("must begin with redis://, rediss:// or unix://, without spaces"))?;
    // `#insecure` would turn the proof of the server's certificate off.
    if rest.contains('#') {
        return Err(invalid("must have no `#`: the certificate of a server is always verified"));
    }
    match scheme {
        "redis" | "rediss" => server(text, scheme, rest),
        "unix" => socket(text, rest),
        _ => Err(invalid("must begin with redis://, rediss:// or unix://")),
    }
}

/// `[USER][:PASSWORD]@HOST[:PORT][/DATABASE]`
fn server(text: &str, scheme: &str, rest: &str) -> Result<StoreUrl, InvalidValue> {
    let invalid = |reason: &str| InvalidValue::new(reason).hint(FORMS).secret();
    if rest.contains('?') {
        return Err(invalid("must have no `?`: there is nothing to set"));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
    let (host, port) = value::split_port(place);
    let host = value::host_name(host).map_err(|_| invalid("must name a host"))?;
    let port = port.map_or(Ok(6379), str::parse::<u16>).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| invalid("must have a port of 1 to 65535"))?;
    let login = Login {
        user: some(decoded(user)?),
        password: password.map(decoded).transpose()?.and_then(some).map(Secret),
        database: database(path)?,
    };
    Ok(StoreUrl {
        text: Secret(text.to_owned()),
        shown: format!("{scheme}://{host}:{port}"),
        host: Some(host.trim_matches(['[', ']']).to_owned()),
        is_encrypted: scheme == "rediss",
        login,
    })
}

/// `/PATH[?db=NUMBER&user=NAME&pass=WORD]`
fn socket(text: &str, rest: &str) -> Result<StoreUrl, InvalidValue> {
    let invalid = |reason: &str| InvalidValue::new(reason).hint(FORMS).secret();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err(invalid("must have an absolute path: three slashes"));
    }
    mcp_host::socket::check_path(Path::new(path)).map_err(|too_long| invalid(&too_long.to_string()))?;
    let mut login = Login::default();
    for (key, text) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match key {
            "user" => login.user = some(decoded(text)?),
            "pass" => login.password = some(decoded(text)?).map(Secret),
            "db" => login.database = database(text)?,
            _ => return Err(invalid("may set db, user and pass behind its `?`")),
        }
    }
    Ok(StoreUrl {
        text: Secret(text.to_owned()),
        shown: format!("unix://{path}"),
        host: None,
        is_encrypted: false,
        login,
    })
}

fn database(text: &str) -> Result<u16, InvalidValue> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| InvalidValue::new("must end with the number of a database").hint(FORMS).secret())
}

fn decoded(text: &str) -> Result<String, InvalidValue> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(String::from).map_err(|_| {
        InvalidValue::new("must be UTF-8 text in user and password").hint("%2F stands for a slash").secret()
    })
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// `member`, else the machine's name.
fn member(table: &mut Table<'_>, is_given: bool, environment: &Environment<'_>) -> Option<String> {
    let member = table.text("member", |text| {
        let Some(variable_name) = text.strip_prefix("env:") else { return name(text) };
        let (variable_name, held) = variable(variable_name, environment)?;
        name(&held).map_err(|invalid| {
            InvalidValue::new(format!("the name in {variable_name} {}", invalid.reason)).secret()
        })
    });
    if !is_given || table.has("member") {
        return member;
    }
    machine_name(Path::new(MACHINE_ID)).map_err(|invalid| table.error("member", None, invalid)).ok()
}

/// A name made of the machine's id, which this file has. An image of containers has none, or all its containers the same.
fn machine_name(path: &Path) -> Result<String, InvalidValue> {
    let hint = "member = \"NAME\" or \"env:NAME\", unique in the fleet, as the name of a pod";
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let id = Some(text.trim()).filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let id = id.and_then(|id| u128::from_str_radix(id, 16).ok()).filter(|id| *id != 0);
    id.map(application_specific).ok_or_else(|| {
        InvalidValue::new(format!("missing, and {} holds no machine id", path.display())).hint(hint)
    })
}

/// What `systemd-id128 machine-id --app-specific` prints. machine-id(5): the id itself "must not be exposed in untrusted environments,
/// in particular on the network", and the store shows the name of a member to every program that may read there.
fn application_specific(machine_id: u128) -> String {
    // HMAC fills a key shorter than a block with zeros.
    let mut key = [0; HMAC_BLOCK_BYTES];
    key[..16].copy_from_slice(&machine_id.to_be_bytes());
    let mac = Hmac::<Sha256>::new(&key.into()).chain_update(APPLICATION_ID.to_be_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&mac.finalize().into_bytes()[..16]);
    // A UUID of version 4, as systemd makes it.
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    format!("{:032x}", u128::from_be_bytes(id))
}

/// What may name a fleet or a member: it stands in the keys of the store.
fn name(text: &str) -> Result<String, InvalidValue> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(plain) {
        return Err(InvalidValue::new("must be 1 to 64 letters, digits, `.`, `_` and `-`"));
    }
    Ok(text.to_owned())
}

fn key(text: &str, environment: &Environment<'_>) -> Result<Secret, InvalidValue> {
    let Some(name) = text.strip_prefix("env:") else {
        let hint = "\"env:NAME\" takes it from the environment variable NAME";
        return Err(InvalidValue::new("must be \"env:NAME\": the key never stands in this file")
            .hint(hint)
            .secret());
    };
    let (name, held) = variable(name, environment)?;
    if held.len() < KEY_BYTES_MIN || !held.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason =
            format!("the key in {name} must have {KEY_BYTES_MIN} visible characters or more, without spaces");
        return Err(InvalidValue::new(reason).hint("openssl rand -hex 32 prints a good one"));
    }
    Ok(Secret(held))
}

/// A variable's name and what it holds.
fn variable(name: &str, environment: &Environment<'_>) -> Result<(String, String), InvalidValue> {
    let name = value::variable_name(name)?;
    let held = (environment.variable)(&name).and_then(|held| held.into_string().ok());
    match held.filter(|held| !held.is_empty()) {
        Some(held) => Ok((name, held)),
        None => Err(InvalidValue::new(format!("the environment variable {name} is not set"))),
    }
}

#[cfg(test)]
mod tests;
