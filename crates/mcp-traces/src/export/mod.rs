//! Exports spans by OTLP over HTTP, off the path of requests: a bounded queue, a thread of its own, batches.
//!
//! A span that finds the queue full is dropped and counted. Must not know what spans stand for, nor how a program logs: changes
//! of state are reported as values.

mod endpoint;
mod headers;
mod post;
mod settings;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

pub use endpoint::{Endpoint, EndpointError};
pub use headers::{Headers, HeadersError};
pub use settings::Settings;
pub use wire::Service;

use crate::Span;
use post::{Collector, Outcome};
use wire::Batch;

/// Spans that may wait. At about a kilobyte each, this is the memory that a collector can cost by being away.
const WAITING_MAX: usize = 4096;
const BATCH_MAX: usize = 512;

/// A change that an operator should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Spans arrive: for the first time, or again.
    Arriving,
    /// They do not, and why.
    Failing(String),
}

/// What became of spans so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub exported: u64,
    /// The queue was full.
    pub dropped: u64,
    /// The collector refused them, or could not be reached for too long.
    pub failed: u64,
}

/// How long things may take. Tests shorten them.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// From the first span of a batch to its sending.
    batch: Duration,
    /// One attempt.
    attempt: Duration,
    pause_first: Duration,
    pause_max: Duration,
    /// From the first attempt of a batch to its end.
    give_up: Duration,
}

const TIMING: Timing = Timing {
    batch: Duration::from_secs(1),
    attempt: Duration::from_secs(10),
    pause_first: Duration::from_millis(500),
    pause_max: Duration::from_secs(8),
    give_up: Duration::from_secs(60),
};

/// A handle on the exporter's thread. Cheap to clone.
#[derive(Clone)]
pub struct Exporter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the thread: the queue has its first span or a whole batch, or is closed.
    changed: Notify,
    settings: Mutex<Arc<Settings>>,
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    /// Disconnected when the thread ends.
    ended: Mutex<mpsc::Receiver<()>>,
}

#[derive(Default)]
struct Queue {
    /// Whole ones, and the last one to which spans are added.
    batches: VecDeque<Batch>,
    /// Spans in all of them.
    waiting: usize,
    scratch: Vec<u8>,
    is_closed: bool,
    /// Raised when everything that waits is discarded, a batch under way included.
    discarded: u64,
}

impl Exporter {
    /// Starts the thread. `report` is called on it.
    pub fn start(
        service: Service,
        settings: Settings,
        report: impl Fn(Report) + Send + 'static,
    ) -> io::Result<Exporter> {
        Exporter::start_with(service, settings, TIMING, report)
    }

