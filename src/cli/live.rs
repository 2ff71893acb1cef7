//! A new configuration for a running guard: read, judged as a whole, then taken over by everything at once, or not at all.
//!
//! A signal and an operator's command come to the same; one reload follows the other. What cannot change in a running
//! process is answered by name. Must not know what is configured.

use std::path::PathBuf;
use std::sync::Arc;

use super::run::{provide_files, tell};
use crate::admin::Reloaded;
use crate::config::{self, Environment, Listen, LoadError};
use crate::control::{self, Settings};
use crate::proxy::Handle;
use crate::shadow::{self, Shadow};
use crate::telemetry::Log;
use crate::telemetry::metrics::Reload;
use mcp_host::sd_notify::State;

/// Problems that an answer lists; a file with more is most likely another file.
const PROBLEMS_MAX: usize = 1000;

/// What a reload acts on.
pub(super) struct Live {
    file: PathBuf,
    /// What this process was started with.
    started: Listen,
    handle: Handle,
    rollout: control::Control,
    log: Log,
    shadow: Shadow,
    turn: tokio::sync::Mutex<()>,
}

impl Live {
    pub(super) fn new(
        file: PathBuf,
        started: Listen,
        handle: Handle,
        rollout: control::Control,
        log: Log,
        shadow: Shadow,
    ) -> Arc<Live> {
        Arc::new(Live { file, started, handle, rollout, log, shadow, turn: tokio::sync::Mutex::new(()) })
    }

    /// Reads the configuration and the tokens again. The problems, if there are any; then nothing has changed.
    pub(super) async fn reload(self: &Arc<Live>) -> Result<Reloaded, Vec<String>> {
        let _turn = self.turn.lock().await;
        let this = self.clone();
        // Reading a hundred thousand clients takes a moment, in which signals must be heard.
        let loaded = tokio::task::spawn_blocking(move || this.take_over()).await;
        let result = loaded.unwrap_or_else(|error| Err(vec![error.to_string()]));
        self.handle.reloaded(if result.is_ok() { Reload::Done } else { Reload::Refused });
        let listen = self.handle.status().listen;
        match &result {
            Ok(reloaded) => {
                self.tell(reloaded);
                tell(State::Status(&format!("serving on {listen}")));
            }
            Err(problems) => {
                for problem in problems {
                    log::error!("{problem}");
                }
                let count = count(problems.len());
                log::error!("not reloaded: {count}; the running configuration stays");
                let first = problems.first().map_or("", String::as_str);
                let status = format!("serving on {listen}; the last reload was refused, {count}: {first}");
                tell(State::Status(&status));
            }
        }
        result
    }

    fn take_over(&self) -> Result<Reloaded, Vec<String>> {
        let loaded = config::load(&self.file, &Environment::of_process()).map_err(listed)?;
        let config = loaded.config;
        let mut later = later(&self.started, &config.listen);
        later.sort_unstable();
        let mut reloaded = Reloaded {
            clients: config.clients.len(),
            at_next_start: later.into_iter().map(str::to_owned).collect(),
            warnings: loaded.warnings.iter().take(PROBLEMS_MAX).map(ToString::to_string).collect(),
        };
        provide_files(&config);
        let (settings, log) = (Settings::of(&config), config.log);
        // Whoever can refuse is asked first: after that nothing can stop the rest.
        reloaded.warnings.extend(self.rollout.configure(settings).map_err(|why| vec![why])?);
        self.shadow.configure(shadow::Settings::of(&config));
        self.handle.publish(config);
        self.log.configure(log);
        Ok(reloaded)
    }

    fn tell(&self, reloaded: &Reloaded) {
        for warning in &reloaded.warnings {
            log::warn!("{warning}");
        }
        for key in &reloaded.at_next_start {
            log::warn!("{key}: what changed here takes effect at the next start or upgrade");
        }
        log::info!("reloaded: {}, {} clients", self.file.display(), reloaded.clients);
    }
}

/// The keys that differ and that a running process cannot change: what is bound, owned or counted in threads.
fn later(started: &Listen, now: &Listen) -> Vec<&'static str> {
    // Every key is named here: one that is added has to be put on one side or the other.
    let Listen { address, mode, metrics, admin, state, trusted_proxies: _, threads } = started;
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

/// The problems of a configuration, one a line.
pub(super) fn listed(error: LoadError) -> Vec<String> {
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

/// `1 problem`, `2 problems`.
pub(super) fn count(problems: usize) -> String {
    format!("{problems} problem{}", if problems == 1 { "" } else { "s" })
}
