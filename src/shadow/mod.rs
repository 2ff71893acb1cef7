//! The shadow: sends the candidate copies of clients' calls to stable, and keeps a log of where the responses differ.
//!
//! It has a thread of its own, which yields to all others, so that neither asking nor comparing delays a client. Must not
//! know when copies are made (`proxy`), nor what the rollout concludes from them.

mod replay;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{self, Config};
use crate::parity::shadow::mismatch_log::{
    Arguments, CopiedCall, Entry, MismatchLog, ShadowOutcome, Summary,
};
use crate::proxy::{Handle, ShadowedCall};
use crate::rollout::sample::{CallResult, Failure, FinishedCall, SampleSource};
use crate::shadow::replay::{CopyTarget, RecordedRequest, ReplayOutcome};
use crate::telemetry::metrics::ShadowMetrics;
use crate::upstream::{PerSlot, Slot};
use mcp_host::process;

/// How long a copy waits for others that are sent with it, so that fewer wake a thread, here and in the candidate.
const GATHER: Duration = Duration::from_millis(10);
/// Where so many wait already, none waits longer.
const GATHERED: usize = 16;

/// What of the configuration concerns the shadow.
pub(crate) struct Settings {
    rules: config::shadow::Shadow,
    servers: PerSlot<Option<CopyTarget>>,
}

impl Settings {
    pub(crate) fn of(config: &Config) -> Settings {
        let rules = config.shadow.clone();
        let server = |backend| CopyTarget::new(backend, &rules, &config.secrets);
        let servers = PerSlot::new(|slot| config.backend(slot).map(server));
        Settings { servers, rules }
    }

    fn server(&self, slot: Slot) -> Option<&CopyTarget> {
        self.servers[slot].as_ref()
    }

    fn close(&self) {
        Slot::ALL.into_iter().filter_map(|slot| self.server(slot)).for_each(CopyTarget::close);
    }
}

/// Everything that the copies have shown since the stage began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Diff {
    pub(crate) summary: Summary,
    pub(crate) entries: Vec<Entry>,
    /// Mismatches at places beyond those listed.
    pub(crate) unlisted: u64,
}

/// A handle on the shadow. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shadow(Arc<Inner>);

struct Inner {
    settings: ArcSwap<Settings>,
    book: Mutex<MismatchLog>,
    /// The rollout is at its shadow stage: what still waits when that is over is forgotten.
    on: AtomicBool,
    /// What had been left out when the stage began: dropped, and skipped.
    left_out_before: [AtomicU64; 2],
    metrics: ShadowMetrics,
    handle: Handle,
}