    fn start_with(
        service: Service,
        settings: Settings,
        timing: Timing,
        report: impl Fn(Report) + Send + 'static,
    ) -> io::Result<Exporter> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (alive, ended) = mpsc::channel();
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Notify::new(),
            settings: Mutex::new(Arc::new(settings)),
            exported: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            ended: Mutex::new(ended),
        });
        let worker =
            Worker { shared: shared.clone(), service, timing, failing: None, collector: None, report };
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
            runtime.block_on(worker.run());
            drop(alive);
        })?;
        Ok(Exporter(shared))
    }

    /// Queues the spans of one request: all of them, or none where they do not fit. Never waits for the collector.
    pub fn send(&self, spans: &[Span<'_>]) {
        let mut queue = lock(&self.0.queue);
        let before = queue.waiting;
        if queue.is_closed || before + spans.len() > WAITING_MAX {
            drop(queue);
            self.0.dropped.fetch_add(spans.len() as u64, Ordering::Relaxed);
            return;
        }
        queue.add(spans);
        let has_batch = before < BATCH_MAX && queue.waiting >= BATCH_MAX;
        drop(queue);
        if before == 0 || has_batch {
            self.0.changed.notify_one();
        }
    }

    /// From the next attempt on, spans go there.
    pub fn configure(&self, settings: Settings) {
        *lock(&self.0.settings) = Arc::new(settings);
    }

    /// Drops what waits, and a batch that is about to be sent again.
    pub fn discard(&self) {
        let mut queue = lock(&self.0.queue);
        queue.batches.clear();
        let count = std::mem::take(&mut queue.waiting);
        queue.discarded += 1;
        drop(queue);
        self.0.dropped.fetch_add(count as u64, Ordering::Relaxed);
        self.0.changed.notify_one();
    }

    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            exported: read(&self.0.exported),
            dropped: read(&self.0.dropped),
            failed: read(&self.0.failed),
        }
    }

    /// Sends what is queued and ends the thread; returns when that is done, or after `within`. The last thing before exit.
    pub fn close(&self, within: Duration) {
        lock(&self.0.queue).is_closed = true;
        self.0.changed.notify_one();
        // Nothing is ever sent: the channel closes with the thread.
        match lock(&self.0.ended).recv_timeout(within) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

impl Queue {
    /// Adds the spans of one request, which stay together.
    fn add(&mut self, spans: &[Span<'_>]) {
        let Queue { batches, waiting, scratch, .. } = self;
        if batches.back().is_none_or(|last| last.count >= BATCH_MAX) {
            batches.push_back(Batch::default());
        }
        if let Some(last) = batches.back_mut() {
            spans.iter().for_each(|span| last.add(span, scratch));
        }
        *waiting += spans.len();
    }

    /// The oldest batch.
    fn take(&mut self) -> Option<Batch> {
        let batch = self.batches.pop_front()?;
        self.waiting -= batch.count;
        Some(batch)
    }
}

/// The exporter's thread.
struct Worker<F> {
    shared: Arc<Shared>,
    service: Service,
    timing: Timing,
    /// What the last report said; none before the first.
    failing: Option<bool>,
    collector: Option<Collector>,
    report: F,
}

impl<F: Fn(Report)> Worker<F> {
    async fn run(mut self) {
        while let Some(batch) = self.batch().await {
            self.deliver(batch).await;
        }
    }

    /// The next batch, once it is whole or old enough; none when the queue is closed and empty.
    async fn batch(&self) -> Option<Batch> {
        let shared = &self.shared;
        let mut deadline = None;
        loop {
            {
                let mut queue = lock(&shared.queue);
                let is_due = queue.is_closed || deadline.is_some_and(|deadline| Instant::now() >= deadline);
                if queue.waiting >= BATCH_MAX || is_due && queue.waiting > 0 {
                    return queue.take();
                }
                if queue.is_closed {
                    return None;
                }
                if deadline.is_none() && queue.waiting > 0 {
                    deadline = Some(Instant::now() + self.timing.batch);
                }
            }
            match deadline {
                None => shared.changed.notified().await,
                // A batch that becomes whole, or the end of the program, comes before the deadline.
                Some(deadline) => {
                    let _woken_or_due = tokio::time::timeout_at(deadline, shared.changed.notified()).await;
                }
            }
        }
    }

    /// Sends a batch until it arrives, is refused, or its time is over.
    async fn deliver(&mut self, batch: Batch) {
        let count = batch.count as u64;
        let body = wire::request(&self.service, &batch);
        drop(batch);
        let (begun, mut pause) = (Instant::now(), self.timing.pause_first);
        let discarded = lock(&self.shared.queue).discarded;
        loop {
            let outcome = self.attempt(body.clone()).await;
            let (is_over, wait) = match &outcome {
                Outcome::Accepted { refused: 0, .. } => {
                    self.count(count, 0);
                    return self.arriving();
                }
                Outcome::Accepted { refused, why } => {
                    let refused = count.min(*refused);
                    self.count(count - refused, refused);
                    return self.failing(format!("the collector refused {refused} of {count} spans: {why}"));
                }
                Outcome::Refused(_) => (true, None),
                Outcome::Later(wait) => (false, *wait),
                Outcome::Unreachable(_) => (false, None),
            };
            self.failing(outcome.to_string());
            let left = self.timing.give_up.saturating_sub(begun.elapsed());
            // A collector that says "at once" is asked again like one that says nothing.
            let wait = wait.unwrap_or(pause).max(self.timing.pause_first).min(left);
            if is_over || left.is_zero() || self.is_over_during(wait, discarded).await {
                return self.count(0, count);
            }
            pause = (pause * 2).min(self.timing.pause_max);
        }
    }

    async fn attempt(&mut self, body: bytes::Bytes) -> Outcome {
        let settings = lock(&self.shared.settings).clone();
        // A connection to another collector, or with other headers, is not used again.
        let mut collector = match self.collector.take() {
            Some(collector) if collector.is_for(&settings) => collector,
            Some(_) | None => Collector::new(settings),
        };
        let outcome = timeout(self.timing.attempt, collector.post(body)).await;
        match outcome {
            Ok(outcome) => {
                self.collector = Some(collector);
                outcome
            }
            Err(_elapsed) => {
                Outcome::Unreachable(format!("it did not answer within {} s", self.timing.attempt.as_secs()))
            }
        }
    }

    /// Waits. Returns true, and at once, if the program ends or what waits is discarded: then there is no second attempt.
    async fn is_over_during(&self, pause: Duration, discarded: u64) -> bool {
        let is_over = || {
            let queue = lock(&self.shared.queue);
            queue.is_closed || queue.discarded != discarded
        };
        let over = async {
            while !is_over() {
                self.shared.changed.notified().await;
            }
        };
        tokio::select! {
            () = over => true,
            () = sleep(pause) => false,
        }
    }

    fn count(&self, exported: u64, failed: u64) {
        self.shared.exported.fetch_add(exported, Ordering::Relaxed);
        self.shared.failed.fetch_add(failed, Ordering::Relaxed);
    }

    fn arriving(&mut self) {
        if self.failing.replace(false) != Some(false) {
            (self.report)(Report::Arriving);
        }
    }

    fn failing(&mut self, why: String) {
        if self.failing.replace(true) != Some(true) {
            (self.report)(Report::Failing(why));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole at every moment: a panic elsewhere cannot leave it half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
