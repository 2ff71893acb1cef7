#!/usr/bin/env python3
"""Gives an instrumented guard the loads that its release build is optimised for (scripts/pgo).

    train.py --guard PATH --relay PATH --tools PATH      each load of the comparison, for a moment; profiles are written at the end

What no load reaches is built as if no call ever did, so what a guard does for long is among them: routes and copies of calls, too.
The byte relay gets its share, so that the comparison's floor is built as the guard is.

The loads are those of benches/compare/scenarios.py, without the other programs. What a load costs is not looked at: an instrumented
guard is slow. One that fails ends this with an error, so that no build is optimised for half of the work.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compare"))

from kinds import KINDS  # noqa: E402
from scenarios import MORE, TABLE, Scenario  # noqa: E402
from sides import Bench  # noqa: E402

#: Loads and how long each of them runs, in seconds: small calls most, because they are most of what a guard does.
LOADS = {"call": 6, "threads": 2, "403": 1.5, "405": 1.5, "request": 1, "request-4m": 1, "answer": 1, "stream": 1, "handshake": 1, "tls": 1, "rooms": 1, "route": 1, "shadow": 1}


def loads() -> list[tuple[Scenario, float]]:
    """Each load, with the sides that are built here."""
    built_here = [(scenario, tuple(side for side in scenario.sides if side == "relay" or side.startswith("guard"))) for scenario in [*TABLE, *MORE]]
    return [(replace(scenario, sides=sides), LOADS[scenario.name]) for scenario, sides in built_here if scenario.name in LOADS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guard", type=Path, required=True, help="the instrumented build")
    parser.add_argument("--relay", type=Path, required=True, help="the instrumented example `relay`")
    parser.add_argument("--tools", type=Path, required=True, help="mcp-tools, as it is released")
    options = parser.parse_args()
    guard, relay, tools = options.guard.resolve(), options.relay.resolve(), options.tools.resolve()
    # A world-readable folder: the worker of the backend, nginx, is another user when root runs this.
    folder = Path(tempfile.mkdtemp(prefix="mcp-pgo-"))
    folder.chmod(0o755)
    bench = None
    try:
        bench = Bench(folder, [guard], relay, tools)
        for scenario, seconds in loads():
            print(f"pgo: {scenario.title}", file=sys.stderr, flush=True)
            KINDS[scenario.kind](bench, scenario, seconds)
    finally:
        if bench:
            bench.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
