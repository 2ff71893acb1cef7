//! The configuration file becomes domain types, and every problem is reported at once.
//!
//! Each domain module owns its config type; this module builds them: `file` and `slots` say which keys there are,
//! `table` reads them, `checks` judges what concerns several, `tokens` knows who may call. Must not know Pingora or
//! Tokio, nor print.

mod diagnostics;
mod environment;
mod file;
pub(crate) mod notify;
pub(crate) mod plan;
mod recover;
pub(crate) mod routes;
mod secrets;
pub(crate) mod shadow;
mod slots;
mod source;
mod suggest;
mod table;
pub(crate) mod tokens;
mod tools;
mod validate;
mod value;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub(crate) use diagnostics::{Findings, Problem};
pub(crate) use recover::{AdminSockets, admin_sockets};
pub(crate) use source::ReadError;

use crate::policy::auth::ClientConfig;
use crate::policy::reply::ErrorMode;
use crate::policy::tools::ReadOnlyTools;
use crate::policy::{Limits, Timeouts, ToolRules, auth, origin, paths};
use crate::upstream::{Address, Backend, Secrets, Slot};
use crate::wire::ProtocolVersion;
use diagnostics::{Invalid, Report};
use environment::{Environment, PACKAGED};
use table::Table;

const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a configuration depends on besides its files.
pub(crate) struct Surroundings<'s> {
    /// An environment variable.
    pub(crate) variable: &'s dyn Fn(&str) -> Option<OsString>,
    /// Seconds since the epoch.
    pub(crate) now: u64,
}

impl Surroundings<'static> {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Surroundings<'static> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Surroundings { variable: &|name| std::env::var_os(name), now: now.as_secs() }
    }
}

/// A valid configuration, and what else an operator may want to know of it.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) warnings: Vec<Problem>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    #[error("{0}")]
    Invalid(Findings),
}

