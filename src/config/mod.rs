//! The configuration file becomes domain types, and every problem is reported at once.
//!
//! Each domain module owns its config type; this module builds them: `file` and `slots` say which keys there are,
//! `table` reads them, `validate` judges what concerns several, `tokens` knows who may call. Must not know Pingora or
//! Tokio, nor print.

mod backend_address;
pub(crate) mod console;
pub(crate) mod dependencies;
mod diagnostics;
mod env_file;
mod environment;
pub(crate) mod feature;
mod file;
pub(crate) mod fleet;
mod model;
pub(crate) mod notify;
pub(crate) mod oauth;
mod overrides;
pub(crate) mod plan;
mod recover;
pub(crate) mod release;
pub(crate) mod reload;
mod routes;
mod secrets;
pub(crate) mod shadow;
mod shared;
mod slots;
mod source;
mod suggest;
mod table;
mod tls;
pub(crate) mod tokens;
mod tools;
pub(crate) mod traces;
mod validate;
mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcp_host::diagnostics::{Diagnostic, Diagnostics};

pub(crate) use environment::Environment;
pub(crate) use model::{
    Config, Health, Listen, Log, LogFormat, MaxVersionSetting, RateKey, Route, RouteTarget, SplitKey,
};
pub(crate) use overrides::Override;
pub(crate) use recover::{AdminSockets, admin_sockets};
pub(crate) use source::ReadError;

use crate::policy::auth::ClientConfig;
use crate::policy::{SwitchedOff, auth};
use crate::upstream::{Backend, PerSlot, Secrets, Slot};
use diagnostics::{DiagnosticSink, InvalidValue};
use env_file::{EnvFile, PACKAGED};
use oauth::OauthTable;
use source::{FILE_BYTES_MAX, folder};
use table::Table;

/// A valid configuration, and what else an operator may want to know of it.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) warnings: Vec<Diagnostic>,
    /// The keys that the environment has set in place of the file.
    pub(crate) overrides: Vec<Override>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    #[error("{0}")]
    Invalid(Diagnostics),
}

/// Reads and judges a configuration file, and the files that belong to it: named clients, the package's variables.
pub(crate) fn load(file: &Path, environment: &Environment<'_>) -> Result<Loaded, LoadError> {
    let text = source::read(file, FILE_BYTES_MAX)?;
    let (env_file, mut found) = EnvFile::beside(file, Path::new(PACKAGED));
    let variable = |name: &str| env_file.variable(name, environment.variable);
    let built = build(file, &text, &Environment { variable: &variable, ..*environment });
    found.warnings.extend(env_file.warnings());
    match built {
        Ok(mut loaded) if found.problems.is_empty() => {
            loaded.warnings.extend(found.warnings);
            Ok(loaded)
        }
        Ok(Loaded { warnings, .. }) => {
            found.warnings.extend(warnings);
            Err(LoadError::Invalid(found))
        }
        Err(diagnostics) => {
            found.extend(diagnostics);
            Err(LoadError::Invalid(found))
        }
    }
}

/// A file that holds secrets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SecretFile {
    /// Tokens in clear.
    Environment(PathBuf),
    /// Their hashes.
    Tokens(PathBuf),
}

