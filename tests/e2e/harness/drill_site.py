"""What the drill of the alerts is held at: a guard before two slots that can be spoiled, and a second guard beside it."""

import contextlib
import http.client
import http.server
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from harness.background import Background
from harness.files import replace_text
from harness.tls import openssl
from mcp_testkit.guard import TOKEN, WRONG_TOKEN
from mcp_testkit.paths import E2E, ROOT
from mcp_testkit.programs import Program, Programs, free_port
from mcp_testkit.tools import mcp_tools

#: Of clients in tokens.toml: one with a rate that it goes over, one whose token has ended.
HASTY, ENDED = "e2e-hasty-Tok3n-0123456789abcdefgh", "e2e-ended-Tok3n-0123456789abcdefgh"
OPERATOR = "e2e-operator-Tok3n-0123456789abcdef"
TOOL = "get_server_instructions"
#: A public key: the example of RFC 8037.
JWKS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "use": "sig", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}

MORE = """
[slots.green]
address = "{green}"
path = "/mcp"
[auth]
tokens_file = "tokens.toml"
[auth.oauth]
resource = "https://mcp.example.org/mcp"
issuers = [{{ url = "http://127.0.0.1:{issuer}", jwks = "http://127.0.0.1:{issuer}/jwks" }}]
refresh = "30s"
[[auth.oauth.grant]]
name = "readers"
scopes = ["mcp"]
[routing]
key = "request"
[rollout]
plan = "plan.toml"
[health]
interval = "250ms"
timeout = "250ms"
[limits]
connections = 60
in_flight = 8
waiting = 8
[timeouts]
hold = "1s"
waiting = "1s"
[console]
address = "127.0.0.1:{console}"
operators = ["env:DRILL_OPERATOR"]
[[route]]
name = "page"
prefix = "/page"
exact = true
in_flight = 100
address = "127.0.0.1:{page}"
auth = "none"
[[dependency]]
name = "database"
required = true
interval = "200ms"
timeout = "200ms"
rise = 1
fall = 1
tcp = {{ address = "127.0.0.1:{database}" }}
[[dependency]]
name = "cache"
interval = "200ms"
timeout = "200ms"
rise = 1
fall = 1
tcp = {{ address = "127.0.0.1:{cache}" }}
"""
#: The second guard has TLS and, at first, no client.
SECOND = """
[listen]
address = "{address}"
metrics = "{metrics}"
admin = "{folder}/{name}.admin"
state = "{folder}/{name}.state"
[listen.tls]
certificate = "{folder}/certificate.pem"
key = "{folder}/certificate.key"
[auth]
tokens_file = "second-tokens.toml"
[slots.blue]
address = "{backend}"
path = "{path}"
{slot}{more}
"""


class Slot:
    """mcp-tools behind a relay that can be slow, send errors, and be killed."""

    def __init__(self, programs: Programs, name: str):
        self._programs, self._name, self._lives = programs, name, 0
        self._mood, self._socket = programs.folder / f"{name}.mood", programs.folder / f"{name}.sock"
        self.tools = mcp_tools(programs, f"{name}-tools")
        self.relay: Program
        self.begin()

    @property
    def address(self) -> str:
        return f"unix:{self._socket}"

    def mood(self, mood: str) -> None:
        """One of those of `unruly.py`."""
        replace_text(self._mood, mood)

    def begin(self) -> None:
        self.mood("good")
        self._lives += 1
        argv = [sys.executable, str(E2E / "backends" / "unruly.py"), str(self._socket), self.tools.address.removeprefix("unix:"), str(self._mood), "/dev/null"]
        self.relay = self._programs.start(f"{self._name}-{self._lives}", argv).wait_for(self.address)

    def kill(self) -> None:
        self.relay.signal(signal.SIGKILL)
        self.relay.wait()

    def replace_tools(self) -> None:
        """A server with other tools in the same place."""
        self.tools.program.stop()
        self.tools = mcp_tools(self._programs, f"{self._name}-tools", catalog=ROOT / "conf" / "tools" / "panda.toml")


class Listener:
    """Something that takes connections at a port, and can go away and come back."""

    def __init__(self):
        self.port = free_port()
        self.begin()

    def begin(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    @staticmethod
    def _accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # Ends the accept of the other thread; close alone would not.
        self._socket.close()


class Pages(http.server.ThreadingHTTPServer):
    """The same JSON at every path: a route's page, an issuer's keys. A request with a query waits until it is released."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", port), Page)
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if "?" in self.path:
            self.server.released.wait(60)
        body = json.dumps(JWKS).encode()
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class LogReader(Background):
    """Reads a guard's log from a small pipe into a file, and can stop reading for a while."""

    def __init__(self, file: Path):
        super().__init__()
        self._read, self.write = os.pipe()
        self._file, self.reads = file, threading.Event()
        self.reads.set()

    def __exit__(self, *what) -> None:
        self.reads.set()
        super().__exit__(*what)
        os.close(self._read)
        os.close(self.write)

    def _run(self) -> None:
        os.set_blocking(self._read, False)
        with self._file.open("ab", buffering=0) as file:
            while not self._stop.is_set():
                self.reads.wait(1)
                with contextlib.suppress(BlockingIOError):
                    while self.reads.is_set() and (data := os.read(self._read, 65536)):
                        file.write(data)
                self._stop.wait(0.02)


class Requests:
    """Requests of every kind, one after the other on new connections; responses do not matter here, only that they come."""

    def __init__(self, address: str):
        host, _, port = address.rpartition(":")
        self._where = host, int(port)

    def send(self, method: str, path: str, token: str | None = None, body: str | None = None, **fields: str) -> int | None:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **fields}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        connection = http.client.HTTPConnection(*self._where, timeout=20)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException):
            return None  # The guard is away, or every connection is taken.
        finally:
            connection.close()

    def call(self, method: str = "tools/call", token: str = TOKEN, **params: object) -> int | None:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.send("POST", "/mcp", token, json.dumps(message))


class Strangers(Background):
    """Requests that are refused, each second some of every kind, and some that are in order."""

    def __init__(self, address: str):
        super().__init__()
        self._requests = Requests(address)

    def _run(self) -> None:
        requests = self._requests
        while not self._stop.is_set():
            requests.call("tools/list", WRONG_TOKEN)
            requests.call("tools/list", ENDED)
            requests.send("POST", "/mcp", body="{}")
            requests.send("GET", "/mcp", TOKEN)
            requests.send("GET", "/nowhere")
            requests.send("POST", "/mcp", TOKEN, "{}", Origin="https://example.org")
            requests.send("POST", "/mcp", TOKEN, "{")
            requests.call("tools/list")
            requests.call(name="no-such-tool", arguments={})
            for _ in range(4):
                requests.call(token=HASTY, name=TOOL, arguments={})
            requests.send("GET", "/page")
            self._stop.wait(0.5)


def certificate(folder: Path, days: int) -> None:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    out = ["-keyout", str(folder / "certificate.key"), "-out", str(folder / "certificate.pem")]
    openssl("req", "-x509", *curve, *out, "-days", str(days), "-subj", "/CN=localhost")
