//! Applies a new configuration to a running guard: read, checked as a whole, then applied to every part or to none.
//!
//! A signal and an operator's command do the same; reloads run one after the other. A key that cannot change in a running
//! process is reported by name.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::features::FeatureSwitches;
use super::old_process::Change;
use super::parts::Parts;
use super::process::{raise_fd_limit, sd_notify};
use crate::admin::Reloaded;
use crate::config::fleet::Fleet;
use crate::config::reload::Watch;
use crate::config::{self, Environment, Listen, LoadError};
use crate::control::Settings;
use crate::shadow;
use crate::telemetry::Log;
use crate::telemetry::metrics::Reload;
use crate::tls::ServerTls;
use mcp_host::diagnostics::count;
use mcp_host::sd_notify::State;

/// Problems that a response lists; a file with more is most likely another file.
const PROBLEMS_MAX: usize = 1000;
/// An upgrade waits so long for a reload.
const RELOAD_TIME_MAX: Duration = Duration::from_secs(3);

/// Delays reloads: what this process reads after the one that replaces it has read would not be in force there.
pub(super) struct Paused<'r> {
    _turn: tokio::sync::MutexGuard<'r, ()>,
}

/// Reloads the configuration of a running guard.
pub(super) struct Reloader {
    file: PathBuf,
    /// The listeners that this process was started with.
    started: Listen,
    /// The fleet that it was started in.
    fleet: Option<Arc<Fleet>>,
    log: Log,
    pub(super) parts: Parts,
    features: FeatureSwitches,
    watched: Mutex<Watch>,
    turn: tokio::sync::Mutex<()>,
}

impl Reloader {
    pub(super) fn new(
        file: PathBuf,
        (started, fleet, watched): (Listen, Option<Arc<Fleet>>, Watch),
        log: Log,
        parts: Parts,
        features: FeatureSwitches,
    ) -> Arc<Reloader> {
        let (watched, turn) = (Mutex::new(watched), tokio::sync::Mutex::new(()));
        Arc::new(Reloader { file, started, fleet, log, parts, features, watched, turn })
    }

    /// Whether this process has a folder for its state.
    #[cfg(feature = "console")]
    pub(super) fn keeps_state(&self) -> bool {
        self.started.state.is_some()
    }

