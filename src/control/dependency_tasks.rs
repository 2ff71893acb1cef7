//! The tasks that check dependencies: one each, at its own interval, and the critical checks of a plan during a rollout.
//!
//! They have a runtime of their own, so that a name that is slow to resolve, or a program, delays no probe of a slot. They only report;
//! the controller decides. Dropping a handle ends its task, and the program that it runs.

use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;

use super::probe::HealthCounter;
use super::probe_tasks::{DependencyResult, Observation};
use super::settings::Settings;
use super::task::AbortOnDrop;
use crate::config::Health as Counting;
use crate::config::dependencies::{Check, Dependency};
use crate::dependency::Subject;
use crate::rollout::{Health, Rollout};
use crate::upstream::Secrets;

/// Threads that resolve names.
const RESOLVERS_MAX: usize = 4;
/// A pause is up to a tenth longer, so that checks that began together do not stay together.
const JITTER: u64 = 10;

/// The running tasks.
pub(super) struct DependencyTasks {
    reports: mpsc::Sender<Observation>,
    /// Since there is something to check.
    runtime: Option<Runtime>,
    /// Used if that runtime cannot be made.
    fallback: Handle,
    watched: Vec<(Subject, Secrets, AbortOnDrop)>,
    /// Running during a rollout only.
    critical: Vec<AbortOnDrop>,
}

impl DependencyTasks {
    pub(super) fn new(reports: mpsc::Sender<Observation>, fallback: Handle) -> DependencyTasks {
        DependencyTasks { reports, runtime: None, fallback, watched: Vec::new(), critical: Vec::new() }
    }

    /// Starts the tasks that a configuration adds or changes, and ends those that it removes. The others continue.
    pub(super) fn configure(&mut self, settings: &Settings) {
        let mut before = std::mem::take(&mut self.watched);
        for subject in settings.subjects() {
            let kept =
                before.iter().position(|(old, secrets, _)| *old == subject && *secrets == settings.secrets);
            let task = match kept {
                Some(place) => before.swap_remove(place).2,
                None => {
                    let watching = watch(subject.clone(), settings.secrets.clone(), self.reports.clone());
                    self.spawn(watching)
                }
            };
            self.watched.push((subject, settings.secrets.clone(), task));
        }
        self.critical.clear();
    }

    /// Critical checks run exactly while a rollout does.
    pub(super) fn check(&mut self, settings: &Settings, rollout: &Rollout) {
        let state = rollout.state();
        if state.run.is_none() {
            self.critical.clear();
        } else if self.critical.is_empty() && !settings.rollout.checks.is_empty() {
            let slot = state.candidate();
            let Some(backend) = settings.backend(slot).cloned() else { return };
            for dependency in settings.rollout.checks.clone() {
                let at = needs_backend(&dependency).then(|| (slot, backend.clone()));
                let subject = Subject { dependency, at };
                let checking = critical(subject, settings.secrets.clone(), self.reports.clone());
                let task = self.spawn(checking);
                self.critical.push(task);
            }
        }
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortOnDrop {
        if self.runtime.is_none() {
            let built = Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(RESOLVERS_MAX)
                .thread_name("dependencies")
                .enable_all()
                .build();
            match built {
                Ok(runtime) => self.runtime = Some(runtime),
                Err(error) => {
                    log::warn!(
                        "dependencies are checked beside the probes of slots: no thread of their own: {error}"
                    );
                }
            }
        }
        AbortOnDrop(self.runtime.as_ref().map_or(&self.fallback, Runtime::handle).spawn(task))
    }
}

impl Drop for DependencyTasks {
    fn drop(&mut self) {
        self.watched.clear();
        self.critical.clear();
        // It is dropped inside another runtime, where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn needs_backend(dependency: &Dependency) -> bool {
    match dependency.check {
        Check::Tool { .. } => true,
        Check::Tcp(_) | Check::Http { .. } | Check::Redis { .. } | Check::Command(_) => false,
    }
}

/// Checks a dependency until the receiver is closed.
async fn watch(subject: Subject, secrets: Secrets, seen: mpsc::Sender<Observation>) {
    let Dependency { name, interval, timeout, rise, fall, .. } = subject.dependency.clone();
    let counting = Counting { interval, timeout, rise, fall };
    let (slot, mut counter) = (subject.slot(), None);
    loop {
        let checked = subject.check(&secrets).await;
        let (failure, took) = (checked.result.clone().err(), checked.took);
        // The first result stands: nothing is known before it that rise and fall could keep.
        let first = failure.clone().map_or(Health::Healthy, Health::Unhealthy);
        let counter = counter.get_or_insert_with(|| HealthCounter::new(&counting, first));
        let health = counter.count(checked.result);
        let pause = jittered(counter.pause(interval));
        let result = DependencyResult { name: name.clone(), slot, health, failure, took };
        if seen.send(Observation::Dependency(result)).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Runs a critical check until the receiver is closed.
async fn critical(subject: Subject, secrets: Secrets, seen: mpsc::Sender<Observation>) {
    let Dependency { name, interval, .. } = subject.dependency.clone();
    loop {
        let failure = subject.check(&secrets).await.result.err();
        if seen.send(Observation::Check { name: name.clone(), failure }).await.is_err() {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}

fn jittered(pause: Duration) -> Duration {
    let most = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX) / JITTER;
    // Without randomness the checks are only less spread.
    let random = getrandom::u64().unwrap_or_default();
    pause + Duration::from_micros(random.checked_rem(most).unwrap_or_default())
}
