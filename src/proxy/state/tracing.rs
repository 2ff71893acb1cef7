//! Decides where each request stands in a trace: continued or begun, sampled or not. And hands what is over to the sink of spans.
//!
//! A caller that is refused does not choose its trace: neither its id, which a ratio would be applied to, nor its flag.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use mcp_traces::{Decision, Ids, Link, STATE_BYTES_MAX, Sampler, TraceContext, TraceParent, is_tracestate};

use tokio::time::Instant;

use super::snapshot::Snapshot;
use crate::config::traces::Sampling;
use crate::http1::{KnownField, Occurs, RequestHead};
use crate::proxy::backend::request_head::{StateField, TraceFields};
use crate::telemetry::Record;
use crate::telemetry::span_sink::{SpanCounts, SpanSink};
use crate::telemetry::trace::RequestTrace;

/// Whether the request passed the checks of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadOutcome {
    Permitted,
    Refused,
}

/// What requests share of traces.
pub(crate) struct Tracing {
    pub(crate) ids: Ids,
    sampler: Sampler,
    limited: AtomicU64,
    started: Instant,
    sink: OnceLock<Arc<dyn SpanSink>>,
}

impl Tracing {
    pub(crate) fn new() -> Result<Tracing, getrandom::Error> {
        Ok(Tracing {
            ids: Ids::new()?,
            sampler: Sampler::default(),
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
        outcome: HeadOutcome,
        started: Instant,
    ) -> Box<RequestTrace> {
        let named = match head.fields.occurs(KnownField::Traceparent) {
            Occurs::Once(value) => TraceParent::parse(value),
            Occurs::Never | Occurs::Repeated => None,
        };
        let (context, state, link) = match (named, outcome) {
            (Some(named), HeadOutcome::Permitted) => {
                let now = started.saturating_duration_since(self.started);
                let decision = self.sampler.continued(&named, settings.asked_per_second, now);
                if decision == Decision::Limited {
                    self.limited.fetch_add(1, Ordering::Relaxed);
                }
                (TraceContext::continued(&named, self.ids.span(), decision.into()), state_of(head), None)
            }
            (Some(named), HeadOutcome::Refused) => {
                let link = Link { trace_id: named.trace_id, span: named.parent };
                (self.begin_trace(settings), None, Some(link))
            }
            (None, HeadOutcome::Permitted | HeadOutcome::Refused) => (self.begin_trace(settings), None, None),
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
        Some(Box::new(RequestTrace::new(self.begin_trace(settings), None, None, started)))
    }

    fn begin_trace(&self, settings: &Sampling) -> TraceContext {
        let (trace, span) = (self.ids.trace(), self.ids.span());
        TraceContext::begin(trace, span, Sampler::begin(settings.ratio, trace).into())
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
