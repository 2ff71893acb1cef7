"""A collector of OpenTelemetry that keeps what it gets, on the official protobuf definitions (PyPI: opentelemetry-proto)."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from mcp_testkit.programs import wait_until


@dataclass
class Span:
    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    begin: int
    end: int
    is_error: bool
    attributes: dict[str, object]


@dataclass
class Collector:
    """`before` runs in each request, before its response; `status` is that of the response."""

    before: Callable[[], None] = lambda: None
    status: int = 200
    spans: list[Span] = field(default_factory=list)

    def __enter__(self) -> "Collector":
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf", self.headers
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                collector.before()
                if collector.status == 200:
                    collector.spans += spans_of(request)
                body = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, what: str, count: int, wanted: Callable[[Span], bool], seconds: int = 30) -> list[Span]:
        wait_until(what, lambda: len([span for span in self.spans if wanted(span)]) >= count, seconds)
        return [span for span in self.spans if wanted(span)]

    def one(self, service: str, kind: str, name: str) -> Span:
        found = self.wait_for(f"{service} {kind} {name}", 1, lambda span: (span.service, span.kind, span.name) == (service, kind, name))
        assert len(found) == 1, found
        return found[0]


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    found = []
    for one in request.resource_spans:
        resource = {pair.key: pair.value.string_value for pair in one.resource.attributes}
        found += [span(resource["service.name"], wire) for scope in one.scope_spans for wire in scope.spans]
    return found


def span(service: str, wire: WireSpan) -> Span:
    attributes = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in wire.attributes}
    assert len(attributes) == len(wire.attributes), f"an attribute stands twice: {wire}"
    kind = WireSpan.SpanKind.Name(wire.kind).removeprefix("SPAN_KIND_").lower()
    is_error = wire.status.code == Status.STATUS_CODE_ERROR
    ids = [wire.trace_id.hex(), wire.span_id.hex(), wire.parent_span_id.hex()]
    return Span(service, wire.name, kind, *ids, wire.start_time_unix_nano, wire.end_time_unix_nano, is_error, attributes)
