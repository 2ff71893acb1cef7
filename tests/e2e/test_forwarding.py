"""What the backend receives when a client speaks through Apache: seen by a recorder in the backend's place."""

import json
import socket
import threading

import pytest

from harness.apache import Apache
from harness.curl import curl
from mcp_testkit.guard import TOKEN, Guard

BODY = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"é","arguments":{"a": 1.0 }}}'
RESULT = '{"jsonrpc":"2.0","id":1,"result":{ "content":[] }}'


class Recorder:
    """Responds to every request on a Unix socket with RESULT and records heads and bodies."""

    def __init__(self, path: str):
        self.requests: list[tuple[str, bytes]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := read_head(stream):
                length = int(headers(head).get("content-length", ["0"])[0])
                body = stream.read(length)
                message = json.loads(body)
                result = RESULT if message.get("method") == "tools/call" else json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": {}})
                if message.get("method") == "tools/call":
                    self.requests.append((head, body))
                connection.sendall(
                    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: secret/1\r\nSet-Cookie: a=b\r\nContent-Length: {len(result)}\r\n\r\n{result}".encode()
                )

    def close(self) -> None:
        self._socket.close()


def read_head(stream) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return ""
        head += line
    return head.decode("latin-1")


def headers(head: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in head.split("\r\n")[1:]:
        name, separator, value = line.partition(":")
        if separator:
            found.setdefault(name.lower(), []).append(value.strip())
    return found


@pytest.fixture
def seen(programs):
    """`seen(*curl_options)` is what the backend received, (head, headers, body), and the client's response."""
    recorder = Recorder(str(programs.folder / "recorder.sock"))
    guard = Guard(programs, f"unix:{programs.folder}/recorder.sock", "/swf-monitor/mcp/")
    apache = Apache(programs, guard.address)

    def send(*options: str):
        response = curl(apache.url + "/swf-monitor/mcp", *options, data=BODY, token=TOKEN)
        assert response.status == 200, response
        head, body = recorder.requests[-1]
        return head, headers(head), body, response

    yield send
    recorder.close()


def test_bodies_pass_byte_for_byte(seen):
    _, _, body, response = seen()
    assert body == BODY.encode()
    assert response.body == RESULT.encode()


def test_the_target_is_the_slots_own_and_the_query_stays_behind(seen):
    head, got, _, _ = seen()
    assert head.startswith("POST /swf-monitor/mcp/ HTTP/1.1\r\n"), head
    assert got["host"] == ["localhost:80"], head
    assert got["accept"] == ["application/json, text/event-stream"], head


def test_credentials_stop_at_the_guard(seen):
    head, got, _, _ = seen("-H", "Cookie: s=1", "-H", "X-Remote-User: root", "-H", "Proxy: http://evil.test")
    for name in ("authorization", "cookie", "x-remote-user", "origin", "proxy", "connection", "keep-alive"):
        assert name not in got, f"{name} reached the backend:\n{head}"
    assert TOKEN not in head


def test_the_backends_own_headers_stop_at_the_guard(seen):
    _, _, _, response = seen()
    assert "set-cookie" not in response.headers and "secret" not in response.headers.get("server", ""), response


def test_forwarded_headers_are_apaches_and_not_the_clients(seen):
    """Apache is on loopback, which is a trusted proxy; whatever the client claimed is gone."""
    head, got, _, _ = seen("-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Forwarded-Proto: gopher", "-H", "X-Forwarded-Host: evil.test")
    assert "6.6.6.6" not in head and "gopher" not in head and "evil.test" not in head, head
    assert got["x-forwarded-proto"] == ["http"], head
    assert got["x-forwarded-host"][0].startswith("127.0.0.1:"), head
    assert got["x-forwarded-for"][0].startswith("127.0.0.1"), head
    assert got["via"][-1].endswith("1.1 mcp-guard"), head
    assert len(got["x-request-id"]) == 1, head
