"""Switches, rollouts and rollbacks under SDK clients that live through all of it: no read fails, no session dies.

MCP_E2E_ROLLOUT=full makes 100 switches and 20 rollouts; without it, a few of each.
"""

import json
import os
import random
import re
import signal
import sys
import time

import pytest

from harness.backends import Backend, fastmcp1, mcp_tools
from harness.curl import curl
from harness.files import replace_text
from harness.operator import Operator
from harness.steady_clients import SteadyClients, ClientReport
from mcp_testkit.guard import Guard
from mcp_testkit.paths import E2E
from mcp_testkit.programs import Program, Programs

FULL = os.environ.get("MCP_E2E_ROLLOUT") == "full"
SWITCHES, ROLLOUTS = (100, 20) if FULL else (12, 5)

PLAN = """
[gate]
parity = false
[triggers.breaker_open]
window = "200ms"
[triggers.error_rate]
window = "2s"
[[step]]
stage = "canary"
weight = 50
hold = "1h"
[[step]]
stage = "bake"
hold = "1h"
"""
MORE = """
[slots.green]
address = "{green}"
path = "/mcp"
[routing]
key = "request"
[rollout]
plan = "plan.toml"
[health]
interval = "500ms"
timeout = "500ms"
[timeouts]
total = "8s"
"""


class Candidate:
    """What lives at the green socket: mcp-tools, with a relay before it that can be put in a bad mood, or mcp-tools itself."""

    def __init__(self, programs: Programs):
        self.programs = programs
        self.socket = programs.folder / "green.sock"
        self.mood_file = programs.folder / "mood"
        self.record = programs.folder / "record"
        self.record.touch()
        self.good: Backend = mcp_tools(programs)
        self.lives: list[Program] = []
        self.arrives()

    @property
    def address(self) -> str:
        return f"unix:{self.socket}"

    def arrives(self, itself: bool = False) -> None:
        """A new process on the same path; `itself` is mcp-tools without the relay."""
        self.mood("good")
        name = f"candidate-{len(self.lives)}"
        if itself:
            argv = list(self.good.argv)
            argv[argv.index("--socket") + 1] = str(self.socket)
        else:
            argv = [sys.executable, str(E2E / "backends" / "unruly.py")]
            argv += [str(self.socket), self.good.address.removeprefix("unix:"), str(self.mood_file), str(self.record)]
        self.lives.append(self.programs.start(name, argv).wait_for(self.address))

    def mood(self, mood: str) -> None:
        replace_text(self.mood_file, mood)

    def signal(self, number: int) -> None:
        self.lives[-1].signal(number)

    def is_gone(self) -> None:
        self.signal(signal.SIGKILL)
        self.lives[-1].wait()

    def seen(self) -> list[list]:
        """[milliseconds, method, marker, milliseconds] of every client's request that reached the relay."""
        return [json.loads(line) for line in self.record.read_text().splitlines()]


#: What befalls the candidate: a signal, a mood, or the loss of its socket. The short form takes the first ones.
MISHAPS = ["killed", "html", "stopped", "noise", "unlinked", "hangs", "itself killed", "500", "cuts", "half", "itself stopped", "itself unlinked"]


@pytest.fixture
def pair(programs):
    """The old backend's shape in blue, ours in green, and a guard before them."""
    candidate, blue = Candidate(programs), fastmcp1(programs)
    (programs.folder / "plan.toml").write_text(PLAN)
    operator = Operator(Guard(programs, blue.address, blue.path, more=MORE.format(green=candidate.address)))
    operator.both_healthy()
    return operator, candidate


def test_a_modern_client_lives_through_start_promote_and_rollback_to_an_old_backend(pair):
    operator, _ = pair
    url, kinds = operator.guard.url, ["sdk2-auto", "ts2-auto"]
    with SteadyClients(url, kinds) as before:
        operator.does("rollout start")
        with SteadyClients(url, kinds[:1]) as under_way:
            operator.does("rollout promote")
            with SteadyClients(url, kinds[1:]) as late:
                time.sleep(1)
                operator.does("rollout rollback")
                time.sleep(1)
                for crowd in (before, under_way, late):
                    assert all(version < "2026-07-28" for version in crowd.versions.values()), "the way back does not speak it"
                    assert all(client.alive() for client in crowd.clients), "a session died"
                    for reported in crowd.stop():
                        assert reported.failed_calls == [], reported.failed_calls[:3]
    # Once the old one is out of the way, the same clients get what the new one speaks.
    operator.does("slots switch green")
    operator.does("slots drain blue")
    with SteadyClients(url, kinds) as modern:
        assert modern.versions == dict.fromkeys(kinds, "2026-07-28")


