"""The shipped example configurations in front of real backends (Flask under gunicorn, a WebSocket server), through Apache, too."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from harness.apache import MODULES, NEEDED, Apache
from harness.curl import curl
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import E2E, GUARD, ROOT, python, system
from mcp_testkit.programs import Program, Programs, free_port

KEY = "secret"  # its hash stands in the examples
EXAMPLES = ROOT / "conf" / "examples"


def gunicorn(programs: Programs, address: str) -> Program:
    argv = [python("routes"), "-m", "gunicorn", "--chdir", str(E2E / "backends"), "--bind", address]
    argv += ["--worker-class", "gthread", "--threads", "8", "--graceful-timeout", "1", "orchestrator:app"]
    # It would leave a socket in the home of the user that runs the tests.
    return programs.start("gunicorn", argv, {"HOME": str(programs.folder)}).wait_for(address)


class Example:
    """A guard with a shipped example, in which nothing but addresses is replaced."""

    def __init__(self, programs: Programs, name: str, addresses: dict[str, str]):
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics = f"127.0.0.1:{free_port()}"
        text = (EXAMPLES / name).read_text()
        for shipped, ours in {"127.0.0.1:8001": self.address, "127.0.0.1:9464": self.metrics, **addresses}.items():
            assert f'"{shipped}"' in text, f"{name} no longer says {shipped}"
            text = text.replace(f'"{shipped}"', f'"{ours}"')
        config = programs.folder / name
        config.write_text(text)
        self.url = f"http://{self.address}"
        argv = [str(GUARD), "run", "--config", str(config)]
        self.program = programs.start("guard", argv, {"MCP_BEARER_TOKEN": TOKEN}).wait_for(self.address)


class Site(Apache):
    """Apache with the lines of docs/routes.md for these paths."""

    def __init__(self, programs: Programs, guard: Example, paths: list[str]):
        lines = re.findall(r"(?m)^ProxyPass .*$", (ROOT / "docs" / "routes.md").read_text())
        assert len(lines) == 2, lines
        lines = [line.replace("http://127.0.0.1:8001", guard.url) for line in lines]
        if "/orchestrator" not in paths:
            lines = [lines[1].replace("/orchestrator", path) for path in paths]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = programs.folder / "apache-routes.conf"
        modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in [*NEEDED, "proxy_wstunnel"])
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        folder = programs.folder
        config.write_text(
            f'ServerRoot "{folder}"\nPidFile "{folder}/apache.pid"\nDefaultRuntimeDir "{folder}"\nMutex file:{folder}\n{modules}\n{user}\n'
            f'ServerName mcp.test\nListen 127.0.0.1:{self.port}\nErrorLog "{folder}/apache-error.log"\nThreadsPerChild 16\nStartServers 1\n'
            + "\n".join(lines)
        )
        argv = [system("apache2"), "-f", str(config), "-DFOREGROUND"]
        self.program = programs.start("apache", argv).wait_for(f"127.0.0.1:{self.port}")


@pytest.fixture(scope="module")
def orchestrator(module_programs):
    programs = module_programs
    sock = f"unix:{programs.folder}/o.sock"
    gunicorn(programs, sock)
    port = free_port()
    programs.start("ws-echo", [python("routes"), str(E2E / "backends" / "ws_echo.py"), str(port)]).wait_for(f"127.0.0.1:{port}")
    addresses = {
        "unix:/run/mcp-tools/blue.sock": f"unix:{programs.folder}/none.sock",
        "unix:/run/orchestrator/http.sock": sock,
        "127.0.0.1:8765": f"127.0.0.1:{port}",
    }
    guard = Example(programs, "orchestrator.toml", addresses)
    return guard, Site(programs, guard, ["/orchestrator"])


@pytest.fixture(params=["direct", "apache"])
def url(request, orchestrator) -> str:
    guard, apache = orchestrator
    return (guard if request.param == "direct" else apache).url


def with_key(url: str, *options: str, data: str | None = None):
    return curl(url, "-H", f"X-API-Key: {KEY}", *options, data=data)


def test_the_backends_own_health_needs_no_key(url):
    response = curl(url + "/orchestrator/health")
    assert response.status == 200 and response.json()["checks"] == {"database": "ok"}, response
    assert "server" not in response.headers or "gunicorn" not in response.headers["server"], response


def test_the_guards_own_health_is_its_own(orchestrator):
    assert curl(orchestrator[0].url + "/health").body == b'{"status": "ok"}'


def test_tools_are_listed_to_holders_of_a_key(url):
    response = with_key(url + "/orchestrator/tools/validate?verbose=1")
    assert response.json() == {"tools": ["orchestrate", "validate"], "name": "validate", "query": "verbose=1"}, response
    for options, body in ([], "API key required"), (["-H", "X-API-Key: other"], "Invalid API key"):
        refused = curl(url + "/orchestrator/tools", *options)
        assert (refused.status, refused.json()) == (401, {"error": body}), refused


def test_a_tool_runs_and_gets_the_client_s_name(orchestrator):
    """And nothing that is the guard's business; its cookie does not come back. The sixth run in a minute waits."""
    url = orchestrator[1].url + "/orchestrator/tools/orchestrate"
    for number in range(5):
        response = with_key(url, "-H", "Cookie: a=b", "-H", f"Authorization: Bearer {TOKEN}", data=json.dumps({"n": number}))
        assert response.status == 200 and response.json()["got"] == {"n": number}, response
        headers = {name.lower(): value for name, value in response.json()["headers"].items()}
        assert headers["x-mcp-client"] == "ui" and headers["x-request-id"] == response.headers["x-request-id"], response
        assert headers["x-forwarded-for"].startswith("127.0.0.1") and "mcp-guard" in headers["via"], response
        assert not {"cookie", "authorization", "x-api-key"} & set(headers), response
        assert "set-cookie" not in response.headers, response
    response = with_key(url, data="{}")
    assert response.status == 429 and 1 <= int(response.headers["retry-after"]) <= 12, response
    assert with_key(orchestrator[0].url + "/orchestrator/tools/validate", data="{}").status == 200


