"""Restarts and stops under load, on the real programs."""

import signal
import time

from harness.curl import call
from harness.load import Load
from mcp_testkit.programs import wait_until
from mcp_testkit.tools import INSTRUCTIONS, guarded_tools

TOOL = "get_server_instructions"


def test_a_backend_restart_under_load_loses_no_call(programs):
    backend, guard = guarded_tools(programs)
    with Load(guard.address, TOOL, rate=500) as load:
        for round_ in range(3):
            seen = load.outcome.succeeded
            wait_until("200 answers before the restart", lambda: load.outcome.succeeded >= seen + 200)
            assert backend.program.stop() == 0, f"mcp-tools must drain and exit 0:\n{backend.program.log()}"
            backend.program = programs.start(f"mcp-tools-{round_}", backend.argv).wait_for(backend.address)
        seen = load.outcome.succeeded
        wait_until("200 answers after the last restart", lambda: load.outcome.succeeded >= seen + 200)
    outcome = load.stop()
    assert not outcome.failures, outcome
    assert outcome.refused == 0, outcome


def test_calls_wait_for_a_backend_that_comes_back(programs):
    """The socket is absent for two seconds, and no call fails."""
    backend, guard = guarded_tools(programs)
    with Load(guard.address, TOOL, rate=100) as load:
        wait_until("answers", lambda: load.outcome.succeeded > 50)
        backend.program.stop()
        time.sleep(2)  # The outage itself, not a wait for something to happen.
        programs.start("mcp-tools-again", backend.argv).wait_for(backend.address)
        seen = load.outcome.succeeded
        wait_until("answers after the outage", lambda: load.outcome.succeeded > seen + 100)
    outcome = load.stop()
    assert not outcome.failures, outcome
    assert outcome.slowest > 1, f"no call met the outage: {outcome}"


def test_sigterm_under_load_finishes_what_was_accepted(programs):
    _, guard = guarded_tools(programs)
    with Load(guard.address, TOOL, rate=500) as load:
        wait_until("200 answers", lambda: load.outcome.succeeded >= 200)
        started = time.monotonic()
        guard.program.signal(signal.SIGTERM)
        code = guard.program.wait(20)
        took = time.monotonic() - started
    outcome = load.stop()
    assert code == 0, f"expected exit 0, saw {code}:\n{guard.program.log()[-2000:]}"
    assert took < 10, f"an idle guard must end at once; this one took {took:.1f} s"
    assert not outcome.failures, outcome


def test_a_restarted_guard_serves_again_at_once(programs):
    _, guard = guarded_tools(programs)
    guard.program.stop()
    started = time.monotonic()
    guard.start()
    response = call(guard.url + "/swf-monitor/mcp", "tools/call", {"name": TOOL, "arguments": {}})
    assert response.json()["result"]["content"][0]["text"] == INSTRUCTIONS, response
    assert time.monotonic() - started < 10, "a restart waits for no drain, which takes 15 s"
