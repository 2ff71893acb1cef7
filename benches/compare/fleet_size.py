#!/usr/bin/env python3
"""What a fleet asks of its store and its leader by its size, drawn: docs/performance/fleet.svg.

    python3 benches/compare/fleet_size.py [--profile release]

Runs the simulation of crates/mcp-fleet with 1 to 200 members, once with usual windows (3 kB) and once with the largest (24 kB). Bytes
are those on the wire; the leader's time is its CPU time on this machine. Standard library only.
"""

import argparse
import os
import subprocess
from pathlib import Path

import plot

ROOT = Path(__file__).resolve().parents[2]

TEST = "the_load_of_a_fleet"
COLUMNS = ("members", "exchanges", "kB", "way back ms", "at most ms", "leader ms")


def rows(profile: str, windows: str) -> list[list[float]]:
    """One row a size, with the columns above."""
    command = ["cargo", "test", "--profile", profile, "-p", "mcp-fleet", "--lib", TEST, "--", "--nocapture"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"FLEET_SCALE": windows}, capture_output=True, text=True, timeout=3600)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    return [[float(cell) for cell in line.strip("| ").split("|")] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="release")
    profile = parser.parse_args().profile
    series: dict[str, list[tuple[float, float]]] = {}
    for windows, size in (("usual", "3 kB"), ("largest", "24 kB")):
        measured = rows(profile, windows)
        print(f"windows of {size}", " | ".join(COLUMNS), *(" | ".join(f"{cell:g}" for cell in row) for row in measured), sep="\n")
        for name, column in (("kB", 2), ("leader", 5)):
            series[f"{name} {size}"] = [(row[0], row[column]) for row in measured]
        series["exchanges"] = [(row[0], row[1]) for row in measured]
    path = ROOT / "docs" / "performance" / "fleet.svg"
    plot.draw(path, "Load of a fleet on its store and its leader", "members", "exchanges, kB, leader's CPU ms, a second", series)
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
