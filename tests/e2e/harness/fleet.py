"""Guards that form a fleet, with their store and their candidates, as processes of this machine.

Every guard has a candidate of its own, which writes down each client's request with the time, and fails when it is told to. All have
the same stable backend. Must not know what a test expects of them.
"""

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from harness.files import replace_text
from harness.load import Load
from harness.operator import Operator
from harness.steady_clients import SteadyClient
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import E2E
from mcp_testkit.programs import Program, Programs, wait_until
from mcp_testkit.tools import Backend, mcp_tools

KEY = "one-key-for-the-guards-of-one-fleet-0123456789"
NAME = "drill"
TOOL = "get_server_instructions"
#: Half of the calls go to the candidate until something ends the rollout.
HELD = """
[gate]
parity = false
[triggers.breaker_open]
window = "100ms"
[triggers.error_rate]
window = "2s"
[[step]]
stage = "canary"
weight = 50
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
rise = 1
[auth]
tokens_file = "tokens.toml"
[fleet]
name = "{name}"
member = "{member}"
key = "env:FLEET_KEY"
{store}
"""


@dataclass
class Member:
    """One guard of a fleet, and its candidate."""

    name: str
    guard: Guard
    operator: Operator
    candidate: "Candidate"
    #: The configuration as it was at the start.
    text: str = field(repr=False, default="")

    def sees(self) -> dict:
        """The fleet as this guard sees it."""
        return json.loads(self.operator.does("fleet status --json"))

    def is_leader(self) -> bool:
        return self.sees()["leader"] == self.name

    def where(self) -> dict:
        """Where the rollout stands on this guard."""
        return self.operator.status()["position"]

    def kill(self) -> None:
        self.guard.program.signal(signal.SIGKILL)
        self.guard.program.wait()

    def start(self) -> None:
        self.guard.start()
        self.operator = Operator(self.guard)


class Candidate:
    """The green slot of one guard: a relay to the good backend that fails when it is told to."""

    def __init__(self, programs: Programs, name: str, good: Backend):
        self.socket = programs.folder / f"{name}.sock"
        self.mood_file, self.record = programs.folder / f"{name}.mood", programs.folder / f"{name}.record"
        self.record.touch()
        self.becomes("good")
        argv = [sys.executable, str(E2E / "backends" / "unruly.py"), str(self.socket), good.address.removeprefix("unix:")]
        self.program: Program = programs.start(f"candidate-{name}", [*argv, str(self.mood_file), str(self.record)])
        self.address = f"unix:{self.socket}"
        self.program.wait_for(self.address)

    def becomes(self, mood: str) -> None:
        replace_text(self.mood_file, mood)

    @contextlib.contextmanager
    def failing(self, mood: str = "500") -> Iterator[None]:
        self.becomes(mood)
        try:
            yield
        finally:
            self.becomes("good")

    def times(self) -> list[tuple[int, int]]:
        """Between which times each client's request arrived, in milliseconds since the epoch."""
        return [(earliest, latest) for earliest, _, _, latest in map(json.loads, self.record.read_text().splitlines())]

    def count(self) -> int:
        return self.record.read_bytes().count(b"\n")


