//! The trace of a call: the span of its tool, and those of the statements and requests that it waits for.
//!
//! Never an argument, a value or a result. Must not know how a tool works, nor how spans are exported.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mcp_traces::{
    Ids, Ratio, STATE_BYTES_MAX, Sampler, Span, SpanId, Status, TraceContext, TraceParent, is_tracestate,
};

use crate::call_log::{FinishedCall, Outcome};

/// Calls a second that are traced because their caller asks for it. The guard bounds what its clients ask for.
const ASKED_PER_SECOND: NonZeroU32 = NonZeroU32::new(1000).unwrap();
/// Spans of one call; a tool has few statements.
const CHILDREN_MAX: usize = 64;

/// Takes the spans of a call. Never waits.
type Sink = Box<dyn Fn(Vec<Span<'static>>) + Send + Sync>;

/// What calls share of traces.
pub(crate) struct Traces {
    ids: Ids,
    sampler: Sampler,
    ratio: Ratio,
    /// What calls arrive on (`network.transport`).
    transport: &'static str,
    started: Instant,
    send: Sink,
}

/// The trace context that a message carries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Carried<'a> {
    pub(crate) parent: Option<&'a str>,
    pub(crate) state: Option<Cow<'a, str>>,
}

/// The trace of one call.
pub(crate) struct CallTrace {
    traces: Arc<Traces>,
    context: TraceContext,
    state: String,
    version: Option<&'static str>,
    begun: SystemTime,
    started: Instant,
    children: Mutex<Vec<Span<'static>>>,
}

impl Traces {
    #[cfg_attr(not(feature = "traces"), expect(dead_code, reason = "no program without traces has any"))]
    pub(crate) fn new(
        ratio: Ratio,
        transport: &'static str,
        send: impl Fn(Vec<Span<'static>>) + Send + Sync + 'static,
    ) -> std::io::Result<Arc<Traces>> {
        let ids = Ids::new().map_err(std::io::Error::from)?;
        let (sampler, started, send) = (Sampler::default(), Instant::now(), Box::new(send));
        Ok(Arc::new(Traces { ids, sampler, ratio, transport, started, send }))
    }

    /// The trace of a call that arrives now. `version` is the one of MCP, if it is a published one.
    pub(crate) fn begin(
        self: &Arc<Traces>,
        carried: Carried<'_>,
        version: Option<&'static str>,
    ) -> Arc<CallTrace> {
        let (span, started) = (self.ids.span(), Instant::now());
        let named = carried.parent.and_then(|text| TraceParent::parse(text.as_bytes()));
        let context = match named {
            Some(named) => {
                let now = started.saturating_duration_since(self.started);
                let decision = self.sampler.continued(&named, ASKED_PER_SECOND, now);
                TraceContext::continued(&named, span, decision.into())
            }
            None => {
                let trace = self.ids.trace();
                TraceContext::begin(trace, span, Sampler::begin(self.ratio, trace).into())
            }
        };
        let state = carried.state.filter(|state| {
            named.is_some() && state.len() <= STATE_BYTES_MAX && is_tracestate(state.as_bytes())
        });
        Arc::new(CallTrace {
            traces: Arc::clone(self),
            context,
            state: state.unwrap_or_default().into_owned(),
            version,
            begun: SystemTime::now(),
            started,
            children: Mutex::default(),
        })
    }
}

impl CallTrace {
    pub(crate) fn is_recorded(&self) -> bool {
        self.context.is_recorded()
    }

    /// A new id, for what is sent to another program.
    pub(crate) fn next_span(&self) -> SpanId {
        self.traces.ids.span()
    }

    /// What the other program gets: `traceparent`, and `tracestate` if there is one.
    pub(crate) fn sent(&self, span: SpanId) -> ([u8; 55], Option<&str>) {
        // A span that is not recorded has no place in the trace.
        let sender = if self.is_recorded() { span } else { self.context.span };
        (self.context.traceparent(sender), Some(self.state.as_str()).filter(|state| !state.is_empty()))
    }

    /// A span of what was asked of another program.
    pub(crate) fn child(
        &self,
        id: SpanId,
        name: impl Into<Cow<'static, str>>,
        begun: Instant,
        took: Duration,
    ) -> Span<'static> {
        let since = begun.saturating_duration_since(self.started);
        let begun = self.begun.checked_add(since).unwrap_or(self.begun);
        let mut span = Span::client(&self.context, id, name, begun, took);
        span.trace_state = self.state.clone().into();
        span
    }