def test_sdk_clients_see_nothing_of_switches(pair):
    operator, _ = pair
    with SteadyClients(operator.guard.url) as crowd:
        for number in range(SWITCHES):
            operator.does(f"slots switch {'blue' if number % 2 else 'green'}")
            time.sleep(0.1)
        reported = crowd.stop()
    for one in reported:
        assert one.failed_calls == [], f"{one.kind}: {one.failed_calls[:3]}"
    print(f"\n{SWITCHES} switches:", *map(line, reported), sep="\n  ")


def test_sdk_clients_lose_no_read_when_candidates_misbehave(pair):
    operator, candidate = pair
    dice = random.Random(4)
    worst, by_trigger = 0, 0
    with SteadyClients(operator.guard.url) as crowd:
        for number in range(ROLLOUTS):
            mishap = MISHAPS[number % len(MISHAPS)]
            if mishap.startswith("itself"):
                candidate.is_gone()
                candidate.arrives(itself=True)
            operator.both_healthy()
            operator.does("rollout start")
            if number % 2:
                operator.does("rollout promote")
            time.sleep(dice.uniform(0.2, 0.7))
            befall(candidate, mishap)
            back = operator.rolled_back()
            by_trigger += back["cause"]["by"] == "trigger"
            late = [at - back["at"] for at, *_ in candidate.seen() if at > back["at"]]
            worst = max([worst, *late])
            if number % 3:
                time.sleep(1)  # What hangs may be cut by its end, or by the guard's deadline.
            candidate.is_gone()
            candidate.arrives()
        reported = crowd.stop()
    executed = {marker for _, method, marker, _ in candidate.seen() if method == "tools/call"}
    for one in reported:
        for failed in one.failed_calls:
            honest(one.kind, failed, executed)
    stable_takes_no_error(operator)
    assert by_trigger == ROLLOUTS, f"{by_trigger} of {ROLLOUTS} were rolled back by a trigger"
    assert worst < 100, f"a call reached the candidate {worst} ms after the trigger"
    print(f"\n{ROLLOUTS} rollouts, every one rolled back by a trigger; the last call reached a candidate {worst} ms after it:", *map(line, reported), sep="\n  ")


def befall(candidate: Candidate, mishap: str) -> None:
    what = mishap.removeprefix("itself ")
    if what == "killed":
        candidate.signal(signal.SIGKILL)
    elif what == "stopped":
        candidate.signal(signal.SIGSTOP)  # Hangs with its socket open, probes included.
    elif what == "unlinked":
        candidate.socket.unlink()
    else:
        candidate.mood(what)


def honest(kind: str, failed: dict, executed: set) -> None:
    data = failed["data"] or {}
    if "text" in data:  # What the TypeScript client makes of an HTTP error is its body's text.
        data = json.loads(data["text"])["error"]["data"]
    said = data.get("executed")
    assert said in ("no", "unknown"), f"{kind} was not told whether it was executed: {failed}"
    assert said == "unknown" or failed["marker"] not in executed, f"{kind} was told `no`, but it was: {failed}"


def stable_takes_no_error(operator: Operator) -> None:
    page = curl(f"http://{operator.guard.metrics}/metrics").body.decode()
    bad = [line for line in page.splitlines() if re.match(r'mcp_guard_requests_total\{.*method="tools/.*slot="blue"', line) and 'outcome="ok"' not in line]
    assert bad == [], "stable took an error of the candidate"


def line(reported: ClientReport) -> str:
    lost = len(reported.failed_calls)
    return f"{reported.kind:12} {reported.reads} reads, none failed, slowest {reported.slowest_read:.2f} s; {reported.calls} calls, {lost} failed"