    /// Nothing is reloaded while this is held; none if a reload takes too long.
    pub(super) async fn pause(&self) -> Option<Paused<'_>> {
        let turn = tokio::time::timeout(RELOAD_TIME_MAX, self.turn.lock()).await;
        Some(Paused { _turn: turn.ok()? })
    }

    /// The same for a command that changes what is served; `Err` says why it must be given again.
    pub(super) async fn turn(&self) -> Result<Paused<'_>, String> {
        let paused = self.pause().await.ok_or("a reload or an upgrade is under way (hint: once more)")?;
        self.still_serves(paused)
    }

    /// What a process changes that has handed over would not be in force in the one that serves.
    fn still_serves<'r>(&self, paused: Paused<'r>) -> Result<Paused<'r>, String> {
        if self.parts.handle.is_handed_over() {
            return Err("another process serves now (hint: once more)".to_owned());
        }
        Ok(paused)
    }

    /// Makes a change that the process that replaces this one has made, for the requests that are still sent to this one. `Err`
    /// says why this process cannot.
    pub(super) async fn follow_successor(
        self: &Arc<Reloader>,
        change: Change,
        _: &Paused<'_>,
    ) -> Result<(), Vec<String>> {
        let this = self.clone();
        let follow = move || match &change {
            Change::Reload => {
                this.features.refresh(&this.parts.handle);
                this.apply().map(drop)
            }
            Change::Switch(feature, to) => {
                let switched = this.features.follow_switch(feature.clone(), *to, &this.parts.handle);
                this.parts.old.follow(&change);
                switched.map_err(|why| vec![why])
            }
        };
        let followed = tokio::task::spawn_blocking(follow).await;
        followed.unwrap_or_else(|error| Err(vec![error.to_string()]))
    }

    /// Reads the configuration and the tokens again. With any problem, nothing changes.
    pub(super) async fn reload(self: &Arc<Reloader>) -> Result<Reloaded, Vec<String>> {
        // A reload waits for its turn, however long an upgrade takes.
        let paused = Paused { _turn: self.turn.lock().await };
        let _turn = self.still_serves(paused).map_err(|why| {
            log::warn!("not reloaded: {why}");
            vec![why]
        })?;
        let this = self.clone();
        // Reading a hundred thousand clients takes a moment; signals are handled meanwhile.
        let loaded = tokio::task::spawn_blocking(move || this.apply()).await;
        let result = loaded.unwrap_or_else(|error| Err(vec![error.to_string()]));
        self.parts.handle.reloaded(if result.is_ok() { Reload::Done } else { Reload::Refused });
        let listen = self.parts.handle.status().listen;
        match &result {
            Ok(reloaded) => {
                self.log_reload(reloaded);
                sd_notify(State::Status(&format!("serving on {listen}")));
            }
            Err(problems) => {
                for problem in problems {
                    log::error!("{problem}");
                }
                let count = count(problems.len(), "problem");
                log::error!("not reloaded: {count}; the running configuration stays");
                let first = problems.first().map_or("", String::as_str);
                let status = format!("serving on {listen}; the last reload was refused, {count}: {first}");
                sd_notify(State::Status(&status));
            }
        }
        result
    }

    /// What to watch for changes, as the running configuration says.
    pub(super) fn watched(&self) -> Watch {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn apply(&self) -> Result<Reloaded, Vec<String>> {
        let running = self.parts.handle.listener_tls();
        let shown = self.shown_pairs(running.as_ref());
        let environment = Environment { shown_pairs: Some(&shown), ..Environment::of_process() };
        let loaded = config::load(&self.file, &environment).map_err(problem_lines)?;
        let mut config = loaded.config;
        let mut later = keys_for_restart(&self.started, &config.listen);
        if config.listen.must_keep_tls(&self.started.address, running.as_ref()) {
            later.push("listen.tls");
            config.listen.tls = running;
        }
        later.extend(config.keep_fleet(self.fleet.as_ref()));
        later.sort_unstable();
        let mut reloaded = Reloaded {
            clients: config.clients.len(),
            at_next_start: later.into_iter().map(str::to_owned).collect(),
            warnings: loaded.warnings.iter().take(PROBLEMS_MAX).map(ToString::to_string).collect(),
        };
        raise_fd_limit(&config);
        let (settings, log, watched) = (Settings::of(&config), config.log, config.reload.clone());
        // The control plane can refuse, so it goes first; the rest cannot fail.
        reloaded.warnings.extend(self.parts.control.configure(settings).map_err(|why| vec![why])?);
        self.parts.shadow.configure(shadow::Settings::of(&config));
        #[cfg(feature = "console")]
        reloaded
            .at_next_start
            .extend(self.parts.console.configure(&mut config.console).into_iter().map(str::to_owned));
        config.verifier = self.parts.identity.configure(&config);
        self.parts.limits.configure(&mut config);
        self.parts.traces.configure(config.traces.as_ref(), &self.parts.handle);
        self.features.publish(config, &self.parts.handle);
        self.log.configure(log);
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = watched;
        // Only now: what the new configuration takes away must not hold until a new issuer has answered.
        self.parts.identity.wait_for_keys();
        self.parts.old.follow(&Change::Reload);
        Ok(reloaded)
    }

    /// The digests of the pairs that clients and operators are shown now.
    fn shown_pairs(&self, listener: Option<&ServerTls>) -> Vec<[u8; 32]> {
        let shown = listener.map_or_else(Vec::new, |tls| tls.pairs().to_vec());
        #[cfg(feature = "console")]
        let shown = [shown, self.parts.console.shown_pairs()].concat();
        shown
    }

    fn log_reload(&self, reloaded: &Reloaded) {
        for warning in &reloaded.warnings {
            log::warn!("{warning}");
        }
        for key in &reloaded.at_next_start {
            log::warn!("{key}: what changed here takes effect at the next start or upgrade");
        }
        log::info!("reloaded: {}, {} clients", self.file.display(), reloaded.clients);
    }
}

/// Reloads because of a signal or a change. The service manager waits for the end of a reload, whether or not it succeeds.
pub(super) async fn without_command(reloader: Arc<Reloader>) {
    sd_notify(State::Reloading);
    // The log has its problems.
    let _ = reloader.reload().await;
    sd_notify(State::Ready);
}

/// The changed keys that need a new process: what is bound, owned or counted in threads.
fn keys_for_restart(started: &Listen, now: &Listen) -> Vec<&'static str> {
    // Every key is named here, so that a new key must be put on one side or the other.
    let Listen { address, mode, metrics, admin, state, trusted_proxies: _, threads, tls: _ } = started;
    [
        ("listen.address", *address != now.address),
        ("listen.mode", *mode != now.mode),
        ("listen.metrics", *metrics != now.metrics),
        ("listen.admin", *admin != now.admin),
        ("listen.state", *state != now.state),
        ("listen.threads", *threads != now.threads),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

/// The problems of a configuration, one line each.
pub(crate) fn problem_lines(error: LoadError) -> Vec<String> {
    match error {
        LoadError::Invalid(diagnostics) => {
            let all = diagnostics.problems.len();
            let mut problems: Vec<String> =
                diagnostics.problems.iter().take(PROBLEMS_MAX).map(ToString::to_string).collect();
            if all > PROBLEMS_MAX {
                problems.push(format!("and {} more", all - PROBLEMS_MAX));
            }
            problems
        }
        LoadError::Unreadable(unreadable) => vec![unreadable.to_string()],
    }
}
