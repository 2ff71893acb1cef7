"""Subscriptions of real clients are no calls: forty of them, held open, cost a client that calls nothing."""

import hashlib
import json
import os
import statistics
import subprocess
import time
import urllib.request

from harness.backends import mcpserver2
from harness.curl import metric
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import E2E, python

CLIENTS, CALLS = 40, 30
#: Fewer places than subscriptions: one that held a place would end the service.
MORE = """
[limits]
in_flight = 8
streams_per_client = 40
[auth]
tokens_file = "tokens.toml"
[timeouts]
waiting = "1s"
"""
CALLER = "e2e-ca11er-Tok3n-abcdefghijklmnop"
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "test_simple_text", "arguments": {}}}


def seconds_of_a_call(guard: Guard) -> float:
    headers = {"Authorization": f"Bearer {CALLER}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    asked = urllib.request.Request(guard.url + "/mcp", json.dumps(CALL).encode(), {**headers, "MCP-Protocol-Version": "2025-11-25"})
    begun = time.monotonic()
    with urllib.request.urlopen(asked, timeout=30) as response:
        reported = response.read().decode()
    assert "simple text response" in reported, reported
    return time.monotonic() - begun


def streams(guard: Guard) -> float:
    return metric(guard.metrics, "mcp_guard_streams")


def test_forty_subscriptions_held_open_cost_another_client_nothing(programs):
    backend = mcpserver2(programs)
    tokens = programs.folder / "tokens.toml"
    clients = {"crowd": TOKEN, "caller": CALLER}
    entries = [f'[clients.{name}]\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n' for name, token in clients.items()]
    tokens.write_text("".join(entries))
    tokens.chmod(0o600)
    guard = Guard(programs, backend.address, backend.path, token=None, more=MORE)
    before = statistics.median(seconds_of_a_call(guard) for _ in range(CALLS))
    argv = [python("sdk2"), str(E2E / "clients" / "subscribers.py"), guard.url + "/mcp", str(CLIENTS)]
    env = {**os.environ, "MCP_TOKEN": TOKEN}
    crowd = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        ready = crowd.stdout.readline()
        assert ready == "ready 2026-07-28\n", ready
        assert streams(guard) == CLIENTS
        beside = statistics.median(seconds_of_a_call(guard) for _ in range(CALLS))
        # An idle subscription delays no other call; a wait for one would take the second of `timeouts.waiting`.
        assert beside < max(2 * before, 0.75), f"{before:.3f} s alone, {beside:.3f} s beside {CLIENTS} subscriptions"
        assert streams(guard) == CLIENTS, "some ended meanwhile"
        reported, _ = crowd.communicate(timeout=30)
        assert json.loads(reported or "{}") == {"lasted": CLIENTS}
    finally:
        if crowd.poll() is None:
            crowd.kill()
            crowd.communicate(timeout=30)
