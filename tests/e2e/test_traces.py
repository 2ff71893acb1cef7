"""Spans at a collector that reads OpenTelemetry's own protobuf definitions: from the client through Apache, guard and mcp-tools to PostgreSQL and a service."""

import http.client
import importlib
import json
import pkgutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import opentelemetry.semconv._incubating.attributes as published
import pytest

from harness.apache import Apache
from harness.collector import Collector, Span
from harness.curl import call, curl, metric
from harness.postgresql import Postgres
from mcp_testkit.guard import TOKEN, WRONG_TOKEN, Guard
from mcp_testkit.paths import TOOLS
from mcp_testkit.programs import Programs, wait_until
from mcp_testkit.tools import guarded_tools

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = ["-H", f"traceparent: 00-{TRACE}-{PARENT}-01", "-H", "tracestate: vendor=1"]
SECRET = "t0p-secret-argument"
#: The path of a webhook, which is its key.
HIDDEN = "h1dd3n-path"
CATALOGUE = """
[service.things]
base_url_env = "THINGS_URL"

[[tool]]
name = "find"
description = "Finds."
read_only = true
[tool.params.text]
type = "string"
description = "What to find."
[tool.sql]
shape = "sections"
[[tool.sql.section]]
name = "tables"
shape = "rows"
query = "SELECT relname FROM pg_class WHERE relname = :text"
[[tool.sql.section]]
name = "columns"
shape = "rows"
query = "SELECT attname FROM pg_attribute WHERE attname = :text"

[[tool]]
name = "break"
description = "Breaks."
read_only = true
[tool.params.text]
type = "string"
description = "Not a number."
[tool.sql]
shape = "value"
query = "SELECT CAST(:text AS integer) AS number"

[[tool]]
name = "fetch"
description = "Fetches."
read_only = true
[tool.params.id]
type = "string"
description = "What to fetch."
[tool.http]
service = "things"
method = "GET"
path = "/things/{id}"
"""


def known_names() -> set[str]:
    """Every attribute that OpenTelemetry has published, in the pinned version of its package."""
    names = set()
    for module in pkgutil.iter_modules(published.__path__):
        values = vars(importlib.import_module(f"{published.__name__}.{module.name}"))
        names |= {value for key, value in values.items() if key.isupper() and isinstance(value, str)}
    assert {"mcp.method.name", "gen_ai.tool.name", "error.type", "db.query.summary"} <= names
    return names


def check_names(spans: list[Span]) -> None:
    used = {key for span in spans for key in span.attributes}
    unknown = {key for key in used - known_names() if not key.startswith(("mcp_guard.", "mcp_tools."))}
    assert not unknown, unknown


def traced(programs: Programs, collector: Collector, keys: str = 'sample = "100%"', **options) -> Guard:
    _, guard = guarded_tools(programs, more=f'[traces]\nendpoint = "{collector.url}"\n{keys}\n', **options)
    return guard


