"""What is measured: the scenarios, the sweeps, and the figures that are read off them."""

import json
from dataclasses import dataclass

TOKEN = "bench-Tok3n-0123456789abcdefghijklmnop"
KB = 1000
EVENTS = 1000


def response(length: int) -> str:
    """A tool's result of exactly this many bytes."""
    around = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": ""}], "isError": False}}
    around["result"]["content"][0]["text"] = "x" * (length - len(json.dumps(around)))
    return json.dumps(around)


def call(length: int) -> bytes:
    """A tools/call of exactly this many bytes."""
    arguments = {"username": "wenauseic", "pad": ""}
    around = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "swf_get_system_state", "arguments": arguments}}
    arguments["pad"] = "x" * (length - len(json.dumps(around)))
    return json.dumps(around).encode()


SMALL, LARGE = response(300), response(100 * KB)
BEHIND_POLICY = ("guard", "nginx", "haproxy")


@dataclass(frozen=True)
class Scenario:
    """One load. `name` is what --only takes, `kind` the function of kinds.py that measures a round of it.

    A side is a program, or `guard:VARIANT` for a guard with another configuration (sides.py).
    """

    name: str
    title: str
    kind: str = "load"
    sides: tuple[str, ...] = BEHIND_POLICY
    rounds: int = 5
    seconds: float = 2
    method: str = "POST"
    path: str = "/mcp"
    token: str = TOKEN
    status: int = 200
    connections: int = 32
    body_bytes: int = 250
    response: str = SMALL
    rate: int = 0
    threads: int = 1
    clients: int = 0
    tls: bool = False
    # A sweep's point: the name of the sweep and where on its axis.
    sweep: str = ""
    at: int = 0

    @property
    def pinned(self) -> bool:
        return self.threads == 1


ROOMS = ("guard:plain", "guard:jwt", "guard:limits", "guard:fleet", "guard:console", "guard:traces")
TABLE = [
    Scenario("call", "forwarded call, 300 B answer, 32 connections", sides=(*BEHIND_POLICY, "relay"), rounds=7),
    Scenario("403", "403, wrong token", token="wrong", status=403, rounds=7),
    Scenario("405", "405, GET", method="GET", status=405, rounds=7),
    Scenario("threads", "forwarded call, 2 threads, nothing pinned", sides=(*BEHIND_POLICY, "guard:single"), threads=2, connections=64, rounds=7),
    Scenario("request", "forwarded call, 100 KB request", body_bytes=100 * KB),
    Scenario("request-1m", "forwarded call, 1 MB request, 16 connections", connections=16, body_bytes=1000 * KB),
    Scenario("request-4m", "forwarded call, 4 MB request, 16 connections", connections=16, body_bytes=4000 * KB),
    Scenario("answer", "forwarded call, 100 KB answer", response=LARGE),
    Scenario("stream", "event streams of 1,000 events, 16 at once", kind="streams", connections=16),
    Scenario("idle", "1,000 idle connections", kind="idle", sides=("guard:idle", "nginx", "haproxy"), rounds=3, seconds=10),
    Scenario("handshake", "full handshakes, TLS 1.3", kind="handshakes", tls=True),
    Scenario("tls", "forwarded call, TLS 1.3", tls=True),
    Scenario("rooms", "forwarded call, optional parts of the guard", sides=ROOMS, rounds=9),
    Scenario("shadow", "copies of all calls, 500 a second", kind="shadow", sides=("guard:alone", "guard:copying"), rounds=3, seconds=3, rate=500),
    Scenario("counts", "instructions in user space", kind="counts", sides=("guard",), rounds=1, seconds=0),
    Scenario("sqlite", "tools on SQLite", kind="tools", sides=("tools", "toolbox"), seconds=0.5),
    Scenario("postgres", "tools on PostgreSQL", kind="tools", sides=("tools", "toolbox"), seconds=0.5),
    Scenario("start", "from start to the first response", kind="starts", sides=("guard", "tools"), seconds=0.5),
]
SWEEPS = {
    "clients": ("configured clients", "CPU µs per call"),
    "connections": ("connections that take turns, 2,000 calls a second", "CPU µs per call"),
    "bodies": ("bytes of the request's body", "CPU µs per call"),
}
POINTS = [
    *(Scenario(f"clients-{n}", f"{n:,} clients", clients=n, sides=("guard",), rounds=3, seconds=1, sweep="clients", at=n) for n in (1, 100, 10_000, 100_000)),
    *(
        Scenario(f"connections-{n}", f"{n:,} connections", connections=n, rate=2000, rounds=2, sweep="connections", at=n)
        for n in (10, 100, 1000, 4000)
    ),
    *(Scenario(f"bodies-{n}", f"{n:,} bytes", body_bytes=n, rounds=3, seconds=1, sweep="bodies", at=n) for n in (1 * KB, 10 * KB)),
]
#: Points of a sweep that are rows of the table as well.
SHARED_POINTS = {"bodies": {"request": 100 * KB, "request-1m": 1000 * KB, "request-4m": 4000 * KB}}
#: Not part of `make bench`.
MORE = [
    Scenario("rate", "forwarded calls at 2,000 a second", rate=2000),
    Scenario("one", "forwarded call, one connection", sides=(*BEHIND_POLICY, "relay"), connections=1),
    Scenario("route", "request of a route", sides=("guard:route",), method="GET", path="/route/a", connections=8),
]


