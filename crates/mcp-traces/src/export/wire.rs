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

/// Spans as they stand in the body of a request.
#[derive(Debug, Default)]
pub(super) struct Batch {
    encoded: Vec<u8>,
    pub(super) count: usize,
}

impl Batch {
    /// Adds a span. By hand, where a field is in every span: prost owns every text and works out the length of a message again for each
    /// message around it, and a span that is sent to another thread as a value costs more to move and to free than to encode.
    /// `scratch` keeps its memory.
    pub(super) fn add(&mut self, span: &Span<'_>, scratch: &mut Vec<u8>) {
        scratch.clear();
        append_span(scratch, span);
        append(&mut self.encoded, field::SPANS, scratch);
        self.count += 1;
    }
}

/// The body that carries a batch: an `ExportTraceServiceRequest`.
///
/// Protocol Buffers, "Encoding": fields may come in any order, and the fields of a message one after the other are that message.
pub(super) fn request(service: &Service, batch: &Batch) -> Bytes {
    let scope = scope(service).encode_to_vec();
    let of_resource = resource(service).encode_to_vec();
    let in_scope = scope.len() + batch.encoded.len();
    let mut request = Vec::with_capacity(of_resource.len() + in_scope + 16);
    append_key(&mut request, field::RESOURCE_SPANS, of_resource.len() + encoded_len(in_scope));
    request.extend_from_slice(&of_resource);
    append_key(&mut request, field::SCOPE_SPANS, in_scope);
    request.extend_from_slice(&scope);
    request.extend_from_slice(&batch.encoded);
    request.into()
}

/// Numbers of fields in opentelemetry/proto/{collector/trace,trace,common}/v1.
mod field {
    pub(super) const RESOURCE_SPANS: u8 = 1;
    pub(super) const SCOPE_SPANS: u8 = 2;
    pub(super) const SPANS: u8 = 2;
    /// Of a span.
    pub(super) const TRACE_ID: u8 = 1;
    pub(super) const SPAN_ID: u8 = 2;
    pub(super) const TRACE_STATE: u8 = 3;
    pub(super) const PARENT_SPAN_ID: u8 = 4;
    pub(super) const NAME: u8 = 5;
    pub(super) const SPAN_KIND: u8 = 6;
    pub(super) const START: u8 = 7;
    pub(super) const END: u8 = 8;
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

fn append_span(bytes: &mut Vec<u8>, span: &Span<'_>) {
    let begun = span.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let kind = match span.kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Internal => SpanKind::Internal,
    };
    append(bytes, field::TRACE_ID, &span.trace_id.to_bytes());
    append(bytes, field::SPAN_ID, &span.id.to_bytes());
    if !span.trace_state.is_empty() {
        append(bytes, field::TRACE_STATE, span.trace_state.as_bytes());
    }
    if let Some(Parent::Remote(id) | Parent::Local(id)) = span.parent {
        append(bytes, field::PARENT_SPAN_ID, &id.to_bytes());
    }
    append(bytes, field::NAME, span.name.as_bytes());
    bytes.extend_from_slice(&[field::SPAN_KIND << 3, kind as u8]);
    append_time(bytes, field::START, begun);
    append_time(bytes, field::END, begun.saturating_add(span.took));
    for (key, value) in &span.attributes {
        append_attribute(bytes, key, value);
    }
    // A `Vec` takes all of it.
    let _whole = rest_of(span).encode(bytes);
}

/// What few spans have, and the flags.
fn rest_of(span: &Span<'_>) -> WireSpan {
    let remote = match span.parent {
        Some(Parent::Remote(_)) => SpanFlags::ContextIsRemoteMask as u32,
        Some(Parent::Local(_)) | None => 0,
    };
    WireSpan {
        // The lowest bit is the flag `sampled` of the trace context: only sampled spans come here.
        flags: 1 | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
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

fn append_attribute(bytes: &mut Vec<u8>, key: &str, value: &Value<'_>) {
    let text = match value {
        Value::Word(word) => word,
        Value::Text(text) => text.as_ref(),
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

/// Nanoseconds since the epoch, as a `fixed64`.
fn append_time(bytes: &mut Vec<u8>, field: u8, time: Duration) {
    const EIGHT_BYTES: u8 = 1;
    bytes.push(field << 3 | EIGHT_BYTES);
    bytes.extend_from_slice(&u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
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
            ("a.text", Value::Text(long.as_str().into())),
            ("empty", Value::Word("")),
            ("limit", Value::Text("x".repeat(127).into())),
            ("above", Value::Text("x".repeat(128).into())),
            ("number", Value::Number(-7)),
        ];
        let service = Service { name: "test", version: "1", instance: "one".to_owned() };
        let (mut batch, mut scratch) = (Batch::default(), Vec::new());
        [span(attributes), span(Vec::new())].iter().for_each(|span| batch.add(span, &mut scratch));
        let body = request(&service, &batch);
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

    #[test]
    fn a_span_reads_as_the_official_message_whatever_it_is_of() {
        let ids = Ids::new().unwrap();
        let (trace, own, other) = (ids.trace(), ids.span(), ids.span());
        let context = TraceContext::begin(trace, own, Sampled::Recorded);
        let plain = Span::server(
            &context,
            "POST /a",
            SystemTime::UNIX_EPOCH + Duration::from_nanos(300),
            Duration::from_secs(2),
        );
        let expect = WireSpan {
            trace_id: trace.to_bytes().to_vec(),
            span_id: own.to_bytes().to_vec(),
            name: "POST /a".to_owned(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: 300,
            end_time_unix_nano: 2_000_000_300,
            flags: 0x101,
            ..WireSpan::default()
        };
        let check = |span: &Span<'_>, expect: WireSpan| {
            let mut bytes = Vec::new();
            append_span(&mut bytes, span);
            assert_eq!(WireSpan::decode(bytes.as_slice()).unwrap(), expect, "{span:?}");
        };
        check(&plain, expect.clone());
        let parent = other.to_bytes().to_vec();
        check(
            &Span { parent: Some(Parent::Remote(other)), trace_state: "a=1,b=2".into(), ..plain.clone() },
            WireSpan {
                parent_span_id: parent.clone(),
                trace_state: "a=1,b=2".to_owned(),
                flags: 0x301,
                ..expect.clone()
            },
        );
        check(
            &Span { parent: Some(Parent::Local(other)), kind: Kind::Client, ..plain.clone() },
            WireSpan { parent_span_id: parent.clone(), kind: SpanKind::Client.into(), ..expect.clone() },
        );
        let status = WireStatus { code: StatusCode::Error.into(), ..WireStatus::default() };
        let wire_link = WireLink {
            trace_id: expect.trace_id.clone(),
            span_id: parent,
            flags: 0x300,
            ..WireLink::default()
        };
        check(
            &Span {
                kind: Kind::Internal,
                status: Status::Error,
                link: Some(Link { trace_id: trace, span: other }),
                took: Duration::MAX,
                ..plain
            },
            WireSpan {
                kind: SpanKind::Internal.into(),
                status: Some(status),
                links: vec![wire_link],
                end_time_unix_nano: u64::MAX,
                ..expect
            },
        );
    }

    fn read(attributes: &[KeyValue]) -> Vec<(String, AnyKind)> {
        let read = |one: &KeyValue| (one.key.clone(), one.value.clone().unwrap().value.unwrap());
        attributes.iter().map(read).collect()
    }
}
