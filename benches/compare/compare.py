#!/usr/bin/env python3
"""Guard, nginx, HAProxy and no proxy at all, in turn, in one run: same load, same policy, same backend.

    make bench          or: python3 benches/compare/compare.py [--rounds 5] [--seconds 3] [--free] [--only guard,nginx]

Method: loopback, wrk with one thread and 32 kept-alive connections, a 250-byte tools/call, a fixed 300-byte answer from a
Unix socket. Every run starts a fresh proxy and warms it up; the rounds are interleaved; the table shows medians. CPU per
request is the scheduler's run time of all threads of the proxy's process tree (/proc/PID/task/*/schedstat) divided by
requests. By default the proxy has one core alone and load and backend share another (--free: nothing is pinned).
Compare inside one run only. Standard library only; bounded in time; everything on 127.0.0.1 and in a temporary folder.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOKEN = "bench-Tok3n-0123456789abcdefghijklmnop"
ANSWER = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "x" * 212}], "isError": False}})
PROXIES = ["none", "haproxy", "nginx", "guard"]
# name: (method, token, connections, expected status)
SCENARIOS = {
    "call": ("POST", TOKEN, 32, 200),
    "call, one connection": ("POST", TOKEN, 1, 200),
    "403 wrong token": ("POST", "wrong", 32, 403),
    "405 GET": ("GET", TOKEN, 32, 405),
}
LUA = """
wrk.method = "%s"
wrk.headers["Authorization"] = "Bearer %s"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, text/event-stream"
wrk.body = %s
done = function(summary, latency, requests)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration, bad, summary.errors.status,
    latency:percentile(50), latency:percentile(99)))
