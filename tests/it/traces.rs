//! Contract, section 20: spans of requests at a collector, and the trace context that passes through.

use std::sync::{Arc, Mutex};

use mcp_testkit::{
    Builder, Guard, Message, ServingBackend, backend, backend_on_tcp, call, eventually, mcp_backend, ok,
    post, result,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

use crate::guard;
use crate::limits::{client, tool_call};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector of OTLP: what it got.
struct Collector {
    server: ServingBackend,
    received: Arc<Mutex<Received>>,
}

/// Each request, and the spans in it.
type Received = Vec<(Message, Vec<Span>)>;

async fn collector(status: &'static str) -> Collector {
    let received: Arc<Mutex<Received>> = Arc::default();
    let kept = received.clone();
    let server = backend_on_tcp().await.serve(move |request| {
        let message = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
        let resources = message.resource_spans.into_iter();
        let spans = resources.flat_map(|one| one.scope_spans).flat_map(|one| one.spans).collect();
        kept.lock().unwrap().push((request.clone(), spans));
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
    });
    Collector { server, received }
}

impl Collector {
    /// `[traces]` for this collector.
    fn table(&self, keys: &str) -> String {
        format!("[traces]\nendpoint = \"http://{}\"\n{keys}\n", self.server.address())
    }

    fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().iter().flat_map(|(_, spans)| spans.clone()).collect()
    }

    /// The spans, once there are so many of this kind.
    async fn wait_for(&self, count: usize, kind: SpanKind) -> Vec<Span> {
        let of_kind = || self.spans().into_iter().filter(|span| span.kind == kind as i32).collect::<Vec<_>>();
        eventually("spans at the collector", || async { of_kind().len() >= count }).await;
        of_kind()
    }

    async fn server_span(&self) -> Span {
        self.wait_for(1, SpanKind::Server).await.remove(0)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value of an attribute as text.
fn attribute(span: &Span, key: &str) -> Option<String> {
    let mut found = span.attributes.iter().filter(|one| one.key == key);
    let value = found.next()?.value.clone()?.value?;
    assert!(found.next().is_none(), "{key} twice: {span:?}");
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other @ (Value::BoolValue(_)
        | Value::DoubleValue(_)
        | Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_)) => panic!("{key}: {other:?}"),
    })
}

fn caller(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

/// A guard whose backend repeats in its result what trace context it got.
async fn traced(
    collector: &Collector,
    keys: &str,
    more: impl FnOnce(Builder) -> Builder,
) -> (Guard, ServingBackend) {
    let backend = backend().await.serve(|request| {
        let field = |name| request.field(name).unwrap_or("none").to_owned();
        let id = request.try_id().unwrap_or_default();
        let seen = format!("{} {}", field("traceparent"), field("tracestate"));
        ok(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"seen":"{seen}"}}}}"#))
    });
    let guard = guard().token("t").upstream(&backend).config(&collector.table(keys));
    (more(guard).start().await, backend)
}

/// The `traceparent` and the `tracestate` that the backend got.
async fn seen(guard: &Guard, fields: &str) -> (String, String) {
    let response = guard.post_with(fields, &call(1, "ping")).await;
    let seen = response.json()["result"]["seen"].as_str().unwrap().to_owned();
    let (traceparent, state) = seen.split_once(' ').unwrap();
    (traceparent.to_owned(), state.to_owned())
}

// "`traceparent`/`tracestate` are continued or begun and passed on as headers"
#[tokio::test]
async fn a_trace_goes_from_the_caller_through_the_guard_to_the_backend() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "", |guard| guard).await;
    let (traceparent, _) = seen(&guard, &format!("{}tracestate: a=1\r\n", caller("01"))).await;
    let server = collector.server_span().await;
    let exchange = collector.wait_for(1, SpanKind::Client).await.remove(0);
    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(exchange.parent_span_id, server.span_id);
    assert_eq!(traceparent, format!("00-{TRACE}-{}-01", hex(&exchange.span_id)));
    assert_eq!(server.trace_state, "a=1");
    // The span of the exchange lies within that of the request.
    assert!(server.start_time_unix_nano <= exchange.start_time_unix_nano);
    assert!(exchange.end_time_unix_nano <= server.end_time_unix_nano);
    let line = guard.log_line(|line| line["method"] == "ping").await;
    assert_eq!(line["trace_id"], TRACE);
}