    pub(crate) fn add(&self, span: Span<'static>) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_recorded() && children.len() < CHILDREN_MAX {
            children.push(span);
        }
    }

    /// The call is over: its spans are sent.
    pub(crate) fn end(&self, call: &FinishedCall<'_>) {
        if !self.is_recorded() {
            return;
        }
        let name = format!("tools/call {}", call.tool);
        let mut span = Span::server(&self.context, name, self.begun, call.took);
        span.trace_state = self.state.clone().into();
        span.word("mcp.method.name", "tools/call");
        span.word("gen_ai.operation.name", "execute_tool");
        span.text("gen_ai.tool.name", call.tool.to_owned());
        if let Some(version) = self.version {
            span.word("mcp.protocol.version", version);
        }
        span.word("network.transport", self.traces.transport);
        span.word("mcp_tools.outcome", call.outcome.as_str());
        if let Some(id) = call.request_id {
            span.text("mcp_tools.request_id", id.to_owned());
        }
        if let Some(error) = error_type(call.outcome) {
            span.word("error.type", error);
            span.status = Status::Error;
        }
        let mut spans = std::mem::take(&mut *self.children.lock().unwrap_or_else(PoisonError::into_inner));
        spans.push(span);
        (self.traces.send)(spans);
    }
}

impl fmt::Debug for CallTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
    }
}

/// How a call failed, in the words of OpenTelemetry's conventions for MCP where they have one; none if it did not.
fn error_type(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Ok | Outcome::NotFound => None,
        Outcome::Timeout | Outcome::Abandoned => Some(outcome.as_str()),
        Outcome::Invalid | Outcome::Refused | Outcome::Unavailable | Outcome::Failed => Some("tool_error"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use mcp_traces::{Kind, Parent, Value};

    use super::*;

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traces(share: f64) -> (Arc<Traces>, Receiver<Vec<Span<'static>>>) {
        let (sender, spans) = channel();
        let send = move |spans| drop(sender.send(spans));
        (Traces::new(Ratio::new(share).unwrap(), "unix", send).unwrap(), spans)
    }

    fn finished(outcome: Outcome) -> FinishedCall<'static> {
        let took = Duration::from_millis(7);
        FinishedCall { tool: "runs", request_id: Some("0a1b"), writes: false, took, outcome, rows: None }
    }

    #[test]
    fn a_call_continues_the_trace_of_its_caller_and_its_children_stand_below_it() {
        let (traces, spans) = traces(0.0);
        let carried = Carried { parent: Some(CALLER), state: Some("a=1".into()) };
        let trace = traces.begin(carried, Some("2025-11-25"));
        let id = trace.next_span();
        let (sent, state) = trace.sent(id);
        assert_eq!(String::from_utf8(sent.to_vec()).unwrap(), format!("{}{id}-01", &CALLER[..36]));
        assert_eq!(state, Some("a=1"));
        trace.add(trace.child(id, "SELECT runs", Instant::now(), Duration::from_millis(3)));
        trace.end(&finished(Outcome::Failed));
        let [child, tool] = spans.recv().unwrap().try_into().unwrap();
        assert_eq!((child.kind, child.parent), (Kind::Client, Some(Parent::Local(tool.id))));
        assert!(
            matches!(tool.parent, Some(Parent::Remote(parent)) if parent.to_string() == "b7ad6b7169203331")
        );
        assert_eq!(
            (tool.name.as_ref(), tool.status, tool.trace_state.as_ref()),
            ("tools/call runs", Status::Error, "a=1")
        );
        assert!(tool.attributes.contains(&("error.type", Value::Word("tool_error"))), "{tool:?}");
        assert!(tool.attributes.contains(&("mcp.protocol.version", Value::Word("2025-11-25"))), "{tool:?}");
    }

    #[test]
    fn a_call_that_is_not_sampled_sends_its_context_on_and_no_span() {
        let (traces, spans) = traces(0.0);
        for carried in
            [Carried::default(), Carried { parent: Some(&CALLER.replace("-01", "-00")), state: None }]
        {
            let trace = traces.begin(carried, None);
            let (sent, _) = trace.sent(trace.next_span());
            // The parent of what it asks for is the call itself, of which there is no span either.
            assert_eq!(TraceParent::parse(&sent).map(|sent| sent.parent), Some(trace.context.span));
            trace.add(trace.child(trace.next_span(), "SELECT", Instant::now(), Duration::ZERO));
            trace.end(&finished(Outcome::Ok));
        }
        assert!(spans.try_recv().is_err());
    }

    #[test]
    fn a_state_that_is_malformed_or_belongs_to_no_trace_is_dropped() {
        let (traces, _spans) = traces(1.0);
        for (parent, state) in [(Some(CALLER), "no state"), (None, "a=1"), (Some("nonsense"), "a=1")] {
            let trace = traces.begin(Carried { parent, state: Some(state.into()) }, None);
            assert_eq!(trace.sent(trace.next_span()).1, None, "{parent:?} {state}");
        }
    }
}
