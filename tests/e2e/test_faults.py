"""Drills that want real processes: kill -9 of either side under load, and a full disk. docs/testing.md lists every drill."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness import backends
from harness.background import Background
from harness.curl import metric
from harness.load import Load, read_response
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import GUARD, ROOT, system
from mcp_testkit.programs import Programs, wait_until
from mcp_testkit.tools import guarded_tools

TOOL = "get_server_instructions"
CONNECTIONS = 16


def pair(programs: Programs) -> tuple[backends.Backend, Guard]:
    """Two tool servers and a guard that may switch between them."""
    blue, green = backends.mcp_tools(programs), backends.mcp_tools(programs, "green")
    more = f'[slots.green]\naddress = "{green.address}"\npath = "{green.path}"\n[health]\ninterval = "250ms"\ntimeout = "250ms"\n'
    return blue, Guard(programs, blue.address, blue.path, more=more)


def switch(guard: Guard, slot: str) -> subprocess.CompletedProcess:
    """Switches as soon as the slot is known to be healthy."""
    done: list[subprocess.CompletedProcess] = []

    def switched() -> bool:
        done.append(guard.command("slots", "switch", slot))
        return done[-1].returncode == 0

    wait_until(f"a switch to {slot}", switched)
    return done[-1]


def test_sigkill_of_the_guard_costs_what_was_in_flight_and_the_side_is_kept(programs):
    """Drill 24: state file readable, active side as before, serves again at once."""
    _, guard = pair(programs)
    switch(guard, "green")
    with Load(guard.address, TOOL, rate=400, connections=CONNECTIONS) as load:
        wait_until("200 answers", lambda: load.outcome.succeeded >= 200)
        guard.program.signal(signal.SIGKILL)
        guard.program.wait()
        killed = time.monotonic()
        guard.start()
        assert time.monotonic() - killed < 5, "a restart after kill -9 must not wait for anything"
        seen = load.outcome.succeeded
        wait_until("200 answers after the restart", lambda: load.outcome.succeeded >= seen + 200)
    outcome = load.stop()
    # One call a connection can have been in flight; its response is missing rather than wrong.
    assert len(outcome.failures) <= CONNECTIONS, outcome
    assert all("no response" in failure for failure in outcome.failures), outcome
    status = guard.status()
    assert status["stable"] == "green", status


def test_sigkill_of_the_backend_costs_what_it_had_begun(programs):
    """Drill 12: only calls that had reached the backend fail, with an error that says so; every other call waits and succeeds."""
    backend, guard = guarded_tools(programs)
    with Load(guard.address, TOOL, rate=400, connections=CONNECTIONS) as load:
        for round_ in range(5):
            seen = load.outcome.succeeded
            wait_until("100 answers", lambda: load.outcome.succeeded >= seen + 100)
            backend.program.signal(signal.SIGKILL)
            backend.program.wait()
            backend.program = programs.start(f"mcp-tools-{round_}", backend.argv).wait_for(backend.address)
        seen = load.outcome.succeeded
        wait_until("answers after the last kill", lambda: load.outcome.succeeded >= seen + 100)
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
                wait_until("answers", lambda: load.outcome.succeeded > 50)
                said = switch(guard, "blue")
                assert "not saved" in said.stdout + said.stderr, said
                assert (state / "rollout.state").read_bytes() == kept
                wait_until("the alarm", lambda: saved(guard) == 0)
                (state / "ballast").unlink()
                wait_until("the state to be saved again", lambda: saved(guard) == 1)
            outcome = load.stop()
            assert not outcome.failures, outcome
            assert (state / "rollout.state").read_bytes() != kept
        finally:
            programs.stop_all()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failing_disk_is_said_and_the_guard_keeps_serving(programs, call):
    """Drill 27: EIO, when the state is written or when it is to reach the disk."""
    _, guard = pair(programs)
    switch(guard, "green")
    state = programs.folder / "guard.state"
    kept = (state / "rollout.state").read_bytes()
    with Load(guard.address, TOOL, rate=100) as load:
        with failing(programs, guard.program.pid, state / "rollout.state.new", call) as failures:
            said = switch(guard, "blue")
            assert "not saved" in said.stdout + said.stderr, said
            wait_until("the alarm", lambda: saved(guard) == 0)
            wait_until("answers", lambda: load.outcome.succeeded > 50)
            assert (state / "rollout.state").read_bytes() == kept
            assert "EIO" in failures.read_text()
        wait_until("the state to be saved again", lambda: saved(guard) == 1)
    outcome = load.stop()
    assert not outcome.failures, outcome
    assert (state / "rollout.state").read_bytes() != kept


@contextlib.contextmanager
def failing(programs: Programs, pid: int, file: Path, call: str):
    """Every such call on that file fails with EIO; where the calls are written down."""
    notes = programs.folder / "strace"
    inject = ["--attach", str(pid), "--follow-forks", "--trace-path", str(file), "-e", f"trace={call}", "-e", f"inject={call}:error=EIO"]
    tracer = programs.start(f"strace-{call}", [system("strace"), "--output", str(notes), *inject])
    wait_until("strace to be attached or refused", lambda: "attached" in tracer.log() or tracer.process.poll() is not None)
    if "not permitted" in tracer.log():
        pytest.skip("this user may not trace: a full disk is drilled all the same")
    try:
        yield notes
    finally:
        tracer.stop()


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        for size in (4096, 256, 1):
            with contextlib.suppress(OSError):
                while ballast.write(b"x" * size):
                    pass


def saved(guard: Guard) -> float:
    return metric(guard.metrics, "mcp_guard_rollout_state_saved")


MEMORY_KIB = 64 * 1024
# What docs/configuration.md advises.
BODIES_BYTES = MEMORY_KIB * 1024 // 8
BODY_BYTES = 1 << 20
SENDERS = 200
PIECE_BYTES = 32 * 1024


@contextlib.contextmanager
def small_memory():
    """The `cgroup.procs` of a control group with little memory (v1 or v2); None where none may be made."""
    made = None
    for parent, limit in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]:
        group = Path(parent) / f"mcp-guard-drill-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            made = group
            (group / limit).write_text(str(MEMORY_KIB * 1024))
            break
        if made:
            made.rmdir()
            made = None
    try:
        yield made and made / "cgroup.procs"
    finally:
        if made:
            wait_until("the control group to be empty", lambda: not (made / "cgroup.procs").read_text())
            made.rmdir()


def test_many_large_bodies_fit_into_little_memory(programs):
    """Drill 20: 200 slow bodies of 1 MiB in 64 MiB of memory: each succeeds or is refused, and the kernel kills nothing.

    Where no control group may be made, what the process itself holds is measured all the same.
    """
    _, guard = guarded_tools(programs, more=f"[limits]\nbodies_bytes = {BODIES_BYTES}\n")
    guard.program.stop()
    env = {"MCP_BEARER_TOKEN": TOKEN, **unit_environment()}
    with small_memory() as procs:
        try:
            enter = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(procs or "/dev/null")]
            guard.program = programs.start("guard-little", [*enter, str(GUARD), "run", "--config", str(guard.config)], env)
            guard.program.wait_for(guard.address)
            with Watched(guard.program.pid) as memory:
                reported = asyncio.run(send_slowly(guard.address))
            assert guard.program.process.poll() is None, guard.program.log()
            # Bodies wait for room; a quick machine refuses none.
            assert 4 <= reported.count("answered"), f"too few were answered: {reported}"
            assert memory.worst_kib < MEMORY_KIB, memory.worst_kib
            # What was taken is given back.
            assert asyncio.run(send_slowly(guard.address, senders=4)) == ["answered"] * 4
        finally:
            programs.stop_all()


def unit_environment() -> dict[str, str]:
    """What the shipped unit sets."""
    lines = (ROOT / "conf" / "systemd" / "mcp-guard.service").read_text().splitlines()
    return dict(line.removeprefix("Environment=").split("=", 1) for line in lines if line.startswith("Environment="))


class Watched(Background):
    """The most memory that a process held of its own, pages of files left aside."""

    def __init__(self, pid: int):
        super().__init__()
        self._status = Path(f"/proc/{pid}/status")
        self.worst_kib = 0

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            with contextlib.suppress(OSError, StopIteration):
                line = next(line for line in self._status.read_text().splitlines() if line.startswith("RssAnon:"))
                self.worst_kib = max(self.worst_kib, int(line.split()[1]))


async def send_slowly(address: str, senders: int = SENDERS) -> list[str]:
    """Each sender sends half of a body, and the rest after all have sent half. Returns the result of each."""
    host, _, port = address.rpartition(":")
    all_ = [Sender(number) for number in range(senders)]
    await asyncio.gather(*(sender.begin(host, int(port)) for sender in all_))
    return await asyncio.gather(*(sender.finish() for sender in all_))


class Sender:
    def __init__(self, number: int):
        call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": TOOL, "arguments": {}, "_meta": {"pad": "x" * BODY_BYTES}}}
        body = json.dumps(call).encode()
        framing = f"Content-Length: {len(body)}"
        if number % 2:
            framing, body = "Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        head = (
            f"POST /swf-monitor/mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/json\r\n{framing}\r\n\r\n"
        )
        self._number, self._bytes = number, head.encode() + body

    async def begin(self, host: str, port: int) -> None:
        reader, self._writer = await asyncio.open_connection(host, port)
        self._response = asyncio.create_task(read_response(reader))
        await self._send(self._bytes[: BODY_BYTES // 2])

    async def finish(self) -> str:
        await self._send(self._bytes[BODY_BYTES // 2 :])
        status, _, response = await asyncio.wait_for(self._response, 60)
        self._writer.close()
        if status == 503:
            return "refused"
        message = json.loads(response)
        assert (status, message["id"]) == (200, self._number), response[:300]
        if "result" in message:
            return "answered"
        # The guard had no memory for this body, but could read its id.
        assert message["error"]["data"]["reason"] in ("client_share", "overloaded"), response[:300]
        return "refused"

    async def _send(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            if self._response.done():  # A refused sender need not send the rest.
                return
            self._writer.write(data[start : start + PIECE_BYTES])
            await self._writer.drain()
            await asyncio.sleep(0.002)
