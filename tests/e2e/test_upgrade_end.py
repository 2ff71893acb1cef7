"""Contract, section 13: SIGTERM at the moments of an upgrade. Nothing is left behind that serves without its service manager."""

import os
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.curl import call
from harness.service_manager import Manager, is_alive
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import GUARD, system
from mcp_testkit.programs import Programs, wait_until

#: A user that no other process has.
USER = 54321
RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'

#: A new program that speaks the hand-over's protocol as far as its argument says, and then has the old process told to stop.
NEW_PROGRAM = """#!/usr/bin/python3
import os, pathlib, signal, socket
channel = socket.socket(fileno=0)
channel.recv(16384)
if {stage!r} == "go":
    channel.send(b"prepared 9.9.9")
    assert channel.recv(16384) == b"go"
pathlib.Path({pid!r}).write_text(str(os.getpid()))
os.kill(os.getppid(), signal.SIGTERM)
while True:
    signal.pause()
"""

#: A new program that takes over from an old process, which may start no thread any more, and switches a tool off.
FOLLOWED_PROGRAM = """#!/usr/bin/python3
import os, resource, signal, socket
channel, old = socket.socket(fileno=0), os.getppid()
channel.recv(16384)
channel.send(b"prepared 9.9.9")
assert channel.recv(16384) == b"go"
resource.prlimit(old, resource.RLIMIT_NPROC, (1, 1))
channel.send(b"serving")
assert channel.recv(16384) == b"yours"
channel.send(b"changed off tool:slow")
os.write(2, b"followed: " + channel.recv(16384))
signal.pause()
"""


class SlowBackend:
    """Answers each call when the test says so."""

    def __init__(self, folder: Path):
        self.address = f"unix:{folder}/slow.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/slow.sock")
        self._listener.listen()
        self._may_answer = threading.Event()
        self.taken = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def answer(self) -> None:
        self._may_answer.set()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            request = connection.recv(65536)
            if not request:
                return  # A probe.
            if b"tools/call" in request:
                self.taken.set()
                assert self._may_answer.wait(60)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(RESULT), RESULT))


@contextmanager
def call_under_way(guard: Guard, backend: SlowBackend):
    """A call that the backend has; it must succeed before the end of the block."""
    answers = []
    url = guard.url + "/swf-monitor/mcp"
    thread = threading.Thread(target=lambda: answers.append(call(url, "tools/call", {"name": "slow", "arguments": {}})))
    thread.start()
    assert backend.taken.wait(20)
    yield
    thread.join(30)
    assert [(answer.status, "result" in answer.json()) for answer in answers] == [(200, True)], answers


def guard_of_a_copy(programs: Programs, backend: SlowBackend, env: dict[str, str] | None = None, wrapper: tuple[str, ...] = ()) -> tuple[Guard, Path]:
    """A guard whose program may be replaced, and that program."""
    program = programs.folder / "mcp-guard"
    program.symlink_to(GUARD)
    guard = Guard(programs, backend.address, "/mcp", argv=(*wrapper, str(program)), env=env)
    guard.program.has_successors = True
    return guard, program


def replace(program: Path, text: str) -> None:
    program.unlink()
    program.write_text(text)
    program.chmod(0o755)


def upgrade(guard: Guard) -> subprocess.Popen:
    argv = [str(GUARD), "upgrade", "--config", str(guard.config)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("stage", ["start", "go"])
@pytest.mark.parametrize("is_busy", [False, True])
def test_sigterm_during_an_upgrade_ends_the_new_process_before_the_old_one_ends(programs, stage, is_busy):
    backend = SlowBackend(programs.folder)
    guard, program = guard_of_a_copy(programs, backend)
    pid = programs.folder / "new.pid"
    replace(program, NEW_PROGRAM.format(stage=stage, pid=str(pid)))

    def upgrade_and_see() -> None:
        with upgrade(guard) as command:
            _, said = command.communicate(timeout=30)
        assert command.returncode == 1 and "this process was told to stop" in said, said

    if is_busy:
        with call_under_way(guard, backend):
            upgrade_and_see()
            assert guard.program.process.poll() is None, "the call is not answered yet"
            assert not is_alive(int(pid.read_text()))
            backend.answer()
        assert guard.program.wait() == 0
    else:
        upgrade_and_see()
        assert guard.program.wait() == 0
        assert not is_alive(int(pid.read_text()))


def test_sigterm_before_the_service_manager_has_read_the_new_main_process_ends_both_after_the_last_call(programs):
    """`systemctl stop` sends SIGTERM to the process that is the main one for systemd, and kills the others when that has ended."""
    manager = Manager(programs.folder)
    backend = SlowBackend(programs.folder)
    guard, _ = guard_of_a_copy(programs, backend, manager.env())
    first = guard.program.pid
    manager.supervise(first)
    manager.wait_for("READY=1")
    with call_under_way(guard, backend), upgrade(guard) as command:
        named = manager.wait_for("MAINPID=.*")
        second = int(named.fields[0].removeprefix("MAINPID="))
        guard.program.signal(signal.SIGTERM)
        _, said = command.communicate(timeout=30)
        assert command.returncode == 1 and "this process was told to stop" in said, said
        assert is_alive(first) and is_alive(second), "whichever is the main process: the call is not answered yet"
        backend.answer()
    assert guard.program.wait() == 0
    wait_until("the new process ends", lambda: not is_alive(second))
    manager.drain()
    assert not any(message.pid == second and message.has("READY=1") for message in manager.obeyed + manager.ignored)


def test_an_old_process_that_can_start_no_thread_when_it_hands_over_follows_the_new_one(programs):
    """What takes away a right in the new process reaches the old one, or there is no upgrade: all it takes is there before."""
    backend = SlowBackend(programs.folder)
    backend.answer()
    wrapper = ()
    if os.geteuid() == 0:
        # No limit of processes holds for root.
        wrapper = (system("setpriv"), f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
        state = programs.folder / "guard.state"
        state.mkdir()
        for path in (programs.folder, state, programs.folder / "slow.sock"):
            os.chown(path, USER, USER)
    guard, program = guard_of_a_copy(programs, backend, wrapper=wrapper)
    kept = socket.create_connection(guard.address.rsplit(":", 1))
    assert b"200 OK" in exchange(kept)
    replace(program, FOLLOWED_PROGRAM)
    with upgrade(guard) as command:
        said, why = command.communicate(timeout=60)
    assert said.startswith("process ") and said.endswith(" version 9.9.9\n"), (said, why)
    wait_until("the old process has switched the tool off", lambda: "followed: done" in guard.program.log())
    assert b"Unknown tool" in exchange(kept)


def exchange(connection: socket.socket) -> bytes:
    """A call of the tool, on a connection that is kept."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","arguments":{}}}'
    fields = f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
    head = f"POST /swf-monitor/mcp HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    received = b""
    while not received.endswith(b"}"):
        part = connection.recv(65536)
        assert part, received
        received += part
    return received
