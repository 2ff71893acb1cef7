#!/usr/bin/env python3
"""What a shadow stage costs a client: one guard with it and one without, side by side, in one run.

    shadow.py [--guard target/release/mcp-guard] [--tools target/release/mcp-tools] [--rate 500] [--seconds 5] [--rounds 5]

Method: two guards in front of the same two mcp-tools on Unix sockets, one of them in a shadow stage that copies every call.
Loopback, kept-alive connections, so many calls a second from one generator (`Paced`), guards in turn, medians over the
rounds. The candidate's work is done on the same machine, as in production; nothing is pinned. Standard library only.
"""

import argparse
import re
import statistics
import tempfile
import urllib.request
from pathlib import Path

from compare import ROOT
from measure import Paced, cpu_ns
from mcp_testkit.guard import Guard
from mcp_testkit.programs import Programs, wait_until
from mcp_testkit.tools import Backend, mcp_tools

TOKEN = "bench-Tok3n-0123456789abcdefghijklmnop"
TOOL = "get_server_instructions"
CONNECTIONS = 16
MORE = """
[slots.green]
address = "{green}"
path = "{path}"
[rollout]
plan = "plan.toml"
[shadow]
tools = ["{tool}"]
"""
PLAN = '[[step]]\nstage = "shadow"\nhold = "1h"\n[[step]]\nstage = "canary"\nweight = 50\nhold = "1h"\n'


class Measured:
    """One guard, its load and its results."""

    def __init__(self, options: argparse.Namespace, programs: Programs, blue: Backend, green: Backend, name: str):
        more = MORE.format(green=green.address, path=green.path, tool=TOOL)
        self.guard = Guard(programs, blue.address, blue.path, token=TOKEN, name=name, more=more, argv=(str(options.guard),))
        self.load, self.results, self.cpu = Paced(self.guard.address.rpartition(":")[2], CONNECTIONS, request()), [], []

    def start_rollout(self) -> None:
        """Retries, because right after the start the slots have not been probed often enough."""
        wait_until("the rollout to start", lambda: self.guard.command("rollout", "start").returncode == 0, 30)

    def copies(self) -> dict[str, int]:
        text = urllib.request.urlopen(f"http://{self.guard.metrics}/metrics").read().decode()
        found = re.findall(r'mcp_guard_shadow_copies_total\{method="tools/call",result="(\w+)"\} (\d+)', text)
        return {result: int(count) for result, count in found if int(count)}

    def measure(self, options: argparse.Namespace) -> None:
        before = cpu_ns(self.guard.program.pid)
        self.results.append(self.load.run(options.rate, options.rate * options.seconds))
        self.cpu.append((cpu_ns(self.guard.program.pid) - before) / self.results[-1]["requests"] / 1000)

    def row(self, name: str) -> str:
        median = lambda what: statistics.median(result[what] for result in self.results)
        return f"| {name} | {median('p50'):.0f} us | {median('p99'):.0f} us | {statistics.median(self.cpu):.0f} us |"


def request() -> bytes:
    body = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{TOOL}","arguments":{{}}}}}}'
    fields = f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
    return f"POST /mcp HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}".encode()


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
        programs = Programs(folder)
        try:
            blue, green = (mcp_tools(programs, slot, binary=options.tools, catalog=ROOT / "conf/tools/base.toml") for slot in ("blue", "green"))
            guards = {each: Measured(options, programs, blue, green, each) for each in ("without", "with")}
            guards["with"].start_rollout()
            for guard in guards.values():
                guard.load.run(options.rate, options.rate)
            for _ in range(options.rounds):
                for guard in guards.values():
                    guard.measure(options)
            print(f"{options.rate} calls a second, {options.rounds} rounds of {options.seconds} s each; copies: {guards['with'].copies()}")
            print("| shadow | p50 | p99 | guard's CPU a call |\n|---|---|---|---|")
            print("\n".join(guard.row(each) for each, guard in guards.items()))
        finally:
            programs.stop_all()


if __name__ == "__main__":
    main()