class Calls:
    """Calls on one connection, as a steady client makes them."""

    def __init__(self, guard: Guard):
        self._connection = http.client.HTTPConnection(*guard.address.split(":"), timeout=30)

    def make(self, count: int) -> list[float]:
        """Makes calls and returns how long each took."""
        times = []
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}})
        for _ in range(count):
            begun = time.monotonic()
            self._connection.request("POST", "/mcp", body, {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"})
            response = self._connection.getresponse()
            assert response.status == 200 and b"result" in response.read()
            times.append(time.monotonic() - begun)
        return times


@pytest.fixture
def things():
    """A service that keeps the heads that it gets."""
    heads = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            heads.append((self.path, dict(self.headers.items())))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"found": true}')

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", heads
    server.shutdown()
    server.server_close()


@pytest.fixture
def whole(programs, tmp_path, things):
    """Apache, guard, mcp-tools and PostgreSQL, and the collector of both programs."""
    postgres, catalogue = Postgres(programs), tmp_path / "tools.toml"
    catalogue.write_text(CATALOGUE)
    with Collector() as collector:
        address = f"unix:{programs.folder}/tools.sock"
        argv = [str(TOOLS), "serve", "--socket", address.removeprefix("unix:"), "--catalog", str(catalogue)]
        argv += ["--database", postgres.url, "--traces", collector.url, "--traces-sample", "0%"]
        programs.start("mcp-tools", argv, {"THINGS_URL": f"{things[0]}/{HIDDEN}"}).wait_for(address)
        more = f'[traces]\nendpoint = "{collector.url}"\nsample = "0%"\n'
        guard = Guard(programs, address, "/mcp", more=more)
        yield collector, guard, Apache(programs, guard.address).url + "/swf-monitor/mcp"


def run(url: str, tool: str, **arguments: str) -> dict:
    response = call(url, "tools/call", {"name": tool, "arguments": arguments}, *CALLER)
    assert response.status == 200, response
    return response.json()["result"]


def test_one_trace_goes_from_the_client_through_apache_guard_and_tools_to_postgresql(whole):
    collector, guard, url = whole
    call(url, "tools/list")  # The guard learns the names of tools from the list that it relays.
    # The first call of a statement finds its types, and the second one goes through the pipeline.
    for turn in (1, 2):
        collector.spans.clear()
        assert not run(url, "find", text=SECRET).get("isError")
        name = "tools/call find"
        server, exchange = collector.one("mcp-guard", "server", name), collector.one("mcp-guard", "client", name)
        tool = collector.one("mcp-tools", "server", name)
        statements = [collector.one("mcp-tools", "client", f"SELECT {table}") for table in ("pg_class", "pg_attribute")]
        spans = [server, exchange, tool, *statements]
        assert {span.trace for span in spans} == {TRACE}, spans
        assert [span.parent for span in spans] == [PARENT, server.id, exchange.id, tool.id, tool.id], spans
        # One clock: whatever is below another lies within it.
        for outer, inner in [(server, exchange), (exchange, tool), *((tool, statement) for statement in statements)]:
            assert outer.begin <= inner.begin <= inner.end <= outer.end + 2_000_000, (turn, outer, inner)
        assert statements[0].end <= statements[1].begin + 1000, statements
        assert not any(span.is_error for span in spans), spans
        assert server.attributes["gen_ai.tool.name"] == tool.attributes["gen_ai.tool.name"] == "find"
        assert server.attributes["mcp_guard.request_id"] == tool.attributes["mcp_tools.request_id"]
        assert statements[0].attributes["db.system.name"] == "postgresql" and statements[0].attributes["db.operation.name"] == "SELECT"
        check_names(spans)
        assert SECRET not in repr(spans) and TOKEN not in repr(spans)
    line = wait_until("the call in the log", lambda: next((line for line in guard.lines() if line.get("trace_id") == TRACE), None))
    assert line["tool"] == "find"


def test_a_failed_statement_is_the_error_of_its_span_without_its_value(whole):
    collector, _, url = whole
    call(url, "tools/list")
    assert run(url, "break", text=SECRET)["isError"]
    statement, tool = collector.one("mcp-tools", "client", "SELECT"), collector.one("mcp-tools", "server", "tools/call break")
    server = collector.one("mcp-guard", "server", "tools/call break")
    assert statement.is_error and statement.attributes["db.response.status_code"] == "22P02", statement
    assert (tool.attributes["error.type"], server.attributes["error.type"]) == ("tool_error", "tool_error")
    check_names(collector.spans)
    assert SECRET not in repr(collector.spans)


def test_a_service_gets_the_trace_of_the_call(whole, things):
    collector, _, url = whole
    call(url, "tools/list")
    assert not run(url, "fetch", id=SECRET).get("isError")
    request, tool = collector.one("mcp-tools", "client", "GET /things/{id}"), collector.one("mcp-tools", "server", "tools/call fetch")
    assert (request.trace, request.parent) == (TRACE, tool.id)
    path, head = things[1][0]
    assert path == f"/{HIDDEN}/things/{SECRET}"
    assert head["traceparent"] == f"00-{TRACE}-{request.id}-01" and head["tracestate"] == "vendor=1", head
    assert request.attributes["http.response.status_code"] == 200 and request.attributes["mcp_tools.service"] == "things"
    check_names(collector.spans)
    assert SECRET not in repr(collector.spans) and HIDDEN not in repr(collector.spans)


def test_refusals_have_spans_with_the_published_names(programs):
    with Collector() as collector:
        guard = traced(programs, collector)
        assert curl(f"{guard.url}/mcp", data="{}", token=WRONG_TOKEN).status == 403
        assert curl(f"{guard.url}/elsewhere", data="{}", token=TOKEN).status == 404
        assert call(f"{guard.url}/mcp", "tools/call", {"name": "no_such_tool", "arguments": {}}).status == 200
        spans = collector.wait_for("the spans", 3, lambda span: span.kind == "server")
        assert [span.attributes["error.type"] for span in spans] == ["token_invalid", "path_not_found", "-32602"], spans
        assert [span.is_error for span in spans] == [False, False, True], "a 4xx status is no failure of the server"
        check_names(collector.spans)


def test_a_ratio_samples_its_share_and_every_call_has_a_trace_id(programs):
    with Collector() as collector:
        guard = traced(programs, collector, 'sample = "25%"')
        Calls(guard).make(800)
        guard.program.signal(15)
        guard.program.wait()  # What waits is exported at the end.
        sampled = {span.trace for span in collector.spans if span.kind == "server"}
        # Five standard deviations of a binomial distribution.
        assert 140 <= len(sampled) <= 260, len(sampled)
        logged = [line for line in guard.lines() if line.get("method") == "ping"]
        assert len(logged) == 800 and sampled <= {line["trace_id"] for line in logged}
        assert len({line["trace_id"] for line in logged}) == 800


def test_a_collector_that_is_slow_refuses_or_is_away_costs_no_call_and_the_loss_is_counted(programs):
    released = threading.Event()
    with Collector(before=lambda: released.wait(60)) as slow, Collector(status=400) as refusing, socket.socket() as away:
        away.bind(("127.0.0.1", 0))  # Bound and not listening: a connection is refused.
        guard = traced(programs, slow)
        spans = 'mcp_guard_trace_spans_total{result="%s"}'
        slowest = {"slow": max(Calls(guard).make(2500))}
        # 5,000 spans; of these 4,096 wait, and one batch is at the collector.
        assert metric(guard.metrics, spans % "dropped") >= 300 and metric(guard.metrics, spans % "exported") == 0
        released.set()
        slow.wait_for("the spans that waited", 4096, lambda span: True)
        for name, url in [("refusing", refusing.url), ("away", f"http://127.0.0.1:{away.getsockname()[1]}")]:
            guard.config.write_text(guard.config.read_text().replace(slow.url, url).replace(refusing.url, url))
            guard.command("reload")
            slowest[name] = max(Calls(guard).make(300))
            if name == "refusing":
                wait_until("what it refuses is counted", lambda: metric(guard.metrics, spans % "failed") >= 300)
        # An attempt at a collector that is slow takes 10 s.
        assert max(slowest.values()) < 8, slowest
        log = guard.program.log()
        assert log.count("spans do not arrive") <= 3 and "HTTP 400" in log, log
        begun = time.monotonic()
        guard.program.signal(15)
        guard.program.wait()
        assert time.monotonic() - begun < 10


def test_an_upgrade_loses_no_span(programs):
    with Collector() as collector:
        guard = traced(programs, collector)
        Calls(guard).make(5)
        guard.upgrade()
        Calls(guard).make(5)
        spans = collector.wait_for("spans of both processes", 10, lambda span: span.kind == "server")
        assert len(spans) == 10 and len({span.id for span in spans}) == 10


def test_check_names_a_wrong_collector_without_its_secret(programs, tmp_path):
    file = tmp_path / "guard.toml"
    file.write_text('[slots.blue]\naddress = "unix:/run/x.sock"\n[traces]\nendpoint = "https://me:t0p-s3cret@otel.example.org"\nsample = "a lot"\n')
    _, guard = guarded_tools(programs)
    guard.config = file
    done = guard.command("check")
    assert done.returncode == 1 and "traces.endpoint" in done.stdout + done.stderr and "traces.sample" in done.stdout + done.stderr
    assert "t0p-s3cret" not in done.stdout + done.stderr