impl Shadow {
    /// Takes over the copies and starts.
    pub(crate) fn start(settings: Settings, handle: &Handle) -> io::Result<Shadow> {
        let copies = handle.shadowed_calls().ok_or_else(|| io::Error::other("the copies are taken"))?;
        let inner = Arc::new(Inner {
            settings: ArcSwap::from_pointee(settings),
            book: Mutex::default(),
            on: AtomicBool::new(false),
            left_out_before: [const { AtomicU64::new(0) }; 2],
            metrics: handle.shadow_metrics(),
            handle: handle.clone(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let worker = inner.clone();
        std::thread::Builder::new().name("shadow".to_owned()).spawn(move || {
            if let Err(error) = process::yield_to_others() {
                log::debug!("the shadow's thread runs at the usual priority: {error}");
            }
            runtime.block_on(work(worker, copies));
        })?;
        Ok(Shadow(inner))
    }

    /// A new configuration holds.
    pub(crate) fn configure(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
    }

    /// The route has changed. A stage that begins begins with an empty book; one that has ended can still be read.
    pub(crate) fn turn(&self, on: bool) {
        let was_on = self.0.on.swap(on, Ordering::SeqCst);
        if was_on && !on {
            // A server that is stopped next must not have to wait for connections of copies.
            self.0.settings.load().close();
        }
        if !was_on && on {
            *self.0.book() = MismatchLog::default();
            let (dropped, skipped) = self.0.handle.shadowed_calls_not_sent();
            let [dropped_before, skipped_before] = &self.0.left_out_before;
            dropped_before.store(dropped, Ordering::SeqCst);
            skipped_before.store(skipped, Ordering::SeqCst);
        }
    }

    /// The first lines of the book; none before the first shadow stage.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let summary = self.0.summary(&self.0.book());
        let began = self.0.on.load(Ordering::SeqCst) || summary != Summary::default();
        began.then_some(summary)
    }

    /// The whole book.
    pub(crate) fn diff(&self, arguments: Arguments) -> Diff {
        let book = self.0.book();
        let (entries, unlisted) = book.entries(arguments);
        Diff { summary: self.0.summary(&book), entries, unlisted }
    }
}

/// So many copies at a time, and no more. They are taken in groups, of which the queue keeps what it can.
async fn work(inner: Arc<Inner>, mut copies: mpsc::Receiver<ShadowedCall>) {
    let mut under_way = JoinSet::new();
    while let Some(first) = copies.recv().await {
        if copies.len() < GATHERED {
            tokio::time::sleep(GATHER).await;
        }
        let mut next = Some(first);
        while let Some(copy) = next {
            if inner.on.load(Ordering::SeqCst) {
                while under_way.len() >= inner.settings.load().rules.in_flight {
                    under_way.join_next().await;
                }
                let inner = inner.clone();
                under_way.spawn(async move { inner.judge(copy).await });
            }
            // Not before this one has its place: what is out of the queue counts against no bound.
            next = copies.try_recv().ok();
        }
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, MismatchLog> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn summary(&self, book: &MismatchLog) -> Summary {
        let mut summary = book.summary();
        let (dropped, skipped) = self.handle.shadowed_calls_not_sent();
        let [dropped_before, skipped_before] = &self.left_out_before;
        summary.counts.dropped = dropped.saturating_sub(dropped_before.load(Ordering::SeqCst));
        summary.counts.skipped += skipped.saturating_sub(skipped_before.load(Ordering::SeqCst));
        summary
    }

    /// Sends the copy to the candidate, compares, and records the outcome.
    async fn judge(&self, copy: ShadowedCall) {
        let settings = self.settings.load_full();
        let candidate = copy.stable.other();
        let question = RecordedRequest::of(&copy);
        let outcome = match settings.server(copy.stable).zip(settings.server(candidate)) {
            Some((stable, next)) => replay::ask(&copy, &question, stable, next, &settings.rules).await,
            None => ReplayOutcome::Skipped,
        };
        if !self.on.load(Ordering::SeqCst) {
            settings.close();
            return;
        }
        let call = CopiedCall {
            question: &question.name,
            request_id: &copy.request_id,
            arguments: &question.arguments,
        };
        let ended = |verdict, matched, latency| {
            let origin = SampleSource::Shadow { matched };
            self.handle.shadowed_call_ended(FinishedCall {
                when: Instant::now(),
                slot: candidate,
                verdict,
                latency,
                origin,
            });
        };
        let mut book = self.book();
        let copied = match outcome {
            ReplayOutcome::Matched(latency) => {
                ended(CallResult::Completed, true, latency);
                book.count(ShadowOutcome::Matched);
                ShadowOutcome::Matched
            }
            ReplayOutcome::Mismatched(mismatches, latency) => {
                ended(CallResult::Completed, false, latency);
                book.mismatched(&call, &mismatches);
                ShadowOutcome::Mismatched
            }
            ReplayOutcome::Failed(failure, latency) => {
                ended(CallResult::Failed(failure), false, latency);
                book.failed(&call, Failure::as_str(failure));
                ShadowOutcome::Failed
            }
            ReplayOutcome::Skipped => {
                book.count(ShadowOutcome::Skipped);
                ShadowOutcome::Skipped
            }
        };
        self.metrics.copied(copy.method, copied);
    }
}
