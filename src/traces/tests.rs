//! What spans say of a request.

use mcp_traces::{Kind, Parent, Sampled, TraceContext, TraceParent, Value};
use tokio::time::Instant;

use super::*;
use crate::policy::Denial;
use crate::telemetry::Outcome;
use crate::upstream::Slot;
use crate::wire::{Method, ProtocolVersion};

const CALLER: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn trace(sampled: Sampled) -> RequestTrace {
    let (ids, caller) = (Ids::new().unwrap(), TraceParent::parse(CALLER).unwrap());
    let context = TraceContext::continued(&caller, ids.span(), sampled);
    RequestTrace::new(context, Some("vendor=1".to_owned()), None, Instant::now())
}

fn add_exchange(
    trace: &RequestTrace,
    after: Duration,
    server: ServerAddress,
    failed: Option<(Duration, &'static str)>,
) {
    let exchange = Exchange {
        id: Ids::new().unwrap().span(),
        slot: Some(Slot::Green),
        server,
        begun: trace.started + after,
        failed: failed.map(|(failed, why)| (trace.started + failed, why)),
    };
    trace.facts().unwrap().exchanges.push(exchange);
}

fn record(trace: &RequestTrace) -> Record<'_> {
    Record {
        client: Some("bot7"),
        method: Some(Method::ToolsCall),
        tool: Some("add".to_owned()),
        slot: Some(Slot::Green),
        status: Some(200),
        total: Some(Duration::from_millis(9)),
        trace: Some(trace),
        ..Record::new("0a1b", Some("127.0.0.1"))
    }
}

fn shown(span: &Span<'_>) -> Vec<String> {
    let show = |(key, value): &(&str, Value)| match value {
        Value::Word(word) => format!("{key}={word}"),
        Value::Text(text) => format!("{key}={text}"),
        Value::Number(number) => format!("{key}={number}"),
    };
    span.attributes.iter().map(show).collect()
}

#[test]
fn a_call_has_a_server_span_and_a_client_span_for_each_exchange() {
    let trace = trace(Sampled::Recorded);
    let ms = Duration::from_millis;
    add_exchange(&trace, ms(1), ServerAddress::Unix("/run/a.sock".to_owned()), Some((ms(2), "no_response")));
    add_exchange(&trace, ms(3), ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: 8002 }, None);
    {
        let mut facts = trace.facts().unwrap();
        facts.version = Some(ProtocolVersion::LEGACY_LAST);
        facts.stage = Some("canary");
        facts.rpc_id = Some("7".to_owned());
    }
    let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    let (record, facts) = (record(&trace), trace.facts().unwrap());
    let [first, second, server] = spans(&record, &trace, &facts, begun).try_into().unwrap();

    assert_eq!((server.kind, server.status), (Kind::Server, Status::Unset));
    assert_eq!(
        server
            .parent
            .map(|parent| matches!(parent, Parent::Remote(id) if id.to_string() == "b7ad6b7169203331")),
        Some(true)
    );
    assert_eq!((server.begun, server.took), (begun, ms(9)));
    assert_eq!(
        shown(&server),
        [
            "network.protocol.name=http",
            "mcp.method.name=tools/call",
            "gen_ai.operation.name=execute_tool",
            "gen_ai.tool.name=add",
            "mcp.protocol.version=2025-11-25",
            "jsonrpc.request.id=7",
            "network.transport=tcp",
            "http.response.status_code=200",
            "mcp_guard.request_id=0a1b",
            "mcp_guard.outcome=ok",
            "mcp_guard.client=bot7",
            "mcp_guard.slot=green",
            "mcp_guard.stage=canary",
        ]
    );
    for span in [&first, &second] {
        assert_eq!((span.kind, span.parent), (Kind::Client, Some(Parent::Local(server.id))));
        assert_eq!((span.name.as_ref(), span.trace_state.as_ref()), ("tools/call add", "vendor=1"));
    }
    assert_eq!((first.begun, first.took, first.status), (begun + ms(1), ms(1), Status::Error));
    assert!(shown(&first).contains(&"error.type=no_response".to_owned()), "{first:?}");
    assert!(shown(&first).contains(&"server.address=/run/a.sock".to_owned()), "{first:?}");
    assert_eq!((second.begun, second.took, second.status), (begun + ms(3), ms(6), Status::Unset));
    for expected in ["network.transport=tcp", "server.port=8002", "http.request.resend_count=1"] {
        assert!(shown(&second).contains(&expected.to_owned()), "{expected}: {second:?}");
    }
}

#[test]
fn a_failed_request_has_an_error_type_of_a_closed_set() {
    let trace = trace(Sampled::Recorded);
    let check = |outcome, denial, rpc_code, expected: Option<&str>| {
        trace.facts().unwrap().rpc_code = rpc_code;
        let record = Record { outcome, denial, ..record(&trace) };
        let facts = trace.facts().unwrap();
        let span = spans(&record, &trace, &facts, SystemTime::UNIX_EPOCH).pop().unwrap();
        let error =
            shown(&span).into_iter().find_map(|one| Some(one.strip_prefix("error.type=")?.to_owned()));
        assert_eq!(error.as_deref(), expected, "{outcome:?} {denial:?}");
        // A client that goes away is no failure of the server.
        let fails = expected.is_some() && outcome != Outcome::ClientGone;
        assert_eq!(span.status == Status::Error, fails, "{outcome:?}");
    };
    check(Outcome::Ok, None, None, None);
    check(Outcome::ToolError, None, None, Some("tool_error"));
    check(Outcome::RpcError, None, Some(-32602), Some("-32602"));
    check(Outcome::Denied, Some(Denial::PathNotFound), None, Some("path_not_found"));
    check(Outcome::Timeout, Some(Denial::Deadline), None, Some(Denial::Deadline.code()));
    check(Outcome::Upstream, None, None, Some("upstream"));
    check(Outcome::ClientGone, None, None, Some("client_gone"));
    for (status, expected) in [(403, Status::Unset), (503, Status::Error)] {
        let denied = Record {
            outcome: Outcome::Denied,
            denial: Some(Denial::PathNotFound),
            status: Some(status),
            ..record(&trace)
        };
        let facts = trace.facts().unwrap();
        let span = spans(&denied, &trace, &facts, SystemTime::UNIX_EPOCH).pop().unwrap();
        assert_eq!(span.status, expected, "{status}");
    }
}

#[test]
fn a_request_that_is_no_call_is_named_by_its_http_method_and_route() {
    let trace = trace(Sampled::Recorded);
    trace.facts().unwrap().http_method = Some("GET");
    let bare = || Record { method: None, tool: None, ..record(&trace) };
    for (record, name) in [(Record { route: Some("files"), ..bare() }, "GET files"), (bare(), "GET")] {
        let facts = trace.facts().unwrap();
        let span = spans(&record, &trace, &facts, SystemTime::UNIX_EPOCH).pop().unwrap();
        assert_eq!(span.name, name);
        assert!(shown(&span).contains(&"http.request.method=GET".to_owned()));
    }
}

#[test]
fn a_request_that_is_not_sampled_has_no_span() {
    let trace = trace(Sampled::Unrecorded);
    assert!(trace.facts().is_none());
}
