#!/usr/bin/env python3
"""What one request costs the guard in user-space instructions (callgrind) and in system calls (strace): noise-proof figures.

    scripts/instructions                     count, and fail if a count is above benches/budget/budget.json
    scripts/instructions --only call         one scenario of: call, denied, sampled (a call with traces, of which a tenth is sampled)
    scripts/instructions --profile DIR       keep callgrind's files there, for callgrind_annotate
    scripts/instructions --guard PATH        a built guard instead of a fresh one of the profile `fast`

Method: one guard, one thread, whole policy on (token, scan, metrics, JSON log lines to a pipe); 32 kept-alive connections,
each with one request under way; a 300-byte response from a Unix socket. Two runs of different length, and the difference
divided by the difference in requests: what it takes to start and to end cancels out. The kernel's share is not counted.
Standard library only; everything on 127.0.0.1 and in a temporary folder.
"""

import argparse
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "kit"))

from mcp_testkit.collector import Collector  # noqa: E402
from mcp_testkit.guard import Guard  # noqa: E402
from mcp_testkit.programs import Programs  # noqa: E402

TOKEN = "bench-Tok3n-0123456789abcdefghijklmnop"
CONNECTIONS = 32
DEADLINE_SECONDS = 240
RESPONSE_BODY = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "x" * 212}], "isError": False}}
).encode()
CALL_BODY = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "swf_get_system_state", "arguments": {"username": "wenauseic", "pad": "x" * 112}}}
).encode()
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n%s" % (len(RESPONSE_BODY), RESPONSE_BODY)
)
CONFIG = """
[listen]
address = "{address}"
threads = 1
[limits]
in_flight = 64
[slots.blue]
address = "{backend}"
pool = 64
"""


def request(token: str) -> bytes:
    head = (
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: application/json, text/event-stream\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(CALL_BODY)}\r\n\r\n"
    )
    return head.encode() + CALL_BODY


# name: (request, first bytes of the response)
SCENARIOS = {"call": (request(TOKEN), b"HTTP/1.1 200 "), "denied": (request("wrong"), b"HTTP/1.1 403 "), "sampled": (request(TOKEN), b"HTTP/1.1 200 ")}
TRACES = '[traces]\nendpoint = "http://127.0.0.1:{port}"\nsample = "10%"\n'


class Backend(threading.Thread):
    """Sends the same response to every request on its Unix socket, on one thread."""

    def __init__(self, path: str):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(128)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    self.selector.register(self.listener.accept()[0], selectors.EVENT_READ)
                    continue
                # The guard writes head and body at once, and both fit into one read. A probe may end before its response was read.
                try:
                    data = key.fileobj.recv(65536)
                except ConnectionResetError:
                    data = b""
                if data:
                    key.fileobj.sendall(RESPONSE)
                else:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()


def load(address: str, name: str, requests: int) -> None:
    """Sends this many requests over all connections; a connection carries the next one when the last has its response."""
    sent_bytes, expected = SCENARIOS[name]
    host, _, port = address.rpartition(":")
    selector = selectors.DefaultSelector()
    connections = [socket.create_connection((host, int(port)), timeout=30) for _ in range(CONNECTIONS)]
    left, received, deadline = requests, 0, time.monotonic() + DEADLINE_SECONDS
    for connection in connections:
        selector.register(connection, selectors.EVENT_READ, bytearray())
        connection.sendall(sent_bytes)
        left -= 1
    while received < requests:
        ready = selector.select(30)
        if not ready or time.monotonic() > deadline:
            sys.exit(f"{name}: the guard stopped responding after {received} of {requests} requests")
        for key, _ in ready:
            key.data.extend(key.fileobj.recv(65536))
            end = key.data.find(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", key.data[:end]) if end > 0 else None
            if not length or len(key.data) < end + 4 + int(length[1]):
                if not key.data:
                    sys.exit(f"{name}: the guard closed a connection")
                continue
            if not key.data.startswith(expected):
                sys.exit(f"{name}: expected {expected.decode()}, saw {bytes(key.data[:300])!r}")
            key.data.clear()
            received += 1
            if left > 0:
                left -= 1
                key.fileobj.sendall(sent_bytes)
    for connection in connections:
        connection.close()


def run(binary: Path, folder: Path, wrapper: list[str], name: str, requests: int) -> None:
    """One guard under the wrapper, from its start to its end."""
    programs = Programs(folder)
    # The guard drops log lines that are not read, and what it drops costs less.
    read, write = os.pipe()
    log = bytearray()
    reader = threading.Thread(target=lambda: [log.extend(chunk) for chunk in iter(lambda: os.read(read, 65536), b"")], daemon=True)
    reader.start()
    try:
        argv = (*wrapper, str(binary))
        config = CONFIG
        if name == "sampled":
            collector = Collector()
            config += TRACES.replace("{port}", str(collector.server_port))
        guard = Guard(programs, f"unix:{folder}/backend.sock", "/mcp", token=TOKEN, config=config, argv=argv, ready_seconds=60, stderr=write)
        load(guard.address, name, requests)
        # The guard is the wrapper itself (valgrind) or its only child (strace).
        pid = guard.program.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(children[0]) if wrapper[0] == "strace" and children else pid, signal.SIGTERM)
        guard.program.wait(60)
    finally:
        programs.stop_all()
        os.close(write)
        reader.join(10)
        os.close(read)
    lines = log.count(b'"outcome":')
    if lines < requests * 0.99:
        sys.exit(f"{name}: {requests} requests and only {lines} log lines: this run measures the wrong thing")


