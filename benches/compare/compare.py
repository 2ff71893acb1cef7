#!/usr/bin/env python3
"""Guard, nginx, HAProxy and no proxy at all, in turn, in one run: same load, same policy, same backend.

    make bench                                        everything, in about an hour
    compare.py --only call,403 --rounds 3             some scenarios; also `table`, `sweeps`
    compare.py --seconds 1 --guard target/fast/mcp-guard
    compare.py --write                                also into docs/performance.md and docs/performance/*.svg
    compare.py --rounds 0 --write                     only write what earlier runs left in target/bench/results.json

Method: loopback, 32 kept-alive connections from wrk, a 250-byte tools/call, a fixed 300-byte response from a Unix socket
(nginx). The guard runs as shipped, one JSON line a request into a pipe included; the peers have the policy they can
express and write no log. Every measurement starts a fresh proxy and warms it up; rounds are interleaved; medians are
compared. The proxy has one core alone, load and backend share the others (--free, and scenarios of two threads: nothing
is pinned). CPU is scheduler run time (measure.py). Compare inside one run only. Standard library only; everything on
127.0.0.1 and in a temporary folder; bounded in time.
"""

import argparse
import hashlib
import http.client
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report
from measure import Log, Paced, cpu_ns, memory_kib, wrk
from mcp_testkit.paths import system
from mcp_testkit.programs import Program, Programs, free_port
from scenarios import LARGE, POINTS, PROXIES, SMALL, TABLE, TOKEN, Scenario, call

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "target" / "bench" / "results.json"
IDLE_FEW, IDLE_MANY = 100, 1000
# Different tokens that take turns in the load, of all that are configured.
TOKENS_IN_TURN = 2000


