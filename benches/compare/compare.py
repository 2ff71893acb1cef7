#!/usr/bin/env python3
"""Guard, nginx, HAProxy and a byte relay under the same load, in one run: the table of docs/performance.md.

    make bench                                        the whole table, in less than 20 minutes of measuring
    compare.py --only call,403 --rounds 3             some scenarios; also `table`, `sweeps`, `more`, or the name of a sweep
    compare.py --guard target/fast/mcp-guard          a built guard instead of a fresh release build
    compare.py --guard BEFORE --guard AFTER           two builds in the same rounds, as `guard` and `guard2`
    compare.py --seconds 0.2 --rounds 1               whether everything runs; the figures are worth nothing
    compare.py --write                                also into docs/performance.md and docs/performance/*.svg
    compare.py --rounds 0 --write                     only write what the last run left in target/bench/results.json

Method: loopback, 32 kept-alive connections from wrk, a 250-byte tools/call, a fixed 300-byte response from a Unix socket
(nginx). The guard runs as shipped, one JSON line a request into a pipe included; the peers have the policy they can
express and write no log; the relay copies bytes and knows no HTTP. A round goes through all scenarios; in each it starts fresh
processes of all sides, warms them up and measures them in turn, there and back. What is reported is the median of the rounds' ratios,
with the least and the greatest. The proxy has one core alone, load and backend share the others (in scenarios of two threads nothing
is pinned). CPU is scheduler run time (measure.py). How quiet the machine was is printed with the table (quiet.py). Standard library
only; everything on 127.0.0.1 and in a temporary folder; bounded in time.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import quiet
import report
from kinds import KINDS
from measure import ROOT
from scenarios import MORE, POINTS, TABLE, Scenario
from sides import Absent, Bench

RESULTS = ROOT / "target" / "bench" / "results.json"
#: Nothing of the document is measured again until it looks better.
ONE_RUN = "--write takes a whole run of one guard"
PROFILES = {"pgo": "release build with a profile of its own work", "release": "release build", "fast": "build of the profile `fast`", "debug": "DEBUG build"}


def chosen(only: str) -> list[Scenario]:
    groups = {"table": TABLE, "sweeps": POINTS, "more": MORE, "all": [*TABLE, *POINTS]}
    groups |= {scenario.name: [scenario] for scenario in [*TABLE, *POINTS, *MORE]}
    groups |= {sweep: [point for point in POINTS if point.sweep == sweep] for sweep in {point.sweep for point in POINTS}}
    unknown = [name for name in only.split(",") if name not in groups]
    if unknown:
        sys.exit(f"no such scenario: {', '.join(unknown)}; there are {', '.join(groups)}")
    return [scenario for name in only.split(",") for scenario in groups[name]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="of each scenario, instead of its own number")
    parser.add_argument("--seconds", type=float, help="of each side in a round, instead of the scenario's own number")
    parser.add_argument("--only", default="all", help="scenarios, sweeps, `table`, `sweeps`, `more` or `all`")
    parser.add_argument("--guard", type=Path, action="append", default=[], help="a built guard; several are compared")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md and its plots")
    options = parser.parse_args()
    if options.write and options.rounds != 0 and (options.only != "all" or len(options.guard) > 1):
        parser.error(ONE_RUN)
    return options


def programs(given: list[Path]) -> tuple[list[Path], Path, Path]:
    """The guards, the relay and mcp-tools, built where they are not there. The relay is built as the first guard is."""
    if not given:
        built = subprocess.run(["scripts/pgo"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        given = [Path(built.stdout.strip()) / "mcp-guard"]
    guards = [path.resolve() for path in given]
    beside = guards[0].parent
    profile = beside.name if beside.name in PROFILES else "release"
    found = []
    for path, what in (("examples/relay", ["--example", "relay"]), ("mcp-tools", ["--workspace", "--bin", "mcp-tools"])):
        here = [folder / path for folder in (beside, ROOT / "target" / profile) if (folder / path).exists()]
        if not here:
            subprocess.run(["cargo", "build", "--quiet", "--profile", "dev" if profile == "debug" else profile, *what], cwd=ROOT, check=True)
            here = [ROOT / "target" / profile / path]
        found.append(here[0])
    return guards, found[0], found[1]


def machine(guards: list[Path]) -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    builds = [PROFILES.get("pgo" if "pgo" in guard.parts else guard.parent.name, "another build") for guard in guards]
    return f"{model[1].strip() if model else 'unknown CPU'}, {os.cpu_count()} cores, guard as {', '.join(dict.fromkeys(builds))}"


def measure(bench: Bench, scenario: Scenario, number: int, seconds: float, stored: dict) -> None:
    """One round of one scenario. One that fails is a row without figures: it is not tried again."""
    measured = stored["scenarios"].setdefault(scenario.name, {"seconds": seconds, "rounds": [], "quiet": []})
    if "absent" in measured:
        return
    watch = quiet.Watch()
    try:
        result = KINDS[scenario.kind](bench, scenario, seconds)
    except Absent as error:
        measured["absent"] = str(error)
    except (Exception, SystemExit) as error:  # A wrong figure is worse than none, and the other rows are worth their time.
        measured["absent"] = f"failed: {' '.join(str(error or type(error).__name__).split())[:200]}"
        measured["failed"] = measured.pop("rounds")
    else:
        measured["rounds"].append(result)
        measured["quiet"].append(watch.end())
        print(report.one_line(scenario.name, number, result), flush=True)
        return
    measured["rounds"] = []
    print(f"{scenario.name}: not measured: {measured['absent']}", file=sys.stderr, flush=True)


def run(options: argparse.Namespace, bench: Bench, stored: dict) -> None:
    scenarios = chosen(options.only)
    rounds = {scenario.name: options.rounds or scenario.rounds for scenario in scenarios}
    for number in range(1, max(rounds.values()) + 1):
        for scenario in scenarios:
            if number <= rounds[scenario.name]:
                seconds = options.seconds if options.seconds and scenario.seconds else scenario.seconds
                measure(bench, scenario, number, seconds, stored)
                report.save(RESULTS, stored)


def measured(options: argparse.Namespace) -> dict:
    """A whole run, from the build to the results."""
    begun = time.monotonic()
    guards, relay, tools = programs(options.guard)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < 12_000:
        print(f"only {most} files may be open: some rows will fail")
    # A world-readable folder: nginx's worker is another user when root runs this.
    folder = Path(tempfile.mkdtemp(prefix="mcp-bench-"))
    folder.chmod(0o755)
    stored = {"machine": machine(guards), "builds": ["guard", *(f"guard{number}" for number in range(2, len(guards) + 1))], "only": options.only, "scenarios": {}}
    print(f"{stored['machine']}; set-up took {time.monotonic() - begun:.0f} s", flush=True)
    begun = time.monotonic()
    bench = None
    try:
        bench = Bench(folder, guards, relay, tools)
        run(options, bench, stored)
    finally:
        if bench:
            bench.close()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"measuring took {(time.monotonic() - begun) / 60:.1f} minutes")
    return stored


def main() -> None:
    options = arguments()
    chosen(options.only)
    stored = report.load(RESULTS) if options.rounds == 0 else measured(options)
    for build in stored["builds"]:
        print("\n" + "\n".join(report.table(stored, build)))
    if len(stored["builds"]) > 1:
        print("\n" + "\n".join(report.builds(stored, stored["builds"])))
    print("\n" + "\n".join(report.about(stored)))
    if any("failed" in one for one in stored["scenarios"].values()):
        sys.exit("a scenario failed: see above; nothing was written")
    if options.write:
        if stored["only"] != "all" or len(stored["builds"]) > 1:
            sys.exit(ONE_RUN)
        report.write(stored, ROOT)


if __name__ == "__main__":
    main()
