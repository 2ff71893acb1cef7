"""One round of each kind of scenario: fresh processes of all sides, warmed up, measured in turn, ended.

A round returns the figures of each side. Where a side is measured in several slices, every other turn goes the other way round, so that
what changes with time reaches all sides alike.
"""

import http.client
import json
import os
import random
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from typing import Callable, Iterator

import peers
import shadow
from measure import ROOT, Paced, cpu_ns, memory_kib, merged, wrk
from mcp_testkit.paths import system
from mcp_testkit.programs import free_port
from scenarios import EVENTS, Scenario, call
from sides import Absent, Bench, Running, raw, verify

Round = dict[str, dict[str, float]]
IDLE_FEW, IDLE_MANY = 100, 1000
# What has just started is not idle yet: the guard still looks often at a backend it does not know.
SETTLE_SECONDS = 8
WARM_SECONDS = 0.5
STARTS = 5
CIPHER = ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"]


def slices(running: list[Running], seconds: float) -> Iterator[tuple[Running, float]]:
    """Each side in turn, of a second or less each, there and back again. No side is always the first one."""
    count, order = max(1, round(seconds)), random.sample(running, len(running))
    for turn in range(count):
        for one in order[:: -1 if turn % 2 else 1]:
            yield one, seconds / count


def load(bench: Bench, scenario: Scenario, seconds: float) -> Round:
    """As many calls as the connections carry, or `rate` of them a second."""
    tokens = bench.many_tokens(scenario.clients) if scenario.clients else []
    cores, body, measured = bench.split(scenario.pinned)[1], call(scenario.body_bytes), {}
    with bench.started(scenario) as running, ExitStack() as ends:
        runs: dict[str, Callable[[float], dict]] = {}
        for one in running:
            verify(one, scenario, bench.folder)
            if scenario.rate:
                paced = ends.enter_context(closing(Paced(one.port, scenario.connections, raw(one.token, body))))
                # Each connection is used before the measurement begins.
                paced.run(scenario.rate, max(scenario.connections, scenario.rate // 2))
                runs[one.side] = lambda time, paced=paced: paced.run(scenario.rate, max(1, int(scenario.rate * time)))
            else:
                runs[one.side] = lambda time, one=one: wrk(bench.folder, cores, one.port, scenario, one.token, body, time, tokens)
                runs[one.side](WARM_SECONDS)
        for one, time_of in slices(running, seconds):
            before = cpu_ns(one.pid)
            part = runs[one.side](time_of)
            measured.setdefault(one.side, []).append(part | {"cpu_ns": cpu_ns(one.pid) - before})
    return merged(measured)


def unchunked(response: bytes) -> bytes:
    """The body of a chunked response: a chunk may end anywhere in an event."""
    rest, body = response[response.index(b"\r\n\r\n") + 4:], bytearray()
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        length = int(line, 16)
        body += rest[:length]
        rest = rest[length + 2:]
    return bytes(body)


def read_streams(one: Running, scenario: Scenario, request: bytes) -> None:
    """One stream on each connection, to the last event."""
    selector, received = selectors.DefaultSelector(), {}
    for _ in range(scenario.connections):
        connection = socket.create_connection(("127.0.0.1", int(one.port)), timeout=30)
        selector.register(connection, selectors.EVENT_READ)
        received[connection] = bytearray()
        connection.sendall(request)
    while received:
        ready = selector.select(30)
        if not ready:
            sys.exit(f"{one.side}: an event stream has stopped")
        for key, _ in ready:
            data, read = received[key.fileobj], key.fileobj.recv(262144)
            data += read
            if data.endswith(b"\r\n0\r\n\r\n"):
                events = unchunked(data).count(b"\ndata: ")
                if not data.startswith(b"HTTP/1.1 200 ") or events != EVENTS:
                    sys.exit(f"{one.side}: {events} events in {bytes(data[:300])!r}: this run measures the wrong thing")
                selector.unregister(key.fileobj)
                key.fileobj.close()
                del received[key.fileobj]
            elif not read or not data.startswith(b"HTTP/1.1 200 "):
                sys.exit(f"{one.side}: no event stream: {bytes(data[:300])!r}")


def streams(bench: Bench, scenario: Scenario, seconds: float) -> Round:
    measured: dict[str, list[dict]] = {}
    with bench.started(scenario) as running:
        requests = {one.side: raw(one.token, call(scenario.body_bytes)) for one in running}
        for one in running:
            read_streams(one, scenario, requests[one.side])
        for one, time_of in slices(running, seconds):
            before, begun, count = cpu_ns(one.pid), time.monotonic(), 0
            while count == 0 or time.monotonic() - begun < time_of:
                read_streams(one, scenario, requests[one.side])
                count += scenario.connections
            part = {"requests": count, "seconds": time.monotonic() - begun, "cpu_ns": cpu_ns(one.pid) - before}
            measured.setdefault(one.side, []).append(part)
    return merged(measured)


def idle(bench: Bench, scenario: Scenario, seconds: float) -> Round:
    """What connections cost that have carried a call and now carry nothing: all sides at the same time, as none disturbs another."""
    figures: Round = {}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_server_instructions", "arguments": {}}}).encode()
    with bench.started(scenario) as running, ExitStack() as ends:

        def opened(one: Running, count: int) -> None:
            paced = ends.enter_context(closing(Paced(one.port, count, raw(one.token, body))))
            paced.run(1000, count)

        for one in running:
            wrk(bench.folder, bench.split(True)[1], one.port, scenario, one.token, body, WARM_SECONDS, [])
            opened(one, IDLE_FEW)
            time.sleep(0.5)
            before = memory_kib(one.pid)
            opened(one, IDLE_MANY - IDLE_FEW)
            time.sleep(0.5)
            figures[one.side] = {"memory": (memory_kib(one.pid) - before) / (IDLE_MANY - IDLE_FEW)}
        # Long enough for what happens every few seconds to happen.
        time.sleep(SETTLE_SECONDS if seconds > 1 else 0)
        spent = {one.side: cpu_ns(one.pid) for one in running}
        time.sleep(seconds)
        for one in running:
            figures[one.side]["cpu"] = (cpu_ns(one.pid) - spent[one.side]) / 1000 / seconds
    return figures


def handshakes(bench: Bench, scenario: Scenario, seconds: float) -> Round:
    """Full handshakes, one after the other. The client is the slower end, so the rate is that of a second of the proxy's CPU."""
    measured: dict[str, list[dict]] = {}

    def some(one: Running, time_of: float) -> int:
        argv = ["openssl", "s_time", "-connect", f"127.0.0.1:{one.port}", "-new", "-time", str(max(1, round(time_of))), *CIPHER]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + time_of)
        found = re.search(r"(\d+) connections in .* real seconds", done.stdout)
        if not found or not int(found[1]):
            sys.exit(f"{one.side}: s_time printed {done.stdout[-300:]}{done.stderr[-300:]}")
        return int(found[1])

    with bench.started(scenario) as running:
        for one in running:
            some(one, 1)
        for one, time_of in slices(running, seconds):
            before, begun = cpu_ns(one.pid), time.monotonic()
            part = {"requests": some(one, time_of), "seconds": time.monotonic() - begun, "cpu_ns": cpu_ns(one.pid) - before}
            measured.setdefault(one.side, []).append(part)
    figures = merged(measured)
    return {side: {"cpu": each["cpu"], "rate": 1e6 / each["cpu"]} for side, each in figures.items()}


def first_response(argv: list[str], env: dict[str, str], address: str, request: bytes) -> float:
    """Milliseconds from the start of the program to the first response of status 200."""
    begun = time.perf_counter()
    process = subprocess.Popen(argv, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host, _, port = address.rpartition(":")
    try:
        while True:
            family, target = (socket.AF_UNIX, address[5:]) if address.startswith("unix:") else (socket.AF_INET, (host, int(port)))
            with socket.socket(family) as connection:
                connection.settimeout(10)
                if connection.connect_ex(target) == 0:
                    connection.sendall(request)
                    if not connection.recv(65536).startswith(b"HTTP/1.1 200 "):
                        sys.exit(f"{argv[0]} did not respond with 200")
                    return (time.perf_counter() - begun) * 1000
            if process.poll() is not None or time.perf_counter() - begun > 10:
                sys.exit(f"{argv[0]} did not start")
            time.sleep(0.0002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def starts(bench: Bench, scenario: Scenario, _seconds: float) -> Round:
    """The median of some starts of each program, on any core."""
    os.sched_setaffinity(0, set(bench.cores))
    figures: Round = {}
    health = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    for side in bench.expanded(scenario):
        taken = []
        for _ in range(STARTS):
            port = str(free_port())
            if side == "tools":
                path = bench.folder / "start.sock"
                path.unlink(missing_ok=True)
                ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
                head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {len(ping)}\r\n\r\n"
                argv = [str(bench.tools), "serve", "--socket", str(path), "--demo", "--catalog", str(ROOT / "conf" / "tools" / "swf.toml")]
                taken.append(first_response(argv, {}, f"unix:{path}", head.encode() + ping))
                continue
            config = bench.rendered("guard.toml", PORT=port, THREADS="1", UPSTREAM_PATH="/mcp", TOKENS_FILE="")
            argv = [str(bench.build(side)), "run", "--config", config]
            taken.append(first_response(argv, {"MCP_BEARER_TOKEN": scenario.token}, f"127.0.0.1:{port}", health))
        figures[side] = {"ms": statistics.median(taken)}
    return figures


def counts(bench: Bench, scenario: Scenario, _seconds: float) -> Round:
    """benches/budget/count.py does it; being above the budget is for `make test` to say."""
    for tool in ("valgrind", "strace"):
        try:
            system(tool)
        except AssertionError:
            raise Absent(f"{tool} is not installed") from None
    figures: Round = {}
    for side in bench.expanded(scenario):
        argv = [sys.executable, str(ROOT / "benches" / "budget" / "count.py"), "--guard", str(bench.build(side)), "--only", "call,denied"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
        found = re.findall(r"^(\w+): ([\d,]+) instructions", done.stdout, re.MULTILINE)
        if len(found) != 2:
            raise Absent(f"count.py failed: {(done.stdout + done.stderr)[-200:].strip()}")
        figures[side] = {name: float(number.replace(",", "")) for name, number in found}
    return figures


KINDS: dict[str, Callable[[Bench, Scenario, float], Round]] = {
    "load": load,
    "streams": streams,
    "idle": idle,
    "handshakes": handshakes,
    "starts": starts,
    "counts": counts,
    "shadow": shadow.copies,
    "tools": peers.tools,
}