#[tokio::test]
async fn a_trace_begins_at_the_guard_where_the_caller_names_none() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "sample = \"100%\"", |guard| guard).await;
    let (traceparent, state) = seen(&guard, "traceparent: 00-nonsense\r\ntracestate: a=1\r\n").await;
    let server = collector.server_span().await;
    assert_eq!(server.parent_span_id, b"");
    assert_eq!(traceparent.split('-').nth(1), Some(hex(&server.trace_id).as_str()));
    // Trace Context, 3.3.1.1: without a valid traceparent, a tracestate means nothing.
    assert_eq!(state, "none");
}

#[tokio::test]
async fn a_request_that_is_not_sampled_has_a_trace_id_and_no_span() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "sample = \"0%\"", |guard| guard).await;
    let (traceparent, _) = seen(&guard, "").await;
    let line = guard.log_line(|line| line["method"] == "ping").await;
    assert_eq!(traceparent.split('-').nth(1), line["trace_id"].as_str());
    assert!(traceparent.ends_with("-02"), "{traceparent}");
    // The caller decides for its trace, whatever the ratio.
    let (traceparent, _) = seen(&guard, &caller("00")).await;
    assert!(
        traceparent.starts_with(&format!("00-{TRACE}-")) && traceparent.ends_with("-00"),
        "{traceparent}"
    );
    seen(&guard, &caller("01")).await;
    assert_eq!(collector.wait_for(1, SpanKind::Server).await.len(), 1);
    assert_eq!(guard.metric(r#"mcp_guard_trace_spans_total{result="dropped"}"#).await, 0.0);
}

#[tokio::test]
async fn a_tracestate_passes_whole_or_not_at_all() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "", |guard| guard).await;
    let with = |state: &str| format!("{}tracestate: {state}\r\n", caller("01"));
    assert_eq!(seen(&guard, &with("a=1,b=2")).await.1, "a=1,b=2");
    for malformed in ["no state", "A=1", "a=1,a=2"] {
        assert_eq!(seen(&guard, &with(malformed)).await.1, "none", "{malformed}");
    }
}

// The conventions of OpenTelemetry for MCP, by name.
#[tokio::test]
async fn a_call_is_described_as_the_conventions_have_it_without_its_arguments() {
    let collector = collector("200 OK").await;
    let directory = tempfile::tempdir().unwrap();
    let tools = mcp_backend(&directory.path().join("b.sock"));
    let guard = guard()
        .tokens(&client("bot", ""))
        .upstream(tools.address())
        .config(&collector.table("sample = \"100%\"\nrequest_ids = true"))
        .start()
        .await;
    let mut connection = guard.connect().await;
    let version = "MCP-Protocol-Version: 2025-06-18\r\n";
    let listed = connection.exchange(post("bot", version, &call(1, "tools/list"))).await.json();
    let tool = listed["result"]["tools"][0]["name"].as_str().unwrap().to_owned();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"text":"t0p-secret"}}}}}}"#
    );
    connection.exchange(post("bot", version, &body)).await;
    let spans = collector.wait_for(2, SpanKind::Server).await;
    let server = spans.iter().find(|span| span.name.starts_with("tools/call")).unwrap();
    assert_eq!(server.name, format!("tools/call {tool}"));
    for (key, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", &tool),
        ("gen_ai.operation.name", "execute_tool"),
        ("mcp.protocol.version", "2025-06-18"),
        ("jsonrpc.request.id", "7"),
        ("network.transport", "unix"),
        ("http.response.status_code", "200"),
        ("mcp_guard.outcome", "ok"),
        ("mcp_guard.client", "bot"),
        ("mcp_guard.slot", "blue"),
        ("mcp_guard.stage", "stable"),
    ] {
        assert_eq!(attribute(server, key).as_deref(), Some(value), "{key}: {server:?}");
    }
    assert_eq!((attribute(server, "error.type"), &server.status), (None, &None));
    let exported = format!(
        "{:?}",
        collector.received.lock().unwrap().iter().map(|(_, spans)| spans).collect::<Vec<_>>()
    );
    assert!(!exported.contains("t0p-secret"), "{exported}");
}

#[tokio::test]
async fn ids_of_json_rpc_are_not_shown_unless_they_are_asked_for() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "sample = \"100%\"", |guard| guard).await;
    seen(&guard, "").await;
    assert_eq!(attribute(&collector.server_span().await, "jsonrpc.request.id"), None);
}

// A stranger must choose neither the trace nor the sampling: with a trace id of its choice it would choose what a ratio takes.
#[tokio::test]
async fn a_refused_caller_gets_a_trace_of_its_own_with_a_link() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "sample = \"100%\"", |guard| guard).await;
    let response = guard.connect().await.exchange(post("wrong", &caller("01"), &call(1, "ping"))).await;
    assert_eq!(response.status(), 403);
    let server = collector.server_span().await;
    assert_ne!(hex(&server.trace_id), TRACE);
    assert_eq!(server.links.iter().map(|link| hex(&link.trace_id)).collect::<Vec<_>>(), [TRACE]);
    assert_eq!(attribute(&server, "error.type").as_deref(), Some("token_invalid"));
    assert_eq!(attribute(&server, "http.request.method").as_deref(), Some("POST"));
    assert_eq!(server.name, "POST");
}

