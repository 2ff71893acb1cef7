"""Sends load to programs and reads what they cost from /proc. Must not know what is compared.

CPU is the scheduler's run time of all threads of a process tree (/proc/PID/task/*/schedstat): the figure that survives a
noisy machine. Memory is the proportional share of the whole tree (Pss). Load comes from
wrk (as fast as it goes) or from `Paced` (so many calls a second).
"""

import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "kit"))

from mcp_testkit.paths import system  # noqa: E402

LUA = """
wrk.method = "%(method)s"
wrk.headers["Authorization"] = "Bearer %(token)s"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, text/event-stream"
%(body)s
%(tokens)s
done = function(summary, latency, requests)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration, bad, summary.errors.status,
    latency:percentile(50), latency:percentile(99)))
end
"""

TOKENS = """
local requests, turn = {}, 0
init = function()
  for token in io.lines("%s/tokens.txt") do
    wrk.headers["Authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format()
  end
end
request = function()
  turn = turn %% #requests + 1
  return requests[turn]
end
"""


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += tree(int(child))
    return found


def cpu_ns(pid: int) -> int:
    """CPU time of the process tree so far. Threads that have ended do not count: compare two readings of the same threads."""
    total = 0
    for process in tree(pid):
        for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
            total += int(path.read_text().split()[0])
    return total


def memory_kib(pid: int) -> int:
    """The tree's share of memory: pages that its processes have in common count once."""
    rollups = (Path(f"/proc/{one}/smaps_rollup").read_text() for one in tree(pid))
    return sum(int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1]) for rollup in rollups)


def merged(measured: dict[str, list[dict]]) -> dict[str, dict[str, float]]:
    """From the slices of each side to its figures. Percentiles are the median of the slices'."""
    figures: dict[str, dict[str, float]] = {}
    for side, parts in measured.items():
        requests = sum(part["requests"] for part in parts)
        figures[side] = {"rps": requests / sum(part["seconds"] for part in parts)}
        figures[side] |= {key: statistics.median(part[key] for part in parts) for key in ("p50", "p99") if key in parts[0]}
        if "cpu_ns" in parts[0]:
            figures[side]["cpu"] = sum(part["cpu_ns"] for part in parts) / requests / 1000
    return figures


class Log:
    """A pipe for a program's log and a reader on the load's cores, as journald would be."""

    def __init__(self, cores: set[int]):
        read, self.write = os.pipe()
        argv = ["dd", "of=/dev/null", "bs=65536", "status=none"]
        self.reader = subprocess.Popen(argv, stdin=read, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores))
        os.close(read)

    def close(self) -> None:
        os.close(self.write)
        try:
            self.reader.wait(5)
        except subprocess.TimeoutExpired:
            self.reader.kill()
            self.reader.wait()


def wrk(folder: Path, cores: set[int], port: str, scenario, token: str, body: bytes, seconds: float, tokens: list[str]) -> dict:
    """One thread, kept-alive connections, closed loop. Several tokens take turns."""
    lines = {"method": scenario.method, "token": token, "body": "", "tokens": ""}
    if scenario.method == "POST":
        (folder / "body.json").write_bytes(body)
        lines["body"] = f'local file = io.open("{folder}/body.json", "rb")\nwrk.body = file:read("*a")\nfile:close()'
    if tokens:
        (folder / "tokens.txt").write_text("\n".join(tokens))
        lines["tokens"] = TOKENS % folder
    script = folder / "load.lua"
    script.write_text(LUA % lines)
    # wrk takes whole seconds only, and ends early with its results at SIGINT.
    whole = seconds == int(seconds)
    url = f"{'https' if scenario.tls else 'http'}://127.0.0.1:{port}{scenario.path}"
    argv = [system("wrk"), "-t1", f"-c{scenario.connections}", f"-d{int(seconds) if whole else 60}s", "--timeout", "10s", "-s", str(script), url]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    try:
        if not whole:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=seconds + 60)
    finally:
        process.kill()
    result = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", output)
    if not result:
        sys.exit(f"wrk printed:\n{output}")
    requests, micros, broken, refused, p50, p99 = map(int, result.groups())
    # wrk counts every status of 400 and above as an error: all of them or none must be.
    if not requests or broken or refused != (requests if scenario.status >= 400 else 0):
        sys.exit(f"{scenario.name}: {broken} broken and {refused} refused of {requests}: this run measures the wrong thing")
    return {"requests": requests, "seconds": micros / 1e6, "p50": p50, "p99": p99}


class Paced:
    """Kept-alive connections that take turns: one call every 1/rate of a second, however long the responses take."""

    def __init__(self, port: str, connections: int, request: bytes):
        self.request, self.selector, self.connections = request, selectors.DefaultSelector(), []
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", int(port)), timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(connection, selectors.EVENT_READ)
            self.connections.append(connection)

    def run(self, rate: int, count: int) -> dict:
        """Sends this many calls and waits for all responses. A response is small, so it is one read."""
        sent_at, latencies, sent, skipped, begin = {}, [], 0, 0, time.perf_counter()
        deadline = begin + count / rate + 30
        while len(latencies) + skipped < count:
            now = time.perf_counter()
            if now > deadline:
                sys.exit(f"paced load: {len(latencies)} of {count} calls were answered, {skipped} not sent")
            while sent < count and begin + sent / rate <= now:
                connection = self.connections[sent % len(self.connections)]
                sent += 1
                if connection in sent_at:
                    skipped += 1  # Its last call is still under way: the rate is more than the connections carry.
                    continue
                sent_at[connection] = time.perf_counter()
                connection.sendall(self.request)
            due = begin + sent / rate - time.perf_counter() if sent < count else 1
            for key, _ in self.selector.select(max(due, 0)):
                data = key.fileobj.recv(65536)
                if not data.startswith(b"HTTP/1.1 200 "):
                    sys.exit(f"paced load: expected 200, saw {data[:300]!r}")
                latencies.append(time.perf_counter() - sent_at.pop(key.fileobj))
        latencies.sort()
        microseconds = lambda share: latencies[min(int(len(latencies) * share), len(latencies) - 1)] * 1e6
        elapsed = time.perf_counter() - begin
        return {"requests": len(latencies), "seconds": elapsed, "p50": microseconds(0.5), "p99": microseconds(0.99)}

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
