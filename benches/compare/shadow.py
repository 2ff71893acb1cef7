"""What a shadow stage costs: a guard that copies every call beside one that copies none, both in front of the same two mcp-tools.

Loopback, kept-alive connections, so many calls a second from one generator (`Paced`), guards in turn. The candidate does its work on the
same machine, as in production; nothing is pinned. The cost of a copy is the difference of the two guards' CPU for a call.
"""

import os
import re
import sys
import tempfile
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path

from measure import ROOT, Paced, cpu_ns, merged
from mcp_testkit.guard import Guard
from mcp_testkit.programs import Programs, wait_until
from mcp_testkit.tools import mcp_tools
from scenarios import TOKEN, Scenario
from sides import Bench, raw

CONNECTIONS = 16
BODY = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_server_instructions","arguments":{}}}'
MORE = """
[slots.green]
address = "{green}"
path = "{path}"
[rollout]
plan = "plan.toml"
[shadow]
tools = ["get_server_instructions"]
"""
PLAN = '[[step]]\nstage = "shadow"\nhold = "1h"\n[[step]]\nstage = "canary"\nweight = 50\nhold = "1h"\n'


def compared(guard: Guard) -> int:
    """Copies whose responses were compared."""
    text = urllib.request.urlopen(f"http://{guard.metrics}/metrics", timeout=10).read().decode()
    found = re.findall(r'mcp_guard_shadow_copies_total\{method="tools/call",result="(?:mis)?matched"\} (\d+)', text)
    return sum(map(int, found))


def copies(bench: Bench, scenario: Scenario, seconds: float) -> dict[str, dict[str, float]]:
    os.sched_setaffinity(0, set(bench.cores))
    guards: dict[str, Guard] = {}
    with ExitStack() as ends:
        # A folder of its own: the guards would take up the rollout of the round before.
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(dir=bench.folder)))
        (folder / "plan.toml").write_text(PLAN)
        programs = Programs(folder)
        ends.callback(programs.stop_all)
        blue, green = (mcp_tools(programs, slot, binary=bench.tools, catalog=ROOT / "conf/tools/base.toml") for slot in ("blue", "green"))
        more = MORE.format(green=green.address, path=green.path)
        for number, side in enumerate(bench.expanded(scenario)):
            argv = (str(bench.build(side)),)
            guards[side] = Guard(programs, blue.address, blue.path, token=TOKEN, name=f"shadow-{number}", more=more, argv=argv)
            if side.endswith("copying"):
                # Right after the start the slots have not been probed often enough.
                start = lambda guard=guards[side]: guard.command("rollout", "start").returncode == 0  # noqa: E731
                wait_until("the rollout to start", start, 30)
        loads = {side: ends.enter_context(closing(Paced(guard.address.rpartition(":")[2], CONNECTIONS, raw(TOKEN, BODY)))) for side, guard in guards.items()}
        for paced in loads.values():
            paced.run(scenario.rate, scenario.rate // 2)
        count = max(1, int(scenario.rate * seconds / 2))
        copied, measured = {side: compared(guard) for side, guard in guards.items()}, {side: [] for side in guards}
        for side in [*guards, *reversed(guards)]:
            before = cpu_ns(guards[side].program.pid)
            part = loads[side].run(scenario.rate, count)
            measured[side].append(part | {"cpu_ns": cpu_ns(guards[side].program.pid) - before})
        for side, guard in guards.items():
            done = compared(guard) - copied[side]
            if side.endswith("copying") and done < 1.8 * count:
                sys.exit(f"{done} of {2 * count} calls were copied: this run measures the wrong thing")
    return merged(measured)
