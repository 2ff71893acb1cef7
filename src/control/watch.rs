//! The tasks that look after backends: probes of each slot, and critical checks while a rollout is under way.
//!
//! They only report; what they see is counted and judged elsewhere. Dropping a watch ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Settings;
use super::checks::check;
use super::probe::{Prober, Pulse, listener};
use crate::config;
use crate::config::notify::Check;
use crate::rollout::state::Surface;
use crate::rollout::{Health, Rollout};
use crate::sys::memory::{self, Memory, Roots};
use crate::upstream::{Backend, Slot};

/// What a task has seen.
#[derive(Debug)]
pub(super) enum Seen {
    Probe {
        slot: Slot,
        health: Health,
        /// What the backend offers, if this very probe was answered well.
        surface: Option<Surface>,
    },
    Memory {
        slot: Slot,
        memory: Memory,
    },
    Check {
        name: String,
        failure: Option<String>,
    },
}

/// What looks after the backends.
pub(super) struct Watches {
    reports: Reporting,
    probes: [Option<Watch>; 2],
    /// While a rollout is under way.
    checks: Vec<Watch>,
}

/// While no rollout is under way, memory decides nothing: it is read with every so many probes, for the gauge.
const MEMORY_EVERY: u32 = 6;

impl Watches {
    pub(super) fn new(reports: mpsc::Sender<Seen>) -> Watches {
        let reports = Reporting { seen: reports, under_way: Arc::default() };
        Watches { reports, probes: [None, None], checks: Vec::new() }
    }

    pub(super) fn probe(&mut self, settings: &Settings) {
        for (slot, probe) in Slot::ALL.into_iter().zip(&mut self.probes) {
            let backend = settings.backend(slot).cloned();
            let start = |backend| {
                look_after(slot, backend, settings.health, First::of(settings), self.reports.clone())
            };
            *probe = backend.map(start);
        }
    }

    /// Critical checks run exactly while a rollout does.
    pub(super) fn check(&mut self, settings: &Settings, rollout: &Rollout) {
        self.reports.under_way.store(rollout.state().run.is_some(), Ordering::Relaxed);
        let candidate =
            rollout.state().run.as_ref().and_then(|_| settings.backend(rollout.state().candidate()));
        match candidate {
            None => self.checks.clear(),
            Some(candidate) if self.checks.is_empty() => {
                let start =
                    |check: &Check| critical(check.clone(), candidate.clone(), self.reports.seen.clone());
                self.checks = settings.rollout.checks.iter().map(start).collect();
            }
            Some(_) => {}
        }
    }

    /// A healthy slot has answered just now, outside of its probes: what they saw before that, or still wait for, is past.
    pub(super) fn begin_again(&mut self, slot: Slot, settings: &Settings) {
        for (_, probe) in Slot::ALL.into_iter().zip(&mut self.probes).filter(|(name, _)| *name == slot) {
            let first = First { after: settings.health.interval, health: Health::Healthy };
            let start = |backend| look_after(slot, backend, settings.health, first, self.reports.clone());
            *probe = settings.backend(slot).cloned().map(start);
        }
    }

    /// What a new configuration does not change goes on, so that health is not forgotten.
    pub(super) fn configure(&mut self, old: &Settings, new: &Settings) {
        for (slot, probe) in Slot::ALL.into_iter().zip(&mut self.probes) {
            if old.backend(slot) != new.backend(slot) || old.health != new.health {
                let start =
                    |backend| look_after(slot, backend, new.health, First::of(new), self.reports.clone());
                *probe = new.backend(slot).cloned().map(start);
            }
        }
        self.checks.clear();
    }
}

/// Where probes report, and what they are told.
#[derive(Clone)]
struct Reporting {
    seen: mpsc::Sender<Seen>,
    /// Whether a rollout is.
    under_way: Arc<AtomicBool>,
}

/// Where the probes of a slot begin.
struct First {
    after: Duration,
    health: Health,
}

impl First {
    fn of(settings: &Settings) -> First {
        First { after: settings.first_probe_after(), health: Health::Unknown }
    }
}

/// A task that ends with this value.
struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Probes a slot for as long as somebody listens.
fn look_after(
    slot: Slot,
    backend: Backend,
    settings: config::Health,
    first: First,
    reporting: Reporting,
) -> Watch {
    let Reporting { seen, under_way } = reporting;
    Watch(tokio::spawn(async move {
        let mut unread = MEMORY_EVERY;
        let mut prober = Prober::new(&backend, settings.timeout);
        let mut pulse = Pulse::new(&settings, first.health);
        tokio::time::sleep(first.after).await;
        loop {
            let (found, done) = prober.probe().await;
            let (surface, counted) = match found {
                Ok(surface) => (Some(surface), Ok(())),
                Err(why) => (None, Err(why)),
            };
            let health = pulse.count(counted);
            if seen.send(Seen::Probe { slot, health, surface }).await.is_err() {
                return;
            }
            unread += 1;
            let due = unread >= MEMORY_EVERY || under_way.load(Ordering::Relaxed);
            if due
                && let Some(memory) = read_memory(&backend).await
                && seen.send(Seen::Memory { slot, memory }).await.is_err()
            {
                return;
            }
            if due {
                unread = 0;
            }
            tokio::join!(tokio::time::sleep(pulse.pause(settings.interval)), done.close());
        }
    }))
}

async fn read_memory(backend: &Backend) -> Option<Memory> {
    let pid = listener(backend).await?;
    memory::of_process(pid, &Roots::default())
}

/// Makes a critical check for as long as somebody listens.
fn critical(what: Check, candidate: Backend, seen: mpsc::Sender<Seen>) -> Watch {
    Watch(tokio::spawn(async move {
        loop {
            let failure = check(&what, &candidate).await;
            if seen.send(Seen::Check { name: what.name.clone(), failure }).await.is_err() {
                return;
            }
            tokio::time::sleep(what.interval).await;
        }
    }))
}
