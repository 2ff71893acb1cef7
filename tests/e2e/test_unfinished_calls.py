"""Official SDKs and calls without a response of the backend: the call fails in time, and the session survives."""

import json
import os
import signal
import subprocess
import sys

import pytest

from harness.clients import in_node_env
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import E2E, node, python
from mcp_testkit.programs import Program, wait_until

CLIENTS = {"sdk1": "sdk1", "sdk2-legacy": "legacy", "sdk2-auto": "auto", "ts1": "ts1", "ts2-legacy": "legacy", "ts2-auto": "auto"}
EXPECTED = {
    "closes": (-31502, "backend_reset"),
    "resets": (-31502, "backend_reset"),
    "ends": (-31502, "backend_invalid"),
    "polls": (-31502, "backend_invalid"),
    "silent": (-31504, "deadline"),
    "html": (-31502, "backend_invalid"),
    "empty": (-31502, "backend_invalid"),
    "accepted": (-31502, "backend_invalid"),
    "nothing": (-31502, "backend_invalid"),
    "unauthorized": (-31502, "backend_status"),
    "forbidden": (-31502, "backend_status"),
    "missing": (-31502, "backend_status"),
    "moved": (-31502, "backend_status"),
}
SILENCE = 3  # Longer than the call beside takes, on a busy machine, too.


def argv(client: str, url: str, tools: list[str]) -> list[str]:
    if client.startswith("ts"):
        return [node(), str(in_node_env("unfinished_calls.mjs")), url, CLIENTS[client], *tools]
    return [python(client.partition("-")[0]), str(E2E / "clients" / "unfinished_calls.py"), url, CLIENTS[client], *tools]


def start(client: str, url: str, tools: list[str]) -> subprocess.Popen:
    env = {**os.environ, "MCP_TOKEN": TOKEN}
    return subprocess.Popen(argv(client, url, tools), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def reported_by(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=120)
    assert out, f"the client said nothing:\n{err}"
    return json.loads(out)


def guarded(programs, name: str, more: str) -> tuple[Guard, Program]:
    path = programs.folder / f"{name}.sock"
    backend = programs.start(f"{name}-backend", [sys.executable, str(E2E / "backends" / "broken.py"), str(path)]).wait_for(f"unix:{path}")
    return Guard(programs, f"unix:{path}", "/mcp", name=name, more=more), backend


@pytest.fixture(scope="module")
def guard(module_programs) -> Guard:
    return guarded(module_programs, "unfinished_calls", f'[timeouts]\nstream_idle = "{SILENCE}s"')[0]


def assert_reported(reported: dict, code: int, reason: str, tool: str) -> None:
    assert "hung" not in reported, f"{tool}: the call hung: {reported}"
    if reported["error"].startswith("SdkHttpError"):  # The real status of 2026-07-28: the 2.x TypeScript SDK shows the body as text.
        assert f'"code":{code}' in reported["error"] and f'"reason":"{reason}"' in reported["error"], f"{tool}: {reported}"
    else:
        assert (reported["code"], reported["data"]["reason"], reported["data"]["executed"]) == (code, reason, "unknown"), f"{tool}: {reported}"
    assert reported["beside"].get("text") == ["done"], f"{tool}: the call beside it did not survive: {reported}"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_call_that_is_not_answered_ends_with_an_error_and_harms_no_other(guard, client):
    tools = list(EXPECTED)
    reported = reported_by(start(client, f"{guard.url}/mcp", [*tools, "good"]))
    for tool in tools:
        assert_reported(reported[tool], *EXPECTED[tool], tool)
        assert reported[tool]["seconds"] < SILENCE + 9, f"{tool}: {reported[tool]}"
    assert reported["good"]["text"] == ["done"], "the session lives on"


def test_a_stream_that_is_drained_ends_with_an_error(programs):
    guard, backend = guarded(programs, "drained", '[timeouts]\ndrain = "1500ms"')
    clients = {client: start(client, f"{guard.url}/mcp", ["silent"]) for client in ("sdk1", "sdk2-auto", "ts1", "ts2-auto")}
    wait_until("each client's stream", lambda: backend.log().count("a silent stream") == len(clients))
    guard.program.process.send_signal(signal.SIGTERM)
    for client, process in clients.items():
        reported = reported_by(process)["silent"]
        assert "hung" not in reported and reported["code"] == -31503, f"{client}: {reported}"
        assert reported["data"]["reason"] == "draining", f"{client}: {reported}"
