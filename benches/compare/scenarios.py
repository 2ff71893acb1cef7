"""What is measured: the scenarios, the sweeps, and the figures that are read off them."""

import json
from dataclasses import dataclass, field

TOKEN = "bench-Tok3n-0123456789abcdefghijklmnop"
PROXIES = ["none", "haproxy", "nginx", "guard"]
KB = 1000


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


@dataclass(frozen=True)
class Scenario:
    """One load. `name` is what --only takes."""

    name: str
    title: str
    method: str = "POST"
    token: str = TOKEN
    status: int = 200
    connections: int = 32
    body_bytes: int = 250
    response: str = SMALL
    rate: int = 0
    threads: int = 1
    clients: int = 0
    idle: bool = False
    proxies: tuple[str, ...] = tuple(PROXIES)
    # A sweep's point: the name of the sweep and where on its axis.
    sweep: str = ""
    at: int = 0

    @property
    def pinned(self) -> bool:
        return self.threads == 1


BEHIND_POLICY = ("haproxy", "nginx", "guard")
TABLE = [
    Scenario("call", "forwarded call, 300 B answer, 32 connections"),
    Scenario("403", "403, wrong token", token="wrong", status=403, proxies=BEHIND_POLICY),
    Scenario("405", "405, GET", method="GET", status=405, proxies=BEHIND_POLICY),
    Scenario("rate", "forwarded calls at 2,000 a second", rate=2000, proxies=BEHIND_POLICY),
    Scenario("answer", "forwarded call, 100 KB answer", response=LARGE),
    Scenario("request", "forwarded call, 100 KB request", body_bytes=100 * KB),
    Scenario("one", "forwarded call, one connection", connections=1),
    Scenario("threads", "forwarded call, 2 threads, nothing pinned", threads=2, connections=64),
    Scenario("idle", "1,000 idle connections", idle=True, proxies=BEHIND_POLICY),
]
SWEEPS = {
    "clients": ("configured clients", "CPU µs per call"),
    "connections": ("connections that take turns, 2,000 calls a second", "CPU µs per call"),
    "bodies": ("bytes of the request's body", "CPU µs per call"),
}
POINTS = [
    *(Scenario(f"clients-{n}", f"{n:,} clients", clients=n, proxies=("guard",), sweep="clients", at=n) for n in (1, 100, 10_000, 100_000)),
    *(
        Scenario(f"connections-{n}", f"{n:,} connections", connections=n, rate=2000, proxies=BEHIND_POLICY, sweep="connections", at=n)
        for n in (10, 100, 1000, 4000, 10_000)
    ),
    *(
        Scenario(f"bodies-{n}", f"{n:,} bytes", body_bytes=n, connections=16, proxies=BEHIND_POLICY, sweep="bodies", at=n)
        for n in (1 * KB, 10 * KB, 100 * KB, 1000 * KB, 4000 * KB)
    ),
]


@dataclass(frozen=True)
class Figure:
    """One row of the table: which figure of which scenario, and what it must reach beside which peer."""

    title: str
    scenario: str
    key: str
    unit: str
    peer: str = ""
    # Greatest (or, where more is better, least) ratio guard / peer; or the greatest value, where there is no peer.
    reach: float = 0
    more_is_better: bool = False
    # Taken off first: the same figure without a proxy, where "added" is meant.
    added: bool = False
    digits: int = field(default=1)


FIGURES = [
    Figure("CPU per call, 300 B answer, 32 connections", "call", "cpu", "µs", "nginx", 1.1),
    Figure("CPU per 403", "403", "cpu", "µs", "nginx", 1.0),
    Figure("CPU per 405", "405", "cpu", "µs", "nginx", 1.0),
    Figure("CPU per call at 2,000 a second", "rate", "cpu", "µs", "nginx", 1.2),
    Figure("CPU per call, 100 KB answer", "answer", "cpu", "µs", "haproxy", 1.0),
    Figure("CPU per call, 100 KB request", "request", "cpu", "µs", "haproxy", 1.0),
    Figure("p50 added at one connection", "one", "p50", "µs", "nginx", 1.0, added=True, digits=0),
    Figure("p99 at 32 connections", "call", "p99", "µs", "nginx", 1.0, digits=0),
    Figure("requests per second, 2 threads", "threads", "rps", "/s", "nginx", 1.0, more_is_better=True, digits=0),
    Figure("memory per idle connection", "idle", "memory", "KiB", reach=8.0),
    Figure("CPU with 1,000 idle connections", "idle", "cpu", "µs/s", reach=200, digits=0),
]
