"""Starts what is compared: guards with their variants, nginx, HAProxy, the byte relay, and the backends behind them.

A guard's VARIANT is a part of its configuration: plain, jwt, limits, fleet, console, traces, idle, single, route. What a program or its
configuration needs and the machine lacks is `Absent`, with the reason for the table.
"""

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import ssl
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from credentials import certificate, issued_token
from measure import ROOT, Log, tree
from mcp_testkit.collector import Collector
from mcp_testkit.paths import system
from mcp_testkit.programs import Program, Programs, free_port
from scenarios import LARGE, SMALL, TOKEN, Scenario, call

HERE = Path(__file__).resolve().parent
VIEWER = "bench-viewer-0123456789abcdef"
FLEET_KEY = "bench-fleet-key-0123456789abcdefghijklm"
# Different tokens that take turns in the load, of all that are configured.
TOKENS_IN_TURN = 2000


class Absent(Exception):
    """A scenario or a side cannot be measured on this machine; says why."""


class Viewer(threading.Thread):
    """Reads the console's stream of events, as the page does."""

    def __init__(self, port: str):
        super().__init__(daemon=True)
        self.port, self.events, self.ends = int(port), 0, False
        self.start()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {VIEWER}", "Accept": "text/event-stream"})
        response = connection.getresponse()
        with contextlib.suppress(OSError):
            while not self.ends and (line := response.readline()):
                self.events += line.startswith(b"data:")
        connection.close()


@dataclass
class Running:
    """One side under way. `port` takes its calls, which carry `token`."""

    side: str
    port: str
    token: str
    program: Program | None
    log: Log | None = None
    viewer: Viewer | None = None

    @property
    def pid(self) -> int | None:
        return self.program.pid if self.program else None

    def stop(self) -> None:
        viewed = self.viewer.events if self.viewer else 1
        if self.viewer:
            self.viewer.ends = True
        if self.program:
            self.program.stop()
        if self.log:
            self.log.close()
        if not viewed:
            sys.exit("the console's viewer has read nothing: this run measures the wrong thing")


