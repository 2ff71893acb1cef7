//! The tasks that observe backends: probes of each slot.
//!
//! They only report; the controller and the rollout decide. Dropping a handle ends its task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::probe::{HealthCounter, Prober, listener};
use super::settings::Settings;
use super::task::AbortOnDrop;
use crate::rollout::state::ServerSurface;
use crate::rollout::{Health, Rollout};
use crate::upstream::{Backend, Slot};
use mcp_host::cgroup_memory::{self, Memory, Roots};

/// What a task has observed.
#[derive(Debug)]
pub(super) enum Observation {
    Probe {
        slot: Slot,
        health: Health,
        /// What the backend offers, if this probe succeeded.
        surface: Option<ServerSurface>,
        /// The names of its tools, if they have changed.
        names: Option<Vec<String>>,
    },
    Memory {
        slot: Slot,
        memory: Memory,
    },
    /// A critical check of a plan.
    Check {
        name: String,
        failure: Option<String>,
    },
    Dependency(DependencyResult),
}

/// The result of one check of a dependency.
#[derive(Debug)]
pub(super) struct DependencyResult {
    pub(super) name: String,
    /// Of a tool.
    pub(super) slot: Option<Slot>,
    /// After rise and fall.
    pub(super) health: Health,
    /// Of this very check.
    pub(super) failure: Option<String>,
    pub(super) took: Duration,
}

/// The running tasks.
pub(super) struct ProbeTasks {
    /// Where the backends' responses are parsed.
    reader: Handle,
    reports: ObservationSender,
    probes: [Option<AbortOnDrop>; 2],
}

/// Outside a rollout, memory decides nothing; it is read with one of this many probes, for the gauge.
const MEMORY_EVERY: u32 = 6;

impl ProbeTasks {
    pub(super) fn new(reports: mpsc::Sender<Observation>, reader: Handle) -> ProbeTasks {
        let reports = ObservationSender { seen: reports, under_way: Arc::default() };
        ProbeTasks { reader, reports, probes: [None, None] }
    }

    fn probe_loop(
        &self,
        slot: Slot,
        backend: Backend,
        settings: &Settings,
        first: ProbeStart,
    ) -> AbortOnDrop {
        let looking = probe_loop(slot, backend, settings.clone(), first, self.reports.clone());
        AbortOnDrop(self.reader.spawn(looking))
    }

    pub(super) fn start(&mut self, settings: &Settings) {
        self.probes = Slot::ALL.map(|slot| {
            let backend = settings.backend(slot).cloned();
            backend.map(|backend| self.probe_loop(slot, backend, settings, ProbeStart::NOW))
        });
    }

    /// Tells the probes whether a rollout is under way.
    pub(super) fn follow(&self, rollout: &Rollout) {
        self.reports.under_way.store(rollout.state().run.is_some(), Ordering::Relaxed);
    }

    /// Restarts the probes of a healthy slot after a preflight: results from before the preflight no longer count.
    pub(super) fn restart_after_success(&mut self, slot: Slot, settings: &Settings) {
        let first = ProbeStart { after: settings.health.interval, health: Health::Healthy };
        let backend = settings.backend(slot).cloned();
        let probe = backend.map(|backend| self.probe_loop(slot, backend, settings, first));
        let [blue, green] = &mut self.probes;
        match slot {
            Slot::Blue => *blue = probe,
            Slot::Green => *green = probe,
        }
    }

    /// Restarts the probes that a new configuration changes. The others continue, so that their health is not lost.
    pub(super) fn configure(&mut self, old: &Settings, new: &Settings) {
        let all = old.health != new.health || old.secrets != new.secrets;
        let before = std::mem::take(&mut self.probes);
        let mut after = [None, None];
        for ((slot, before), after) in Slot::ALL.into_iter().zip(before).zip(&mut after) {
            *after = if all || old.backend(slot) != new.backend(slot) {
                let backend = new.backend(slot).cloned();
                backend.map(|backend| self.probe_loop(slot, backend, new, ProbeStart::NOW))
            } else {
                before
            };
        }
        self.probes = after;
    }
}

/// Where probes report, and what they need to know of the rollout.
#[derive(Clone)]
struct ObservationSender {
    seen: mpsc::Sender<Observation>,
    /// Whether a rollout is under way.
    under_way: Arc<AtomicBool>,
}

/// How the probes of a slot begin.
#[derive(Clone)]
struct ProbeStart {
    after: Duration,
    health: Health,
}

impl ProbeStart {
    const NOW: ProbeStart = ProbeStart { after: Duration::ZERO, health: Health::Unknown };
}

/// Probes a slot until the receiver is closed.
async fn probe_loop(
    slot: Slot,
    backend: Backend,
    settings: Settings,
    first: ProbeStart,
    reporting: ObservationSender,
) {
    let ObservationSender { seen, under_way } = reporting;
    let mut unread = MEMORY_EVERY;
    let mut prober = Prober::new(&backend, settings.health.timeout, &settings.secrets);
    let mut pulse = HealthCounter::new(&settings.health, first.health);
    tokio::time::sleep(first.after).await;
    loop {
        let (found, done) = prober.probe().await;
        let (surface, counted) = match found {
            // The backend responds, but no call could succeed.
            Ok(surface) if surface.tools == 0 => (Some(surface), Err("it lists no tools".to_owned())),
            Ok(surface) => (Some(surface), Ok(())),
            Err(why) => (None, Err(why)),
        };
        let pause = {
            let health = pulse.count(counted);
            let pause = pulse.pause(settings.health.interval);
            // The sessions are closed during the pause, after the result is reported.
            let names = done.names();
            if seen.send(Observation::Probe { slot, health, surface, names }).await.is_err() {
                return;
            }
            pause
        };
        unread += 1;
        let due = unread >= MEMORY_EVERY || under_way.load(Ordering::Relaxed);
        if due
            && let Some(memory) = read_memory(&backend).await
            && seen.send(Observation::Memory { slot, memory }).await.is_err()
        {
            return;
        }
        if due {
            unread = 0;
        }
        tokio::join!(tokio::time::sleep(pause), done.close());
    }
}

async fn read_memory(backend: &Backend) -> Option<Memory> {
    let pid = listener(backend).await?;
    cgroup_memory::of_process(pid, &Roots::default())
}
