"""Soak: a steady load during switches, reloads and upgrades. Memory and descriptors stay flat, and no call is lost.

MCP_SOAK_SECONDS (default 25) is the length, MCP_SOAK_RATE (default 200) the calls a second. 60 % of a machine's capacity is what
`benches/compare/compare.py` measures, times 0.6; the default leaves room on any. Figures are printed with `-s`.
"""

import itertools
import os
import random
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness import backends
from harness.background import Background
from harness.load import Load
from harness.operator import Operator
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.programs import wait_until

SECONDS = float(os.environ.get("MCP_SOAK_SECONDS", "25"))
RATE = int(os.environ.get("MCP_SOAK_RATE", "200"))
TOOL = "get_server_instructions"
# A slope needs time: within ten minutes, a fifth of a MiB that a young process still takes looks like two in an hour.
LONG_SECONDS = 1800
# One step every so often, in turn.
STEP_SECONDS = max(2.0, min(20.0, SECONDS / 10))
ROUTINE = ["switch green", "reload", "switch blue", "reload"]
SLOPE_KIB_PER_HOUR_MAX = 1024
GROWTH_KIB_MAX = 12 * 1024
FDS_GROWTH_MAX = 8
# Of each slot: the two together hold as many idle connections after a burst as the descriptors may grow by.
POOL = "pool = 4\n"
LOG_BYTES_MAX = 64 << 20
HISTORY_MAX = 200


def is_upgrade(number: int) -> bool:
    """Whether this step is an upgrade. In a long run they come at its ends, and one process lives through all between: a leak
    shows in a life, not in a line through several."""
    if SECONDS < LONG_SECONDS:
        return number % 5 == 4
    return number in (3, 6, int(SECONDS / STEP_SECONDS) - 3)


@dataclass
class Sample:
    at: float
    pid: int
    age: float  # of the process
    rss_kib: int
    fds: int


