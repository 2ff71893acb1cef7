//! Decides where each request stands in a trace: continued or begun, sampled or not. And hands what is over to the sink of spans.
//!
//! A stranger does not choose its trace: neither its id, which a ratio would be applied to, nor its flag. How many requests of
//! strangers are sampled in a second is bounded apart from those of callers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use mcp_traces::{Decision, Ids, Link, STATE_BYTES_MAX, Sampler, TraceContext, TraceParent, is_tracestate};

use tokio::time::Instant;

use super::snapshot::Snapshot;
use crate::config::traces::Sampling;
use crate::http1::{KnownField, Occurs, RequestHead};
use crate::proxy::backend::request_head::{StateField, TraceFields};
use crate::telemetry::Record;
use crate::telemetry::span_sink::{SpanCounts, SpanSink};
use crate::telemetry::trace::RequestTrace;

/// Who has sent the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// One with a credential, whose request has passed the checks of its head.
    Caller,
    /// A request that is refused, or one of a route that asks for no credential.
    Stranger,
}

/// What requests share of traces.
pub(crate) struct Tracing {
    pub(crate) ids: Ids,
    callers: Sampler,
    strangers: Sampler,
    limited: AtomicU64,
    started: Instant,
    sink: OnceLock<Arc<dyn SpanSink>>,
}

impl Tracing {
    pub(crate) fn new() -> Result<Tracing, getrandom::Error> {
        Ok(Tracing {
            ids: Ids::new()?,
            callers: Sampler::default(),
            strangers: Sampler::default(),
            limited: AtomicU64::new(0),
            started: Instant::now(),
            sink: OnceLock::new(),
        })
    }

    /// From here on, spans go there. Once in a process.
    #[cfg_attr(
        not(feature = "traces"),
        expect(dead_code, reason = "without the export of spans there is no sink")
    )]
    pub(crate) fn set_sink(&self, sink: Arc<dyn SpanSink>) {
        let _is_set_already = self.sink.set(sink);
    }

    /// The trace of a request.
    pub(crate) fn begin(
        &self,
        settings: &Sampling,
        head: &RequestHead<'_>,
        origin: Origin,
        started: Instant,
    ) -> Box<RequestTrace> {
        let named = match head.fields.occurs(KnownField::Traceparent) {
            Occurs::Once(value) => TraceParent::parse(value),
            Occurs::Never | Occurs::Repeated => None,
        };
        let now = started.saturating_duration_since(self.started);
        let (context, state, link) = match (named, origin) {
            (Some(named), Origin::Caller) => {
                let decision = self.callers.continued(&named, settings.asked_per_second, now);
                let context = TraceContext::continued(&named, self.ids.span(), self.counted(decision).into());
                (context, state_of(head), None)
            }
            (named, Origin::Stranger) => {
                let link = named.map(|named| Link { trace_id: named.trace_id, span: named.parent });
                (self.begin_for_stranger(settings, now), None, link)
            }
            (None, Origin::Caller) => {
                let trace = self.ids.trace();
                let decision = Sampler::begin(settings.ratio, trace);
                (TraceContext::begin(trace, self.ids.span(), decision.into()), None, None)
            }
        };
        let trace = RequestTrace::new(context, state, link, started);
        if let Some(mut facts) = trace.facts() {
            facts.http_method = http_method(head.method);
        }
        Box::new(trace)
    }

    /// The trace of a request whose head cannot be read; none where traces are off.
    pub(crate) fn begin_without_head(
        &self,
        snapshot: &Snapshot,
        started: Instant,
    ) -> Option<Box<RequestTrace>> {
        let settings = snapshot.tracing.as_ref()?;
        let now = started.saturating_duration_since(self.started);
        Some(Box::new(RequestTrace::new(self.begin_for_stranger(settings, now), None, None, started)))
    }

    fn begin_for_stranger(&self, settings: &Sampling, now: Duration) -> TraceContext {
        let trace = self.ids.trace();
        let decision = self.strangers.begin_bounded(settings.ratio, trace, settings.asked_per_second, now);
        TraceContext::begin(trace, self.ids.span(), self.counted(decision).into())
    }

    fn counted(&self, decision: Decision) -> Decision {
        if decision == Decision::Limited {
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
        decision
    }

    /// The request is over.
    pub(crate) fn end(&self, record: &Record<'_>, trace: &RequestTrace, begun: SystemTime) {
        if trace.context.is_recorded()
            && let Some(sink) = self.sink.get()
        {
            sink.end(record, trace, begun);
        }
    }

    pub(crate) fn counts(&self) -> SpanCounts {
        let counts = self.sink.get().map(|sink| sink.counts()).unwrap_or_default();
        SpanCounts { limited: self.limited.load(Ordering::Relaxed), ..counts }
    }
}

/// The caller's `tracestate`, whose fields are one list (Trace Context, 3.3.1); none if it is malformed.
fn state_of(head: &RequestHead<'_>) -> Option<String> {
    let mut state = Vec::new();
    for field in head.fields.iter().filter(|field| field.known == KnownField::Tracestate) {
        if !state.is_empty() {
            state.push(b',');
        }
        state.extend_from_slice(field.value);
        if state.len() > STATE_BYTES_MAX {
            return None;
        }
    }
    let is_state = !state.is_empty() && is_tracestate(&state);
    String::from_utf8(state).ok().filter(|_| is_state)
}

/// The methods that are a value of their own (OpenTelemetry, `http.request.method`).
fn http_method(method: &[u8]) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];
    Some(KNOWN.into_iter().find(|known| known.as_bytes() == method).unwrap_or("_OTHER"))
}

/// What a backend receives of the trace: the exchange that has begun is its caller.
pub(crate) fn fields_of(trace: &RequestTrace) -> TraceFields {
    let state = if trace.state.is_some() { StateField::Pass } else { StateField::Drop };
    TraceFields::Own { traceparent: trace.context.traceparent(trace.sender()), state }
}
