//! Traces of both programs: the trace context of W3C (`context`, `state`), identifiers (`ids`), which requests are sampled
//! (`sampler`), spans as values (`span`) and, with the feature `export`, their way to a collector by OTLP (`export`).
//!
//! Must not know MCP, nor what a span stands for: the programs make spans.

mod context;
#[cfg(feature = "export")]
mod export;
mod ids;
mod sampler;
mod span;
mod state;

pub use context::{Sampled, SpanId, TraceContext, TraceId, TraceParent};
#[cfg(feature = "export")]
pub use export::{
    Counts, Endpoint, EndpointError, Exporter, Headers, HeadersError, Report, Service, Settings,
};
pub use ids::{Ids, mix};
pub use sampler::{Decision, Ratio, Sampler};
pub use span::{Kind, Link, Parent, Span, Status, Value};
pub use state::{STATE_BYTES_MAX, is_tracestate};
