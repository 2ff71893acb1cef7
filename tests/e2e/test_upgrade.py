"""Contract, section 13: the program is replaced, the configuration and the backends too, and no call is lost.

The drill is short by default. MCP_DRILL=20/50/20 scripts/e2e test_upgrade.py is the full one (upgrades/reloads/backend restarts).
"""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from harness import backends
from harness.curl import call
from harness.load import Load
from harness.service_manager import Manager, is_alive
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import E2E, GUARD, TOOLS, python, system
from mcp_testkit.programs import accepts, free_port, in_session, wait_until
from mcp_testkit.tools import INSTRUCTIONS, guarded_tools

TOOL = "get_server_instructions"
UPGRADES, RELOADS, RESTARTS = (int(part) for part in os.environ.get("MCP_DRILL", "5/10/5").split("/"))


def test_upgrades_reloads_and_backend_restarts_under_load_lose_no_call(programs):
    backend, guard = guarded_tools(programs)
    text = guard.config.read_text()
    bot = Bot(guard)
    with Load(guard.address, TOOL, rate=200) as kept, Load(guard.address, TOOL, rate=50, connections=4, fresh=True) as fresh:
        actions = ["upgrade"] * UPGRADES + ["reload"] * RELOADS + ["restart"] * RESTARTS
        random.Random(13).shuffle(actions)
        pids = {guard.program.pid}
        for number, action in enumerate(actions):
            seen = kept.outcome.succeeded, fresh.outcome.succeeded
            if action == "upgrade":
                pids.add(guard.upgrade())
            elif action == "reload":
                # Something changes each time, so that there is something to swap.
                guard.config.write_text(text + f"[limits]\nbody_bytes = {1000000 + number}\n")
                before = guard.program.log().count("reloaded: ")
                os.kill(guard.status()["pid"], signal.SIGHUP)
                wait_until("the reload", lambda: guard.program.log().count("reloaded: ") > before)
            else:
                assert backend.program.stop() == 0, backend.program.log()
                backend.program = programs.start(f"mcp-tools-{number}", backend.argv).wait_for(backend.address)
            wait_until(
                f"answers after {action} {number}",
                lambda: kept.outcome.succeeded > seen[0] + 20 and fresh.outcome.succeeded > seen[1] + 5,
            )
    outcomes = kept.stop(), fresh.stop()
    reported = bot.stop()
    print(f"drill {UPGRADES}/{RELOADS}/{RESTARTS}: kept-alive {outcomes[0]}; fresh {outcomes[1]}; SDK {reported}")
    assert len(pids) == UPGRADES + 1
    for outcome in outcomes:
        assert not outcome.failures and outcome.refused == 0, outcome
    assert "error" not in reported and reported["answered"] > 10, reported
    wait_until("only the last process is left", lambda: in_session(guard.program.pid) == [guard.status()["pid"]])
    assert "another guard keeps its state" not in guard.program.log(), "the one before it is no other guard"


class Bot:
    """A client made with the Python SDK, which gives a session up at the first HTTP error."""

    def __init__(self, guard: Guard):
        argv = [python("sdk1"), str(E2E / "clients" / "sdk1_steady.py"), guard.url + "/swf-monitor/mcp"]
        env = {**os.environ, "MCP_TOKEN": TOKEN}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env, text=True)
        assert self._process.stderr.readline() == "connected\n", self._process.communicate()

    def stop(self) -> dict:
        out, errors = self._process.communicate(timeout=30)
        assert out, errors
        return json.loads(out)


def test_the_service_manager_follows_an_upgrade(programs):
    """The messages of a start, a reload, an upgrade, a failed one and a stop, to a manager that accepts those of the main process only."""
    manager = Manager(programs.folder)
    _, guard = guarded_tools(programs, env=manager.env(watchdog_seconds=0.4))
    first = guard.program.pid
    manager.supervise(first)
    assert manager.wait_for("READY=1").pid == first
    assert manager.wait_for("WATCHDOG=1").pid == first

    at = len(manager.obeyed)
    before = time.monotonic()
    guard.program.signal(signal.SIGHUP)
    reloading = manager.wait_for("RELOADING=1", at)
    usec = next(int(part.removeprefix("MONOTONIC_USEC=")) for part in reloading.fields if part.startswith("MONOTONIC_USEC="))
    assert before <= usec / 1e6 <= time.monotonic()
    assert manager.wait_for("READY=1", at).pid == first

    at = len(manager.obeyed)
    with manager.reading():
        second = guard.upgrade()
    assert manager.wait_for("RELOADING=1", at).pid == first
    assert manager.wait_for(f"MAINPID={second}", at).pid == first
    assert manager.wait_for("READY=1", at).pid == second
    wait_until("the first process ends", lambda: not is_alive(first))
    at = len(manager.obeyed)
    assert manager.wait_for("WATCHDOG=1", at).pid == second
    assert not any(message.has("STOPPING=1") for message in manager.obeyed + manager.ignored), "the service does not stop"

    guard.config.write_text(guard.config.read_text() + "\nnonsense = 1\n")
    at = len(manager.obeyed)
    os.kill(second, signal.SIGUSR2)
    assert manager.wait_for("RELOADING=1", at).pid == second
    assert manager.wait_for("READY=1", at).pid == second
    assert manager.wait_for("STATUS=carrying on after an upgrade that failed.*", at).pid == second

    at = len(manager.obeyed)
    os.kill(second, signal.SIGTERM)
    assert manager.wait_for("STOPPING=1", at).pid == second
    wait_until("the second process ends", lambda: not is_alive(second))