#[tokio::test]
async fn a_refused_caller_cannot_have_its_request_sampled() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "sample = \"0%\"", |guard| guard).await;
    for _ in 0..3 {
        guard.connect().await.exchange(post("wrong", &caller("01"), &call(1, "ping"))).await;
    }
    let mut connection = guard.connect().await;
    connection.send("NOT HTTP\r\n\r\n").await;
    assert_eq!(connection.response().await.status(), 400);
    // Whatever was queued before this one has arrived with it.
    seen(&guard, &caller("01")).await;
    assert_eq!(collector.wait_for(1, SpanKind::Server).await.len(), 1);
}

#[tokio::test]
async fn callers_have_so_many_requests_sampled_in_a_second_and_the_rest_are_counted() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "sample = \"0%\"\nsample_asked = 1", |guard| guard).await;
    for _ in 0..20 {
        seen(&guard, &caller("01")).await;
    }
    let limited = guard.metric("mcp_guard_traces_limited_total").await;
    assert!((1.0..=19.0).contains(&limited), "{limited} of 20 were limited");
    let sampled = 20 - limited as usize;
    assert_eq!(collector.wait_for(sampled, SpanKind::Server).await.len(), sampled);
}

// "One client span an exchange": a dead pooled connection, or a backend that went away, is seen in the trace.
#[tokio::test]
async fn a_retry_is_an_exchange_of_its_own() {
    let collector = collector("200 OK").await;
    let backend = backend().await;
    let guard =
        guard().token("t").upstream(&backend).config(&collector.table("sample = \"100%\"")).start().await;
    let mut connection = guard.connect().await;
    connection.send(post("t", "", &call(1, "tools/list"))).await;
    let mut peer = backend.accept().await;
    let first = peer.request().await;
    drop(peer);
    // It is alive: the guard looks before it sends a read again.
    let serving = backend.serve(|request| ok(&result(request.try_id().unwrap_or_default())));
    assert_eq!(connection.response().await.status(), 200);
    let exchanges = collector.wait_for(2, SpanKind::Client).await;
    let server = collector.server_span().await;
    assert!(exchanges.iter().all(|span| span.parent_span_id == server.span_id));
    let errors: Vec<_> = exchanges.iter().map(|span| attribute(span, "error.type")).collect();
    assert_eq!(errors, [Some("no_response".to_owned()), None]);
    assert_eq!(attribute(&exchanges[1], "http.request.resend_count").as_deref(), Some("1"));
    assert_eq!(
        first.field("traceparent").unwrap().split('-').nth(2),
        Some(hex(&exchanges[0].span_id).as_str())
    );
    drop(serving);
}

#[tokio::test]
async fn an_error_of_the_backend_is_named_by_its_code() {
    let collector = collector("200 OK").await;
    let backend = backend().await.serve(|request| {
        let id = request.try_id().unwrap_or_default();
        ok(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"no such tool"}}}}"#))
    });
    let guard =
        guard().token("t").upstream(&backend).config(&collector.table("sample = \"100%\"")).start().await;
    guard.post(&tool_call(1, "gone")).await;
    let server = collector.server_span().await;
    assert_eq!(attribute(&server, "rpc.response.status_code").as_deref(), Some("-32602"));
    assert_eq!(attribute(&server, "error.type").as_deref(), Some("-32602"));
    // A name that the slot has not listed is a client's text.
    assert_eq!(attribute(&server, "gen_ai.tool.name").as_deref(), Some("other"));
}

#[tokio::test]
async fn a_request_of_a_route_is_traced_to_its_backend() {
    let collector = collector("200 OK").await;
    let (other, received) = (backend().await, Arc::new(Mutex::new(String::new())));
    let (address, kept) = (other.address().to_owned(), received.clone());
    let _serving = other.serve(move |request| {
        request.field("traceparent").unwrap_or_default().clone_into(&mut kept.lock().unwrap());
        ok("{}")
    });
    let route = format!(
        "[[route]]\nname = \"files\"\nprefix = \"/files\"\naddress = \"{address}\"\nauth = \"bearer\"\nmethods = [\"GET\"]\n"
    );
    let guard = guard().token("t").config(&(collector.table("") + &route)).start().await;
    let token = "Authorization: Bearer t\r\n";
    let request = format!("GET /files/t0p-secret HTTP/1.1\r\nHost: localhost\r\n{token}{}\r\n", caller("01"));
    assert_eq!(guard.connect().await.exchange(request).await.status(), 200);
    let (server, exchange) =
        (collector.server_span().await, collector.wait_for(1, SpanKind::Client).await.remove(0));
    assert_eq!(
        (server.name.as_str(), attribute(&server, "mcp_guard.route").as_deref()),
        ("GET files", Some("files"))
    );
    assert_eq!(*received.lock().unwrap(), format!("00-{TRACE}-{}-01", hex(&exchange.span_id)));
    assert!(!format!("{server:?}").contains("t0p-secret"));
}