/// What one table of a file says, whatever is wrong with the rest of it; `None` for a file that cannot be read or is no TOML.
fn in_table<T>(file: &Path, table: &str, read: impl FnOnce(Table<'_>) -> T) -> Option<T> {
    let text = source::read(file, FILE_BYTES_MAX).ok()?;
    let sink = DiagnosticSink::new(file, &text);
    let entries = source::parse(&text, &sink)?;
    Some(read(Table::root(entries.get_ref(), &sink).table(table)))
}

/// The files of secrets that a configuration reads by name or by place, even when other keys are wrong. They need not exist.
pub(crate) fn secret_files(file: &Path) -> Vec<SecretFile> {
    let named = in_table(file, "auth", |auth| file::auth(auth, folder(file)).0.tokens_file).flatten();
    let packaged = env_file::is_folder(folder(file), Path::new(PACKAGED));
    let tokens = named.or_else(|| packaged.then(|| Path::new(PACKAGED).join(tokens::FILE_NAME)));
    let environment = packaged.then(|| Path::new(PACKAGED).join(env_file::FILE));
    let tokens = tokens.map(SecretFile::Tokens);
    environment.map(SecretFile::Environment).into_iter().chain(tokens).collect()
}

/// `[release]` of a configuration file, whatever is wrong with other tables: the way back works with a half-edited file.
/// Without the file everything has its default. `Err` has the problems of this table, or that the file is not TOML.
#[cfg(feature = "release")]
pub(crate) fn release_settings(file: &Path) -> Result<release::Release, String> {
    let text = match source::read(file, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(ReadError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(release::Release::default());
        }
        Err(error) => return Err(error.to_string()),
    };
    let sink = DiagnosticSink::new(file, &text);
    let settings = source::parse(&text, &sink).map(|entries| {
        release::release(Table::root(entries.get_ref(), &sink).table("release"), folder(file))
    });
    let problems: Vec<String> = sink.finish().problems.iter().map(ToString::to_string).collect();
    settings.filter(|_| problems.is_empty()).ok_or_else(|| problems.join("\n"))
}

/// Whether a slot could include this file; the problems otherwise. Without the file there are none.
#[cfg(feature = "release")]
pub(crate) fn check_slot_settings(path: &Path) -> Result<(), String> {
    slots::problems_of_include(path)
}

/// The client token that the environment of a configuration holds in clear, for requests of the operator's own commands.
#[cfg(feature = "release")]
pub(crate) fn client_token(file: &Path, environment: &Environment<'_>) -> Option<String> {
    let name = in_table(file, "auth", |auth| file::auth(auth, folder(file)).0.token_env)?;
    let (env_file, _problems) = EnvFile::beside(file, Path::new(PACKAGED));
    let token = env_file.variable(&name, environment.variable)?.into_string().ok()?;
    (!token.is_empty()).then_some(token)
}

/// `listen.state` of a configuration file, whatever is wrong with the rest of it.
#[cfg(feature = "release")]
pub(crate) fn state_folder(file: &Path) -> Option<PathBuf> {
    in_table(file, "listen", |listen| file::listen(listen, folder(file), &Environment::NOTHING).state)
        .flatten()
}

/// The files that make up a configuration, without secrets in clear: the file itself, its plan, its tokens' hashes and
/// the keys of issuers.
/// They need not exist.
#[cfg(feature = "release")]
pub(crate) fn files_of(file: &Path) -> Vec<PathBuf> {
    let plan = in_table(file, "rollout", |rollout| file::rollout(rollout, folder(file))).flatten();
    let tokens = secret_files(file).into_iter().filter_map(|secret| match secret {
        SecretFile::Tokens(path) => Some(path),
        SecretFile::Environment(_) => None,
    });
    let keys = in_table(file, "auth", |auth| {
        file::auth(auth, folder(file)).1.map(|table| oauth::key_files(table, folder(file)))
    });
    std::iter::once(file.to_owned())
        .chain(plan)
        .chain(tokens)
        .chain(keys.flatten().unwrap_or_default())
        .collect()
}

/// Judges the text of a configuration file; `path` is what its relative paths are relative to.
pub(crate) fn build(path: &Path, text: &str, environment: &Environment<'_>) -> Result<Loaded, Diagnostics> {
    let sink = DiagnosticSink::new(path, text);
    let mut more = Diagnostics::default();
    let overrides = overrides::found(environment, &sink);
    let read = source::parse(text, &sink).map(|mut file| {
        overrides::apply(file.get_mut(), &overrides);
        let root = Table::root(file.get_ref(), &sink);
        read(path, root, environment, &sink, &mut more)
    });
    let mut diagnostics = sink.finish();
    diagnostics.extend(more);
    match read {
        Some(config) if diagnostics.problems.is_empty() => {
            Ok(Loaded { config, warnings: diagnostics.warnings, overrides })
        }
        Some(_) | None => Err(diagnostics),
    }
}

fn read(
    path: &Path,
    mut root: Table<'_>,
    environment: &Environment<'_>,
    sink: &DiagnosticSink,
    more: &mut Diagnostics,
) -> Config {
    let folder = folder(path);
    let (auth, oauth) = file::auth(root.table("auth"), folder);
    let mut clients = tokens::clients(&auth, folder, sink, environment, more);
    let oauth = oauth.and_then(|table| authorization(table, folder));
    // Before the clients of the file, so that a grant has a metric row of its own however many they are.
    let own = clients.iter().take_while(|client| client.name == tokens::DEFAULT_CLIENT).count();
    clients.splice(own..own, oauth.iter().flat_map(OauthTable::clients));
    let clients = index(clients, sink, more);
    let backends = backends(root.table("slots"), folder, environment, more);
    let routing = file::routing(root.table("routing"), first_slot(&backends));
    let rollout_plan = file::rollout(root.table("rollout"), folder);
    let configured: Vec<Slot> = Slot::ALL.into_iter().filter(|slot| backends[*slot].is_some()).collect();
    let dependencies = dependencies::read(&mut root, &configured, folder, environment);
    let known = plan::Known { dependencies: &dependencies, slots: &configured };
    let rollout = rollout_plan.as_deref().map(|path| plan::load(path, &known, environment, more));
    let (limits, tool_rules) = file::limits(root.table("limits"));
    let config = Config {
        listen: file::listen(root.table("listen"), folder, environment),
        auth: auth.config,
        oauth: oauth.map(|table| Arc::new(table.resolve(&clients))),
        verifier: None,
        shared_rates: None,
        credentials: auth.credentials,
        clients,
        paths: file::paths(root.table("paths")),
        origin: file::origin(root.table("origin")),
        limits,
        tool_rules,
        read_only: tools::read_only(root.table("tools"), folder, more),
        timeouts: file::timeouts(root.table("timeouts")),
        backends,
        stable: routing.stable,
        says_stable: routing.says_stable,
        standby: routing.standby,
        split_key: routing.key,
        max_version: file::protocol(root.table("protocol")),
        error_mode: file::errors(root.table("errors")),
        log: file::log(root.table("log")),
        health: file::health(root.table("health")),
        shadow: shadow::shadow(root.table("shadow")),
        rollout: rollout.unwrap_or_default(),
        dependencies,
        console: console::console(root.table("console"), folder, environment),
        traces: traced(&mut root, environment),
        fleet: joined(&mut root, folder, environment),
        reload: reload::reload(root.table("reload"), folder),
        routes: Vec::new(),
        off: SwitchedOff::default(),
        secrets: Secrets::default(),
    };
    check_rooms(&mut root, folder);
    let routes = routes::read(&mut root, &config, folder, environment);
    root.finish();
    let config = Config { routes, ..config };
    let config = Config { secrets: secrets::held(&config, &auth.token_env, environment), ..config };
    validate::check(&config, sink);
    config
}

/// Reports the tables of what this program was built without.
fn check_rooms(root: &mut Table<'_>, folder: &Path) {
    if cfg!(feature = "release") {
        let _read_by_its_commands = release::release(root.table("release"), folder);
    }
    let rooms = [
        ("release", cfg!(feature = "release"), "releases"),
        ("console", cfg!(feature = "console"), "the console"),
        ("traces", cfg!(feature = "traces"), "traces"),
        ("fleet", cfg!(feature = "fleet"), "the fleet"),
    ];
    for (table, is_built, what) in rooms {
        if !is_built && root.entry(table).is_some() {
            let hint =
                format!("remove the table, or use a program that was built with the feature `{table}`");
            root.error(
                table,
                None,
                InvalidValue::new(format!("this program was built without {what}")).hint(hint),
            );
        }
    }
}

/// `[fleet]`, in a program that can join one.
fn joined(root: &mut Table<'_>, folder: &Path, environment: &Environment<'_>) -> Option<Arc<fleet::Fleet>> {
    cfg!(feature = "fleet").then(|| fleet::fleet(root, folder, environment)).flatten().map(Arc::new)
}

/// `[traces]`, in a program that can export spans.
#[cfg(feature = "traces")]
fn traced(root: &mut Table<'_>, environment: &Environment<'_>) -> Option<traces::Traces> {
    traces::traces(root.table("traces"), environment)
}

#[cfg(not(feature = "traces"))]
fn traced(_root: &mut Table<'_>, _environment: &Environment<'_>) -> Option<traces::Traces> {
    None
}

/// The slot that is stable where the file does not say.
fn first_slot(backends: &PerSlot<Option<Backend>>) -> Slot {
    if backends[Slot::Blue].is_none() && backends[Slot::Green].is_some() { Slot::Green } else { Slot::Blue }
}

/// `[slots]`
fn backends(
    mut slots: Table<'_>,
    folder: &Path,
    environment: &Environment<'_>,
    more: &mut Diagnostics,
) -> PerSlot<Option<Backend>> {
    let mut backends = PerSlot::default();
    for (name, table) in slots.tables() {
        match slots::named(&name) {
            Some(slot) => backends[slot] = slots::read_with_include(table, folder, environment, more),
            None => slots.error(
                &name,
                None,
                InvalidValue::new("there is no such slot").hint("the slots are blue and green"),
            ),
        }
    }
    slots.finish();
    backends
}

/// `[auth.oauth]`, in a program that can verify tokens.
fn authorization(table: Table<'_>, folder: &Path) -> Option<OauthTable> {
    if cfg!(feature = "oauth") {
        return Some(oauth::read(table, folder));
    }
    let hint = "remove the table, or use a program that was built with the feature `oauth`";
    table.error_whole(InvalidValue::new("this program was built without OAuth").hint(hint));
    None
}

/// Contradictions between clients are known by now, to the line of the tokens file; were one missed, it is named here.
fn index(clients: Vec<ClientConfig>, sink: &DiagnosticSink, found: &Diagnostics) -> auth::Clients {
    auth::Clients::new(clients).unwrap_or_else(|error| {
        if found.problems.is_empty() {
            sink.error("auth.tokens_file", None, InvalidValue::new(error.to_string()));
        }
        auth::Clients::default()
    })
}

#[cfg(test)]
mod tests;