def called(guard: Guard) -> str:
    return call(guard.url + "/swf-monitor/mcp", "tools/call", {"name": TOOL, "arguments": {}}).body.decode()


def test_what_is_switched_off_stays_off_over_an_upgrade(programs):
    _, guard = guarded_tools(programs)
    assert guard.command("feature", "off", f"tool:{TOOL}", "--reason", "drill").returncode == 0
    for number in range(2):
        guard.upgrade()
        assert "Unknown tool" in called(guard), number
        off = guard.status()["features"]["off"]
        assert [(one["feature"], one["reason"]) for one in off] == [(f"tool:{TOOL}", "drill")]
    # The new process takes switches, and keeps them.
    assert guard.command("feature", "on", f"tool:{TOOL}").returncode == 0
    guard.upgrade()
    assert "Unknown tool" not in called(guard) and not guard.status()["features"]["off"]


def test_an_upgrade_that_fails_changes_nothing_and_says_why(programs):
    _, guard = guarded_tools(programs)
    guard.config.write_text(guard.config.read_text() + "\nnonsense = 1\n")
    with Load(guard.address, TOOL, rate=100) as load:
        wait_until("answers", lambda: load.outcome.succeeded > 20)
        done = guard.command("upgrade")
        assert done.returncode == 1 and "carries on: the new process said: 1 problem: " in done.stderr, done
        assert "guard.toml:" in done.stderr and "nonsense: no such key" in done.stderr, done
        seen = load.outcome.succeeded
        wait_until("answers after the failure", lambda: load.outcome.succeeded > seen + 20)
    outcome = load.stop()
    assert not outcome.failures and outcome.refused == 0, outcome
    assert "nonsense" in guard.program.log(), "the new process says what is wrong"
    assert in_session(guard.program.pid) == [guard.program.pid] and guard.status()["pid"] == guard.program.pid
    assert "another guard" not in guard.command("rollout", "status").stdout, "the old process owns the rollout again"


def test_a_program_that_cannot_run_is_no_upgrade(programs):
    """What was installed over the running program is damaged, or hangs: the old one carries on."""
    copy = programs.folder / "mcp-guard"
    copy.write_bytes(GUARD.read_bytes())
    copy.chmod(0o755)
    _, guard = guarded_tools(programs)
    guard.program.stop()
    argv = [str(copy), "run", "--config", str(guard.config)]
    guard.program = programs.start("guard-copy", argv, {"MCP_BEARER_TOKEN": TOKEN}).wait_for(guard.address)
    copy.unlink()
    done = guard.command("upgrade")
    assert done.returncode == 1 and "cannot start it" in done.stderr, done
    copy.write_text("#!/bin/sh\necho started >&2\nexit 3\n")
    copy.chmod(0o755)
    done = guard.command("upgrade")
    assert done.returncode == 1 and "exit status: 3" in done.stderr, done
    assert call(guard.url + "/swf-monitor/mcp", "tools/call", {"name": TOOL, "arguments": {}}).status == 200