@dataclass
class Soak:
    """A guard, the operator steps done, and samples of its memory and descriptors."""

    operator: Operator
    backend_pids: list[int]
    samples: list[Sample] = field(default_factory=list)
    backends: list[Sample] = field(default_factory=list)  # The larger of the two.
    done: dict[str, int] = field(default_factory=dict)
    pids: list[int] = field(default_factory=list)

    def pid(self) -> int:
        return self.operator.guard.status()["pid"]

    def step(self, what: str) -> None:
        """One step of the operator, which must succeed."""
        if what == "reload":
            os.kill(self.pids[-1], signal.SIGHUP)
        elif what == "upgrade":
            self.pids.append(self.operator.guard.upgrade())
            wait_until("the new process to answer", lambda: self.pid() == self.pids[-1])
        else:
            self.operator.does(f"slots {what}")
        self.done[what] = self.done.get(what, 0) + 1

    def sample(self, began: float, born: float) -> None:
        pid = self.pids[-1]
        rss = rss_kib(pid)
        fds = len(os.listdir(f"/proc/{pid}/fd"))
        now = time.monotonic()
        self.samples.append(Sample(now - began, pid, now - born, rss, fds))
        self.backends.append(Sample(now - began, 0, now - began, max(map(rss_kib, self.backend_pids)), 0))

    def cut_log(self) -> None:
        """Searches a large log for a panic and truncates it."""
        path = self.operator.guard.program.log_path
        if path.stat().st_size > LOG_BYTES_MAX:
            text = path.read_bytes()
            os.truncate(path, 0)
            assert b"panicked" not in text, text[text.index(b"panicked") :][:2000]

    def run(self, seconds: float) -> None:
        self.pids = [self.pid()]
        if seconds >= LONG_SECONDS:
            # The guard keeps a history of at most this many switches: memory is measured with a full history.
            for _ in range(HISTORY_MAX // 2):
                self.step("switch green")
                self.step("switch blue")
        began = born = time.monotonic()
        routine, number, due = itertools.cycle(ROUTINE), 0, began + STEP_SECONDS
        while (now := time.monotonic()) < began + seconds:
            if now >= due:
                what = "upgrade" if is_upgrade(number) else next(routine)
                self.step(what)
                born = time.monotonic() if what == "upgrade" else born
                number, due = number + 1, due + STEP_SECONDS
                self.cut_log()
            self.sample(began, born)
            time.sleep(0.5)


def rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


class HostileClients(Background):
    """Clients that break off, send garbage or never finish, a few a second: each may leave a descriptor or memory behind."""

    def __init__(self, address: str):
        super().__init__()
        host, _, port = address.rpartition(":")
        self._to = (host, int(port))
        self.count = 0

    def _run(self) -> None:
        dice = random.Random(7)
        head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n"
        call = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
        kept: list[socket.socket] = []
        while not self._stop.wait(0.2):
            raw = [head[: dice.randrange(len(head))], head + call[: dice.randrange(len(call))], "\x00\xff" * 40, head.replace(TOKEN, "wrong") + call, ""]
            try:
                stream = socket.create_connection(self._to, 2)
                stream.sendall(dice.choice(raw).encode("latin-1"))
            except OSError:
                continue
            self.count += 1
            kept.append(stream)
            if len(kept) > 20:
                kept.pop(dice.randrange(len(kept))).close()
        for stream in kept:
            stream.close()


def slope_per_hour(samples: list[Sample]) -> float:
    """Least squares: by how many KiB memory grows in an hour."""
    n = len(samples)
    mean_t, mean_v = sum(s.at for s in samples) / n, sum(s.rss_kib for s in samples) / n
    spread = sum((s.at - mean_t) ** 2 for s in samples)
    return 3600 * sum((s.at - mean_t) * (s.rss_kib - mean_v) for s in samples) / spread


def median(values) -> float:
    return sorted(values)[len(values) // 2]


def test_memory_and_descriptors_stay_flat_and_no_call_is_lost(programs):
    blue, green = backends.mcp_tools(programs), backends.mcp_tools(programs, "green")
    more = f'[slots.green]\naddress = "{green.address}"\npath = "{green.path}"\n{POOL}[log]\nlevel = "warn"\n'
    guard = Guard(programs, blue.address, blue.path, slot=POOL, more=more)
    soak = Soak(Operator(guard), [blue.program.pid, green.program.pid])
    soak.operator.both_healthy()
    with Load(guard.address, TOOL, rate=RATE) as load, HostileClients(guard.address) as hostile_clients:
        wait_until("answers", lambda: load.outcome.succeeded > 100)
        soak.run(SECONDS)
    outcome = load.stop()
    print(report(soak, outcome, hostile_clients.count))
    assert not outcome.failures, outcome
    assert outcome.refused == 0, outcome
    assert outcome.succeeded > SECONDS * RATE * 0.5, f"the load never reached its rate: {outcome}"
    judge(soak)


def warm(samples: list[Sample]) -> list[Sample]:
    """Without the first part of each process: there, pools and caches fill up to their bounds."""
    return [s for s in samples if s.age > min(300.0, SECONDS / 8)]


def longest_life(samples: list[Sample]) -> list[Sample]:
    lives = [[s for s in samples if s.pid == pid] for pid in dict.fromkeys(s.pid for s in samples)]
    return max(lives, key=lambda life: life[-1].at - life[0].at)


def judge(soak: Soak) -> None:
    seen = warm(soak.samples)
    quarter = max(1, len(seen) // 4)
    first, last = seen[:quarter], seen[-quarter:]
    assert median([s.fds for s in last]) <= median([s.fds for s in first]) + FDS_GROWTH_MAX, "descriptors grow"
    assert median([s.rss_kib for s in last]) <= median([s.rss_kib for s in first]) + GROWTH_KIB_MAX, "memory grows"
    if SECONDS >= LONG_SECONDS:
        for who, samples in ("the guard", longest_life(seen)), ("the tool server", warm(soak.backends)):
            slope = slope_per_hour(samples)
            assert slope <= SLOPE_KIB_PER_HOUR_MAX, f"memory of {who} grows by {slope:.0f} KiB an hour"


def report(soak: Soak, outcome, hostile_count: int) -> str:
    seen, served = longest_life(warm(soak.samples)), warm(soak.backends)
    rss, fds = [s.rss_kib for s in seen], [s.fds for s in seen]
    tenth = max(1, len(rss) // 10)
    medians = ", ".join(f"{median(rss[at : at + tenth]) / 1024:.1f}" for at in range(0, len(rss) - tenth + 1, tenth))
    return (
        f"\nsoak: {SECONDS:g} s at {RATE}/s: {outcome.succeeded} answered, {len(outcome.failures)} failed, {outcome.refused} refused, "
        f"slowest {outcome.slowest:.2f} s, {hostile_count} hostile clients\ndone: {soak.done}, {len(soak.pids)} processes\n"
        f"the process that lived longest, {seen[-1].at - seen[0].at:.0f} s of it: descriptors {min(fds)}..{max(fds)}, RSS {min(rss)}..{max(rss)} KiB, "
        f"slope {slope_per_hour(seen):+.0f} KiB/h, medians of its tenths {medians} MiB\n"
        f"the tool server: RSS {min(s.rss_kib for s in served)}..{max(s.rss_kib for s in served)} KiB, slope {slope_per_hour(served):+.0f} KiB/h"
    )
