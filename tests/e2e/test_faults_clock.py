"""Drill 30: the clock of the day jumps under a guard with everything under way that takes time. Only what is dated notices.

libfaketime changes that clock for the guard alone; the monotonic clock stays right.
"""

import datetime
import email.utils
import hashlib
import json
import os
import socket
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from harness import backends
from harness.curl import curl
from harness.files import replace_text
from harness.load import Load
from harness.operator import Operator
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.programs import Programs, wait_until

TOOL = "get_server_instructions"
DATED = "e2e-dated-Tok3n-0123456789abcdefghijk"
HOUR, DAY = 3600, 24 * 3600
HOLD_SECONDS, IDLE_SECONDS, HEAD_SECONDS = 6.0, 5.0, 4.0
LATE_SECONDS = 4.0  # What a busy machine may add to any of them.
PLAN = f"""
[gate]
parity = false
[[step]]
stage = "canary"
weight = 50
hold = "{HOLD_SECONDS:g}s"
min_samples = 20
[[step]]
stage = "bake"
hold = "1h"
"""
MORE = """
[auth]
tokens_file = "tokens.toml"
[slots.green]
address = "{green}"
path = "/mcp"
[routing]
key = "request"
[rollout]
plan = "plan.toml"
[timeouts]
keepalive_idle = "{idle:g}s"
header = "{head:g}s"
[health]
interval = "500ms"
timeout = "500ms"
"""


class Clock:
    """The guard's clock of the day: what is right, and so much more."""

    def __init__(self, folder: Path):
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert libraries, "libfaketime is not installed: run scripts/setup test"
        self._file = folder / "clock"
        self.jump(0)
        self.env = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, seconds: int) -> None:
        """To so much before or after what is right."""
        replace_text(self._file, f"{seconds:+d}\n")


class Waiting:
    """A silent connection, which the guard will close."""

    def __init__(self, address: str, begin: str):
        host, _, port = address.rpartition(":")
        self._before = time.monotonic()
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._socket.sendall(begin.encode())
        self._after = time.monotonic()
        self._end: Future[float] = Future()

    def succeeded(self) -> "Waiting":
        """Restarts the time at the response."""
        self._before = time.monotonic()
        assert self._socket.recv(65536).startswith(b"HTTP/1.1 200")
        self._after = time.monotonic()
        return self

    def watched(self) -> "Waiting":
        """From here on, its end is noted when it comes."""
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def _watch(self) -> None:
        while self._socket.recv(65536):
            pass
        self._end.set_result(time.monotonic())

    def open(self) -> bool:
        return not self._end.done()

    def ended_after(self) -> tuple[float, float]:
        """Waits for the end. It came after so much time at least, and at most: between them is how long this test took to begin."""
        end = self._end.result(30)
        return end - self._after, end - self._before


@pytest.fixture
def guard_and_clock(programs: Programs) -> tuple[Guard, Clock]:
    clock = Clock(programs.folder)
    blue, green = backends.mcp_tools(programs), backends.mcp_tools(programs, "green")
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=12)
    (programs.folder / "plan.toml").write_text(PLAN)
    tokens = programs.folder / "tokens.toml"
    tokens.write_text(f'[clients.dated]\nsha256 = "{hashlib.sha256(DATED.encode()).hexdigest()}"\nnot_after = {ends:%Y-%m-%dT%H:%M:%SZ}\n')
    tokens.chmod(0o600)
    more = MORE.format(green=green.address, idle=IDLE_SECONDS, head=HEAD_SECONDS)
    return Guard(programs, blue.address, blue.path, more=more, env=clock.env), clock


def test_the_clock_jumps_and_only_what_is_dated_notices(guard_and_clock):
    guard, clock = guard_and_clock
    operator = Operator(guard)
    operator.both_healthy()
    with Load(guard.address, TOOL, rate=200) as load:
        dates_are(guard, 0, 200)
        ordered = time.monotonic()
        operator.does("rollout start")
        started = time.monotonic()
        idle = Waiting(guard.address, call()).succeeded().watched()
        head = Waiting(guard.address, "POST /mcp HTTP/1.1\r\nHost: localhost\r\n").watched()
        for jump, status in [(DAY, 403), (-DAY, 200)]:
            clock.jump(jump)
            dates_are(guard, jump, status)
            goes_on(load)
            early = time.monotonic() - started < min(HEAD_SECONDS, HOLD_SECONDS)
            assert not early or (idle.open() and head.open() and operator.status()["run"]["next"] != "complete"), f"cut short by {jump} s"
        for waiting, seconds in [(head, HEAD_SECONDS), (idle, IDLE_SECONDS)]:
            least, most = waiting.ended_after()
            assert seconds * 0.9 <= most and least <= seconds + LATE_SECONDS, (seconds, least, most)
        wait_until("the next step", lambda: operator.status()["run"]["next"] == "complete")
        assert HOLD_SECONDS * 0.9 <= time.monotonic() - ordered and time.monotonic() - started <= HOLD_SECONDS + LATE_SECONDS
        operator.does("rollout pause")
        for jump in (20 * 365 * DAY, -HOUR, 0):  # The first is beyond 2038.
            clock.jump(jump)
            dates_are(guard, jump, 403 if jump > 12 * HOUR else 200)
            goes_on(load)
        operator.does("rollout resume")
    outcome = load.stop()
    assert not outcome.failures and not outcome.refused and outcome.slowest < LATE_SECONDS, outcome
    # No trigger fired, and the history has the time that really passed.
    history = operator.history()
    assert [entry["kind"] for entry in history] == ["started", "advanced", "paused", "resumed"], history
    passed = (history[-1]["at"] - history[0]["at"]) / 1000
    assert abs(passed - (time.monotonic() - started)) < LATE_SECONDS, history
    assert share_of_a_core(guard.program.pid) < 0.2, "an idle guard uses a core"


def dates_are(guard: Guard, jump: int, status: int) -> None:
    """What has a date follows the jump: a token that ends in twelve hours, `Date` of the guard's local replies, log lines."""
    lists = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    response = curl(guard.url + "/mcp", data=lists, token=DATED)
    assert response.status == status, response
    written = guard.program.log_path.stat().st_size
    expected = time.time() + jump
    own = curl(guard.url + "/mcp", data=lists)
    assert own.status == 401 and abs(email.utils.parsedate_to_datetime(own.headers["date"]).timestamp() - expected) < 60, own

    def refused() -> list[str]:
        with guard.program.log_path.open("rb") as file:
            file.seek(written)
            return [line for line in file.read().decode().split("\n")[:-1] if '"status":401' in line]

    line = json.loads(wait_until("the line of the refusal", refused)[-1])
    assert abs(datetime.datetime.fromisoformat(line["time"]).timestamp() - expected) < 60, line


def goes_on(load: Load) -> None:
    seen = load.outcome.succeeded
    wait_until("100 answers more", lambda: load.outcome.succeeded >= seen + 100)


def call() -> str:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": TOOL, "arguments": {}}})
    return (
        f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )


def share_of_a_core(pid: int) -> float:
    """What a process without work uses, in a second."""

    def used() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before, begun = used(), time.monotonic()
    time.sleep(1)
    return (used() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