def instructions(options: argparse.Namespace, folder: Path, name: str, requests: int) -> int:
    output = folder / f"callgrind.{name}.{requests}"
    run(options.guard, folder, ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={output}"], name, requests)
    total = re.search(r"^(?:totals|summary): (\d+)", output.read_text(), re.MULTILINE)
    if not total:
        sys.exit(f"{output} has no total")
    if options.profile:
        options.profile.mkdir(parents=True, exist_ok=True)
        shutil.copy(output, options.profile)
    return int(total[1])


def system_calls(options: argparse.Namespace, folder: Path, name: str, requests: int) -> dict[str, int]:
    output = folder / f"strace.{name}.{requests}"
    run(options.guard, folder, ["strace", "--follow-forks", "--summary-only", "--output", str(output)], name, requests)
    counts = {}
    for line in output.read_text().splitlines():
        cells = line.split()
        if len(cells) >= 5 and cells[3].isdigit():
            counts[cells[-1]] = int(cells[3])
    counts.pop("total", None)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guard", type=Path)
    parser.add_argument("--only", default="call,denied", help=f"of {','.join(SCENARIOS)}; %(default)s where it is not given")
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--lengths", default="1500,4500", help="requests of the short and of the long run")
    options = parser.parse_args()
    if not options.guard:
        subprocess.run(["cargo", "build", "--quiet", "--profile", "fast", "--bin", "mcp-guard"], cwd=ROOT, check=True)
        options.guard = ROOT / "target" / "fast" / "mcp-guard"
    short, long = map(int, options.lengths.split(","))
    budget = json.loads((HERE / "budget.json").read_text())
    exceeded = []
    with tempfile.TemporaryDirectory(prefix="mcp-budget-") as path:
        folder = Path(path)
        Backend(f"{path}/backend.sock").start()
        for name in options.only.split(","):
            count = (instructions(options, folder, name, long) - instructions(options, folder, name, short)) / (long - short)
            before, after = (system_calls(options, folder, name, requests) for requests in (short, long))
            calls = {call: (after[call] - before.get(call, 0)) / (long - short) for call in after}
            common = sorted(((number, call) for call, number in calls.items() if number >= 0.005), reverse=True)
            total = sum(calls.values())
            print(f"{name}: {count:,.0f} instructions (budget {budget[name]['instructions']:,}), {total:.2f} system calls (budget {budget[name]['system_calls']})")
            print("  " + ", ".join(f"{call} {number:.2f}" for number, call in common), flush=True)
            exceeded += [f"{name}: {what}" for what, seen in (("instructions", count), ("system_calls", total)) if seen > budget[name][what]]
    if exceeded:
        sys.exit(f"over budget: {', '.join(exceeded)} (benches/budget/budget.json; --profile DIR shows where they go)")


if __name__ == "__main__":
    main()
