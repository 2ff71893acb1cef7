"""Starts programs, waits until they accept connections, and stops them. Every wait has a deadline; only own processes are signalled."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable

READY_SECONDS = 20.0
STOP_SECONDS = 20.0
TAIL_BYTES = 64 * 1024
# Below the ports that Linux gives to outgoing connections, so that no client takes a port before its server does.
PORTS = range(15000, 32000)
_given: set[int] = set()


def free_port() -> int:
    """A free TCP port of the loopback address, given once to this process. Other processes draw at random from the same range."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def accepts(address: str) -> bool:
    """Whether `unix:/path` or `host:port` takes a connection."""
    family = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1)
        host, _, port = address.rpartition(":")
        try:
            probe.connect(address[5:] if family == socket.AF_UNIX else (host, int(port)))
        except OSError:
            return False
    return True


def wait_until(what: str, condition: Callable[[], object], seconds: float = READY_SECONDS) -> object:
    """Polls until `condition()` is true; fails with `what` when the deadline passes."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


class Program:
    """A child process with its output in a file, so that a failing case can show it.

    `stderr` is a descriptor that takes its errors instead of the file; `cores` are the only ones it runs on.
    """

    def __init__(
        self,
        name: str,
        argv: list[str],
        folder: Path,
        env: dict[str, str] | None = None,
        *,
        stderr: int = subprocess.STDOUT,
        cores: set[int] | None = None,
    ):
        self.name = name
        self.has_successors = False  # The program may start processes that replace it, and end.
        self.log_path = folder / f"{name}.log"
        self._log = self.log_path.open("ab")
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=stderr,
            env={**os.environ, **(env or {})},
            cwd=folder,
            start_new_session=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def log_tail(self, lines: int) -> str:
        """The last lines, of a log that may be large."""
        with self.log_path.open("rb") as file:
            file.seek(max(0, self.log_path.stat().st_size - TAIL_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    def wait_for(self, address: str, seconds: float = READY_SECONDS) -> "Program":
        """Returns once `address` takes connections; fails with the log when the program ends before."""

        def ready() -> bool:
            code = self.process.poll()
            assert code is None, f"{self.name} ended with {code} before it was ready:\n{self.log()}"
            return accepts(address)

        wait_until(f"{self.name} to listen on {address}", ready, seconds)
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        return self.process.wait(seconds)

    def stop(self) -> int:
        """Sends SIGTERM, and SIGKILL after a while; returns the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                # The program leads a session of its own, so this signal reaches only the program and its children.
                os.killpg(self.pid, signal.SIGKILL)
                self.wait()
        if self.has_successors:
            self._end_successors()
        self._log.close()
        return self.process.returncode

    def _end_successors(self) -> None:
        """Ends all processes of the session that this program leads: SIGTERM, then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            while members := in_session(self.pid):
                for pid in members:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)


def in_session(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = int(stat.parent.name), stat.read_text().rsplit(")", 1)[1].split()
            if int(rest[3]) == session and rest[0] != "Z":
                found.append(pid)
    return found


class Programs:
    """The programs of one test or session; they are stopped in reverse order."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._started: list[Program] = []

    def start(self, name: str, argv: list[str], env: dict[str, str] | None = None, **options) -> Program:
        """`options` are those of `Program`."""
        program = Program(name, argv, self.folder, env, **options)
        self._started.append(program)
        return program

    def stop_all(self) -> None:
        for program in reversed(self._started):
            program.stop()
        self._started.clear()

    def logs(self, lines: int = 15) -> str:
        """The last lines of every log, for the report of a failing case."""
        parts = []
        for program in self._started:
            parts.append(f"--- {program.name} (pid {program.pid})\n{program.log_tail(lines)}")
        return "\n".join(parts)