end
"""
CALL = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "swf_get_system_state", "arguments": {"username": "wenauseic", "pad": "x" * 112}}}
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        sys.exit(f"{name} is not installed: run scripts/setup bench")
    return found


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += tree(int(child))
    return found


def cpu_ns(pid: int) -> int:
    total = 0
    for process in tree(pid):
        for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
            total += int(path.read_text().split()[0])
    return total


def resident_kib(pid: int) -> int:
    return sum(int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{one}/status").read_text())[1]) for one in tree(pid))


class Bench:
    def __init__(self, options: argparse.Namespace, folder: Path, guard: Path):
        self.options, self.folder, self.guard = options, folder, guard
        cores = sorted(os.sched_getaffinity(0))
        pinned = not options.free and len(cores) > 1
        self.proxy_core, self.load_core = ({cores[0]}, {cores[1]}) if pinned else (set(cores), set(cores))
        self.values = {"FOLDER": str(folder), "TOKEN": TOKEN, "ANSWER": ANSWER}
        self.values |= {"UPSTREAM_SOCKET": f"{folder}/upstream.sock", "UPSTREAM_PORT": str(free_port())}

    def start(self, argv: list[str], cores: set[int], port: str, env: dict | None = None) -> subprocess.Popen:
        started = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr.log").open("ab"),
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                    return started
            if started.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{argv[0]} did not start:\n{(self.folder / 'stderr.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def rendered(self, name: str, **more: str) -> str:
        path = self.folder / name
        values = {**self.values, **more}
        path.write_text(re.sub(r"@([A-Z_]+)@", lambda name: values[name[1]], (HERE / name).read_text()))
        return str(path)

    def proxy(self, name: str, port: str) -> tuple[list[str], dict]:
        if name == "nginx":
            return [program("nginx"), "-c", self.rendered("nginx.conf", PORT=port), "-e", "stderr"], {}
        if name == "haproxy":
            return [program("haproxy"), "-db", "-f", self.rendered("haproxy.cfg", PORT=port)], {}
        return [str(self.guard), "run", "--config", self.rendered("guard.toml", PORT=port)], {"MCP_BEARER_TOKEN": TOKEN}

    def wrk(self, port: str, scenario: str, seconds: float) -> dict:
        method, token, connections, status = SCENARIOS[scenario]
        script = self.folder / "load.lua"
        body = f"'{CALL}'" if method == "POST" else "nil"
        script.write_text(LUA % (method, token, body))
        argv = [program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}/mcp"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 30, preexec_fn=lambda: os.sched_setaffinity(0, self.load_core))
        result = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
        if not result:
            sys.exit(f"wrk said:\n{done.stdout}{done.stderr}")
        requests, micros, broken, refused, p50, p99 = map(int, result.groups())
        # wrk counts every status of 400 and above as an error: all of them or none must be.
        if broken or refused != (requests if status >= 400 else 0):
            sys.exit(f"{scenario}: {broken} broken and {refused} refused of {requests}: this run measures the wrong thing")
        return {"requests": requests, "rps": requests / micros * 1e6, "p50": p50, "p99": p99}

    def verify(self, port: str, scenario: str) -> None:
        """One request by hand: a proxy that answers something else must not be measured."""
        method, token, _, status = SCENARIOS[scenario]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        connection.request(method, "/mcp", CALL if method == "POST" else None, headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status != status or (status == 200 and body != ANSWER):
            sys.exit(f"{scenario}: expected {status}, saw {answer.status} {body[:300]}")

    def measure(self, name: str, scenario: str) -> dict:
        """One fresh proxy, warmed up, measured, ended."""
        if name == "none":
            self.wrk(self.values["UPSTREAM_PORT"], scenario, 1)
            return self.wrk(self.values["UPSTREAM_PORT"], scenario, self.options.seconds)
        port = str(free_port())
        argv, env = self.proxy(name, port)
        proxy = self.start(argv, self.proxy_core, port, env)
        try:
            self.verify(port, scenario)
            self.wrk(port, scenario, 1)
            before = cpu_ns(proxy.pid)
            result = self.wrk(port, scenario, self.options.seconds)
            result["cpu"] = (cpu_ns(proxy.pid) - before) / result["requests"] / 1000
            result["rss"] = resident_kib(proxy.pid) / 1024
            return result
        finally:
            end(proxy)


def end(started: subprocess.Popen) -> None:
    started.send_signal(signal.SIGTERM)
    try:
        started.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def report(scenario: str, results: dict[str, list[dict]]) -> None:
    median = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in results.items()}
    print(f"\n{scenario}")
    print(f"  {'':8} {'CPU us/req':>10} {'req/s':>9} {'p50 us':>8} {'p99 us':>8} {'RSS MiB':>8}")
    for name, row in median.items():
        cpu, rss = (f"{row['cpu']:.1f}", f"{row['rss']:.1f}") if "cpu" in row else ("-", "-")
        print(f"  {name:8} {cpu:>10} {row['rps']:>9.0f} {row['p50']:>8.0f} {row['p99']:>8.0f} {rss:>8}")
    guard = median.get("guard")
    for peer in [name for name in median if guard and name != "guard"]:
        row = median[peer]
        parts = [f"CPU {guard['cpu'] / row['cpu']:.2f}"] if "cpu" in row else []
        parts += [f"req/s {guard['rps'] / row['rps']:.2f}", f"p50 {guard['p50'] / row['p50']:.2f}", f"p99 {guard['p99'] / row['p99']:.2f}"]
        print(f"  guard / {peer}: " + ", ".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--free", action="store_true", help="pin nothing")
    parser.add_argument("--only", default=",".join(PROXIES), help="proxies to run, of %(default)s")
    parser.add_argument("--guard", type=Path, help="a built guard instead of a fresh release build")
    options = parser.parse_args()
    if not options.guard:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "mcp-guard"], cwd=ROOT, check=True)
    # A world-readable folder: nginx's worker is another user when root runs this.
    folder = Path(tempfile.mkdtemp(prefix="mcp-bench-"))
    folder.chmod(0o755)
    bench = Bench(options, folder, (options.guard or ROOT / "target" / "release" / "mcp-guard").resolve())
    upstream = bench.start(
        [program("nginx"), "-c", bench.rendered("upstream.nginx.conf"), "-e", "stderr"], bench.load_core, bench.values["UPSTREAM_PORT"]
    )
    proxies = [name for name in PROXIES if name in options.only.split(",")]
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(f"{model[1] if model else 'unknown CPU'}, {os.cpu_count()} cores, {'free' if options.free else 'proxy pinned to a core of its own'}")
    print(f"{options.rounds} interleaved rounds of {options.seconds} s each, medians")
    try:
        for scenario in SCENARIOS:
            results: dict[str, list[dict]] = {}
            for _ in range(options.rounds):
                for name in proxies:
                    if name == "none" and not scenario.startswith("call"):
                        continue  # Without a proxy there is no policy.
                    results.setdefault(name, []).append(bench.measure(name, scenario))
            report(scenario, results)
    finally:
        end(upstream)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