/// Reads and judges a configuration file, and the files that belong to it: named clients, the package's variables.
pub(crate) fn load(file: &Path, surroundings: &Surroundings<'_>) -> Result<Loaded, LoadError> {
    let text = source::read(file, FILE_BYTES_MAX)?;
    let (environment, mut found) = Environment::beside(file, Path::new(PACKAGED));
    let variable = |name: &str| environment.variable(name, surroundings.variable);
    let built = build(file, &text, &Surroundings { variable: &variable, now: surroundings.now });
    found.warnings.extend(environment.warnings());
    match built {
        Ok(mut loaded) if found.problems.is_empty() => {
            loaded.warnings.extend(found.warnings);
            Ok(loaded)
        }
        Ok(Loaded { warnings, .. }) => {
            found.warnings.extend(warnings);
            Err(LoadError::Invalid(found))
        }
        Err(findings) => {
            found.problems.extend(findings.problems);
            found.warnings.extend(findings.warnings);
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

/// The files of secrets that a configuration reads by name or by place, even when other keys are wrong. They need not exist.
pub(crate) fn secret_files(file: &Path) -> Vec<SecretFile> {
    let named = source::read(file, FILE_BYTES_MAX).ok().and_then(|text| {
        let report = Report::new(file, &text);
        let entries = source::parse(&text, &report)?;
        file::auth(Table::root(entries.get_ref(), &report).table("auth"), folder(file)).tokens_file
    });
    let packaged = environment::is_folder(folder(file), Path::new(PACKAGED));
    let tokens = named.or_else(|| packaged.then(|| Path::new(PACKAGED).join(tokens::FILE_NAME)));
    let environment = packaged.then(|| Path::new(PACKAGED).join(environment::FILE));
    let tokens = tokens.map(SecretFile::Tokens);
    environment.map(SecretFile::Environment).into_iter().chain(tokens).collect()
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Judges the text of a configuration file; `path` is what its relative paths are relative to.
pub(crate) fn build(path: &Path, text: &str, surroundings: &Surroundings<'_>) -> Result<Loaded, Findings> {
    let report = Report::new(path, text);
    let mut more = Findings::default();
    let read = source::parse(text, &report).map(|file| {
        let root = Table::root(file.get_ref(), &report);
        read(path, root, surroundings, &report, &mut more)
    });
    let mut findings = report.finish();
    findings.problems.extend(more.problems);
    findings.warnings.extend(more.warnings);
    match read {
        Some(config) if findings.problems.is_empty() => Ok(Loaded { config, warnings: findings.warnings }),
        Some(_) | None => Err(findings),
    }
}

fn read(
    path: &Path,
    mut root: Table<'_>,
    surroundings: &Surroundings<'_>,
    report: &Report,
    more: &mut Findings,
) -> Config {
    let folder = folder(path);
    let auth = file::auth(root.table("auth"), folder);
    let clients = tokens::clients(&auth, folder, report, surroundings, more);

    let (mut blue, mut green) = (None, None);
    let mut slots = root.table("slots");
    for (name, table) in slots.tables() {
        match slots::named(&name) {
            Some(Slot::Blue) => blue = slots::read(table, folder, surroundings),
            Some(Slot::Green) => green = slots::read(table, folder, surroundings),
            None => slots.refuse(
                &name,
                None,
                Invalid::new("there is no such slot").hint("the slots are blue and green"),
            ),
        }
    }
    slots.finish();
    let first = if blue.is_none() && green.is_some() { Slot::Green } else { Slot::Blue };
    let routing = file::routing(root.table("routing"), first);
    let rollout_plan = file::rollout(root.table("rollout"), folder);
    let (limits, tool_rules) = file::limits(root.table("limits"));
    let config = Config {
        listen: file::listen(root.table("listen"), folder),
        auth: auth.config,
        clients: index(clients, report, more),
        paths: file::paths(root.table("paths")),
        origin: file::origin(root.table("origin")),
        limits,
        tool_rules,
        read_only: tools::read_only(root.table("tools"), folder, more),
        timeouts: file::timeouts(root.table("timeouts")),
        blue,
        green,
        stable: routing.stable,
        says_stable: routing.says_stable,
        standby: routing.standby,
        split_key: routing.key,
        max_version: file::protocol(root.table("protocol")),
        error_mode: file::errors(root.table("errors")),
        log: file::log(root.table("log")),
        health: file::health(root.table("health")),
        shadow: shadow::shadow(root.table("shadow")),
        rollout: rollout_plan.as_deref().map(|path| plan::load(path, surroundings, more)).unwrap_or_default(),
        routes: Vec::new(),
        secrets: Secrets::default(),
    };
    let routes = routes::read(&mut root, &config, folder, surroundings);
    root.finish();
    let config = Config { routes, ..config };
    let config = Config { secrets: secrets::held(&config, &auth.token_env, surroundings), ..config };
    validate::check(&config, report);
    config
}

/// Contradictions between clients are known by now, to the line of the tokens file; were one missed, it is named here.
fn index(clients: Vec<ClientConfig>, report: &Report, found: &Findings) -> auth::Clients {
    auth::Clients::new(clients).unwrap_or_else(|error| {
        if found.problems.is_empty() {
            report.problem("auth.tokens_file", None, Invalid::new(error.to_string()));
        }
        auth::Clients::default()
    })
}

/// A whole, valid configuration.
pub(crate) struct Config {
    pub(crate) listen: Listen,
    pub(crate) auth: auth::Config,
    /// Every configured client: `default` from the environment, then `tokens.toml`. Empty is legal and warned of.
    pub(crate) clients: auth::Clients,
    pub(crate) paths: paths::Config,
    pub(crate) origin: origin::Config,
    pub(crate) limits: Limits,
    /// `[limits.tools]`
    pub(crate) tool_rules: ToolRules,
    /// `[tools]`: what is known to change nothing.
    pub(crate) read_only: ReadOnlyTools,
    pub(crate) timeouts: Timeouts,
    pub(crate) blue: Option<Backend>,
    pub(crate) green: Option<Backend>,
    /// The slot that is stable where no state says otherwise.
    pub(crate) stable: Slot,
    /// Whether the file says so, or it is a default.
    pub(crate) says_stable: bool,
    /// Whether the other slot stands by although it has never been stable.
    pub(crate) standby: bool,
    pub(crate) split_key: SplitKey,
    pub(crate) max_version: MaxVersionSetting,
    pub(crate) error_mode: ErrorMode,
    pub(crate) log: Log,
    pub(crate) health: Health,
    /// What is copied to the candidate in a shadow stage.
    pub(crate) shadow: shadow::Shadow,
    /// What the file named by `[rollout] plan` says, or the built-in plan.
    pub(crate) rollout: plan::Rollout,
    /// What is open beside the endpoint.
    pub(crate) routes: Vec<routes::Route>,
    /// What must not be quoted from any answer.
    pub(crate) secrets: Secrets,
}

impl Config {
    /// The backend in a slot.
    pub(crate) fn backend(&self, slot: Slot) -> Option<&Backend> {
        match slot {
            Slot::Blue => self.blue.as_ref(),
            Slot::Green => self.green.as_ref(),
        }
    }
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: Address,
    /// Of the file, when the address is a Unix socket.
    pub(crate) mode: u32,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) admin: Option<PathBuf>,
    pub(crate) state: Option<PathBuf>,
    /// Peers whose `X-Forwarded-*` is believed and appended to.
    pub(crate) trusted_proxies: Vec<std::net::IpAddr>,
    /// Worker threads of the data path.
    pub(crate) threads: usize,
}

/// `[routing] key`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SplitKey {
    Client,
    Request,
}

/// `[protocol] max_version`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxVersionSetting {
    Auto,
    Unbounded,
    Version(ProtocolVersion),
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: log::LevelFilter,
}

/// `[log] format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Json,
    Text,
}

/// `[health]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) rise: u32,
    pub(crate) fall: u32,
}

#[cfg(test)]
mod tests;
