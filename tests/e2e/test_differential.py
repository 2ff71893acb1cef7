"""The same odd requests through nginx, HAProxy, Apache and the guard, each in front of a backend that records what it receives.

Requests are valid ones with up to two things wrong, drawn from a seed. Where the three others disagree on what a request
says (or on whether it is one), it is a way to smuggle, and the guard must refuse it. What the guard does pass on must be one
request with one length, and the body that the others saw. MCP_DIFFERENTIAL_CASES (default 1500) and _SEED choose how many.
"""

import os
import random
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable

import pytest

from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import system
from mcp_testkit.programs import Programs, free_port

CASES = int(os.environ.get("MCP_DIFFERENTIAL_CASES", "1500"))
SEED = int(os.environ.get("MCP_DIFFERENTIAL_SEED", "1"))
OTHERS = ["nginx", "haproxy", "apache"]
QUIET_SECONDS = 1.5
QUIET_SECONDS_AFTER = 0.2
BODY = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}'
# Requests that the guard sends by itself.
PROBES = (b'"initialize"', b'"server/discover"', b'"tools/list"', b'"notifications/initialized"')


@dataclass
class Request:
    """A request before it is bytes: everything can be bent."""

    number: int
    line: str = "POST /mcp HTTP/1.1"
    fields: list[str] = field(default_factory=list)
    length: list[str] = field(default_factory=list)
    body: bytes = BODY
    raw_body: bytes | None = None  # chunked, say
    before: bytes = b""
    behind: bytes = b""
    bend: Callable[[bytes], bytes] = lambda raw: raw
    bent: list[str] = field(default_factory=list)

    def bytes(self) -> bytes:
        lines = [self.line, *self.fields, *self.length]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return self.before + self.bend(head) + (self.body if self.raw_body is None else self.raw_body) + self.behind


def plain(number: int) -> Request:
    request = Request(number)
    request.fields = ["Host: localhost", f"Authorization: Bearer {TOKEN}", "Content-Type: application/json", f"X-Case: {number}"]
    request.length = [f"Content-Length: {len(BODY)}"]
    return request


def chunked(request: Request, size: str = "{:x}", end: bytes = b"\r\n", last: bytes = b"0\r\n\r\n", coding: str = "chunked") -> None:
    request.length = [f"Transfer-Encoding: {coding}"]
    half = len(BODY) // 2
    parts = [BODY[:half], BODY[half:]]
    request.raw_body = b"".join(size.format(len(part)).encode("latin-1") + end + part + end for part in parts) + last


def second(request: Request) -> bytes:
    return plain(request.number).bytes()


def replaced(name: str, by: str) -> Callable[[Request], None]:
    def bend(request: Request) -> None:
        request.fields = [by if line.startswith(name + ":") else line for line in request.fields]

    return bend


def length(*lines: str) -> Callable[[Request], None]:
    def bend(request: Request) -> None:
        request.length = [line.format(n=len(request.body), more=len(request.body) + 7, less=len(request.body) - 7) for line in lines]

    return bend


def add(line: str) -> Callable[[Request], None]:
    return lambda request: request.fields.append(line)


def line(text: str) -> Callable[[Request], None]:
    return lambda request: setattr(request, "line", text)


def head(old: bytes, new: bytes) -> Callable[[Request], None]:
    def bend(request: Request) -> None:
        before = request.bend
        request.bend = lambda raw: before(raw).replace(old, new, 1)

    return bend


def chunks(**how) -> Callable[[Request], None]:
    return lambda request: chunked(request, **how)


def both(request: Request) -> None:
    lengths = request.length
    chunked(request)
    request.length += lengths