// A request without a credential has no part in the traces of callers.
#[tokio::test]
async fn a_request_of_an_open_route_gets_a_trace_of_its_own_with_a_link() {
    let collector = collector("200 OK").await;
    let other = backend().await;
    let route = format!(
        "[[route]]\nname = \"files\"\nprefix = \"/files\"\naddress = \"{}\"\nauth = \"none\"\nmethods = [\"GET\"]\n",
        other.address()
    );
    let _serving = other.serve(|_| ok("{}"));
    let guard = guard().token("t").config(&(collector.table("sample = \"100%\"") + &route)).start().await;
    let request = format!("GET /files/a HTTP/1.1\r\nHost: localhost\r\n{}\r\n", caller("01"));
    assert_eq!(guard.connect().await.exchange(request).await.status(), 200);
    let server = collector.server_span().await;
    assert_ne!(hex(&server.trace_id), TRACE);
    assert_eq!(server.links.iter().map(|link| hex(&link.trace_id)).collect::<Vec<_>>(), [TRACE]);
}

#[tokio::test]
async fn probes_have_no_trace() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "sample = \"100%\"", |guard| guard).await;
    let health = format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n", caller("01"));
    guard.connect().await.exchange(health).await;
    seen(&guard, &caller("01")).await;
    assert_eq!(collector.wait_for(1, SpanKind::Server).await.len(), 1);
}

#[tokio::test]
async fn headers_of_the_collector_come_from_the_environment() {
    let collector = collector("200 OK").await;
    let (guard, _backend) = traced(&collector, "headers_env = \"OTLP\"", |guard| {
        guard.environment("OTLP", "api-key=t0p-secret,x-tenant=a%20b")
    })
    .await;
    seen(&guard, &caller("01")).await;
    collector.server_span().await;
    let request = collector.received.lock().unwrap()[0].0.clone();
    assert_eq!(request.start, "POST /v1/traces HTTP/1.1");
    assert_eq!((request.field("api-key"), request.field("x-tenant")), (Some("t0p-secret"), Some("a b")));
    assert_eq!(request.field("content-type"), Some("application/x-protobuf"));
    assert!(guard.log().iter().all(|line| !line.contains("t0p-secret")));
}

// "Export is off the path, bounded, dropped spans counted". Collectors that hang or are away: tests/e2e/test_traces.py.
#[tokio::test]
async fn a_collector_that_refuses_is_said_once_and_replaced_by_a_reload() {
    let refusing = collector("400 Bad Request").await;
    let (guard, _backend) = traced(&refusing, "sample = \"100%\"", |guard| guard.admin()).await;
    for _ in 0..3 {
        seen(&guard, "").await;
    }
    guard.logged("spans do not arrive: the collector responded with HTTP 400").await;
    let failed = || guard.metric(r#"mcp_guard_trace_spans_total{result="failed"}"#);
    eventually("failed spans are counted", || async { failed().await >= 6.0 }).await;
    // A reload sends the spans to another collector.
    let other = collector("200 OK").await;
    guard.edit(refusing.server.address(), other.server.address());
    guard.command_ok("reload").await;
    seen(&guard, &caller("01")).await;
    other.server_span().await;
    guard.logged("spans arrive at the collector").await;
    assert_eq!(guard.log().iter().filter(|line| line.contains("spans do not arrive")).count(), 1);
    // And a reload takes traces away.
    guard.edit("endpoint", "# endpoint");
    guard.command_ok("reload").await;
    assert_eq!(seen(&guard, &caller("01")).await.0, format!("00-{TRACE}-{PARENT}-01"));
}

#[tokio::test]
async fn spans_that_wait_are_exported_at_the_end() {
    let collector = collector("200 OK").await;
    let (mut guard, _backend) = traced(&collector, "sample = \"100%\"", |guard| guard).await;
    seen(&guard, "").await;
    guard.signal(rustix::process::Signal::TERM);
    guard.ended().await;
    assert_eq!(collector.spans().len(), 2);
}
