#!/usr/bin/env python3
"""What a shadow stage costs a client: one guard with it and one without, side by side, in one run.

    shadow.py [--guard target/release/mcp-guard] [--tools target/release/mcp-tools] [--rate 500] [--seconds 5] [--rounds 5]

Method: two guards in front of the same two mcp-tools on Unix sockets, one of them in a shadow stage that copies every call.
Loopback, kept-alive connections, so many calls a second from one generator (`Paced`), guards in turn, medians over the
rounds. The candidate's work is done on the same machine, as in production; nothing is pinned. Standard library only.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from compare import ROOT
from measure import Paced, cpu_ns, end, free_port, start

TOKEN = "bench-Tok3n-0123456789abcdefghijklmnop"
TOOL = "get_server_instructions"
CONNECTIONS = 16
CONFIG = """
[listen]
address = "127.0.0.1:{port}"
metrics = "127.0.0.1:{metrics}"
admin = "{folder}/{name}.admin"
state = "{folder}/{name}.state"
[slots.blue]
address = "unix:{folder}/blue.sock"
[slots.green]
address = "unix:{folder}/green.sock"
[rollout]
plan = "{folder}/plan.toml"
[shadow]
tools = ["{tool}"]
"""
PLAN = '[[step]]\nstage = "shadow"\nhold = "1h"\n[[step]]\nstage = "canary"\nweight = 50\nhold = "1h"\n'


class Guard:
    def __init__(self, options: argparse.Namespace, folder: Path, name: str):
        self.port, self.metrics, self.config = str(free_port()), str(free_port()), folder / f"{name}.toml"
        self.binary = str(options.guard)
        self.config.write_text(CONFIG.format(port=self.port, metrics=self.metrics, folder=folder, name=name, tool=TOOL))
        argv = [self.binary, "run", "--config", str(self.config)]
        self.program = start(argv, os.sched_getaffinity(0), self.port, folder / f"{name}.log", {"MCP_BEARER_TOKEN": TOKEN})
        self.load, self.results, self.cpu = Paced(self.port, CONNECTIONS, request()), [], []

    def order(self, *words: str) -> None:
        deadline = time.monotonic() + 30
        while (done := subprocess.run([self.binary, *words, "--config", str(self.config)], capture_output=True, text=True)).returncode:
            # Right after the start the slots have not been probed often enough.
            assert time.monotonic() < deadline, done.stdout + done.stderr
            time.sleep(0.5)

    def copies(self) -> dict[str, int]:
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics").read().decode()
        found = re.findall(r'mcp_guard_shadow_copies_total\{method="tools/call",result="(\w+)"\} (\d+)', text)
        return {result: int(count) for result, count in found if int(count)}

    def measure(self, options: argparse.Namespace) -> None:
        before = cpu_ns(self.program.pid)
        self.results.append(self.load.run(options.rate, options.rate * options.seconds))
        self.cpu.append((cpu_ns(self.program.pid) - before) / self.results[-1]["requests"] / 1000)

    def row(self, name: str) -> str:
        median = lambda what: statistics.median(result[what] for result in self.results)
        return f"| {name} | {median('p50'):.0f} us | {median('p99'):.0f} us | {statistics.median(self.cpu):.0f} us |"


def request() -> bytes:
    body = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{TOOL}","arguments":{{}}}}}}'
    fields = f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
    return f"POST /mcp HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def serve(options: argparse.Namespace, folder: Path, slot: str) -> subprocess.Popen:
    path = folder / f"{slot}.sock"
    argv = [str(options.tools), "serve", "--socket", str(path), "--catalog", str(ROOT / "conf/tools/base.toml"),
            "--instructions", str(ROOT / "conf/tools/instructions.txt")]
    started = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 30
    while not path.exists():
        assert started.poll() is None and time.monotonic() < deadline, f"{slot} did not start"
        time.sleep(0.05)
    return started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guard", type=Path, default=ROOT / "target/release/mcp-guard")
    parser.add_argument("--tools", type=Path, default=ROOT / "target/release/mcp-tools")
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plan.toml").write_text(PLAN)
        running = []
        try:
            running += [serve(options, folder, slot) for slot in ("blue", "green")]
            guards = {each: Guard(options, folder, each) for each in ("without", "with")}
            running += [guard.program for guard in guards.values()]
            guards["with"].order("rollout", "start")
            for guard in guards.values():
                guard.load.run(options.rate, options.rate)
            for _ in range(options.rounds):
                for guard in guards.values():
                    guard.measure(options)
            print(f"{options.rate} calls a second, {options.rounds} rounds of {options.seconds} s each; copies: {guards['with'].copies()}")
            print("| shadow | p50 | p99 | guard's CPU a call |\n|---|---|---|---|")
            print("\n".join(guard.row(each) for each, guard in guards.items()))
        finally:
            for program in reversed(running):
                end(program)


if __name__ == "__main__":
    main()