BENDS: dict[str, Callable[[Request], None]] = {
    "length twice, equal": length("Content-Length: {n}", "Content-Length: {n}"),
    "length twice, different": length("Content-Length: {n}", "Content-Length: {less}"),
    "length as a list": length("Content-Length: {n}, {n}"),
    "length with a plus": length("Content-Length: +{n}"),
    "length with zeros": length("Content-Length: 000{n}"),
    "length with a tail": length("Content-Length: {n};x"),
    "length in hexadecimal": length("Content-Length: 0x44"),
    "length negative": length("Content-Length: -1"),
    "length empty": length("Content-Length:"),
    "length beyond 64 bits": length("Content-Length: 184467440737095516{n}"),
    "length too short": length("Content-Length: {less}"),
    "length with blanks around": length("Content-Length: \t {n} \t"),
    "length misspelt": length("Content_Length: {n}"),
    "length and coding": both,
    "no length": length(),
    "chunked": chunks(),
    "chunked, capital": chunks(coding="Chunked"),
    "chunked, capital sizes": chunks(size="{:X}"),
    "chunked, zeros": chunks(size="0000{:x}"),
    "chunked, extension": chunks(size="{:x};a=b"),
    "chunked, quoted extension": chunks(size='{:x};a="b;c"'),
    "chunked, line feed in an extension": chunks(size="{:x};a\nb"),
    "chunked, blank before the size": chunks(size=" {:x}"),
    "chunked, blank behind the size": chunks(size="{:x} "),
    "chunked, sign": chunks(size="+{:x}"),
    "chunked, prefix": chunks(size="0x{:x}"),
    "chunked, bare line feeds": chunks(end=b"\n"),
    "chunked, no last line": chunks(last=b"0\r\n"),
    "chunked, trailer": chunks(last=b"0\r\nX-T: 1\r\n\r\n"),
    "chunked, trailer with a length": chunks(last=b"0\r\nContent-Length: 5\r\n\r\n"),
    "chunked, empty line as the end": chunks(last=b"\r\n\r\n"),
    "chunked, size beyond 64 bits": chunks(size="10000000000000000{:x}"),
    "coding twice": chunks(coding="chunked\r\nTransfer-Encoding: chunked"),
    "coding as a list": chunks(coding="chunked, chunked"),
    "coding identity": chunks(coding="identity"),
    "coding before chunked": chunks(coding="gzip, chunked"),
    "coding unknown": chunks(coding="xchunked"),
    "coding behind a form feed": chunks(coding="\x0cchunked"),
    "coding quoted": chunks(coding='"chunked"'),
    "coding with an empty member": chunks(coding=", chunked"),
    "blank before the colon": head(b"Content-Length:", b"Content-Length :"),
    "blank before the colon of the coding": head(b"Transfer-Encoding:", b"Transfer-Encoding :"),
    "bare line feed": head(b"\r\nContent-Type", b"\nContent-Type"),
    "bare carriage return": head(b"application/json", b"application/json\rX: y"),
    "folded line": head(b"Content-Type: application", b"Content-Type:\r\n application"),
    "folded length": head(b"Content-Length: ", b"Content-Length:\r\n "),
    "zero byte": head(b"X-Case", b"X-Zero: a\x00b\r\nX-Case"),
    "control byte in a name": head(b"X-Case", b"X-\x01: b\r\nX-Case"),
    "high byte in a value": add("X-High: \xff"),
    "no colon": add("Nonsense"),
    "empty name": add(": value"),
    "name with a blank": add("X Y: z"),
    "no host": replaced("Host", "X-Host: localhost"),
    "two hosts": add("Host: localhost"),
    "two hosts, different": add("Host: elsewhere"),
    "odd host": replaced("Host", "Host: local/host"),
    "HTTP/1.0": line("POST /mcp HTTP/1.0"),
    "HTTP/1.2": line("POST /mcp HTTP/1.2"),
    "HTTP/2.0": line("POST /mcp HTTP/2.0"),
    "lower-case http": line("POST /mcp http/1.1"),
    "no version": line("POST /mcp"),
    "two blanks": line("POST  /mcp HTTP/1.1"),
    "tab": line("POST\t/mcp HTTP/1.1"),
    "blank in the target": line("POST /m cp HTTP/1.1"),
    "blank at the end of the line": line("POST /mcp HTTP/1.1 "),
    "absolute form": line("POST http://localhost/mcp HTTP/1.1"),
    "absolute form, another host": line("POST http://elsewhere/mcp HTTP/1.1"),
    "fragment": line("POST /mcp#x HTTP/1.1"),
    "lower-case method": line("post /mcp HTTP/1.1"),
    "high byte in the target": line("POST /mcp\xff HTTP/1.1"),
    "connection names the length": add("Connection: content-length"),
    "connection names the token": add("Connection: close, Authorization"),
    "empty line first": lambda request: setattr(request, "before", b"\r\n"),
    "bare line feed first": lambda request: setattr(request, "before", b"\n"),
    "another request behind": lambda request: setattr(request, "behind", second(request)),
    "garbage behind": lambda request: setattr(request, "behind", b"\x00\x01garbage\r\n\r\n"),
    "nothing wrong": lambda request: None,
}

