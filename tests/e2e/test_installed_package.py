"""New versions of the package on a booted systemd, under load and bad ones too; two versions of mcp-tools; and the purge."""

import pytest

from harness.installed import Installed
from harness.package import repacked
from mcp_testkit.guard import TOKEN
from mcp_testkit.programs import wait_until

GUARD = "/etc/mcp-guard/guard.toml"
BAD = {"/usr/bin/mcp-tools": "#!/bin/sh\nexit 3\n"}


@pytest.fixture(scope="module")
def packages(package, tmp_path_factory):
    """The next version, a bad one after that, and a good one after that."""
    folder = tmp_path_factory.mktemp("next")
    return [repacked(package, folder, "0.1.1-1"), repacked(package, folder, "0.1.2-1", BAD), repacked(package, folder, "0.1.3-1")]


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    there = Installed(machine, package)
    machine.write("/etc/mcp-guard/env", f"MCP_BEARER_TOKEN={TOKEN}\n", mode=0o600)
    guard = machine.do("cat", GUARD)
    machine.write(GUARD, guard + '\n[slots.green]\naddress = "unix:/run/mcp-tools/green.sock"\n')
    machine.do("systemctl", "enable", "--quiet", "mcp-guard", "mcp-tools@blue")
    there.start()
    there.serves(TOKEN)
    return there


def runs(installed: Installed, slot: str) -> str:
    """The process of a slot and the program it runs, whatever its name is."""
    pid = installed.machine.show(f"mcp-tools@{slot}", "MainPID")
    return f"{pid} {installed.machine.do('stat', '-L', '-c', '%i', f'/proc/{pid}/exe').strip()}"


def program(installed: Installed, path: str) -> str:
    return installed.machine.do("stat", "-L", "-c", "%i", path).strip()


def test_a_package_upgrade_under_load_fails_no_call_and_leaves_the_tool_server_alone(installed, packages):
    machine = installed.machine
    before, guard = runs(installed, "blue"), machine.show("mcp-guard", "MainPID")
    said = []
    calls, failed = installed.under_load(TOKEN, lambda: said.append(installed.install(packages[0])))
    assert calls > 10 and not failed, failed
    assert machine.show("mcp-guard", "MainPID") != guard and runs(installed, "blue") == before
    assert "mcp-tools@blue stays with version 0.1.0-1" in said[0]
    # Nor at the next restart: the slot keeps its program until the operator changes it.
    calls, failed = installed.under_load(TOKEN, lambda: machine.do("systemctl", "restart", "mcp-tools@blue"))
    assert not failed, failed
    assert runs(installed, "blue").split()[1] == before.split()[1] != program(installed, "/usr/bin/mcp-tools")


def test_a_bad_tool_server_takes_no_slot_down(installed, packages):
    machine = installed.machine
    before = runs(installed, "blue")
    calls, failed = installed.under_load(TOKEN, lambda: installed.install(packages[1]))
    assert calls > 10 and not failed, failed
    assert runs(installed, "blue") == before
    assert machine.run("systemctl", "start", "mcp-tools@green").returncode != 0, "the idle slot has the new one"
    assert machine.run("mcp-guard", "slots", "switch", "green").returncode == 1
    machine.do("systemctl", "kill", "--signal=KILL", "mcp-tools@blue")
    wait_until("blue to come back", lambda: machine.is_active("mcp-tools@blue") and runs(installed, "blue").split()[0] not in (before.split()[0], "0"))
    installed.serves(TOKEN)
    machine.reboot()
    machine.wait_active("mcp-guard")
    installed.serves(TOKEN)
    assert runs(installed, "blue").split()[1] == before.split()[1]
    machine.run("systemctl", "stop", "mcp-tools@green")


def test_the_next_version_goes_into_the_other_slot_and_traffic_follows(installed, packages):
    machine = installed.machine
    installed.install(packages[2])
    machine.do("systemctl", "start", "mcp-tools@green")
    wait_until("green to be healthy", lambda: machine.run("mcp-guard", "slots", "switch", "green").returncode == 0)
    assert runs(installed, "green").split()[1] == program(installed, "/usr/bin/mcp-tools") != runs(installed, "blue").split()[1]
    assert installed.status(TOKEN) == 200
    # And back.
    calls, failed = installed.under_load(TOKEN, lambda: machine.do("mcp-guard", "slots", "switch", "blue"))
    assert calls > 5 and not failed, failed
    # A slot that runs takes the installed version when its link goes.
    machine.do("rm", "/var/lib/mcp-tools/slots/blue")
    calls, failed = installed.under_load(TOKEN, lambda: machine.do("systemctl", "restart", "mcp-tools@blue"))
    assert not failed, failed
    assert runs(installed, "blue").split()[1] == program(installed, "/usr/bin/mcp-tools")


def test_a_version_that_no_slot_runs_goes_with_the_next_package(installed, package):
    machine = installed.machine
    machine.do("dpkg", "--force-downgrade", "--install", f"/srv/{package.name}", seconds=120)
    assert machine.do("ls", "/usr/lib/mcp-tools").split() == ["0.1.3-1"]
    assert sorted(machine.do("ls", "/var/lib/mcp-tools/slots").split()) == ["blue", "green"]


def test_a_purge_leaves_nothing_behind(installed):
    machine = installed.machine
    machine.do("systemctl", "enable", "--quiet", "mcp-tools@green", "mcp-tools@green.socket", "mcp-guard.socket", "mcp-watchdog.timer")
    machine.write("/etc/mcp-tools/blue.env", "A=1\n", mode=0o600)
    machine.do("systemctl", "kill", "--signal=KILL", "mcp-tools@green")
    machine.do("dpkg", "--remove", "mcp-guard", seconds=120)
    assert machine.run("test", "-e", GUARD).returncode == 0, "a removal keeps the configuration"
    machine.do("dpkg", "--purge", "mcp-guard", seconds=120)
    places = ["/etc", "/run", "/tmp", "/usr/bin", "/usr/lib", "/usr/share", "/var"]
    left = machine.do("find", *places, "-xdev", "-name", "*mcp-*", "-not", "-path", "/run/systemd/*").split()
    assert not left, left
    assert not machine.do("systemctl", "list-units", "--all", "--plain", "--no-legend", "mcp-*").strip()
    assert not machine.do("systemctl", "--failed", "--plain", "--no-legend").strip()
    assert not [line for line in machine.do("ps", "-eo", "comm").split() if line.startswith("mcp-")]
    machine.do("id", "mcp-guard")
