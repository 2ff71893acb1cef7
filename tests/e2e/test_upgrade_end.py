"""Contract, section 13: SIGTERM at the moments of an upgrade. Nothing is left behind that serves without its service manager."""

import os
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager, nullcontext
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

#: A new program that can serve. The old process reads nothing before it has said its last word.
SERVING_PROGRAM = """#!/usr/bin/python3
import os, pathlib, signal, socket, time
channel, old, this = socket.socket(fileno=0), os.getppid(), os.getpid()
channel.recv(16384)
channel.send(b"prepared 9.9.9")
assert channel.recv(16384) == b"go"
os.kill(old, signal.SIGSTOP)
def is_stopped():
    try:
        return all("State:\\tT" in status.read_text() for status in pathlib.Path(f"/proc/{{old}}/task").glob("*/status"))
    except OSError: # A thread has ended.
        return False
# Its threads go on until one of them has received the signal.
while not is_stopped():
    time.sleep(0.001)
channel.send(b"serving")
{last}
"""
#: Another process lets the old one go on once this one has ended.
ENDS = """
if os.fork() == 0:
    channel.close()
    while os.getppid() == this:
        time.sleep(0.01)
    os.kill(old, signal.SIGCONT)
"""
IS_TOLD_TO_STOP = """
channel.send(b"failed it was told to stop")
channel.shutdown(socket.SHUT_WR)
os.kill(old, signal.SIGCONT)
assert channel.recv(16384) == b""
"""
WAITS = """
os.kill(old, signal.SIGCONT)
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
    return subprocess.Popen(command_of(guard, "upgrade"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def command_of(guard: Guard, name: str) -> list[str]:
    """Not the guard's own program, which a test replaces."""
    return [str(GUARD), name, "--config", str(guard.config)]


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


@pytest.mark.parametrize(("last", "why"), [(ENDS, "the new process ended"), (IS_TOLD_TO_STOP, "it was told to stop")])
def test_a_new_process_that_ends_after_it_could_serve_changes_nothing(programs, last, why):
    backend = SlowBackend(programs.folder)
    backend.answer()
    guard, program = guard_of_a_copy(programs, backend)
    replace(program, SERVING_PROGRAM.format(last=last))
    with upgrade(guard) as command:
        _, said = command.communicate(timeout=30)
    assert command.returncode == 1 and why in said, said
    carries_on(guard)


def carries_on(guard: Guard) -> None:
    """It accepts connections, serves calls and takes commands."""
    assert call(guard.url + "/swf-monitor/mcp", "tools/call", {"name": "slow", "arguments": {}}).status == 200
    assert subprocess.run(command_of(guard, "reload")).returncode == 0
    assert guard.program.process.poll() is None


@contextmanager
def named_main_process(programs: Programs, backend: SlowBackend, new_program: str | None = None, is_busy: bool = False):
    """A guard during an upgrade, that has named its new process the main one, and waits until the service manager has read it."""
    manager = Manager(programs.folder)
    guard, program = guard_of_a_copy(programs, backend, manager.env())
    manager.supervise(guard.program.pid)
    manager.wait_for("READY=1")
    if new_program:
        replace(program, new_program)
    manager.holds_barriers = True
    with call_under_way(guard, backend) if is_busy else nullcontext(), upgrade(guard) as command:
        named = manager.wait_for("MAINPID=.*")
        yield manager, guard, command, int(named.fields[0].removeprefix("MAINPID="))


def answer_barrier(manager: Manager) -> None:
    """An old process waits for 3 s at most. If this test got no turn for so long, what it did has come after the upgrade."""
    is_in_time = manager.is_waited_for()
    manager.answer_barriers()
    if not is_in_time:
        pytest.skip("this machine is too slow to act in the middle of an upgrade")


def test_a_new_process_that_is_killed_after_it_was_named_the_main_one_does_not_take_over(programs):
    backend = SlowBackend(programs.folder)
    backend.answer()
    with named_main_process(programs, backend, SERVING_PROGRAM.format(last=WAITS)) as (manager, guard, command, second):
        os.kill(second, signal.SIGKILL)
        wait_until("the new process has ended", lambda: not is_alive(second))
        answer_barrier(manager)
        _, said = command.communicate(timeout=30)
        assert command.returncode == 1 and "before it took over" in said, said
    carries_on(guard)
    manager.drain()
    first = guard.program.pid
    assert any(message.pid == first and message.has(f"MAINPID={first}") for message in manager.ignored)


def test_sigterm_before_the_service_manager_has_read_the_new_main_process_ends_both_after_the_last_call(programs):
    """`systemctl stop` sends SIGTERM to the process that is the main one for systemd, and kills the others when that has ended."""
    backend = SlowBackend(programs.folder)
    with named_main_process(programs, backend, is_busy=True) as (manager, guard, command, second):
        guard.program.signal(signal.SIGTERM)
        answer_barrier(manager)
        _, said = command.communicate(timeout=30)
        assert command.returncode == 1 and "this process was told to stop" in said, said
        assert is_alive(guard.program.pid) and is_alive(second), "whichever is the main process: the call is not answered yet"
        backend.answer()
    assert guard.program.wait() == 0
    wait_until("the new process ends", lambda: not is_alive(second))
    manager.drain()
    assert not any(message.pid == second and message.has("READY=1") for message in manager.obeyed + manager.ignored)


def test_sigterm_to_the_new_main_process_before_it_has_taken_over_ends_both_after_the_last_call(programs):
    backend = SlowBackend(programs.folder)
    with named_main_process(programs, backend, is_busy=True) as (manager, guard, command, second):
        os.kill(second, signal.SIGTERM)
        wait_until("the new process has received it", lambda: any(message.pid == second for message in received(manager)))
        manager.answer_barriers()
        said, why = command.communicate(timeout=30)
        assert said.startswith(f"process {second} serves now"), why
        wait_until("the new process waits for the old one", lambda: "the process before this one still finishes its calls" in guard.program.log())
        assert is_alive(guard.program.pid) and is_alive(second), "the call is not answered yet"
        backend.answer()
    assert guard.program.wait() == 0
    wait_until("the new process ends", lambda: not is_alive(second))


def received(manager: Manager) -> list:
    manager.drain()
    return manager.obeyed + manager.ignored


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