class Fleet:
    def __init__(self, programs: Programs, size: int, store: Callable[[str], str], tokens: str = "", plan: str = HELD):
        """`store` gives the lines of `[fleet]` that say where a member's store is."""
        self.programs = programs
        self.good = mcp_tools(programs)
        (programs.folder / "tokens.toml").write_text(tokens)
        (programs.folder / "plan.toml").write_text(plan)
        self.members = [self._member(f"guard-{number}", store) for number in range(1, size + 1)]
        self.agree()
        for member in self.members:
            member.operator.both_healthy()

    def _member(self, name: str, store: Callable[[str], str]) -> Member:
        candidate = Candidate(self.programs, f"{name}-green", self.good)
        more = MORE.format(green=candidate.address, name=NAME, member=name, store=store(name))
        env = {"FLEET_KEY": KEY}
        guard = Guard(self.programs, self.good.address, self.good.path, name=name, more=more, env=env, token=TOKEN)
        return Member(name, guard, Operator(guard), candidate, guard.config.read_text())

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __getitem__(self, number: int) -> Member:
        return self.members[number]

    def agree(self, seconds: float = 20) -> None:
        """Waits until every member sees all of them, a leader, and the same generation."""

        def settled() -> bool:
            seen = [member.sees() for member in self.members]
            everybody = {member.name for member in self.members}
            same = len({(view["leader"], view["generation"]) for view in seen}) == 1
            full = all({one["member"] for one in view["members"]} == everybody and view["live"] == len(everybody) for view in seen)
            return same and full and seen[0]["leader"] in everybody and all(view["candidate"] == "open" for view in seen)

        wait_until("the members of the fleet agree", settled, seconds)

    def leader(self, among: list[Member] | None = None, seconds: float = 10) -> Member:
        """The member that leads, as the others say."""
        asked = among or self.members
        named = {member.name: member for member in asked}

        def found() -> Member | None:
            leaders = {member.sees()["leader"] for member in asked}
            return named.get(leaders.pop()) if len(leaders) == 1 else None

        return wait_until("all name one leader", found, seconds)

    def follower(self) -> Member:
        """A member that does not lead."""
        leader = self.leader()
        return next(member for member in self.members if member is not leader)

    def plan(self, text: str) -> None:
        """Another plan of rollouts on every member."""
        (self.programs.folder / "plan.toml").write_text(text)
        for member in self.members:
            member.operator.does("reload")
        self.agree()

    def wait_for(self, what: str, holds: Callable[[Member], object], among: list[Member] | None = None, seconds: float = 20) -> None:
        wait_until(what, lambda: all(holds(member) for member in among or self.members), seconds)

    def begins(self, at: Member) -> None:
        """Starts a rollout at one guard, and waits until all send calls to their candidates."""
        before = [member.candidate.count() for member in self.members]
        at.operator.does("rollout start")
        both = list(zip(self.members, before))
        wait_until("every guard sends its candidate calls", lambda: all(one.candidate.count() > seen for one, seen in both))

    def is_over(self) -> None:
        """Waits until no guard has a rollout any more."""
        self.wait_for("no rollout is left", lambda member: member.operator.status()["run"] is None)


class Crowd:
    """Calls to every guard of a fleet all the time, and a few clients of the Python SDKs, each at one guard."""

    def __init__(self, members: list[Member], *, rate: int = 20, sdks: dict[str, int] | None = None):
        """`rate` is that of each guard; `sdks` says which kind of client is at which of the members."""
        self.loads = {member.name: Load(member.guard.address, TOOL, rate=rate, connections=2, path="/mcp") for member in members}
        self.clients = [SteadyClient(members[at].guard.url, kind, pause=0.1) for kind, at in (sdks or {}).items()]

    def __enter__(self) -> "Crowd":
        for client in self.clients:
            client.ready()
        for load in self.loads.values():
            load.__enter__()
        wait_until("calls succeed at every guard", lambda: all(load.outcome.succeeded > 5 for load in self.loads.values()))
        return self

    def __exit__(self, *_) -> None:
        for load in self.loads.values():
            load.stop()
        for client in self.clients:
            client.kill()

    def failures(self, name: str) -> list[str]:
        return self.loads[name].outcome.failures

    def unharmed(self, *, but: str | None = None) -> None:
        """Ends the calls: none has failed, except at the guard of this name."""
        outcomes = {name: load.stop() for name, load in self.loads.items()}
        reports = [client.stop() for client in self.clients]
        for name, outcome in outcomes.items():
            assert name == but or not outcome.failures and outcome.refused == 0, f"{name}: {outcome}"
            assert outcome.succeeded > 10, f"{name} hardly got calls: {outcome}"
        for report in reports:
            assert not report.failed_reads and not report.failed_calls and report.reads > 5, report