@dataclass(frozen=True)
class Figure:
    """One row of the table: which figure of which scenario, and what it must reach beside what."""

    title: str
    scenario: str
    key: str
    unit: str
    reach: float
    # Beside one of these sides, the better one by its median; absolute if there is none.
    beside: tuple[str, ...] = ()
    side: str = "guard"
    # How the two are compared: `ratio`, `inverse` (theirs / ours), `added` (ours - theirs), `percent` (what ours is more), or `value`.
    how: str = "ratio"
    more_is_better: bool = False
    digits: int = 1


BOTH = ("nginx", "haproxy")
FIGURES = [
    Figure("CPU per call, 32 connections", "call", "cpu", "µs", 0.95, ("nginx",)),
    Figure("CPU per call, 32 connections", "call", "cpu", "µs", 0.90, ("haproxy",)),
    Figure("CPU per call, 32 connections", "call", "cpu", "µs", 1.15, ("relay",)),
    Figure("CPU per 403", "403", "cpu", "µs", 1.0, ("nginx",)),
    Figure("CPU per 405", "405", "cpu", "µs", 1.0, ("nginx",)),
    Figure("requests a second, 2 threads, nothing pinned", "threads", "rps", "/s", 1.0, ("nginx",), more_is_better=True, digits=0),
    Figure("CPU per call, 2 threads, nothing pinned", "threads", "cpu", "µs", 1.0, ("nginx",)),
    Figure("CPU per call, 2 threads, beside 1 thread", "threads", "cpu", "µs", 1.03, ("guard:single",)),
    Figure("CPU per call, 100 KB request", "request", "cpu", "µs", 1.0, ("nginx",)),
    Figure("CPU per call, 1 MB request", "request-1m", "cpu", "µs", 1.0, ("nginx",)),
    Figure("CPU per call, 4 MB request", "request-4m", "cpu", "µs", 1.0, ("nginx",), digits=0),
    Figure("CPU per call, 100 KB answer", "answer", "cpu", "µs", 1.0, ("nginx",)),
    Figure("CPU per event stream of 1,000 events", "stream", "cpu", "µs", 1.0, ("nginx",), digits=0),
    Figure("p99 at 32 connections", "call", "p99", "µs", 1.0, BOTH, digits=0),
    Figure("memory per idle connection", "idle", "memory", "KiB", 2, side="guard:idle", how="value"),
    Figure("CPU with 1,000 idle connections, console and probes", "idle", "cpu", "µs/s", 100, side="guard:idle", how="value", digits=0),
    Figure("TLS 1.3 handshakes a second of CPU", "handshake", "rate", "/s", 1.0, BOTH, more_is_better=True, digits=0),
    Figure("CPU per call kept alive, TLS 1.3", "tls", "cpu", "µs", 1.0, BOTH),
    Figure("CPU per call, JWT verified before, beside a token of the file", "rooms", "cpu", "µs", 1.0, ("guard:plain",), "guard:jwt", "added"),
    Figure("CPU per call, limit of a fleet, beside one of its own", "rooms", "cpu", "µs", 0.5, ("guard:limits",), "guard:fleet", "added"),
    Figure("CPU per call, console open, beside none", "rooms", "cpu", "µs", 1, ("guard:plain",), "guard:console", "percent"),
    Figure("CPU per call, 10 % traced, beside none", "rooms", "cpu", "µs", 5, ("guard:plain",), "guard:traces", "percent"),
    Figure("CPU per call, a copy of each at 500/s, beside none", "shadow", "cpu", "µs", 30, ("guard:alone",), "guard:copying", "added"),
    Figure("instructions per call", "counts", "call", "", 28_000, how="value", digits=0),
    Figure("instructions per 403", "counts", "denied", "", 12_000, how="value", digits=0),
    Figure("mcp-tools, CPU per call, SQLite, one row", "sqlite", "row", "µs", 10, ("toolbox",), "tools", "inverse", True),
    Figure("mcp-tools, CPU per call, SQLite, 50 rows", "sqlite", "rows", "µs", 10, ("toolbox",), "tools", "inverse", True),
    Figure("mcp-tools, CPU per call, PostgreSQL, one row", "postgres", "row", "µs", 10, ("toolbox",), "tools", "inverse", True),
    Figure("mcp-tools, CPU per call, PostgreSQL, 50 rows", "postgres", "rows", "µs", 10, ("toolbox",), "tools", "inverse", True),
    Figure("from start to serving", "start", "ms", "ms", 8, how="value"),
    Figure("from start to serving, mcp-tools", "start", "ms", "ms", 15, side="tools", how="value"),
    Figure("CPU per call at 2,000 a second", "rate", "cpu", "µs", 1.0, ("nginx",)),
    Figure("p50 at one connection", "one", "p50", "µs", 1.0, ("nginx",), digits=0),
]
