//! The issuers of `[auth.oauth]`: their keys, fetched and kept apart from requests, and the tokens that were verified with them.
//!
//! A request never waits for a fetch: what it needs is there, or the request is refused until it is. Read `issuer` for what holds
//! when, `fetch` for how keys come. Must not know what a client may do, nor how requests are served.

mod cache;
pub(crate) mod fetch;
mod issuer;
mod store;
#[cfg(test)]
mod testing;
mod verifier;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::config::oauth::{Issuer, KeySource, Oauth};
use crate::policy::identity::TokenVerifier;
use issuer::IssuerState;
use store::KeyFile;
use verifier::Verifier;

/// For the names of hosts, which the system looks up while it blocks.
const BLOCKING_THREADS_MAX: usize = 2;
/// How often a wait for the first keys looks for them.
const LOOK: Duration = Duration::from_millis(10);

/// A verifier that fetches nothing: with the keys of files, and with those that a guard has saved in `folder`.
pub(crate) fn without_fetching(oauth: &Oauth, folder: Option<&Path>) -> Arc<dyn TokenVerifier> {
    let state = |issuer: &Issuer| {
        let state = Arc::new(IssuerState::new(&issuer.url, oauth.keep));
        match &issuer.keys {
            KeySource::File { text, .. } => state.took_file(text),
            KeySource::Discovered | KeySource::Url(_) => {
                let saved = key_file(issuer, folder).and_then(|file| file.load());
                if let Some((text, confirmed)) = saved {
                    state.took_saved(&text, confirmed);
                }
            }
        }
        state
    };
    Arc::new(Verifier::new(oauth.rules.clone(), oauth.issuers.iter().map(state).collect()))
}

/// Where the keys of an issuer are saved that are fetched.
fn key_file(issuer: &Issuer, folder: Option<&Path>) -> Option<KeyFile> {
    let source = match &issuer.keys {
        KeySource::File { .. } => return None,
        KeySource::Discovered => "discovered",
        KeySource::Url(url) => url,
    };
    folder.map(|folder| KeyFile::new(folder, &issuer.url, source))
}

/// The issuers of the running configuration. Copies share them.
#[derive(Clone, Default)]
pub(crate) struct Issuers(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    /// Started with the first configuration that has issuers.
    runtime: Option<Runtime>,
    /// By the URL of the issuer: one whose settings change keeps its keys until its new source has answered.
    known: HashMap<String, Known>,
}

struct Known {
    watched: Watched,
    state: Arc<IssuerState>,
    task: Option<AbortHandle>,
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What a task was started for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watched {
    issuer: Issuer,
    refresh: Duration,
    keep: Duration,
}

impl Issuers {
    /// Watches these issuers from now on, and no others. What is returned remembers no token of an earlier configuration.
    /// Keys are saved in `folder`, if there is one, and taken from there until their issuer has answered.
    pub(crate) fn configure(
        &self,
        oauth: Option<&Oauth>,
        folder: Option<&Path>,
    ) -> Option<Arc<dyn TokenVerifier>> {
        let mut running = self.lock();
        let watched = oauth.into_iter().flat_map(|oauth| {
            oauth.issuers.iter().map(|issuer| Watched {
                issuer: issuer.clone(),
                refresh: oauth.refresh,
                keep: oauth.keep,
            })
        });
        let watched: Vec<Watched> = watched.collect();
        // What is dropped here fetches no more.
        running.known.retain(|url, _| watched.iter().any(|watched| watched.issuer.url == *url));
        let states = watched.into_iter().map(|watched| running.watch(watched, folder)).collect();
        Some(Arc::new(Verifier::new(oauth?.rules.clone(), states)))
    }

    /// Waits until every issuer's keys were fetched, or could not be; at most so long. Blocks, so it must not be called on a
    /// thread that serves.
    pub(crate) fn wait_for_keys(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        while Instant::now() < until && !self.lock().known.values().all(|known| known.state.was_tried()) {
            std::thread::sleep(LOOK);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn watch(&mut self, watched: Watched, folder: Option<&Path>) -> Arc<IssuerState> {
        let previous = self.known.get(&watched.issuer.url);
        if let Some(known) = previous.filter(|known| known.watched == watched) {
            return known.state.clone();
        }
        let state = Arc::new(IssuerState::new(&watched.issuer.url, watched.keep));
        if let Some(previous) = previous {
            state.go_on_from(&previous.state, fetch::now());
        }
        let task = match &watched.issuer.keys {
            KeySource::File { text, .. } => {
                state.took_file(text);
                None
            }
            KeySource::Discovered | KeySource::Url(_) => {
                self.spawn(&watched, &state, key_file(&watched.issuer, folder))
            }
        };
        self.known.insert(watched.issuer.url.clone(), Known { watched, state: state.clone(), task });
        state
    }

    fn spawn(
        &mut self,
        watched: &Watched,
        state: &Arc<IssuerState>,
        file: Option<KeyFile>,
    ) -> Option<AbortHandle> {
        let saved = file.as_ref().filter(|_| state.keys_until() == 0).and_then(KeyFile::load);
        if let Some((text, confirmed)) = saved {
            state.took_saved(&text, confirmed);
        }
        if self.runtime.is_none() {
            let started = Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(BLOCKING_THREADS_MAX)
                .thread_name("identity")
                .enable_all()
                .build();
            match started {
                Ok(runtime) => self.runtime = Some(runtime),
                Err(error) => log::error!("keys of issuers are not fetched: no thread for it: {error}"),
            }
        }
        let task = fetch::keep_fetching(watched.issuer.clone(), watched.refresh, state.clone(), file);
        self.runtime.as_ref().map(|runtime| runtime.spawn(task).abort_handle())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The last copy may go on a thread that must not wait for tasks.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
