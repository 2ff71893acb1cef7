"""A proxy that puts one known difference into the responses of a server: the path's first segment names it.

Usage: seeder.py PORT UPSTREAM PATH, with UPSTREAM `unix:/socket` or `host:port`.
`POST /none/mcp` answers what the server answers; `POST /tool-missing/mcp` lacks a tool; and so on.
A path that starts with `door-` wants `Authorization: Bearer good`, and each such seed leaves the door wrong in one way.
"""

import http.client
import itertools
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from seeds import SEEDS, Response, door

PORT, UPSTREAM, PATH = int(sys.argv[1]), sys.argv[2], sys.argv[3]
PASSED_ON = ("content-type", "accept", "mcp-protocol-version", "mcp-method", "mcp-name")
TURN = itertools.count()


class Upstream(http.client.HTTPConnection):
    def connect(self):
        if UPSTREAM.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(UPSTREAM[5:])
        else:
            super().connect()


def upstream() -> Upstream:
    host = "localhost:80" if UPSTREAM.startswith("unix:") else UPSTREAM
    return Upstream(host, timeout=20)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):  # noqa: N802 - the library's name
        self.response(b"")

    def do_POST(self):  # noqa: N802
        self.response(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def response(self, body: bytes):
        name = self.path.split("/")[1]
        if self.path == "/health":
            return self.send(Response(404, "text/plain", None))
        if name.startswith("door-"):
            refused = door(name, self.command, self.path, self.headers.get("Authorization"))
            if refused:
                return self.send(refused)
        request = json.loads(body) if body else {}
        response = self.forward(body)
        seed = SEEDS.get(name)
        if seed:
            seed(request, response, next(TURN))
        self.send(response)

    def forward(self, body: bytes) -> Response:
        connection = upstream()
        headers = {key: value for key, value in self.headers.items() if key.lower() in PASSED_ON}
        connection.request(self.command, PATH, body, headers)
        response = connection.getresponse()
        raw = response.read()
        connection.close()
        message = json.loads(raw) if raw else None
        return Response(response.status, response.headers.get("Content-Type", ""), message, raw)

    def send(self, response: Response):
        time.sleep(response.delay)
        raw = response.raw if response.raw_wins else json.dumps(response.message).encode() if response.message is not None else b""
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw) + (100 if response.truncated else 0)))
        self.end_headers()
        self.wfile.write(raw)
        if response.truncated:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # Some seeds make the client close the connection.
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


threading.stack_size(256 * 1024)
Server(("127.0.0.1", PORT), Handler).serve_forever()