class Bench:
    def __init__(self, folder: Path, guards: list[Path], relay: Path, tools: Path):
        self.folder, self.guards, self.relay, self.tools = folder, guards, relay, tools
        self.programs = Programs(folder)
        self.cores = sorted(os.sched_getaffinity(0))
        self.values = {"FOLDER": str(folder), "TOKEN": TOKEN, "ANSWER": SMALL}
        self.values |= {"UPSTREAM_SOCKET": f"{folder}/upstream.sock", "UPSTREAM_PORT": str(free_port())}
        self._made: dict[str, object] = {}
        (folder / "large.json").write_text(LARGE)
        certificate(folder)
        argv = [system("nginx"), "-c", self.rendered("upstream.nginx.conf"), "-e", "stderr"]
        self.upstream = self.background("upstream", argv, f"127.0.0.1:{self.values['UPSTREAM_PORT']}")

    def once(self, name: str, make: Callable[[], object]) -> object:
        """What several scenarios share is made when the first one needs it."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def close(self) -> None:
        self.programs.stop_all()
        for made in self._made.values():
            if stop := getattr(made, "stop", None):
                stop()

    def split(self, pinned: bool) -> tuple[set[int], set[int]]:
        """The cores of the proxy, and those of load and backend."""
        if not pinned or len(self.cores) < 2:
            return set(self.cores), set(self.cores)
        return {self.cores[0]}, set(self.cores[1:])

    def background(self, name: str, argv: list[str], address: str, env: dict | None = None) -> Program:
        """A program that is no side, on the cores of the load."""
        return self.programs.start(name, argv, env, cores=self.split(True)[1]).wait_for(address)

    def rendered(self, name: str, change: Callable[[str], str] = lambda text: text, **more: str) -> str:
        path = self.folder / f"{more.get('PORT', '')}{name}"
        values = {**self.values, **more}
        path.write_text(re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], change((HERE / name).read_text())))
        return str(path)

    def expanded(self, scenario: Scenario) -> list[str]:
        """Its sides, with those of a guard once for each build: guard, guard2 and so on."""
        builds = ["guard", *(f"guard{number}" for number in range(2, len(self.guards) + 1))]
        return [build + side[5:] for side in scenario.sides if side.startswith("guard") for build in builds] + [
            side for side in scenario.sides if not side.startswith("guard")
        ]

    def build(self, side: str) -> Path:
        return self.guards[int(side.partition(":")[0].removeprefix("guard") or 1) - 1]

    @contextlib.contextmanager
    def started(self, scenario: Scenario) -> Iterator[list[Running]]:
        """A fresh process of every side; a side under no load is idle."""
        running: list[Running] = []
        for pid in (0, *tree(self.upstream.pid)):
            os.sched_setaffinity(pid, self.split(scenario.pinned)[1])
        try:
            for side in self.expanded(scenario):
                running.append(self.start(side, scenario))
            yield running
        finally:
            for one in running:
                one.stop()

    def start(self, side: str, scenario: Scenario) -> Running:
        port, (cores, load_cores) = str(free_port()), self.split(scenario.pinned)
        name, _, variant = side.partition(":")
        path = "/large" if scenario.response is LARGE else "/mcp"
        backend = self.streams() if scenario.kind == "streams" else self.values["UPSTREAM_SOCKET"]
        more = {"PORT": port, "UPSTREAM_PATH": path, "UPSTREAM_SOCKET": backend, "THREADS": str(1 if variant == "single" else scenario.threads)}
        if name.startswith("guard"):
            return self.start_guard(side, scenario, variant, more)
        argv = self.peer(name, scenario, more)
        program = self.programs.start(f"{name}-{port}", argv, cores=cores).wait_for(f"127.0.0.1:{port}")
        return Running(side, port, scenario.token, program)

    def peer(self, name: str, scenario: Scenario, more: dict[str, str]) -> list[str]:
        folder, port = self.folder, more["PORT"]
        if name == "nginx":
            tls = f" ssl; ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off; ssl_session_cache off;"
            listen = f"listen 127.0.0.1:@PORT@{tls if scenario.tls else ';'}"
            change = lambda text: text.replace("listen 127.0.0.1:@PORT@;", listen)  # noqa: E731
            return [system("nginx"), "-c", self.rendered("nginx.conf", change, **more), "-e", "stderr"]
        if name == "haproxy":
            tls = f" ssl crt {folder}/both.pem no-tls-tickets ssl-min-ver TLSv1.2" if scenario.tls else ""
            change = lambda text: text.replace("bind 127.0.0.1:@PORT@", f"bind 127.0.0.1:@PORT@{tls}")  # noqa: E731
            return [system("haproxy"), "-db", "-f", self.rendered("haproxy.cfg", change, **more)]
        return [str(self.relay), f"127.0.0.1:{port}", more["UPSTREAM_SOCKET"]]

    def start_guard(self, side: str, scenario: Scenario, variant: str, more: dict[str, str]) -> Running:
        (cores, load_cores), console, port = self.split(scenario.pinned), str(free_port()), more["PORT"]
        more["TOKENS_FILE"] = f'tokens_file = "{self.folder}/tokens.toml"' if scenario.clients else ""
        if variant == "idle":
            more |= {"UPSTREAM_SOCKET": self.tool_server(), "UPSTREAM_PATH": "/mcp"}
        extra = self.variant(variant, port, console)
        if scenario.tls:
            extra += f'[listen.tls]\ncertificate = "{self.folder}/chain.pem"\nkey = "{self.folder}/key.pem"\n'
        config = self.rendered("guard.toml", lambda text: f"{text}\n{extra}", **more)
        env = {"MCP_BEARER_TOKEN": TOKEN, "BENCH_VIEWER": VIEWER, "BENCH_FLEET_KEY": FLEET_KEY}
        log = Log(load_cores)
        argv = [str(self.build(side)), "run", "--config", config]
        try:
            program = self.programs.start(f"guard-{port}", argv, env, cores=cores, stderr=log.write).wait_for(f"127.0.0.1:{port}")
        except AssertionError:
            log.close()
            raise
        token = self.once("jwt", lambda: issued_token(self.folder)) if variant == "jwt" else scenario.token
        return Running(side, port, str(token), program, log, Viewer(console) if variant == "console" else None)

    def variant(self, variant: str, port: str, console: str) -> str:
        """What is added to the guard's configuration."""
        rate = '[limits.tools]\n"*" = { rate = "100000/s", burst = 100000 }\n'
        if variant == "jwt":
            self.once("jwt", lambda: issued_token(self.folder))
            return (
                f'[auth.oauth]\nresource = "https://mcp.bench.test/mcp"\nissuers = [{{ url = "https://issuer.bench.test", jwks = "{self.folder}/jwks.json" }}]\n'
                '[[auth.oauth.grant]]\nname = "bench"\nscopes = ["mcp"]\n'
            )
        if variant == "route":
            return '[[route]]\nname = "bench"\nprefix = "/route"\nslot = "stable"\nauth = "bearer"\nmethods = ["GET"]\n'
        if variant in ("console", "idle"):
            return f'[console]\naddress = "127.0.0.1:{console}"\nviewers = ["env:BENCH_VIEWER"]\n'
        if variant == "traces":
            collector = self.once("collector", Collector)
            return f'[traces]\nendpoint = "http://127.0.0.1:{collector.server_port}"\nsample = "10%"\n'
        if variant == "fleet":
            return f'{rate}[fleet]\nstore = "unix://{self.redis()}"\nname = "bench-{port}"\nmember = "one"\nkey = "env:BENCH_FLEET_KEY"\n'
        return rate if variant == "limits" else ""

    def redis(self) -> str:
        if not shutil.which("redis-server"):
            raise Absent("redis-server is not installed")
        path = self.folder / "redis.sock"
        argv = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(self.folder)]
        self.once("redis", lambda: self.background("redis", argv, f"unix:{path}"))
        return str(path)

    def streams(self) -> str:
        path = self.folder / "streams.sock"
        argv = [sys.executable, str(HERE / "streams.py"), str(path)]
        self.once("streams", lambda: self.background("streams", argv, f"unix:{path}"))
        return str(path)

    def tool_server(self) -> str:
        path = self.folder / "tools.sock"
        argv = [str(self.tools), "serve", "--socket", str(path), "--demo", "--catalog", str(ROOT / "conf" / "tools" / "swf.toml")]
        self.once("tools", lambda: self.background("tools", argv, f"unix:{path}"))
        return str(path)

    def many_tokens(self, count: int) -> list[str]:
        """A file of this many clients, and the tokens of some of them, spread over all."""
        token = lambda number: f"bench-client-{number:08}-0123456789abcdefghijklm"  # noqa: E731
        entry = lambda number: f'[clients.client-{number:06}]\nsha256 = "{hashlib.sha256(token(number).encode()).hexdigest()}"\n'  # noqa: E731
        (self.folder / "tokens.toml").write_text("\n".join(map(entry, range(count))))
        (self.folder / "tokens.toml").chmod(0o600)
        return [token(number) for number in range(0, count, max(1, count // TOKENS_IN_TURN))][:TOKENS_IN_TURN]


def headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def raw(token: str, body: bytes) -> bytes:
    """A whole request, as bytes."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers(token).items())
    return f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


def verify(one: Running, scenario: Scenario, folder: Path) -> None:
    """One request by hand: a proxy with another response must not be measured."""
    if scenario.tls:
        trusted = ssl.create_default_context(cafile=str(folder / "chain.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", int(one.port), timeout=10, context=trusted)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", int(one.port), timeout=10)
    body = call(scenario.body_bytes) if scenario.method == "POST" else None
    connection.request(scenario.method, scenario.path, body, headers(one.token))
    response = connection.getresponse()
    seen = response.read().decode()
    connection.close()
    if response.status != scenario.status or (scenario.status == 200 and seen != scenario.response):
        sys.exit(f"{scenario.name}, {one.side}: expected {scenario.status}, saw {response.status} {seen[:300]}")