@pytest.mark.parametrize("path", ["/orchestrator", "/orchestrator/", "/orchestrator/admin", "/orchestrator/tools/../stream/1", "/tools", "/stream/1"])
def test_what_no_route_names_is_shut(orchestrator, path):
    response = with_key(orchestrator[0].url + path)
    assert response.status == 405 and response.headers["allow"] == "POST", response


def test_other_methods_are_refused(url):
    response = with_key(url + "/orchestrator/tools/validate", "-X", "DELETE")
    assert (response.status, response.headers["allow"]) == (405, "GET, POST"), response


def read_events(url: str, path: str, fields: str, count: int) -> tuple[list[str], socket.socket, bytes]:
    """Reads that many events as they come, and leaves the connection open; what has arrived so far is returned, too."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
    raw, arrived = b"", []
    while len(arrived) < count:
        piece = connection.recv(65536)
        assert piece, raw
        raw += piece
        arrived = re.findall(rb"data: [^\n]+", raw)
    assert raw.startswith(b"HTTP/1.1 200") and b"text/event-stream" in raw, raw
    return [event.decode() for event in arrived], connection, raw


def test_events_arrive_one_by_one(url):
    begun = time.monotonic()
    events, connection, _ = read_events(url, "/orchestrator/stream/t7", f"X-API-Key: {KEY}\r\n", 5)
    connection.close()
    assert events[:5] == [f"data: t7 {number}" for number in range(5)]
    assert 0.3 < time.monotonic() - begun < 5, "events come as they are made, about ten in a second"


def websocket(url: str, key: str, what: str) -> subprocess.Popen:
    argv = [python("routes"), str(E2E / "clients" / "ws.py"), url.replace("http:", "ws:") + "/orchestrator/ws", key, what]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen) -> list[dict]:
    out, _ = process.communicate(timeout=20)
    return [json.loads(line) for line in out.splitlines()]


def test_a_websocket_echoes(url):
    opened, echoed = lines(websocket(url, KEY, "echo"))
    assert opened["opened"]["path"] == "/ws" and opened["request_id"], opened
    assert not {"x-api-key", "cookie"} & {name.lower() for name in opened["opened"]["headers"]}, opened
    assert echoed == {"echoed": True}


def test_a_websocket_without_a_key_is_refused_before_the_upgrade(url):
    (refused,) = lines(websocket(url, "", "echo"))
    assert refused["status"] == 401 and json.loads(refused["body"]) == {"error": "API key required"}


def test_metrics_have_the_names_of_the_configuration(orchestrator):
    text = curl(f"http://{orchestrator[0].metrics}/metrics").body.decode()
    assert re.search(r'mcp_guard_route_requests_total\{client="ui",outcome="ok",route="orchestrator-tools"\} \d', text), text
    assert 'mcp_guard_route_streams{route="orchestrator-stream"}' in text


def monitor(programs: Programs) -> Example:
    port = f"127.0.0.1:{free_port()}"
    gunicorn(programs, port)
    tools = f"unix:{programs.folder}/none.sock"
    return Example(programs, "monitor.toml", {"unix:/run/mcp-tools/blue.sock": tools, "127.0.0.1:8002": port})


def test_the_monitors_stream_stands_beside_the_endpoint_and_ends_properly(programs):
    guard = monitor(programs)
    apache = Site(programs, guard, ["/swf-monitor/api/messages/stream"])
    path = "/swf-monitor/api/messages/stream/"
    assert curl(guard.url + path).status == 401
    assert curl(guard.url + "/swf-monitor/mcp", token=TOKEN).status == 405
    fields = f"Authorization: Bearer {TOKEN}\r\n"
    ends = []
    for url in guard.url, apache.url:
        events, connection, raw = read_events(url, path, fields, 2)
        assert events[:2] == ["data: default 0", "data: default 1"]
        ends.append((connection, raw))
    guard.program.signal(signal.SIGTERM)
    for connection, raw in ends:
        while piece := connection.recv(65536):
            raw += piece
        assert raw.endswith(b"\n\n\r\n0\r\n\r\n"), "a whole event, and the proper end of the body"
        connection.close()
    assert guard.program.wait() == 0


def test_a_websocket_gets_a_close_frame_when_the_guard_stops(programs):
    port = free_port()
    programs.start("ws-echo", [python("routes"), str(E2E / "backends" / "ws_echo.py"), str(port)]).wait_for(f"127.0.0.1:{port}")
    guard = Example(programs, "orchestrator.toml", {"127.0.0.1:8765": f"127.0.0.1:{port}"})
    client = websocket(guard.url, KEY, "wait")
    assert "opened" in client.stdout.readline()
    guard.program.signal(signal.SIGTERM)
    assert lines(client) == [{"closed": 1001}]
    assert guard.program.wait() == 0


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.toml")))
def test_every_example_is_judged_good(name):
    done = subprocess.run([str(GUARD), "check", "--config", str(Path(EXAMPLES / name))], capture_output=True, text=True, env={"MCP_BEARER_TOKEN": TOKEN})
    assert done.returncode == 0, done.stdout + done.stderr