class Bench:
    def __init__(self, options: argparse.Namespace, folder: Path, guard: Path):
        self.options, self.folder, self.guard, self.programs = options, folder, guard, Programs(folder)
        self.cores = sorted(os.sched_getaffinity(0))
        self.values = {"FOLDER": str(folder), "TOKEN": TOKEN, "ANSWER": SMALL}
        self.values |= {"UPSTREAM_SOCKET": f"{folder}/upstream.sock", "UPSTREAM_PORT": str(free_port())}
        (folder / "large.json").write_text(LARGE)

    def split(self, pinned: bool) -> tuple[set[int], set[int]]:
        """The cores of the proxy, and those of load and backend."""
        if self.options.free or not pinned or len(self.cores) < 2:
            return set(self.cores), set(self.cores)
        return {self.cores[0]}, set(self.cores[1:])

    def rendered(self, name: str, **more: str) -> str:
        path = self.folder / name
        values = {**self.values, **more}
        path.write_text(re.sub(r"@([A-Z_]+)@", lambda name: values[name[1]], (HERE / name).read_text()))
        return str(path)

    def start(self, name: str, argv: list[str], cores: set[int], port: str, env: dict | None = None, stderr: int = subprocess.STDOUT) -> Program:
        return self.programs.start(name, argv, env, cores=cores, stderr=stderr).wait_for(f"127.0.0.1:{port}")

    def upstream(self) -> Program:
        argv = [system("nginx"), "-c", self.rendered("upstream.nginx.conf"), "-e", "stderr"]
        return self.start("upstream", argv, self.split(True)[1], self.values["UPSTREAM_PORT"])

    def tokens(self, count: int) -> list[str]:
        """A file of this many clients, and the tokens of some of them, spread over all."""
        token = lambda number: f"bench-client-{number:08}-0123456789abcdefghijklm"
        entry = lambda number: f'[clients.client-{number:06}]\nsha256 = "{hashlib.sha256(token(number).encode()).hexdigest()}"\n'
        (self.folder / "tokens.toml").write_text("\n".join(map(entry, range(count))))
        (self.folder / "tokens.toml").chmod(0o600)
        return [token(number) for number in range(0, count, max(1, count // TOKENS_IN_TURN))][:TOKENS_IN_TURN]

    def proxy(self, name: str, port: str, scenario: Scenario) -> tuple[list[str], dict]:
        path = "/large" if scenario.response is LARGE else "/mcp"
        more = {"PORT": port, "UPSTREAM_PATH": path, "THREADS": str(scenario.threads)}
        if name == "nginx":
            return [system("nginx"), "-c", self.rendered("nginx.conf", **more), "-e", "stderr"], {}
        if name == "haproxy":
            return [system("haproxy"), "-db", "-f", self.rendered("haproxy.cfg", **more)], {}
        tokens_file = f'tokens_file = "{self.folder}/tokens.toml"' if scenario.clients else ""
        config = self.rendered("guard.toml", TOKENS_FILE=tokens_file, **more)
        return [str(self.guard), "run", "--config", config], {"MCP_BEARER_TOKEN": TOKEN}

    def headers(self, scenario: Scenario) -> dict[str, str]:
        accept = "application/json, text/event-stream"
        return {"Authorization": f"Bearer {scenario.token}", "Content-Type": "application/json", "Accept": accept}

    def verify(self, port: str, scenario: Scenario) -> None:
        """One request by hand: a proxy with another response must not be measured."""
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        body = call(scenario.body_bytes) if scenario.method == "POST" else None
        connection.request(scenario.method, "/mcp", body, self.headers(scenario))
        response = connection.getresponse()
        seen = response.read().decode()
        connection.close()
        if response.status != scenario.status or (scenario.status == 200 and seen != scenario.response):
            sys.exit(f"{scenario.name}: expected {scenario.status}, saw {response.status} {seen[:300]}")

    def measure(self, name: str, scenario: Scenario) -> dict:
        """One fresh proxy, warmed up, measured, ended."""
        proxy_cores, load_cores = self.split(scenario.pinned)
        os.sched_setaffinity(0, load_cores)
        tokens = self.tokens(scenario.clients) if scenario.clients else []
        if name == "none":
            port = self.values["UPSTREAM_PORT"]
            # Without a proxy the path chooses the response, and wrk requests /mcp.
            return {} if scenario.response is LARGE else self.load(port, scenario, tokens, load_cores, None)
        port = str(free_port())
        argv, env = self.proxy(name, port, scenario)
        log = Log(load_cores) if name == "guard" else None
        proxy = self.start(name, argv, proxy_cores, port, env, log.write if log else subprocess.STDOUT)
        try:
            self.verify(port, scenario)
            if scenario.idle:
                return self.idle(port, scenario, proxy.pid, load_cores)
            result = self.load(port, scenario, tokens, load_cores, proxy.pid)
            return {**result, "rss": memory_kib(proxy.pid) / 1024}
        finally:
            proxy.stop()
            if log:
                log.close()

    def load(self, port: str, scenario: Scenario, tokens: list[str], cores: set[int], pid: int | None) -> dict:
        """A second of warming up, then the measurement."""
        seconds = self.options.seconds
        if scenario.rate:
            load = Paced(port, scenario.connections, self.raw(scenario))
            # Each connection is used before the measurement begins.
            load.run(scenario.rate, max(scenario.connections, scenario.rate))
            run = lambda: load.run(scenario.rate, int(scenario.rate * seconds))
        else:
            body = call(scenario.body_bytes)
            wrk(self.folder, cores, port, scenario, body, 1, tokens)
            run = lambda: wrk(self.folder, cores, port, scenario, body, seconds, tokens)
        before = cpu_ns(pid) if pid else 0
        result = run()
        if pid:
            result["cpu"] = (cpu_ns(pid) - before) / result["requests"] / 1000
        if scenario.rate:
            load.close()
        return result

    def raw(self, scenario: Scenario) -> bytes:
        body = call(scenario.body_bytes)
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.headers(scenario).items())
        return f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def idle(self, port: str, scenario: Scenario, pid: int, cores: set[int]) -> dict:
        """What connections cost that have carried a call and now carry nothing."""
        wrk(self.folder, cores, port, Scenario("warm", ""), call(scenario.body_bytes), 1, [])
        few = Paced(port, IDLE_FEW, self.raw(scenario))
        few.run(1000, IDLE_FEW)
        time.sleep(0.5)
        before = memory_kib(pid)
        more = Paced(port, IDLE_MANY - IDLE_FEW, self.raw(scenario))
        more.run(1000, IDLE_MANY - IDLE_FEW)
        time.sleep(0.5)
        memory = (memory_kib(pid) - before) / (IDLE_MANY - IDLE_FEW)
        # What has just started is not idle yet: the guard still looks often at a backend it does not know.
        time.sleep(8)
        # Long enough for what happens every few seconds to happen.
        seconds = max(10, self.options.seconds)
        spent = cpu_ns(pid)
        time.sleep(seconds)
        spent = cpu_ns(pid) - spent
        few.close()
        more.close()
        return {"memory": memory, "cpu": spent / 1000 / seconds}


def chosen(only: str) -> list[Scenario]:
    groups = {"table": TABLE, "sweeps": POINTS, "all": [*TABLE, *POINTS]}
    groups |= {scenario.name: [scenario] for scenario in groups["all"]}
    groups |= {name: [point for point in POINTS if point.sweep == name] for name in {point.sweep for point in POINTS}}
    unknown = [name for name in only.split(",") if name not in groups]
    if unknown:
        sys.exit(f"no such scenario: {', '.join(unknown)}; there are {', '.join(groups)}")
    return [scenario for name in only.split(",") for scenario in groups[name]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--free", action="store_true", help="pin nothing")
    parser.add_argument("--only", default="all", help="scenarios, sweeps, `table`, `sweeps` or `all`")
    parser.add_argument("--proxies", default=",".join(PROXIES), help="of %(default)s")
    parser.add_argument("--guard", type=Path, help="a built guard instead of a fresh release build")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md and its plots")
    return parser.parse_args()


def run(options: argparse.Namespace, bench: Bench, stored: dict) -> None:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    build = "profile fast" if "fast" in str(bench.guard) else "release build"
    machine = f"{model[1] if model else 'unknown CPU'}, {os.cpu_count()} cores, guard as {build}, {options.seconds} s a measurement"
    stored["machines"] = sorted({*stored["machines"], machine})
    print(machine)
    upstream = bench.upstream()
    try:
        for scenario in chosen(options.only):
            runs: dict[str, list[dict]] = {}
            for _ in range(options.rounds):
                for name in scenario.proxies:
                    result = bench.measure(name, scenario) if name in options.proxies.split(",") else {}
                    if result:
                        runs.setdefault(name, []).append(result)
            if runs:
                stored["results"].setdefault(scenario.name, {}).update(runs)
                report.save(RESULTS, stored)
                report.terminal(scenario.title, runs)
    finally:
        upstream.stop()


def main() -> None:
    options = arguments()
    chosen(options.only)
    stored = report.load(RESULTS)
    if options.rounds and not options.guard:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "mcp-guard"], cwd=ROOT, check=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < 12_000:
        print(f"only {most} files may be open: the sweep over connections will fail")
    # A world-readable folder: nginx's worker is another user when root runs this.
    folder = Path(tempfile.mkdtemp(prefix="mcp-bench-"))
    folder.chmod(0o755)
    try:
        if options.rounds:
            run(options, Bench(options, folder, (options.guard or ROOT / "target" / "release" / "mcp-guard").resolve()), stored)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n" + "\n".join(report.table(stored["results"])))
    if options.write:
        report.write(stored, ROOT)


if __name__ == "__main__":
    main()
