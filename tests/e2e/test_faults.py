"""Drills that want real processes: kill -9 of either side under load, and a full disk. docs/testing.md lists every drill."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness import backends
from harness.guard import Guard
from harness.load import Load
from harness.paths import GUARD
from harness.programs import Programs, wait_until

TOOL = "get_server_instructions"
CONNECTIONS = 16


def types(guard: Guard, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(GUARD), *words, "--config", str(guard.config)], capture_output=True, text=True, timeout=60)


def pair(programs: Programs) -> tuple[backends.Backend, Guard]:
    """Two tool servers and a guard that may switch between them."""
    blue = backends.mcp_tools(programs)
    socket = programs.folder / "green.sock"
    argv = [str(socket) if word == blue.address.removeprefix("unix:") else word for word in blue.restart]
    programs.start("green", argv).wait_for(f"unix:{socket}")
    more = f'[slots.green]\naddress = "unix:{socket}"\npath = "/mcp"\n[health]\ninterval = "250ms"\ntimeout = "250ms"\n'
    return blue, Guard(programs, blue.address, blue.path, more=more)


def switch(guard: Guard, slot: str) -> subprocess.CompletedProcess:
    """Switches as soon as the slot is known to be healthy."""
    done: list[subprocess.CompletedProcess] = []

    def switched() -> bool:
        done.append(types(guard, "slots", "switch", slot))
        return done[-1].returncode == 0

    wait_until(f"a switch to {slot}", switched)
    return done[-1]


def test_sigkill_of_the_guard_costs_what_was_in_flight_and_the_side_is_kept(programs):
    """Drill 24: state file readable, active side as before, serves again at once."""
    _, guard = pair(programs)
    switch(guard, "green")
    with Load(guard.address, TOOL, rate=400, connections=CONNECTIONS) as load:
        wait_until("200 answers", lambda: load.outcome.answered >= 200)
        guard.program.signal(signal.SIGKILL)
        guard.program.wait()
        killed = time.monotonic()
        guard.start()
        assert time.monotonic() - killed < 5, "a restart after kill -9 must not wait for anything"
        seen = load.outcome.answered
        wait_until("200 answers after the restart", lambda: load.outcome.answered >= seen + 200)
    outcome = load.stop()
    # One call a connection can have been under way; each was told nothing rather than something wrong.
    assert len(outcome.failures) <= CONNECTIONS, outcome
    assert all("no answer" in failure for failure in outcome.failures), outcome
    status = json.loads(types(guard, "status", "--json").stdout)
    assert status["stable"] == "green", status


def test_sigkill_of_the_backend_costs_what_it_had_begun(programs):
    """Drill 12: errors only for calls that had reached it, said as such; every other call waits and is answered."""
    backend = backends.mcp_tools(programs)
    guard = Guard(programs, backend.address, backend.path)
    with Load(guard.address, TOOL, rate=400, connections=CONNECTIONS) as load:
        for round_ in range(5):
            seen = load.outcome.answered
            wait_until("100 answers", lambda: load.outcome.answered >= seen + 100)
            backend.program.signal(signal.SIGKILL)
            backend.program.wait()
            backend.program = programs.start(f"mcp-tools-{round_}", backend.restart).wait_for(backend.address)
        seen = load.outcome.answered
        wait_until("answers after the last kill", lambda: load.outcome.answered >= seen + 100)
    outcome = load.stop()
    assert len(outcome.failures) <= 5 * CONNECTIONS, outcome
    assert all('"executed":"unknown"' in failure for failure in outcome.failures), outcome
    assert outcome.refused == 0, outcome


@contextlib.contextmanager
def small_disk(folder: Path):
    """64 KB of disk at `folder`."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small disk wants root: tests/it/faults_operator.rs has the same drill without one")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_the_guard_keeps_serving(programs):
    """Drill 26: keeps serving, last state kept, alarm metric; and saves by itself when there is room again."""
    if os.geteuid() != 0:
        pytest.skip("a small disk wants root: tests/it/faults_operator.rs has the same drill without one")
    state = programs.folder / "guard.state"
    with small_disk(state):
        try:
            _, guard = pair(programs)
            switch(guard, "green")
            kept = (state / "rollout.state").read_bytes()
            fill(state / "ballast")
            with Load(guard.address, TOOL, rate=200) as load:
                wait_until("answers", lambda: load.outcome.answered > 50)
                said = switch(guard, "blue")
                assert "not saved" in said.stdout + said.stderr, said
                assert (state / "rollout.state").read_bytes() == kept
                wait_until("the alarm", lambda: saved(guard) == "0")
                (state / "ballast").unlink()
                wait_until("the state to be saved again", lambda: saved(guard) == "1")
            outcome = load.stop()
            assert not outcome.failures, outcome
            assert (state / "rollout.state").read_bytes() != kept
        finally:
            programs.stop_all()


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        for size in (4096, 256, 1):
            with contextlib.suppress(OSError):
                while ballast.write(b"x" * size):
                    pass


def saved(guard: Guard) -> str:
    import urllib.request

    page = urllib.request.urlopen(f"http://{guard.metrics}/metrics", timeout=5).read().decode()
    return next(line.split()[-1] for line in page.splitlines() if line.startswith("mcp_guard_rollout_state_saved "))
