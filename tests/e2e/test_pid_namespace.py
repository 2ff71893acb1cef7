"""The guard as the first process of a PID namespace, as in a container: what ends with it, and who may give it orders."""

import os
import signal

import pytest

from conftest import unable
from harness.container import children
from harness.curl import call
from mcp_testkit.guard import Guard
from mcp_testkit.paths import GUARD, TOOLS, system
from mcp_testkit.programs import wait_until


@pytest.fixture
def guard(programs):
    if os.geteuid() != 0:
        unable("only root can make a PID namespace")
    socket = programs.folder / "tools.sock"
    programs.start("tools", [str(TOOLS), "serve", "--socket", str(socket)]).wait_for(f"unix:{socket}")
    guard = Guard(programs, f"unix:{socket}", "/mcp")
    guard.program.stop()
    inside = [system("unshare"), "--fork", "--pid", "--mount-proc", str(GUARD), "run", "--config", str(guard.config)]
    guard.program = programs.start("first", inside, guard._env).wait_for(guard.address)
    yield guard
    for first in children(guard.program.pid):
        os.kill(first, signal.SIGTERM)
    guard.program.wait()


def serves(guard: Guard) -> bool:
    return call(guard.url + "/mcp", "tools/list").status == 200 and guard.program.process.poll() is None


def test_the_first_process_of_a_container_is_not_replaced(guard):
    done = guard.command("upgrade")
    assert done.returncode == 1 and "replace the container" in done.stderr, done
    assert serves(guard)
    (first,) = children(guard.program.pid)
    os.kill(first, signal.SIGUSR2)
    wait_until("the refusal in the log", lambda: guard.program.log().count("replace the container") >= 2)
    assert serves(guard)
    assert not children(first), "no other process was begun"


def test_root_outside_the_containers_pid_namespace_may_give_orders(guard):
    assert guard.status()["pid"] == 1
    done = guard.command("reload")
    assert done.returncode == 0, done
    wait_until("the order in the log", lambda: "admin: command=reload uid=0 done" in guard.program.log())