def test_the_rollout_goes_on_where_it_was(programs):
    backend = backends.mcp_tools(programs)
    other = programs.folder / "green.sock"
    argv = [other if part.endswith("tools.sock") else part for part in backend.argv]
    programs.start("green", [str(part) for part in argv]).wait_for(f"unix:{other}")
    plan = programs.folder / "plan.toml"
    plan.write_text('[[step]]\nstage = "canary"\nweight = 50\nhold = "10m"\nmin_samples = 20\n[[step]]\nstage = "candidate_only"\nhold = "10m"\n')
    more = f'[slots.green]\naddress = "unix:{other}"\npath = "{backend.path}"\n[routing]\nstable = "blue"\n[rollout]\nplan = "{plan}"\n[health]\ninterval = "1s"\ntimeout = "1s"\n'
    guard = Guard(programs, backend.address, backend.path, more=more)
    wait_until("both slots are healthy", lambda: guard.command("slots", "list").stdout.count(" healthy") == 2)
    done = guard.command("rollout", "start", seconds=100)
    assert done.returncode == 0, done
    before = where(guard)
    assert "canary" in str(before), before

    guard.upgrade()
    assert where(guard) == before
    assert len(history(guard)) == 1
    done = guard.command("rollout", "rollback")
    assert done.returncode == 0, f"the new process owns the rollout: {done}"
    guard.upgrade()
    assert len(history(guard)) == 2, "what either process did is in it"


def where(guard: Guard) -> tuple:
    """Where the rollout stands, and since when."""
    status = json.loads(guard.command("rollout", "status", "--json").stdout)["status"]
    return (status["position"], *(status["run"][key] for key in ("id", "started", "since", "steps")))


def history(guard: Guard) -> list:
    return json.loads(guard.command("rollout", "history", "--json").stdout)


def test_a_unix_socket_is_handed_over_and_removed_at_the_very_end(programs):
    backend = backends.mcp_tools(programs)
    socket = programs.folder / "guard.sock"
    guard = Guard(programs, backend.address, backend.path, address=f"unix:{socket}")
    inode = socket.stat().st_ino
    pid = guard.upgrade()
    wait_until("the first process ends", lambda: guard.program.process.poll() is not None)
    assert socket.stat().st_ino == inode and accepts(guard.address)
    os.kill(pid, signal.SIGTERM)
    wait_until("the second process ends", lambda: not is_alive(pid))
    left = [path.name for path in (socket, programs.folder / "guard.admin") if path.exists()]
    assert not left, f"still there: {left}"


def test_an_upgrade_moves_to_another_address(programs):
    """`listen` is what a reload cannot change."""
    _, guard = guarded_tools(programs)
    old, new = guard.address, f"127.0.0.1:{free_port()}"
    guard.config.write_text(guard.config.read_text().replace(old, new))
    guard.upgrade()
    assert accepts(new)
    wait_until("the old address is free", lambda: not accepts(old))


def test_the_service_managers_sockets_are_used_and_handed_on(programs):
    """systemd's own program passes the sockets, as a .socket unit would."""
    _, guard = guarded_tools(programs)
    guard.program.stop()
    admin = programs.folder / "guard.admin"
    argv = [system("systemd-socket-activate"), "-l", guard.address, "-l", str(admin), "-E", "MCP_BEARER_TOKEN"]
    argv += [str(GUARD), "run", "--config", str(guard.config)]
    guard.program = programs.start("activated", argv, {"MCP_BEARER_TOKEN": TOKEN})
    guard.program.wait_for(guard.address)  # The first connection starts the guard; it waits until the guard accepts.
    response = call(guard.url + "/swf-monitor/mcp", "tools/call", {"name": TOOL, "arguments": {}})
    assert response.json()["result"]["content"][0]["text"] == INSTRUCTIONS, response
    pid = guard.upgrade()
    assert guard.status()["pid"] == pid
    os.kill(pid, signal.SIGTERM)
    wait_until("the guard ends", lambda: not is_alive(pid))
    assert admin.exists(), "the file is the service manager's"


def test_a_socket_that_no_address_names_is_refused(programs):
    _, guard = guarded_tools(programs)
    guard.program.stop()
    stray = f"127.0.0.1:{free_port()}"
    argv = [system("systemd-socket-activate"), "-l", stray, str(GUARD), "run", "--config", str(guard.config)]
    program = programs.start("activated", argv)
    wait_until("systemd listens", lambda: accepts(stray))
    assert program.wait() == 2
    assert f"passed a socket for {stray}" in program.log() and "ListenStream=" in program.log()


def test_the_tool_server_takes_the_service_managers_socket(programs):
    socket = programs.folder / "activated.sock"
    argv = [system("systemd-socket-activate"), "-l", str(socket), str(TOOLS), "serve", "--socket", str(socket)]
    program = programs.start("tools", argv)
    wait_until("systemd listens", lambda: accepts(f"unix:{socket}"))
    guard = Guard(programs, f"unix:{socket}", "/mcp")
    response = call(guard.url + "/swf-monitor/mcp", "tools/list", {})
    assert response.json()["result"]["tools"], response
    assert program.stop() == 0
    assert Path(socket).exists(), "the file is the service manager's"
