//! Spans in the form of the wire: the messages of OpenTelemetry's own protobuf definitions.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
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

/// The body that carries a batch: an `ExportTraceServiceRequest`.
///
/// The messages are OpenTelemetry's, but for those that contain spans and for texts among a span's attributes: prost works out the
/// length of a message again for each message around it, and owns every text. Protocol Buffers, "Encoding": fields may come in any
/// order, and the fields of a message one after the other are that message.
pub(super) fn request(service: &Service, spans: Vec<Span>) -> Bytes {
    let mut in_scope = scope(service).encode_to_vec();
    let mut attributes = Vec::new();
    for mut span in spans {
        attributes.clear();
        for (key, value) in std::mem::take(&mut span.attributes) {
            append_attribute(&mut attributes, key, value);
        }
        let message = wire_span(span);
        append_key(&mut in_scope, field::SPANS, message.encoded_len() + attributes.len());
        // A `Vec` takes all of it.
        let _whole = message.encode(&mut in_scope);
        in_scope.extend_from_slice(&attributes);
    }
    let of_resource = resource(service).encode_to_vec();
    let mut request = Vec::with_capacity(of_resource.len() + in_scope.len() + 16);
    append_key(&mut request, field::RESOURCE_SPANS, of_resource.len() + encoded_len(in_scope.len()));
    request.extend_from_slice(&of_resource);
    append(&mut request, field::SCOPE_SPANS, &in_scope);
    request.into()
}

/// Numbers of fields in opentelemetry/proto/{collector/trace,trace,common}/v1.
mod field {
    pub(super) const RESOURCE_SPANS: u8 = 1;
    pub(super) const SCOPE_SPANS: u8 = 2;
    pub(super) const SPANS: u8 = 2;
    /// Of a span.
    pub(super) const ATTRIBUTES: u8 = 9;
    /// Of a `KeyValue`.
    pub(super) const KEY: u8 = 1;
    pub(super) const VALUE: u8 = 2;
    /// Of an `AnyValue`.
    pub(super) const STRING_VALUE: u8 = 1;
}

/// Without its spans.
fn scope(service: &Service) -> ScopeSpans {
    let scope = InstrumentationScope {
        name: service.name.to_owned(),
        version: service.version.to_owned(),
        ..InstrumentationScope::default()
    };
    ScopeSpans { scope: Some(scope), ..ScopeSpans::default() }
}

/// Without its spans.
fn resource(service: &Service) -> ResourceSpans {
    let text = |text: &str| AnyKind::StringValue(text.to_owned());
    let attributes = vec![
        attribute("service.name", text(service.name)),
        attribute("service.version", text(service.version)),
        attribute("service.instance.id", text(&service.instance)),
        attribute("process.pid", AnyKind::IntValue(std::process::id().into())),
    ];
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        ..ResourceSpans::default()
    }
}

/// Without its attributes.
fn wire_span(span: Span) -> WireSpan {
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

fn attribute(key: &str, value: AnyKind) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn append_attribute(bytes: &mut Vec<u8>, key: &str, value: Value) {
    let text = match &value {
        Value::Word(word) => word,
        Value::Text(text) => text.as_str(),
        Value::Number(number) => {
            let attribute = attribute(key, AnyKind::IntValue(*number));
            return append(bytes, field::ATTRIBUTES, &attribute.encode_to_vec());
        }
    };
    let value = encoded_len(text.len());
    append_key(bytes, field::ATTRIBUTES, encoded_len(key.len()) + encoded_len(value));
    append(bytes, field::KEY, key.as_bytes());
    append_key(bytes, field::VALUE, value);
    append(bytes, field::STRING_VALUE, text.as_bytes());
}

/// The length of a field whose content has this length.
fn encoded_len(content: usize) -> usize {
    1 + prost::length_delimiter_len(content) + content
}

fn append(bytes: &mut Vec<u8>, field: u8, content: &[u8]) {
    append_key(bytes, field, content.len());
    bytes.extend_from_slice(content);
}

/// What stands before the content of a text or a message. Numbers up to 15 are one byte.
fn append_key(bytes: &mut Vec<u8>, field: u8, content: usize) {
    const LENGTH_DELIMITED: u8 = 2;
    let key = field << 3 | LENGTH_DELIMITED;
    match u8::try_from(content) {
        Ok(short) if short < 0x80 => bytes.extend_from_slice(&[key, short]),
        Ok(_) | Err(_) => {
            bytes.push(key);
            // A `Vec` takes all of it.
            let _whole = prost::encode_length_delimiter(content, bytes);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;
    use crate::{Ids, Sampled, TraceContext};

    #[test]
    fn a_request_reads_as_the_official_messages_whatever_its_attributes() {
        let (ids, long) = (Ids::new().unwrap(), "ü".repeat(20_000));
        let context = TraceContext::begin(ids.trace(), ids.span(), Sampled::Recorded);
        let span = |attributes| {
            let span = Span::server(&context, "a span", SystemTime::now(), Duration::ZERO);
            Span { attributes, status: Status::Error, ..span }
        };
        let attributes = vec![
            ("a.word", Value::Word("GET")),
            ("a.text", Value::Text(long.clone())),
            ("empty", Value::Word("")),
            ("limit", Value::Text("x".repeat(127))),
            ("above", Value::Text("x".repeat(128))),
            ("number", Value::Number(-7)),
        ];
        let service = Service { name: "test", version: "1", instance: "one".to_owned() };
        let body = request(&service, vec![span(attributes), span(Vec::new())]);
        let mut request = ExportTraceServiceRequest::decode(body).unwrap();

        let mut resource = request.resource_spans.pop().unwrap();
        assert!(request.resource_spans.is_empty());
        let of_resource = read(&resource.resource.unwrap().attributes);
        let instance = ("service.instance.id".to_owned(), AnyKind::StringValue("one".to_owned()));
        assert!(of_resource.len() == 4 && of_resource.contains(&instance), "{of_resource:?}");

        let scope = resource.scope_spans.pop().unwrap();
        assert!(resource.scope_spans.is_empty());
        assert_eq!(scope.scope.unwrap().name, "test");
        let [first, second] = <[WireSpan; 2]>::try_from(scope.spans).unwrap();
        assert_eq!((first.name.as_str(), second.name.as_str()), ("a span", "a span"));
        assert_eq!(first.status.unwrap().code, StatusCode::Error as i32);
        let text = |text: &str| AnyKind::StringValue(text.to_owned());
        let expect = [
            ("a.word", text("GET")),
            ("a.text", text(&long)),
            ("empty", text("")),
            ("limit", text(&"x".repeat(127))),
            ("above", text(&"x".repeat(128))),
            ("number", AnyKind::IntValue(-7)),
        ];
        assert_eq!(read(&first.attributes), expect.map(|(key, value)| (key.to_owned(), value)));
        assert!(second.attributes.is_empty());
    }

    fn read(attributes: &[KeyValue]) -> Vec<(String, AnyKind)> {
        let read = |one: &KeyValue| (one.key.clone(), one.value.clone().unwrap().value.unwrap());
        attributes.iter().map(read).collect()
    }
}
