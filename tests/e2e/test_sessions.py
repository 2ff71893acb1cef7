"""A stateful server behind the guard: with `sessions` its sessions end and its questions reach the client's model."""

import json
import os
import subprocess

from harness.curl import metric
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import E2E, python
from mcp_testkit.programs import Program, free_port, wait_until


def guarded(programs, slot: str) -> tuple[Guard, Program]:
    port = free_port()
    backend = programs.start("stateful1", [python("sdk1"), str(E2E / "backends" / "stateful1.py"), str(port)]).wait_for(f"127.0.0.1:{port}")
    return Guard(programs, f"127.0.0.1:{port}", "/mcp", name="sessions", slot=slot), backend


def client(guard: Guard, *tools: str) -> tuple[subprocess.Popen, str]:
    """A client that is connected, and the id of its session."""
    process = subprocess.Popen(
        [python("sdk1"), str(E2E / "clients" / "sampling1.py"), f"{guard.url}/mcp", *tools],
        env={**os.environ, "MCP_TOKEN": TOKEN},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    session = process.stdout.readline().strip()
    assert session, f"no session:\n{process.communicate(timeout=60)[1]}"
    return process, session


def streams(guard: Guard) -> float:
    return metric(guard.metrics, "mcp_guard_streams")


def is_terminated(backend: Program, session: str) -> bool:
    return f"Terminating session: {session}" in backend.log()


def test_a_question_reaches_the_client_and_its_session_ends(programs):
    guard, backend = guarded(programs, "sessions = true")
    process, session = client(guard, "ask")
    # The server sends its request on a stream that the client has opened by then, or never.
    wait_until("the session's stream", lambda: streams(guard) == 1)
    out, err = process.communicate("go\n", timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out) == ["WHO ASKS?"]
    wait_until("the end of the session", lambda: is_terminated(backend, session))
    wait_until("the end of its stream", lambda: streams(guard) == 0)
    wait_until("its line in the log", lambda: '"detail":"DELETE of a session"' in guard.program.log())


def test_without_sessions_the_client_lives_and_its_session_stays(programs):
    guard, backend = guarded(programs, "")
    process, session = client(guard)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    wait_until("the refusals in the log", lambda: guard.program.log().count('"denial":"method_not_allowed"') >= 2)
    assert session in backend.log() and not is_terminated(backend, session)
