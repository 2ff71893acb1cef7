"""The shipped configurations of nginx and Caddy, run as shipped: what a client sends and receives through them."""

import json
import socket
import threading
import time

import pytest

from harness.curl import call, curl
from harness.proxies import PROXIES
from mcp_testkit.guard import TOKEN, WRONG_TOKEN, Guard
from test_forwarding import BODY, RESULT, Recorder, headers, read_head

PATHS = ["/swf-monitor/mcp", "/swf-monitor/mcp/"]
ONLY_POST = '{"error": "MCP endpoint accepts POST JSON-RPC only", "allowed_methods": ["POST"]}'
PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}'


@pytest.fixture(params=PROXIES)
def proxy(request, programs, stacks):
    """The proxy's URL; behind it a guard and mcp-tools."""
    backend = stacks("mcp-tools").backend
    return PROXIES[request.param](programs, Guard(programs, backend.address, backend.path).address)


@pytest.fixture(params=PROXIES)
def recorded(request, programs):
    """The proxy's URL, and what the backend behind it receives."""
    recorder = Recorder(str(programs.folder / "recorder.sock"))
    guard = Guard(programs, f"unix:{programs.folder}/recorder.sock", "/mcp")
    yield PROXIES[request.param](programs, guard.address) + PATHS[0], recorder
    recorder.close()


def test_calls_and_refusals_pass_unchanged_through_the_proxy(proxy):
    for url in [proxy + path for path in PATHS]:
        assert call(url, "tools/list").json()["result"]["tools"]
        got = curl(url, token=TOKEN)
        assert (got.status, got.body.decode(), got.headers["allow"]) == (405, ONLY_POST, "POST"), got
        got = curl(url, data=PING)
        assert (got.status, got.headers["www-authenticate"]) == (401, 'Bearer realm="mcp"'), got
        got = curl(url, data=PING, token=WRONG_TOKEN)
        assert (got.status, got.body.decode()) == (403, '{"error": "Invalid token"}'), got
    health = curl(proxy + "/swf-monitor/mcp/health")
    assert (health.status, health.body) == (200, b'{"status": "ok"}'), health
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server/swf-monitor/mcp"]:
        got = curl(proxy + path)
        assert (got.status, got.body) == (404, b'{"error":"not_found"}'), got
    assert curl(proxy + "/register", data="{}").json()["error"] == "access_denied"


def test_the_rest_of_the_site_is_the_proxys(proxy):
    for path in ["/", "/swf-monitor/mcpx", "/.well-known/acme-challenge/x"]:
        got = curl(proxy + path, token=TOKEN)
        assert got.body == b"the site" and "x-request-id" not in got.headers, got


def test_a_body_beyond_the_limit_gets_the_guards_refusal_through_the_proxy(proxy, tmp_path):
    large = tmp_path / "large"
    large.write_text('{"jsonrpc":"2.0","id":7,"method":"ping","params":{"_meta":{"a":"' + "x" * 6_000_000 + '"}}}')
    got = curl(proxy + PATHS[0], data=f"@{large}", token=TOKEN)
    assert got.json()["id"] == 7 and "body_too_large" in got.body.decode(), got


def test_the_backend_gets_the_proxys_fields_and_not_the_clients(recorded):
    url, recorder = recorded
    claims = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: gopher", "X-Request-Id: evil", "Forwarded: for=6.6.6.6"]
    response = curl(url, *[part for claim in claims for part in ("-H", claim)], data=BODY, token=TOKEN)
    assert response.status == 200 and response.body == RESULT.encode(), response
    head, body = recorder.requests[-1]
    got = headers(head)
    assert body == BODY.encode()
    assert "6.6.6.6" not in head and "evil" not in head and "gopher" not in head and TOKEN not in head, head
    assert got["x-forwarded-for"][0].startswith("127.0.0.1") and got["x-forwarded-proto"] == ["http"], head
    assert got["x-real-ip"] == ["127.0.0.1"], head
    assert got["x-forwarded-host"][0].startswith("127.0.0.1:"), head
    assert got["x-request-id"] == [response.headers["x-request-id"]], head


@pytest.mark.parametrize("name", PROXIES)
def test_each_event_passes_the_proxy_before_the_next_one_is_sent(name, programs):
    may_go_on = threading.Event()
    event = 'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"one"}}\n\n'
    last = f"event: message\ndata: {RESULT}\n\n"
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := read_head(stream):
                message = json.loads(stream.read(int(headers(head)["content-length"][0])))
                if message["method"] != "tools/call":
                    body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": {}})
                    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
                    continue
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{event}".encode())
                may_go_on.wait(20)
                connection.sendall(last.encode())
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    guard = Guard(programs, f"127.0.0.1:{listener.getsockname()[1]}", "/mcp")
    url = PROXIES[name](programs, guard.address)
    host = url.removeprefix("http://")
    with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])), timeout=10) as client:
        request = f"POST {PATHS[0]} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        request += f"Accept: application/json, text/event-stream\r\nAccept-Encoding: gzip\r\nContent-Length: {len(BODY.encode())}\r\n\r\n{BODY}"
        client.sendall(request.encode())
        seen = b""
        while b'"one"' not in seen:
            seen += client.recv(4096)
        assert b"content" not in seen.split(b"\r\n\r\n", 1)[1], seen
        may_go_on.set()
        deadline = time.monotonic() + 10
        while b'"content":[]' not in seen and time.monotonic() < deadline:
            seen += client.recv(4096)
        assert b'"content":[]' in seen, seen
    listener.close()
