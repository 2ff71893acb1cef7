//! What requests share: the published snapshot, the traffic split, the bounds of all clients, metrics, log and samples.

pub(crate) mod call_limits;
pub(crate) mod dependencies;
pub(crate) mod queue;
pub(crate) mod readiness;
pub(crate) mod route_meters;
pub(crate) mod routes;
pub(crate) mod shadow_queue;
pub(crate) mod snapshot;
pub(crate) mod subjects;
pub(crate) mod token_usage;
pub(crate) mod tracing;
pub(crate) mod traffic_split;
pub(crate) mod usage;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::mpsc::error::TrySendError;

use crate::config::Config;
use crate::proxy::backend::pingora::bridge::PingoraBridge;
use crate::proxy::date::Clock;
use crate::proxy::drain::{Drain, Phase};
use crate::proxy::error::Error;
use crate::proxy::fairness::body_budget::BodyBudget;
use crate::proxy::fairness::open_streams::OpenStreams;
use crate::proxy::request_id::RequestIds;
use crate::rollout::sample::{CallResult, FinishedCall, SampleSource};
use crate::rollout::stage::Stage;
use crate::telemetry::metrics::ShadowMetrics;
use crate::telemetry::{Log, Metrics, Record};
use crate::upstream::{Slot, Split};
use dependencies::Dependencies;
use queue::Queue;
use readiness::Readiness;
use shadow_queue::ShadowQueue;
use snapshot::Snapshot;
use subjects::Subjects;
use tracing::Tracing;
use traffic_split::{SplitCell, TrafficSplit, VersionCap};

/// Samples that may wait for the control plane, which reads them once a second and more often when there are many. More
/// are dropped and counted.
const SAMPLES_MAX: usize = 128 * 1024;

/// What every connection shares.
pub(crate) struct ProxyState {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) traffic: SplitCell,
    pub(crate) samples: Queue<FinishedCall>,
    pub(crate) shadow_queue: ShadowQueue,
    pub(crate) shadow: ShadowMetrics,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    pub(crate) drain: Arc<Drain>,
    pub(crate) ids: RequestIds,
    pub(crate) clock: Clock,
    pub(crate) readiness: Readiness,
    pub(crate) dependencies: Dependencies,
    /// Passes requests of routes to pingora-proxy.
    pub(crate) gateway: PingoraBridge,
    /// Bounds the bytes of all request bodies.
    pub(crate) bodies: BodyBudget,
    pub(crate) streams: OpenStreams,
    pub(crate) subjects: Subjects,
    pub(crate) tracing: Tracing,
    /// The beginning of the clock of rates: the one of those that are shared.
    pub(crate) started: Instant,
}

impl ProxyState {
    /// The state of a process that starts with this configuration.
    pub(crate) fn new(config: Config, log: Log) -> Result<ProxyState, Error> {
        let split = TrafficSplit {
            split: Split::all(config.stable),
            version_cap: VersionCap::None,
            stage: Stage::Stable,
        };
        let workers = config.listen.threads;
        let shared_rates = config.shared_rates.clone();
        let started = shared_rates.as_ref().map_or_else(Instant::now, |rates| rates.since());
        let metrics = Metrics::new(workers).map_err(|source| Error::Metrics(Box::new(source)))?;
        Ok(ProxyState {
            snapshot: ArcSwap::from_pointee(Snapshot::new(config, None)),
            traffic: SplitCell::new(workers, &split),
            samples: Queue::new(SAMPLES_MAX),
            shadow_queue: ShadowQueue::new(),
            shadow: metrics.shadow(),
            metrics,
            log,
            drain: Arc::new(Drain::new()),
            ids: RequestIds::new(workers).map_err(Error::Random)?,
            clock: Clock::new(),
            readiness: Readiness::default(),
            dependencies: Dependencies::default(),
            gateway: PingoraBridge::new(),
            bodies: BodyBudget::default(),
            streams: OpenStreams::default(),
            subjects: Subjects::new(shared_rates),
            tracing: Tracing::new().map_err(Error::Random)?,
            started,
        })
    }

    /// Records how a client's call ended on this slot: the rollout is judged by these samples.
    pub(crate) fn record_sample(
        &self,
        slot: Slot,
        verdict: CallResult,
        latency: Duration,
        now: tokio::time::Instant,
    ) {
        let (when, origin) = (now.into(), SampleSource::Live);
        self.send_sample(FinishedCall { when, slot, verdict, latency, origin });
    }

    /// Sends a sample to the control plane, or counts it as dropped.
    pub(crate) fn send_sample(&self, ended: FinishedCall) {
        // A closed queue is no loss: then there is no control plane.
        if matches!(self.samples.send(ended), Err(TrySendError::Full(_))) {
            self.metrics.sample_dropped();
        }
    }

    /// Nanoseconds since the start: the clock of rates, which only goes forward.
    pub(crate) fn now_ns(&self) -> u64 {
        let age = tokio::time::Instant::from(self.started).elapsed();
        u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Counts and logs a request that began then; returns when it ended.
    pub(crate) fn finish(
        &self,
        mut record: Record<'_>,
        started: tokio::time::Instant,
        time: SystemTime,
    ) -> tokio::time::Instant {
        let total = *record.total.get_or_insert_with(|| started.elapsed());
        self.metrics.record(&record);
        self.log.request(&record, time.checked_add(total).unwrap_or(time));
        if let Some(trace) = record.trace {
            self.tracing.end(&record, trace, time);
        }
        started + total
    }

    /// Sets the gauges for a scrape.
    pub(crate) fn update_gauges(&self) {
        let snapshot = self.snapshot.load();
        let split = &self.traffic.load().split;
        for slot in Slot::ALL.into_iter().filter(|slot| snapshot.slot(*slot).is_none()) {
            self.metrics.remove_slot(slot);
        }
        let candidate = f64::from(split.candidate_weight().get()) / 100.0;
        for status in snapshot.slot_statuses() {
            let weight = if status.slot == split.stable() { 1.0 - candidate } else { candidate };
            self.metrics.set_slot(&status, weight);
        }
        self.metrics.tls.set_not_after(snapshot.first_certificate_ends().unwrap_or(0));
        self.metrics.set_routes(snapshot.open_routes.gauges());
        self.metrics.set_issuers(&snapshot.policy.issuers());
        self.shadow.set_waiting(self.shadow_queue.calls.waiting());
        self.metrics.traces.set(self.tracing.counts());
        let draining = self.drain.phase() != Phase::Serving;
        self.metrics.set_process(self.drain.open(), self.streams.count(), draining, self.log.dropped());
    }
}