# Where the others disagree though every reading is the same one, and the contract decides.
HARMLESS = {
    "absolute form",  # RFC 9112 obliges to accept it where the host is the same
    "empty line first",  # RFC 9112, 2.2: should be ignored
    "another request behind",  # pipelining: some close after the first
    "garbage behind",  # the first request is whole
    "length too short",  # so is this one: the rest is garbage behind it
    "HTTP/1.0",  # how its connection ends differs
    "high byte in a value",  # obs-text is allowed in values
    "connection names the token",  # the name is not honoured: the token is judged all the same
    "connection names the length",
    "chunked, trailer",  # trailers are dropped
    "chunked, trailer with a length",
    "chunked, capital",  # codings have no case
    "length with blanks around",  # RFC 9110, 5.5: blanks and tabs around a value are not part of it; only nginx refuses the tab
}


@dataclass
class Seen:
    head: bytes
    body: bytes


class Recorder:
    """A backend that reads what comes in the plainest way and remembers it by its case."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self.seen: dict[int, list[Seen]] = {}
        self.strays: list[Seen] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            stream, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        stream.settimeout(20)
        with stream, stream.makefile("rb") as source:
            try:
                while seen := read_request(source):
                    self._note(seen)
                    response = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(response), response))
            except (OSError, ValueError):
                return

    def _note(self, seen: Seen) -> None:
        case = re.search(rb"(?i)\r\nx-case:[ \t]*(\d+)", seen.head)
        with self._lock:
            if case:
                self.seen.setdefault(int(case[1]), []).append(seen)
            elif not any(probe in seen.body for probe in PROBES):
                self.strays.append(seen)


def read_request(source) -> Seen | None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        text = source.readline()
        if not text:
            return None
        head += text
    if re.search(rb"(?i)\r\ntransfer-encoding:", head):
        body = b""
        while size := int(source.readline().split(b";")[0], 16):
            body += source.read(size)
            source.readline()
        while source.readline().strip():
            pass
        return Seen(head, body)
    declared = re.search(rb"(?i)\r\ncontent-length:[ \t]*(\d+)", head)
    return Seen(head, source.read(int(declared[1])) if declared else b"")


def ask(address: str, raw: bytes) -> bytes:
    """Sends the bytes and reads until the response is complete, the connection ends, or the server is silent."""
    host, _, port = address.rpartition(":")
    heard = b""
    with socket.create_connection((host, int(port)), 5) as stream:
        stream.settimeout(QUIET_SECONDS)
        try:
            stream.sendall(raw)
            while more := stream.recv(65536):
                heard += more
                # A second response may follow, or the connection may end: a short silence means neither.
                stream.settimeout(QUIET_SECONDS_AFTER)
        except OSError:
            pass
    return heard


NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3; uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{backend}; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}
"""
HAPROXY = """
global
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  server s {backend}
"""
APACHE = """
ServerRoot "{folder}"
PidFile "{folder}/apache.pid"
DefaultRuntimeDir "{folder}"
Mutex file:{folder}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
{user}
ServerName localhost
Listen 127.0.0.1:{port}
ErrorLog "{folder}/apache-error.log"
ProxyPass "/" "http://{backend}/"
"""


def start_other(programs: Programs, name: str, backend: str) -> str:
    port = free_port()
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    text = {"nginx": NGINX, "haproxy": HAPROXY, "apache": APACHE}[name].format(folder=programs.folder, port=port, backend=backend, user=user)
    config = programs.folder / f"{name}.conf"
    config.write_text(text)
    argv = {
        "nginx": [system("nginx"), "-c", str(config), "-p", str(programs.folder)],
        "haproxy": [system("haproxy"), "-db", "-f", str(config)],
        "apache": [system("apache2"), "-f", str(config), "-DFOREGROUND"],
    }[name]
    programs.start(name, argv).wait_for(f"127.0.0.1:{port}")
    return f"127.0.0.1:{port}"


