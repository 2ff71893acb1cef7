"""The package on a real, booted systemd: what a unit file promises is what an operator gets."""

import pytest

from harness.installed import Installed


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    there = Installed(machine, package)
    token, lines = there.token("alice")
    there.alice = token
    machine.write("/etc/mcp-guard/tokens.toml", lines, mode=0o600)
    there.start()
    return there


def test_the_installed_units_serve(installed):
    assert installed.status(installed.alice) == 200
    assert installed.status("swf_wrong") == 403
    assert installed.machine.show("mcp-guard", "NRestarts") == "0"
