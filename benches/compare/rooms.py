#!/usr/bin/env python3
"""What the guard's optional rooms cost a call: traces of which a tenth is sampled, an open console, a fleet.

    python3 benches/compare/rooms.py [--rounds 5] [--seconds 3] [--only traces,console,fleet] [--guard target/fast/mcp-guard]

Method: that of compare.py (one core for the guard alone, wrk and nginx on the others, 32 connections, 300 bytes). Each room is
measured in turn with the plain guard, in one run; a room's cost is its median beside the plain guard's of the same rounds.
`limits` has a rate for each client that is never reached, `fleet` the same rate counted by leased shares, with a redis-server on
the load's cores; `console` has a viewer who reads the stream of events that the page reads, and the CPU of the console's
own thread beside that of the whole guard. Standard library only; everything on 127.0.0.1; bounded in time. Compare inside one run only.
"""

import argparse
import http.client
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from compare import ROOT, Bench
from measure import Log, cpu_ns, wrk
from mcp_testkit.collector import Collector
from mcp_testkit.paths import system
from mcp_testkit.programs import free_port
from scenarios import TOKEN, Scenario, call

VIEWER = "bench-viewer-0123456789abcdef"
FLEET_KEY = "bench-fleet-key-0123456789abcdefghijklm"
SCENARIO = Scenario("call", "forwarded call", status=200)


class Viewer(threading.Thread):
    """Reads the console's stream of events, as the page does."""

    def __init__(self, port: str):
        super().__init__(daemon=True)
        self.port, self.events, self.ends = int(port), 0, False

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {VIEWER}", "Accept": "text/event-stream"})
        response = connection.getresponse()
        while not self.ends:
            self.events += response.readline().startswith(b"data:")
        connection.close()


def thread_ns(pid: int, name: str) -> int:
    """CPU time of the threads of this name."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            total += int((task / "schedstat").read_text().split()[0])
    return total


class Rooms:
    def __init__(self, bench: Bench):
        self.bench, self.collector = bench, Collector()
        self.redis = bench.folder / "redis.sock"

    def start_redis(self) -> None:
        argv = [system("redis-server"), "--port", "0", "--unixsocket", str(self.redis), "--save", "", "--dir", str(self.bench.folder)]
        self.bench.programs.start("redis", argv, cores=self.bench.split(True)[1])
        deadline = time.monotonic() + 10
        while not self.redis.exists():
            if time.monotonic() > deadline:
                sys.exit("redis-server did not start")
            time.sleep(0.05)

    def config(self, room: str, port: str, console: str) -> str:
        more = {"PORT": port, "UPSTREAM_PATH": "/mcp", "THREADS": "1", "TOKENS_FILE": ""}
        path = Path(self.bench.rendered("guard.toml", **more))
        text = path.read_text()
        if room == "traces":
            text += f'\n[traces]\nendpoint = "http://127.0.0.1:{self.collector.server_port}"\nsample = "10%"\n'
        if room.startswith("console"):
            text += f'\n[console]\naddress = "127.0.0.1:{console}"\nviewers = ["env:BENCH_VIEWER"]\n'
        if room in ("limits", "fleet"):
            text = text.replace("[limits]\n", '[limits.tools]\n"*" = { rate = "100000/s", burst = 100000 }\n\n[limits]\n')
        if room == "fleet":
            text += f'\n[fleet]\nstore = "unix://{self.redis}"\nname = "bench"\nmember = "one"\nkey = "env:BENCH_FLEET_KEY"\n'
        path.write_text(text)
        return str(path)

    def measure(self, room: str) -> dict:
        """One fresh guard, warmed up, measured, ended."""
        guard_cores, load_cores = self.bench.split(True)
        os.sched_setaffinity(0, load_cores)
        port, console = str(free_port()), str(free_port())
        env = {"MCP_BEARER_TOKEN": TOKEN, "BENCH_VIEWER": VIEWER, "BENCH_FLEET_KEY": FLEET_KEY}
        log = Log(load_cores)
        argv = [str(self.bench.guard), "run", "--config", self.config(room, port, console)]
        guard = self.bench.start("guard", argv, guard_cores, port, env, log.write)
        viewer = Viewer(console)
        try:
            self.bench.verify(port, SCENARIO)
            if room == "console-viewer":
                viewer.start()
            if room == "fleet":
                # The share of a limit is leased by then.
                time.sleep(1)
            body = call(SCENARIO.body_bytes)
            wrk(self.bench.folder, load_cores, port, SCENARIO, body, 1, [])
            before, own, begun = cpu_ns(guard.pid), thread_ns(guard.pid, "console"), time.monotonic()
            result = wrk(self.bench.folder, load_cores, port, SCENARIO, body, self.bench.options.seconds, [])
            elapsed = time.monotonic() - begun
            result["cpu"] = (cpu_ns(guard.pid) - before) / result["requests"] / 1000
            result["console"] = (thread_ns(guard.pid, "console") - own) / 1e7 / elapsed
            if room == "console-viewer" and viewer.events < self.bench.options.seconds:
                sys.exit(f"the viewer has read {viewer.events} events: this run measures the wrong thing")
            return result
        finally:
            viewer.ends = True
            guard.stop()
            log.close()


PLANS = {"traces": ["plain", "traces"], "console": ["plain", "console", "console-viewer"], "fleet": ["plain", "limits", "fleet"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PLANS))
    parser.add_argument("--guard", type=Path, default=ROOT / "target" / "fast" / "mcp-guard")
    options = parser.parse_args()
    options.free = False
    folder = Path(tempfile.mkdtemp(prefix="mcp-rooms-"))
    folder.chmod(0o755)
    bench = Bench(options, folder, options.guard.resolve())
    try:
        rooms, upstream = Rooms(bench), bench.upstream()
        if "fleet" in options.only:
            rooms.start_redis()
        for name in options.only.split(","):
            runs: dict[str, list[dict]] = {variant: [] for variant in PLANS[name]}
            for _ in range(options.rounds):
                for variant in PLANS[name]:
                    runs[variant].append(rooms.measure(variant))
            middle = lambda variant, figure: statistics.median(run[figure] for run in runs[variant])
            for variant in PLANS[name]:
                figures = {figure: middle(variant, figure) for figure in ("rps", "cpu", "p50", "p99", "console")}
                beside = figures["cpu"] / middle(PLANS[name][0], "cpu") * 100 - 100
                print(
                    f"{variant:15} {figures['rps']:8.0f} calls/s  CPU {figures['cpu']:6.2f} us a call ({beside:+.1f} %)  "
                    f"p50 {figures['p50']:6.0f} us  p99 {figures['p99']:6.0f} us  console's thread {figures['console']:.3f} % of a core",
                    flush=True,
                )
        upstream.stop()
    finally:
        bench.programs.stop_all()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
