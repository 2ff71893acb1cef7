//! Spans in the form of the wire: the messages of OpenTelemetry's own protobuf definitions.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyKind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link as WireLink, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as WireSpan, SpanFlags, Status as WireStatus,
};
use prost::Message;

use crate::{Kind, Link, Parent, Span, Status, Value};

/// Which program the spans are of.
#[derive(Debug, Clone)]
pub struct Service {
    pub name: &'static str,
    pub version: &'static str,
    /// Of this process, and of no other.
    pub instance: String,
}

/// The body that carries a batch.
pub(super) fn request(service: &Service, spans: Vec<Span>) -> Bytes {
    let resource = [
        ("service.name", Value::Word(service.name)),
        ("service.version", Value::Word(service.version)),
        ("service.instance.id", Value::Text(service.instance.clone())),
        ("process.pid", Value::Number(i64::from(std::process::id()))),
    ];
    let scope = InstrumentationScope {
        name: service.name.to_owned(),
        version: service.version.to_owned(),
        ..InstrumentationScope::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: resource.into_iter().map(attribute).collect(),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.into_iter().map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec().into()
}

fn span(span: Span) -> WireSpan {
    let begun = span.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (parent, remote) = match span.parent {
        Some(Parent::Remote(id)) => (id.to_bytes().to_vec(), SpanFlags::ContextIsRemoteMask as u32),
        Some(Parent::Local(id)) => (id.to_bytes().to_vec(), 0),
        None => (Vec::new(), 0),
    };
    WireSpan {
        trace_id: span.trace_id.to_bytes().to_vec(),
        span_id: span.id.to_bytes().to_vec(),
        trace_state: span.trace_state,
        parent_span_id: parent,
        // The lowest bit is the flag `sampled` of the trace context: only sampled spans come here.
        flags: 1 | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
        name: span.name.into_owned(),
        kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        }
        .into(),
        start_time_unix_nano: nanoseconds(begun),
        end_time_unix_nano: nanoseconds(begun.saturating_add(span.took)),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        links: span.link.map(link).into_iter().collect(),
        status: match span.status {
            Status::Unset => None,
            Status::Error => Some(WireStatus { code: StatusCode::Error.into(), ..WireStatus::default() }),
        },
        ..WireSpan::default()
    }
}

fn link(link: Link) -> WireLink {
    WireLink {
        trace_id: link.trace_id.to_bytes().to_vec(),
        span_id: link.span.to_bytes().to_vec(),
        flags: SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32,
        ..WireLink::default()
    }
}

fn attribute((key, value): (&'static str, Value)) -> KeyValue {
    let value = match value {
        Value::Word(word) => AnyKind::StringValue(word.to_owned()),
        Value::Text(text) => AnyKind::StringValue(text),
        Value::Number(number) => AnyKind::IntValue(number),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