def draw() -> list[Request]:
    dice = random.Random(SEED)
    names = list(BENDS)
    requests = []
    for number in range(CASES):
        request = plain(number)
        # Each by itself first; then in pairs.
        chosen = [names[number]] if number < len(names) else dice.sample(names, 2)
        for name in chosen:
            BENDS[name](request)
        request.bent = chosen
        requests.append(request)
    return requests


@pytest.fixture(scope="module")
def passed(module_programs):
    """Every request through every proxy: what each backend has seen, by proxy."""
    programs = module_programs
    recorders = {name: Recorder() for name in [*OTHERS, "guard"]}
    addresses = {name: start_other(programs, name, recorders[name].address) for name in OTHERS}
    guard = Guard(programs, recorders["guard"].address, "/mcp", more='[timeouts]\nheader = "2s"\nbody = "2s"\n[health]\ninterval = "1h"')
    addresses["guard"] = guard.address
    requests = draw()
    with ThreadPoolExecutor(48) as pool:
        jobs = [pool.submit(ask, addresses[name], request.bytes()) for request in requests for name in addresses]
        for job in jobs:
            job.result()
    return requests, recorders


def reported(seen: list[Seen]) -> list[bytes]:
    """What a backend understood: the bodies, one by one."""
    return [one.body for one in seen]


def explain(request: Request, recorders: dict[str, Recorder]) -> str:
    lines = [f"case {request.number} (seed {SEED}), {' + '.join(request.bent)}:", repr(request.bytes())]
    lines += [f"  {name}: {reported(recorder.seen.get(request.number, []))}" for name, recorder in recorders.items()]
    return "\n".join(lines)


def test_where_the_others_disagree_the_guard_refuses(passed):
    requests, recorders = passed
    disagreed, wrong = 0, []
    for request in requests:
        readings = [reported(recorders[name].seen.get(request.number, [])) for name in OTHERS]
        agree = all(reading == readings[0] for reading in readings)
        disagreed += not agree
        guards = reported(recorders["guard"].seen.get(request.number, []))
        if not guards:
            continue
        if not agree and not HARMLESS.intersection(request.bent):
            wrong.append(f"the others disagree, the guard passes it on\n{explain(request, recorders)}")
        elif agree and not readings[0]:
            wrong.append(f"all others refuse, the guard passes it on\n{explain(request, recorders)}")
    print(f"{len(requests)} requests: the others disagree on {disagreed}")
    assert disagreed > len(requests) / 20, "the requests are too tame to say anything"
    assert not wrong, "\n\n".join([f"{len(wrong)} cases", *wrong[:8]])


def test_what_the_guard_passes_on_is_one_plain_request(passed):
    requests, recorders = passed
    assert not recorders["guard"].strays, recorders["guard"].strays[:3]
    counted = 0
    for request in requests:
        seen = recorders["guard"].seen.get(request.number, [])
        counted += len(seen)
        # Only a well-formed request behind a well-formed one makes two.
        assert len(seen) <= (2 if request.behind else 1), explain(request, recorders)
        for one in seen:
            assert one.body == BODY, explain(request, recorders)
            lines = one.head.split(b"\r\n")
            assert lines[0] == b"POST /mcp HTTP/1.1", one.head
            names = [text.split(b":")[0].lower() for text in lines[1:] if text]
            assert names.count(b"content-length") == 1 and names.count(b"host") == 1, one.head
            assert b"transfer-encoding" not in names and b"authorization" not in names, one.head
            assert b"\n" not in one.head.replace(b"\r\n", b"") and b"\x00" not in one.head, one.head
    assert counted > 10, "the guard refuses everything: this says nothing"


def test_a_plain_request_passes_everywhere(passed):
    requests, recorders = passed
    for request in requests:
        if request.bent == ["nothing wrong"]:
            for name, recorder in recorders.items():
                assert reported(recorder.seen.get(request.number, [])) == [BODY], f"{name}: {explain(request, recorders)}"
