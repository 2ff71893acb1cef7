"""Contract, section 21: how long a deployment and each way back take, and how many calls are lost, under real SDK clients at 200 calls a second.

On a booted machine with the shipped units. The clients are processes of this host in the machine's network. `-s` prints the figures
of docs/releases.md.
"""

import json
import os
import re
import statistics
import subprocess
import time
from datetime import datetime

import pytest

from harness.installed import URL, Installed
from harness.releases import Releases, ready
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import E2E, python, system
from mcp_testkit.programs import wait_until

RATE = 200
#: Sessions of both generations: of each kind two, in a process of their own.
MODES = ["legacy", "legacy", "auto", "auto"]
SESSIONS = 4
#: The service is watched for so long before and after an operation.
AROUND_SECONDS = 2
IN_FORCE = re.compile(r"in force in ([\d.]+) ms")


@pytest.fixture(scope="module")
def releases(machine, package) -> Releases:
    made = Releases(ready(Installed(machine, package)))
    made.make("second")
    made.make("third")
    return made


class PacedClients:
    """SDK clients inside of the machine's network, while a `with` block lasts."""

    def __init__(self, machine):
        inside = [system("nsenter"), "--target", str(machine.leader), "--net", "--"]
        env = {**os.environ, "MCP_TOKEN": TOKEN}
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}

        def start(mode: str) -> subprocess.Popen:
            words = [python("sdk2"), str(E2E / "clients" / "paced.py"), URL, mode, str(SESSIONS), str(RATE / len(MODES))]
            return subprocess.Popen([*inside, *words], env=env, text=True, **pipes)

        self._processes = [start(mode) for mode in MODES]

    def __enter__(self) -> "PacedClients":
        for process in self._processes:
            said = process.stdout.readline()
            assert said.startswith("ready "), process.communicate(timeout=30)
        return self

    def __exit__(self, *_) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=30)

    def stop(self) -> list[dict]:
        for process in self._processes:
            process.stdin.close()
            process.stdin = None
        said = [process.communicate(timeout=90) for process in self._processes]
        assert all(process.returncode == 0 for process in self._processes), said
        return [json.loads(out) for out, _ in said]


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def measured(releases: Releases, name: str, *words: str) -> dict:
    """Runs an operation while clients call; its times, and what became of the calls."""
    with PacedClients(releases.machine) as clients:
        time.sleep(AROUND_SECONDS)
        started = time.monotonic()
        releases.does(*words)
        command = time.monotonic() - started
        time.sleep(AROUND_SECONDS)
        reports = clients.stop()
    record = releases.record()
    at = {line["what"].removesuffix(": done"): moment(line["at"]) for line in record["timeline"]}
    steps = list(at)
    notes = [note for line in record["timeline"] if line["what"] == "traffic: done" for note in line["notes"]]
    times = sorted(time for report in reports for time in report["times"])
    row = {
        "operation": name,
        "kind": record["kind"],
        "command_seconds": command,
        "steps_seconds": moment(record["ended"]) - moment(record["began"]),
        # From the entry of the step before it to its own, and what the order to the guard alone took.
        "switch_seconds": at["traffic"] - at[steps[steps.index("traffic") - 1]],
        "order_ms": next(float(found.group(1)) for found in map(IN_FORCE.search, notes) if found),
        "calls": len(times),
        "calls_per_second": sum(report["calls"] / report["seconds"] for report in reports),
        "lost": sum(len(report["failed"]) for report in reports),
        "p50_ms": statistics.median(times) * 1000,
        "slowest_ms": times[-1] * 1000,
    }
    print("\n" + ", ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()))
    failed = [one for report in reports for one in report["failed"]]
    assert not failed, failed[:10]
    assert len(times) > RATE, row
    return row


def test_deployments_and_all_ways_back_lose_no_call_of_sdk_clients(releases, record_property):
    rows = [measured(releases, "deploy", "deploy", "second")]
    rows.append(measured(releases, "quick rollback by switch", "rollback"))
    # The slot has another release meanwhile, and is stopped: the former one has to be put there and started.
    releases.does("deploy", "second")
    releases.does("deploy", "third")
    other = {"blue": "green", "green": "blue"}[releases.serving()]
    releases.machine.do("systemctl", "stop", f"mcp-tools@{other}")
    rows.append(measured(releases, "quick rollback by restore", "rollback"))
    releases.does("deploy", "third")
    wait_until("both slots to be healthy", lambda: releases.both_healthy() is None)
    rows.append(measured(releases, "standard rollback", "rollback", "--standard"))
    record_property("measured", json.dumps(rows))
    kinds = {row["operation"]: row for row in rows}
    assert [row["kind"] for row in rows] == ["deploy", "switch-back", "rollback", "standard-rollback"], rows
    assert kinds["quick rollback by restore"]["command_seconds"] < 5 * 60
    assert kinds["standard rollback"]["command_seconds"] < 15 * 60
    # The contract's 100 ms are for a machine that does nothing else; here it also runs the clients and other tests.
    assert kinds["quick rollback by switch"]["order_ms"] < 1000, rows
